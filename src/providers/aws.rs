//! The controller's identity on AWS, and signatures with it (Signature Version 4). Knows no service.

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use ring::{digest, hmac};
use serde::Deserialize;

use super::http::{Method, Request, send};
use super::net::{Net, Trust};

/// Where the controller's identity on AWS comes from: the variables that AWS itself sets in pods.
#[derive(Clone, Default)]
pub struct Environment {
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key_id: Option<String>,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: Option<String>,
    /// `AWS_SESSION_TOKEN`.
    pub session_token: Option<String>,
    /// `AWS_REGION` or `AWS_DEFAULT_REGION`.
    pub region: Option<String>,
    /// `AWS_ROLE_ARN`, for a token of the service account.
    pub role_arn: Option<String>,
    /// `AWS_WEB_IDENTITY_TOKEN_FILE`.
    pub web_identity_token_file: Option<PathBuf>,
    /// `AWS_CONTAINER_CREDENTIALS_FULL_URI`, as EKS Pod Identity sets it.
    pub container_credentials: Option<String>,
    /// `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE`.
    pub container_token_file: Option<PathBuf>,
    /// `AWS_ENDPOINT_URL_STS`, where it is not the region's.
    pub sts_endpoint: Option<String>,
    /// `AWS_ENDPOINT_URL_CLOUDWATCH`, where it is not the region's.
    pub cloud_watch_endpoint: Option<String>,
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment")
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// What is signed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sigv4 {
    /// The service's name in signatures: one service's signature is none for another.
    pub service: &'static str,
    /// The region; the controller's own where it is absent.
    pub region: Option<String>,
    /// The role to take first.
    pub role_arn: Option<String>,
}

/// Keys to sign with.
#[derive(Clone, PartialEq, Eq, serde::Serialize, Deserialize)]
pub struct Keys {
    id: String,
    secret: String,
    session: Option<String>,
}

/// The region to ask.
///
/// # Errors
/// None at all, or one that is no region: it becomes part of an address.
pub fn region<'a>(given: Option<&'a str>, own: &'a Environment) -> Result<&'a str, String> {
    let region = given.or(own.region.as_deref()).unwrap_or_default();
    if region.is_empty() {
        return Err("no AWS region: set AWS_REGION for the controller, or sigv4.region".to_owned());
    }
    if !region
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '-')
    {
        return Err("the AWS region may hold letters, digits and dashes only".to_owned());
    }
    Ok(region)
}

/// Host of a regional service.
pub fn host(service: &str, region: &str) -> String {
    let domain = if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    };
    format!("{service}.{region}.{domain}")
}

/// Headers that sign a request.
///
/// # Errors
/// When the controller has no identity on AWS, or may not take the role.
pub(super) async fn sign_in(
    net: &Net,
    sigv4: &Sigv4,
    request: &Request,
    url: &reqwest::Url,
) -> Result<Vec<(String, String)>, String> {
    let region = region(sigv4.region.as_deref(), &net.config.aws)?.to_owned();
    let mut keys = own_keys(net, &region).await?;
    if let Some(role) = &sigv4.role_arn {
        keys = role_keys(net, &keys, role, &region).await?;
    }
    let scope = Scope {
        region: &region,
        service: sigv4.service,
        at: (net.clock)(),
    };
    Ok(sign(request, url, &keys, &scope))
}

const NO_IDENTITY: &str = "the controller has no identity on AWS: give it a service account with a role (IRSA or EKS Pod Identity), or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";

/// Keys of the controller itself.
async fn own_keys(net: &Net, region: &str) -> Result<Keys, String> {
    let own = &net.config.aws;
    if let (Some(id), Some(secret)) = (&own.access_key_id, &own.secret_access_key) {
        return Ok(Keys {
            id: id.clone(),
            secret: secret.clone(),
            session: own.session_token.clone(),
        });
    }
    let identity = format!("aws own {region}");
    if let Some(keys) = kept(net, &identity) {
        return Ok(keys);
    }
    let read = |file: &PathBuf| {
        std::fs::read_to_string(file)
            .map(|t| t.trim().to_owned())
            .map_err(|_| "the token file of the identity on AWS cannot be read".to_owned())
    };
    if let (Some(file), Some(role)) = (&own.web_identity_token_file, &own.role_arn) {
        let request = sts(net, region).form(&[
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleArn", role),
            ("RoleSessionName", "serin"),
            ("WebIdentityToken", &read(file)?),
        ]);
        return taken(net, &identity, &request).await;
    }
    if let Some(address) = &own.container_credentials {
        let mut request =
            Request::new("the AWS credentials agent", Method::Get, address).trust(Trust::Operator);
        if let Some(file) = &own.container_token_file {
            request = request.header("authorization", read(file)?);
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Told {
            access_key_id: String,
            secret_access_key: String,
            token: Option<String>,
            expiration: Option<Timestamp>,
        }
        let told: Told = send(net, &request).await?.json(request.service)?;
        let keys = Keys {
            id: told.access_key_id,
            secret: told.secret_access_key,
            session: told.token,
        };
        keep(net, &identity, &keys, told.expiration);
        return Ok(keys);
    }
    Err(NO_IDENTITY.to_owned())
}

/// Keys of a role that the controller may take.
async fn role_keys(net: &Net, own: &Keys, role: &str, region: &str) -> Result<Keys, String> {
    let identity = format!("aws role {role:?} {region}");
    if let Some(keys) = kept(net, &identity) {
        return Ok(keys);
    }
    let mut request = sts(net, region).form(&[
        ("Action", "AssumeRole"),
        ("Version", "2011-06-15"),
        ("RoleArn", role),
        ("RoleSessionName", "serin"),
    ]);
    let url: reqwest::Url = request
        .url
        .parse()
        .map_err(|_| "the address of AWS STS cannot be read".to_owned())?;
    let scope = Scope {
        region,
        service: "sts",
        at: (net.clock)(),
    };
    request.headers.extend(sign(&request, &url, own, &scope));
    taken(net, &identity, &request).await
}

fn sts(net: &Net, region: &str) -> Request {
    let own = net.config.aws.sts_endpoint.clone();
    let address = own.unwrap_or_else(|| format!("https://{}", host("sts", region)));
    Request::new("AWS STS", Method::Post, super::http::join(&address, "/")).trust(Trust::Operator)
}

async fn taken(net: &Net, identity: &str, request: &Request) -> Result<Keys, String> {
    let reply = send(net, request).await?;
    reply.ok("AWS STS")?;
    let text = String::from_utf8_lossy(&reply.body);
    let field = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>"))
            .map(|(value, _)| value.to_owned())
    };
    let (Some(id), Some(secret)) = (field("AccessKeyId"), field("SecretAccessKey")) else {
        return Err(super::http::strange("AWS STS"));
    };
    let keys = Keys {
        id,
        secret,
        session: field("SessionToken"),
    };
    let until = field("Expiration").and_then(|t| t.parse().ok());
    keep(net, identity, &keys, until);
    Ok(keys)
}

fn kept(net: &Net, identity: &str) -> Option<Keys> {
    let text = net.tokens.get(identity, (net.clock)())?;
    serde_json::from_str(&text).ok()
}

fn keep(net: &Net, identity: &str, keys: &Keys, until: Option<Timestamp>) {
    let now = (net.clock)();
    let Some(until) = until.and_then(|u| u.checked_sub(SignedDuration::from_mins(5)).ok()) else {
        return;
    };
    if let Ok(text) = serde_json::to_string(keys) {
        net.tokens.put(identity, text, until, now);
    }
}

/// What a signature is good for.
struct Scope<'a> {
    region: &'a str,
    service: &'a str,
    at: Timestamp,
}

/// The headers of Signature Version 4: date, session and authorisation. Host, content type and
/// everything that AWS looks at by name are signed.
fn sign(
    request: &Request,
    url: &reqwest::Url,
    keys: &Keys,
    scope: &Scope<'_>,
) -> Vec<(String, String)> {
    let at = scope.at.to_string();
    let digits: String = at.chars().filter(char::is_ascii_digit).take(14).collect();
    let (day, time) = digits.split_at(digits.len().min(8));
    let date = format!("{day}T{time}Z");
    let mut added = vec![("x-amz-date".to_owned(), date.clone())];
    if let Some(session) = &keys.session {
        added.push(("x-amz-security-token".to_owned(), session.clone()));
    }
    let host = match url.port() {
        Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
        None => url.host_str().unwrap_or_default().to_owned(),
    };
    let mut signed: Vec<(String, String)> = request
        .headers
        .iter()
        .chain(&added)
        .map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned()))
        .filter(|(n, _)| n == "content-type" || n.starts_with("x-amz-"))
        .chain([("host".to_owned(), host)])
        .collect();
    signed.sort();
    let names: Vec<&str> = signed.iter().map(|(n, _)| n.as_str()).collect();
    let names = names.join(";");
    let lines: String = signed.iter().map(|(n, v)| format!("{n}:{v}\n")).collect();
    let mut pairs: Vec<(String, String)> = url
        .query_pairs()
        .map(|(k, v)| (escape(&k, false), escape(&v, false)))
        .collect();
    pairs.sort();
    let query: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let canonical = format!(
        "{}\n{}\n{}\n{lines}\n{names}\n{}",
        request.method.as_str(),
        // Each part of the path is coded twice (all services but S3).
        escape(url.path(), true),
        query.join("&"),
        sha256(request.body.as_deref().unwrap_or_default().as_bytes()),
    );
    let within = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let text = format!(
        "AWS4-HMAC-SHA256\n{date}\n{within}\n{}",
        sha256(canonical.as_bytes())
    );
    let mut key = format!("AWS4{}", keys.secret).into_bytes();
    for part in [day, scope.region, scope.service, "aws4_request"] {
        key = mac(&key, part.as_bytes());
    }
    let signature = hex(&mac(&key, text.as_bytes()));
    added.push((
        "authorization".to_owned(),
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{within}, SignedHeaders={names}, Signature={signature}",
            keys.id
        ),
    ));
    added
}

/// Everything but unreserved characters as `%XX` (RFC 3986), and slashes where they part a path.
fn escape(text: &str, is_path: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(b));
            }
            b'/' if is_path => out.push('/'),
            b => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text)
        .as_ref()
        .to_vec()
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys {
            id: "AKIDEXAMPLE".to_owned(),
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
            session: None,
        }
    }

    fn signature(request: &Request, service: &str) -> String {
        let scope = Scope {
            region: "us-east-1",
            service,
            at: "2015-08-30T12:36:00Z".parse().unwrap(),
        };
        let headers = sign(request, &request.url.parse().unwrap(), &keys(), &scope);
        headers.last().unwrap().1.clone()
    }

    /// The worked examples of AWS's own documentation.
    #[test]
    fn signatures_are_those_of_the_documentation() {
        let list = Request::new(
            "AWS",
            Method::Get,
            "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08",
        )
        .header(
            "content-type",
            "application/x-www-form-urlencoded; charset=utf-8",
        );
        assert_eq!(
            signature(&list, "iam"),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
        let vanilla = Request::new("AWS", Method::Get, "https://example.amazonaws.com/");
        assert!(signature(&vanilla, "service").ends_with(
            "SignedHeaders=host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        ));
    }

    #[test]
    fn regions_become_hosts_and_nothing_else_does() {
        let own = Environment::default();
        assert!(region(None, &own).is_err());
        assert!(region(Some("eu-west-1.evil.com/"), &own).is_err());
        assert_eq!(region(Some("eu-west-1"), &own), Ok("eu-west-1"));
        assert_eq!(host("sts", "cn-north-1"), "sts.cn-north-1.amazonaws.com.cn");
    }
}
