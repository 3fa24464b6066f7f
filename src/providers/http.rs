//! One exchange with a service: what is sent, what comes back, and why nothing did. Knows limits,
//! trust and ways to log in; no service in particular. No word of a reply gets into an error.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::auth::{self, Auth};
use super::net::{Net, Trust};
use super::{MAX_BODY, short};

/// How a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Nothing but an address.
    Get,
    /// With a body.
    Post,
    /// With a body.
    Put,
}

impl Method {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

/// What is sent.
#[derive(Clone, PartialEq)]
pub struct Request {
    /// Name of the service, for messages.
    pub service: &'static str,
    /// GET, POST or PUT.
    pub method: Method,
    /// The whole address, with its query.
    pub url: String,
    /// Headers; their values may be secrets.
    pub headers: Vec<(String, String)>,
    /// The body, if there is one.
    pub body: Option<String>,
    /// How to log in beyond the headers.
    pub auth: Auth,
    /// Who named the address.
    pub trust: Trust,
    /// Certificates are not verified.
    pub insecure: bool,
}

impl Request {
    /// A request to an address that an object named, without anything else.
    pub fn new(service: &'static str, method: Method, url: impl Into<String>) -> Self {
        Self {
            service,
            method,
            url: url.into(),
            headers: Vec::new(),
            body: None,
            auth: Auth::None,
            trust: Trust::Object,
            insecure: false,
        }
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// With a body of that type.
    #[must_use]
    pub fn body(self, content_type: &str, body: impl Into<String>) -> Self {
        let mut with = self.header("content-type", content_type);
        with.body = Some(body.into());
        with
    }

    /// With a JSON body.
    #[must_use]
    pub fn json(self, body: &serde_json::Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// With a form as the body.
    #[must_use]
    pub fn form(self, pairs: &[(&str, &str)]) -> Self {
        self.body("application/x-www-form-urlencoded", encode(pairs))
    }

    /// To an address that somebody else named.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// With a way to log in.
    #[must_use]
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// Text that is equal for requests which may share one answer. Holds secrets: never shown.
    pub fn identity(&self) -> String {
        let Self {
            service,
            method,
            url,
            headers,
            body,
            auth,
            trust,
            insecure,
        } = self;
        let auth = auth.identity();
        format!(
            "{service}\n{method:?}\n{url:?}\n{headers:?}\n{body:?}\n{auth}\n{trust:?}\n{insecure}"
        )
    }
}

impl std::fmt::Debug for Request {
    /// Names of headers only: values, bodies and queries may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Request")
            .field("service", &self.service)
            .field("method", &self.method)
            .field("headers", &headers)
            .finish_non_exhaustive()
    }
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The body, at most [`MAX_BODY`] bytes.
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as JSON when the status is 2xx.
    ///
    /// # Errors
    /// One sentence about the status, or that the body is not what the service answers with.
    pub fn json<T: serde::de::DeserializeOwned>(&self, service: &str) -> Result<T, String> {
        self.ok(service)?;
        serde_json::from_slice(&self.body).map_err(|_| strange(service))
    }

    /// That the status is 2xx.
    ///
    /// # Errors
    /// One sentence about the status.
    pub fn ok(&self, service: &str) -> Result<(), String> {
        match self.status {
            200..=299 => Ok(()),
            status => Err(refusal(service, status)),
        }
    }
}

/// The sentence for a reply that the service does not give.
pub fn strange(service: &str) -> String {
    format!("the reply is not one of {service}")
}

/// The sentence for a status that is no success.
pub fn refusal(service: &str, status: u16) -> String {
    match status {
        300..=399 => {
            format!("the address answers with a redirect (HTTP {status}), which is not followed")
        }
        401 | 403 => format!("{service} refuses the credentials (HTTP {status})"),
        404 => format!("there is no {service} API at the address (HTTP 404)"),
        429 => format!("{service} is asked too often (HTTP 429)"),
        400..=499 => format!("{service} refuses the request (HTTP {status})"),
        500..=599 => format!("{service} fails (HTTP {status})"),
        _ => format!("the address answers with HTTP {status}"),
    }
}

/// `a=b&c=d`, as forms and queries are written.
pub fn encode(pairs: &[(&str, &str)]) -> String {
    // The parser of addresses is the one encoder of forms that is at hand.
    let Ok(mut url) = reqwest::Url::parse("http://x/") else {
        return String::new();
    };
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}

/// An address without its last slashes, with a path behind it.
pub fn join(address: &str, path: &str) -> String {
    format!("{}{path}", address.trim_end_matches('/'))
}

/// Sends a request and reads the reply up to the cap.
///
/// # Errors
/// Why there is no reply.
pub async fn send(net: &Net, request: &Request) -> Result<Reply, String> {
    let service = request.service;
    let unreadable = || format!("the address of {service} cannot be read");
    let url: reqwest::Url = request.url.parse().map_err(|_| unreadable())?;
    let client = net.client(&url, request.trust, request.insecure)?;
    let login = Box::pin(auth::login(net, request, &url)).await?;
    let mut headers = HeaderMap::new();
    for (name, value) in request.headers.iter().chain(&login.headers) {
        let name = HeaderName::try_from(name)
            .map_err(|_| short(&format!("{name:?} is not the name of a header")))?;
        let mut value = HeaderValue::try_from(value)
            .map_err(|_| format!("the value of header {name} cannot be sent"))?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    let method = match request.method {
        Method::Get => reqwest::Method::GET,
        Method::Post => reqwest::Method::POST,
        Method::Put => reqwest::Method::PUT,
    };
    let host = host_of(&url);
    let mut builder = client.request(method, url).headers(headers);
    if let Some(body) = &request.body {
        builder = builder.body(body.clone());
    }
    let response = builder.send().await.map_err(|e| unreached(&host, &e))?;
    let status = response.status().as_u16();
    if status == 401
        && let Some(token) = &login.token
    {
        net.tokens.forget(token);
    }
    Ok(Reply {
        status,
        body: capped(response).await?,
    })
}

/// Reads a body up to the cap. A compressed one is refused: nobody asked for it, and a kilobyte can
/// stand for a gigabyte.
async fn capped(mut response: reqwest::Response) -> Result<Vec<u8>, String> {
    let coding = response.headers().get(reqwest::header::CONTENT_ENCODING);
    if coding.is_some_and(|c| !c.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err("the reply is compressed, which was not asked for".to_owned());
    }
    let too_long = || format!("the reply has more than {} KiB", MAX_BODY / 1024);
    if response
        .content_length()
        .is_some_and(|n| n > MAX_BODY as u64)
    {
        return Err(too_long());
    }
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(None) => return Ok(body),
            Ok(Some(chunk)) if body.len().saturating_add(chunk.len()) > MAX_BODY => {
                return Err(too_long());
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Err(_) => return Err("the reply broke off".to_owned()),
        }
    }
}

/// Host and port, for messages.
fn host_of(url: &reqwest::Url) -> String {
    let host: String = url
        .host_str()
        .unwrap_or_default()
        .chars()
        .take(100)
        .collect();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}

/// Why nothing came back, with the host at most.
fn unreached(host: &str, error: &reqwest::Error) -> String {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(e) = source {
        if let Some(refused) = e.downcast_ref::<super::address::Refused>() {
            return refused.0.clone();
        }
        if let Some(io) = e.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::ConnectionRefused
        {
            return format!("cannot connect to {host}: connection refused");
        }
        if let Some(tls) = e.downcast_ref::<rustls::Error>() {
            return match tls {
                rustls::Error::InvalidCertificate(why) => certificate(host, why),
                _ => format!("no secure connection to {host}"),
            };
        }
        // TLS errors travel inside I/O errors.
        source = match e
            .downcast_ref::<std::io::Error>()
            .and_then(|io| io.get_ref())
        {
            Some(inner) => Some(inner),
            None => e.source(),
        };
    }
    if error.is_timeout() {
        format!("no answer from {host} in time")
    } else if error.is_connect() {
        format!("cannot connect to {host}")
    } else {
        format!("no answer from {host}")
    }
}

fn certificate(host: &str, why: &rustls::CertificateError) -> String {
    use rustls::CertificateError as C;
    match why {
        C::Expired | C::ExpiredContext { .. } => format!("the certificate of {host} has expired"),
        C::NotValidYet | C::NotValidYetContext { .. } => {
            format!("the certificate of {host} is not valid yet")
        }
        C::NotValidForName | C::NotValidForNameContext { .. } => {
            format!("the certificate of {host} is for another name")
        }
        C::UnknownIssuer => format!(
            "the certificate of {host} is not trusted: give its authority to the controller (--provider-ca-file)"
        ),
        _ => format!("the certificate of {host} is not valid for it or not trusted"),
    }
}
