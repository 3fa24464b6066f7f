//! What an installer chooses, and what is wrong with a choice.

/// Shards at most: each is a Lease that is renewed every few seconds.
pub const MOST_SHARDS: u32 = 64;

/// How serin is to be installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Install {
    /// Where the controller runs.
    pub namespace: String,
    /// The controller looks at its own namespace only, and needs no right beyond it.
    pub is_namespaced: bool,
    /// How many controllers run; one leads, unless they share the work.
    pub replicas: u32,
    /// Shards of the namespaces that all controllers divide among them; 1: one leads.
    pub shards: u32,
    /// The controller's image.
    pub image: String,
    /// The Prometheus that `slos` ask when they name none.
    pub prometheus: Option<String>,
    /// Only Rollouts with this instance id.
    pub instance_id: Option<String>,
    /// PriorityClass of the pods.
    pub priority_class: Option<String>,
    /// The namespace that Prometheus runs in: it may scrape, and be asked.
    pub monitoring_namespace: String,
    /// Addresses of the API server (CIDR); anywhere when none is given.
    pub api_servers: Vec<String>,
    /// Secrets that analyses take credentials from, each as NAMESPACE/NAME.
    pub secrets: Vec<String>,
    /// ConfigMaps that analyses take arguments from, each as NAMESPACE/NAME.
    pub config_maps: Vec<String>,
    /// Namespaces whose Rollouts may track ConfigMaps and Secrets.
    pub track_config: Vec<String>,
    /// What the API server cannot ask the webhook about is refused, not let in.
    pub webhook_fails_closed: bool,
}

impl Default for Install {
    fn default() -> Self {
        Self {
            namespace: "serin-system".to_owned(),
            is_namespaced: false,
            replicas: 2,
            shards: 1,
            image: concat!("serin:", env!("CARGO_PKG_VERSION")).to_owned(),
            prometheus: None,
            instance_id: None,
            priority_class: None,
            monitoring_namespace: "monitoring".to_owned(),
            api_servers: vec![],
            secrets: vec![],
            config_maps: vec![],
            track_config: vec![],
            webhook_fails_closed: false,
        }
    }
}

impl Install {
    /// All faults, each with its flag and what to do.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = vec![];
        let mut expect = |flag: &str, value: &str, is_right: bool, what: &str| {
            if !is_right {
                faults.push(format!("{flag} {value:?}: {what}"));
            }
        };
        let name = "must be a name as Kubernetes has it: lower-case letters, digits and dashes, 63 at most";
        let namespace = &self.namespace;
        expect("--namespace", namespace, is_label(namespace), name);
        let monitoring = &self.monitoring_namespace;
        expect(
            "--monitoring-namespace",
            monitoring,
            is_label(monitoring),
            name,
        );
        let image = "must be an image, such as registry/serin:1.0 or registry/serin@sha256:…";
        expect("--image", &self.image, is_image(&self.image), image);
        expect(
            "--replicas",
            &self.replicas.to_string(),
            self.replicas > 0,
            "at least 1 controller is needed",
        );
        let shards = format!("must be 1, or up to {MOST_SHARDS}; 16 is a good number");
        let is_right = (1..=MOST_SHARDS).contains(&self.shards);
        expect("--shards", &self.shards.to_string(), is_right, &shards);
        if let Some(class) = &self.priority_class {
            expect("--priority-class", class, is_subdomain(class), name);
        }
        if let Some(id) = &self.instance_id {
            let what =
                "must be a label value: letters, digits, dashes, dots and underscores, 63 at most";
            expect("--instance-id", id, is_label_value(id), what);
        }
        if let Some(url) = &self.prometheus {
            let what =
                "must be the address of Prometheus, such as http://prometheus.monitoring:9090";
            expect("--prometheus", url, port(url).is_some(), what);
        }
        for cidr in &self.api_servers {
            let what = "must be addresses as CIDR, such as 10.0.0.1/32";
            expect("--api-server", cidr, is_cidr(cidr), what);
        }
        let secrets = self.secrets.iter().map(|it| ("--secret", it));
        let config_maps = self.config_maps.iter().map(|it| ("--config-map", it));
        for (flag, object) in secrets.chain(config_maps) {
            let is_right = object
                .split_once('/')
                .is_some_and(|(space, name)| is_label(space) && is_subdomain(name));
            expect(flag, object, is_right, "must be NAMESPACE/NAME");
        }
        for tracked in &self.track_config {
            expect("--track-config", tracked, is_label(tracked), name);
        }
        let is_divided = self.shards > 1;
        let what =
            "namespaces are divided, and with --namespaced there is one: leave one of them out";
        let is_right = !(is_divided && self.is_namespaced);
        expect("--shards", &self.shards.to_string(), is_right, what);
        faults
    }

    /// The port that Prometheus is asked at.
    pub(super) fn prometheus_port(&self) -> u16 {
        self.prometheus.as_deref().and_then(port).unwrap_or(9090)
    }
}

/// The port of an http or https address.
fn port(url: &str) -> Option<u16> {
    let (rest, usual) = match url.strip_prefix("http://") {
        Some(rest) => (rest, 80),
        None => (url.strip_prefix("https://")?, 443),
    };
    let host = rest.split(['/', '?', '#']).next()?;
    if host.is_empty() || host.contains(char::is_whitespace) {
        return None;
    }
    let after = host.rsplit_once(']').map_or(host, |(_, after)| after);
    match after.rsplit_once(':') {
        Some((_, port)) => port.parse().ok(),
        None => Some(usual),
    }
}

fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

fn is_label_value(text: &str) -> bool {
    let is_end = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    text.len() <= 63
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && is_end(text.bytes().next())
        && is_end(text.bytes().last())
}

fn is_image(text: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_./:@".contains(&b);
    text.bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric())
        && text.bytes().all(is_allowed)
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    let most = match address.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(_)) => 32,
        Ok(std::net::IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}
