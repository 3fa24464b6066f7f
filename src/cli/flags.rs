//! What is wrong with the controller's flags, all of it at once: a wrong address would otherwise be
//! found by the first gate, hours later.

use std::net::SocketAddr;

use crate::deploy::install::MOST_SHARDS;

/// What is looked at; each with the name of its flag or variable.
#[derive(Debug)]
pub(super) struct Given<'a> {
    /// Addresses of services, with the name they were given by.
    pub(super) urls: Vec<(&'a str, Option<&'a str>)>,
    /// Namespaces, likewise.
    pub(super) namespaces: Vec<(&'a str, Option<&'a str>)>,
    /// `--instance-id`.
    pub(super) instance_id: Option<&'a str>,
    /// `--metrics-bind-address`.
    pub(super) metrics: SocketAddr,
    /// `--health-bind-address`.
    pub(super) health: SocketAddr,
    /// `--concurrency`.
    pub(super) concurrency: usize,
    /// `--shards`.
    pub(super) shards: u32,
    /// `--leader-elect`.
    pub(super) is_elected: bool,
}

/// Every fault, as a sentence that names the flag and what to do.
pub(super) fn faults(given: &Given<'_>) -> Vec<String> {
    let mut faults = vec![];
    for (name, url) in &given.urls {
        let Some(url) = url else { continue };
        if let Err(why) = check_url(url) {
            faults.push(format!(
                "{name} {url:?} {why}: write it like http://prometheus.monitoring:9090"
            ));
        }
    }
    for (name, namespace) in &given.namespaces {
        if let Some(namespace) = namespace.filter(|n| !is_namespace(n)) {
            faults.push(format!(
                "{name} {namespace:?} is no namespace: at most 63 small letters, digits and '-', with a letter or digit at both ends"
            ));
        }
    }
    if let Some(id) = given.instance_id.filter(|id| !is_label_value(id)) {
        faults.push(format!(
            "--instance-id {id:?} is no label value: at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends"
        ));
    }
    let is_shared = given.metrics.port() == given.health.port()
        && (given.metrics.ip() == given.health.ip()
            || given.metrics.ip().is_unspecified()
            || given.health.ip().is_unspecified());
    if is_shared && given.metrics.port() != 0 {
        faults.push(format!(
            "--metrics-bind-address {} and --health-bind-address {} are the same port: give each its own",
            given.metrics, given.health
        ));
    }
    if given.concurrency == 0 {
        faults.push("--concurrency must be at least 1".to_owned());
    }
    if !(1..=MOST_SHARDS).contains(&given.shards) {
        faults.push(format!(
            "--shards {} must be between 1 and {MOST_SHARDS}: each is a Lease that is renewed every few seconds; 16 is a good number",
            given.shards
        ));
    }
    if given.shards > 1 && !given.is_elected {
        faults.push("--shards needs --leader-elect: a shard is held by its Lease".to_owned());
    }
    faults
}

/// An address of a service: http or https, a host, no user, query or fragment.
fn check_url(text: &str) -> Result<(), &'static str> {
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("holds a blank");
    }
    let Ok(url) = reqwest::Url::parse(text) else {
        return Err("is no address");
    };
    if !matches!(url.scheme(), "http" | "https") {
        return Err("does not begin with http:// or https://");
    }
    if url.host_str().unwrap_or_default().is_empty() {
        return Err("names no host");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user or password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("holds a query or fragment");
    }
    Ok(())
}

fn is_namespace(text: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    is_name(text, is_inner, |c| c == '-')
}

fn is_label_value(text: &str) -> bool {
    is_name(text, |c| c.is_ascii_alphanumeric(), |c| "-_.".contains(c))
}

fn is_name(text: &str, at_ends: impl Fn(char) -> bool, between: impl Fn(char) -> bool) -> bool {
    (1..=63).contains(&text.len())
        && text.starts_with(&at_ends)
        && text.ends_with(&at_ends)
        && text.chars().all(|c| at_ends(c) || between(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given<'a>() -> Given<'a> {
        Given {
            urls: vec![],
            namespaces: vec![],
            instance_id: None,
            metrics: "0.0.0.0:8090".parse().unwrap(),
            health: "0.0.0.0:8080".parse().unwrap(),
            concurrency: 32,
            shards: 1,
            is_elected: true,
        }
    }

    #[test]
    fn addresses_of_services_are_checked_at_the_start() {
        for (url, wanted) in [
            ("http://prometheus:9090", None),
            ("https://p.example.org/prom", None),
            ("http://127.0.0.1:9090", None),
            ("foo bar", Some("holds a blank")),
            ("http://a b", Some("holds a blank")),
            ("prometheus", Some("is no address")),
            ("prometheus:9090", Some("does not begin with http")),
            ("ftp://prometheus", Some("does not begin with http")),
            ("http://", Some("is no address")),
            ("http://user:pw@prometheus", Some("holds a user")),
            ("http://prometheus?x=1", Some("holds a query")),
            ("http://prometheus#x", Some("holds a query or fragment")),
        ] {
            let found = faults(&Given {
                urls: vec![("--prometheus", Some(url))],
                ..given()
            });
            match wanted {
                None => assert_eq!(found, [""; 0], "{url}"),
                Some(part) => {
                    assert_eq!(found.len(), 1, "{url}: {found:?}");
                    assert!(found[0].contains(part), "{url}: {found:?}");
                    assert!(found[0].starts_with("--prometheus"), "{found:?}");
                }
            }
        }
    }

    #[test]
    fn every_wrong_flag_is_told_at_once() {
        let found = faults(&Given {
            urls: vec![("--prometheus", Some("foo bar"))],
            namespaces: vec![("--namespace", Some("No_Such"))],
            instance_id: Some("a b"),
            metrics: "0.0.0.0:8080".parse().unwrap(),
            health: "127.0.0.1:8080".parse().unwrap(),
            concurrency: 0,
            shards: 65,
            is_elected: false,
        });
        let flags: Vec<&str> = found.iter().map(|f| f.split(' ').next().unwrap()).collect();
        assert_eq!(
            flags,
            [
                "--prometheus",
                "--namespace",
                "--instance-id",
                "--metrics-bind-address",
                "--concurrency",
                "--shards",
                "--shards"
            ]
        );
        assert_eq!(faults(&given()), [""; 0]);
    }
}
