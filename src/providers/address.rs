//! Which addresses a manifest may make the controller connect to. Knows networks; resolves names
//! itself, so that the address that was checked is the one that is connected to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Hosts and networks that are exempt from the check, from the operator's flag.
#[derive(Clone, Debug, Default)]
pub struct AllowList {
    hosts: Vec<String>,
    networks: Vec<(IpAddr, u8)>,
}

impl AllowList {
    /// Reads entries: a host name, an address, or a network (`10.0.0.0/8`).
    ///
    /// # Errors
    /// The first entry that is none of these.
    pub fn parse<'e>(entries: impl IntoIterator<Item = &'e str>) -> Result<Self, String> {
        let mut list = Self::default();
        for entry in entries.into_iter().map(str::trim).filter(|e| !e.is_empty()) {
            let (ip, bits) = match entry.split_once('/') {
                Some((ip, bits)) => (ip, Some(bits)),
                None => (entry, None),
            };
            match (ip.parse::<IpAddr>(), bits) {
                (Ok(ip), None) => list
                    .networks
                    .push((ip, if ip.is_ipv4() { 32 } else { 128 })),
                (Ok(ip), Some(bits)) => {
                    let most = if ip.is_ipv4() { 32 } else { 128 };
                    let bits = bits.parse().ok().filter(|b| *b <= most);
                    let bits = bits.ok_or_else(|| format!("{entry:?} is not a network"))?;
                    list.networks.push((ip, bits));
                }
                (Err(_), None)
                    if entry
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')) =>
                {
                    list.hosts.push(entry.to_ascii_lowercase());
                }
                (Err(_), _) => {
                    return Err(format!("{entry:?} is not a host, an address or a network"));
                }
            }
        }
        Ok(list)
    }

    fn has_host(&self, host: &str) -> bool {
        self.hosts
            .iter()
            .any(|h| h.eq_ignore_ascii_case(host.trim_end_matches('.')))
    }

    fn has_ip(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|(net, bits)| match (net, ip) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let shift = 32_u32.saturating_sub(u32::from(*bits));
                net.to_bits().checked_shr(shift) == ip.to_bits().checked_shr(shift)
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let shift = 128_u32.saturating_sub(u32::from(*bits));
                net.to_bits().checked_shr(shift) == ip.to_bits().checked_shr(shift)
            }
            _ => false,
        })
    }
}

/// Names under which clouds serve credentials to whoever asks.
const METADATA_NAMES: [&str; 4] = [
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "instance-data",
];

/// Checks the host of an address that came from an object, before anything is resolved.
///
/// # Errors
/// Why it is refused and what the operator can do.
pub fn check_host(url: &reqwest::Url, allow: &AllowList) -> Result<(), String> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err("the address of a provider must begin with http:// or https://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "the address of a provider must not hold a user or password: use authentication"
                .to_owned(),
        );
    }
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    if allow.has_host(host) {
        return Ok(());
    }
    let literal = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    if let Ok(ip) = literal {
        return check_ip(ip, allow);
    }
    let name = host.to_ascii_lowercase();
    if METADATA_NAMES.contains(&name.as_str())
        || name == "localhost"
        || name.ends_with(".localhost")
    {
        return Err(refusal());
    }
    Ok(())
}

/// Checks one address: loopback, link-local, unspecified, multicast and the clouds' metadata
/// services are refused; private ranges are where Prometheus lives and are not.
///
/// # Errors
/// As [`check_host`].
pub fn check_ip(ip: IpAddr, allow: &AllowList) -> Result<(), String> {
    if allow.has_ip(ip) || !is_forbidden(ip) {
        Ok(())
    } else {
        Err(refusal())
    }
}

fn refusal() -> String {
    "the address of the provider is refused: loopback, link-local and metadata addresses may not be named in objects (the operator can allow one by --allow-address)".to_owned()
}

fn is_forbidden(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_forbidden_v4(ip),
        IpAddr::V6(ip) => is_forbidden_v6(ip),
    }
}

fn is_forbidden_v4(ip: Ipv4Addr) -> bool {
    let metadata = [
        Ipv4Addr::new(168, 63, 129, 16),
        Ipv4Addr::new(100, 100, 100, 200),
        Ipv4Addr::new(192, 0, 0, 192),
    ];
    ip.is_loopback()
        || ip.is_link_local()
        || ip.octets()[0] == 0
        || ip.is_broadcast()
        || ip.is_multicast()
        || metadata.contains(&ip)
}

fn is_forbidden_v6(ip: Ipv6Addr) -> bool {
    let s = ip.segments();
    // Addresses that carry an IPv4 one: mapped, compatible, NAT64 and 6to4.
    let tail = Ipv4Addr::from_bits((u32::from(s[6]) << 16) | u32::from(s[7]));
    let carries_tail =
        s[..5] == [0; 5] && (s[5] == 0xffff || s[5] == 0) || s[..6] == [0x64, 0xff9b, 0, 0, 0, 0];
    let six_to_four = Ipv4Addr::from_bits((u32::from(s[1]) << 16) | u32::from(s[2]));
    ip.is_loopback()
        || ip.is_unspecified()
        || ip.is_multicast()
        || (s[0] & 0xffc0) == 0xfe80
        || s == [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254]
        || (carries_tail && is_forbidden_v4(tail))
        || (s[0] == 0x2002 && is_forbidden_v4(six_to_four))
}

/// Resolves names and lets through only addresses that pass the check, so that a name cannot mean
/// one thing when it is checked and another when it is connected to.
#[derive(Clone, Debug)]
pub struct GuardedResolver(pub Arc<AllowList>);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow = Arc::clone(&self.0);
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            if !allow.has_host(&host) {
                for address in &found {
                    check_ip(address.ip(), &allow).map_err(Refused)?;
                }
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// A name that leads to a refused address.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(url: &str) -> bool {
        let list = AllowList::parse(["10.9.0.0/16", "prom.local", "127.0.0.5"]).unwrap();
        check_host(&url.parse().unwrap(), &list).is_ok()
    }

    #[test]
    fn only_addresses_of_the_cluster_and_the_world_are_let_through() {
        for url in [
            "http://prometheus.monitoring:9090",
            "http://10.0.0.5:9090",
            "http://192.168.1.1",
            "https://prom.example.com",
            "http://[fd12::1]:9090",
            "http://127.0.0.5:9090",
            "http://prom.local",
        ] {
            assert!(verdict(url), "{url}");
        }
        for url in [
            "http://127.0.0.1:9090",
            "http://localhost:9090",
            "http://x.localhost",
            "http://169.254.169.254/latest/meta-data",
            "http://169.254.7.7",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[64:ff9b::a9fe:a9fe]/",
            "http://[2002:7f00:1::]/",
            "http://[fe80::1]/",
            "http://[fd00:ec2::254]/",
            "http://metadata.google.internal/",
            "http://METADATA.google.internal./",
            "http://168.63.129.16/",
            "http://224.0.0.1/",
            "http://user:pw@prometheus:9090",
            "ftp://prometheus",
        ] {
            assert!(!verdict(url), "{url}");
        }
        assert!(AllowList::parse(["10.0.0.0/40"]).is_err());
        assert!(AllowList::parse(["http://x"]).is_err());
    }

    #[tokio::test]
    async fn a_name_that_leads_to_loopback_is_refused_after_resolution() {
        let resolver = GuardedResolver(Arc::new(AllowList::default()));
        assert!(
            resolver
                .resolve("localhost".parse().unwrap())
                .await
                .is_err()
        );
        let list = Arc::new(AllowList::parse(["localhost"]).unwrap());
        assert!(
            GuardedResolver(list)
                .resolve("localhost".parse().unwrap())
                .await
                .is_ok()
        );
    }
}
