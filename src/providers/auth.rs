//! Ways to log in: tokens by OAuth 2, signatures of AWS, keys of Google's service accounts. Tokens
//! are kept until they are about to end. Knows no service's replies.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::aws::{self, Sigv4};
use super::google::Account;
use super::http::{Method, Reply, Request, encode, send};
use super::net::{Net, Trust};
use crate::api::providers::{Authentication, OAuth2Config};

/// How to log in beyond headers that are known from the start.
#[derive(Clone, PartialEq)]
pub enum Auth {
    /// Nothing more.
    None,
    /// A token for client credentials.
    OAuth2(ClientCredentials),
    /// A signature with the controller's identity on AWS.
    Sigv4(Sigv4),
    /// A token for a service account of Google.
    Google(Account),
}

/// What an OAuth 2 server wants for a token (RFC 6749, 4.4).
#[derive(Clone, PartialEq)]
pub struct ClientCredentials {
    /// Address that gives tokens.
    pub url: String,
    /// Who named it.
    pub trust: Trust,
    /// Id of the client.
    pub id: String,
    /// Its secret.
    pub secret: String,
    /// Scopes, with blanks between.
    pub scope: String,
    /// Id and secret stand in the body rather than in a header.
    pub in_body: bool,
}

impl std::fmt::Debug for Auth {
    /// The kind only.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::OAuth2(_) => "OAuth2",
            Self::Sigv4(_) => "Sigv4",
            Self::Google(_) => "Google",
        })
    }
}

impl Auth {
    /// Text that is equal for equal credentials. Holds secrets: never shown.
    pub fn identity(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::OAuth2(c) => {
                format!("oauth2 {:?} {:?} {:?} {:?}", c.url, c.id, c.secret, c.scope)
            }
            Self::Sigv4(s) => format!("sigv4 {s:?}"),
            Self::Google(a) => a.identity(),
        }
    }
}

/// `Basic …` for a user and a password.
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// What the `authentication` of a metric comes to: headers, or a way to log in.
///
/// # Errors
/// More than one way, or one that lacks something.
pub fn of_metric(
    auth: Option<&Authentication>,
    sigv4_service: &'static str,
) -> Result<(Vec<(String, String)>, Auth), String> {
    let Some(auth) = auth else {
        return Ok((vec![], Auth::None));
    };
    let given = [
        ("sigv4", auth.sigv4.is_some()),
        ("oauth2", auth.oauth2.is_some()),
        ("basicAuth", auth.basic_auth.is_some()),
        ("bearer", auth.bearer.is_some()),
    ];
    let given: Vec<&str> = given.iter().filter(|g| g.1).map(|g| g.0).collect();
    if given.len() > 1 {
        let all = given.join(" and ");
        return Err(format!("authentication has {all}: one of them"));
    }
    let text = |t: &Option<String>| t.clone().unwrap_or_default();
    let header = |value: String| vec![("authorization".to_owned(), value)];
    if let Some(b) = &auth.basic_auth {
        return Ok((
            header(basic(&text(&b.username), &text(&b.password))),
            Auth::None,
        ));
    }
    if let Some(b) = &auth.bearer {
        return Ok((
            header(format!("Bearer {}", text(&b.token).trim())),
            Auth::None,
        ));
    }
    if let Some(config) = &auth.oauth2 {
        return Ok((vec![], Auth::OAuth2(client_credentials(config)?)));
    }
    if let Some(config) = &auth.sigv4 {
        if config.profile.as_deref().is_some_and(|p| !p.is_empty()) {
            return Err("authentication.sigv4.profile is not supported: use roleArn, or give the controller the identity".to_owned());
        }
        return Ok((
            vec![],
            Auth::Sigv4(Sigv4 {
                service: sigv4_service,
                region: config.region.clone().filter(|r| !r.is_empty()),
                role_arn: config.role_arn.clone().filter(|r| !r.is_empty()),
            }),
        ));
    }
    Ok((vec![], Auth::None))
}

fn client_credentials(config: &OAuth2Config) -> Result<ClientCredentials, String> {
    let text = |t: &Option<String>| t.clone().unwrap_or_default();
    let url = text(&config.token_url);
    let (id, secret) = (text(&config.client_id), text(&config.client_secret));
    if url.is_empty() || id.is_empty() || secret.is_empty() {
        return Err("authentication.oauth2 needs tokenUrl, clientId and clientSecret".to_owned());
    }
    Ok(ClientCredentials {
        url,
        trust: Trust::Object,
        id,
        secret,
        scope: config.scopes.clone().unwrap_or_default().join(" "),
        in_body: false,
    })
}

/// What logging in came to.
#[derive(Default)]
pub(super) struct Login {
    /// Headers to send.
    pub(super) headers: Vec<(String, String)>,
    /// The token that is used, to be forgotten when it is refused.
    pub(super) token: Option<String>,
}

/// Logs in for a request.
///
/// # Errors
/// Why it cannot be done.
pub(super) async fn login(
    net: &Net,
    request: &Request,
    url: &reqwest::Url,
) -> Result<Login, String> {
    let bearer = |identity: String, token: String| Login {
        headers: vec![("authorization".to_owned(), format!("Bearer {token}"))],
        token: Some(identity),
    };
    match &request.auth {
        Auth::None => Ok(Login::default()),
        Auth::Sigv4(sigv4) => {
            let headers = aws::sign_in(net, sigv4, request, url).await?;
            Ok(Login {
                headers,
                token: None,
            })
        }
        Auth::OAuth2(credentials) => {
            let identity = request.auth.identity();
            if let Some(token) = net.tokens.get(&identity, (net.clock)()) {
                return Ok(bearer(identity, token));
            }
            let token = credentials.ask(net).await?;
            net.tokens.keep(&identity, &token, (net.clock)());
            Ok(bearer(identity, token.access_token))
        }
        Auth::Google(account) => {
            let identity = account.identity();
            if let Some(token) = net.tokens.get(&identity, (net.clock)()) {
                return Ok(bearer(identity, token));
            }
            let asked = account.token_request((net.clock)())?;
            let token = token_of(&send(net, &asked).await?)?;
            net.tokens.keep(&identity, &token, (net.clock)());
            Ok(bearer(identity, token.access_token))
        }
    }
}

impl ClientCredentials {
    /// The request for a token. Servers differ in where they look for id and secret.
    fn request(&self, in_body: bool) -> Request {
        let mut form = vec![("grant_type", "client_credentials")];
        if !self.scope.is_empty() {
            form.push(("scope", &self.scope));
        }
        let request = Request::new("the token server", Method::Post, &self.url).trust(self.trust);
        if in_body {
            form.extend([
                ("client_id", self.id.as_str()),
                ("client_secret", self.secret.as_str()),
            ]);
            return request.form(&form);
        }
        // RFC 6749 2.3.1: each is form-encoded before they are joined.
        let coded = |t: &str| encode(&[("", t)]).trim_start_matches('=').to_owned();
        request
            .header(
                "authorization",
                basic(&coded(&self.id), &coded(&self.secret)),
            )
            .form(&form)
    }

    async fn ask(&self, net: &Net) -> Result<Token, String> {
        let reply = send(net, &self.request(self.in_body)).await?;
        if !self.in_body && matches!(reply.status, 400 | 401) {
            return token_of(&send(net, &self.request(true)).await?);
        }
        token_of(&reply)
    }
}

/// A token as servers answer with.
#[derive(Deserialize)]
pub(super) struct Token {
    access_token: String,
    #[serde(default)]
    expires_in: Option<serde_json::Value>,
}

fn token_of(reply: &Reply) -> Result<Token, String> {
    if reply.status == 400 {
        return Err("the token server refuses the credentials (HTTP 400)".to_owned());
    }
    reply.json("the token server")
}

/// Tokens by identity of the credentials.
#[derive(Default)]
pub(super) struct Tokens(Mutex<HashMap<String, (String, Timestamp)>>);

/// Most tokens that are kept.
const MOST: usize = 1000;

impl Tokens {
    pub(super) fn get(&self, identity: &str, now: Timestamp) -> Option<String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (token, until) = known.get(identity)?;
        (now < *until).then(|| token.clone())
    }

    /// Keeps a token until shortly before it ends; an hour where the server does not say.
    fn keep(&self, identity: &str, token: &Token, now: Timestamp) {
        let seconds = match &token.expires_in {
            Some(serde_json::Value::Number(n)) => n.as_i64(),
            Some(serde_json::Value::String(s)) => s.parse().ok(),
            _ => None,
        };
        let seconds = seconds.unwrap_or(3600).clamp(0, 86_400).saturating_sub(30);
        let until = now
            .checked_add(SignedDuration::from_secs(seconds))
            .unwrap_or(now);
        self.put(identity, token.access_token.clone(), until, now);
    }

    pub(super) fn put(&self, identity: &str, token: String, until: Timestamp, now: Timestamp) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.retain(|_, (_, until)| now < *until);
        }
        if known.len() < MOST {
            known.insert(identity.to_owned(), (token, until));
        }
    }

    pub(super) fn forget(&self, identity: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(identity);
    }
}
