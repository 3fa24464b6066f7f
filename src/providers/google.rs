//! Tokens for Google's service accounts: a signed claim for a token (RFC 7523), or the identity of
//! the pod on Google Cloud. Knows no service of Google's.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde::Deserialize;
use serde_json::json;

use super::http::{Method, Request};
use super::net::Trust;

/// What the token is for: reading metrics and nothing else.
const SCOPE: &str = "https://www.googleapis.com/auth/monitoring.read";
/// Where pods on Google Cloud get their own token.
const METADATA: &str =
    "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token";

/// Who asks.
#[derive(Clone, PartialEq)]
pub enum Account {
    /// The pod itself.
    Own,
    /// The holder of a key, as Google's console gives it out (JSON).
    Key {
        /// The file's text.
        json: String,
        /// Who named the address in it.
        trust: Trust,
    },
}

/// What of a key file is used.
#[derive(Deserialize)]
struct KeyFile {
    client_email: String,
    private_key: String,
    #[serde(default)]
    private_key_id: Option<String>,
    token_uri: String,
}

impl Account {
    /// Text that is equal for equal accounts. Holds secrets: never shown.
    pub fn identity(&self) -> String {
        match self {
            Self::Own => "google own".to_owned(),
            Self::Key { json, .. } => format!("google {json:?}"),
        }
    }

    /// The request for a token.
    ///
    /// # Errors
    /// A key that cannot be read.
    pub(super) fn token_request(&self, at: Timestamp) -> Result<Request, String> {
        match self {
            Self::Own => Ok(Request::new(
                "Google Cloud's metadata",
                Method::Get,
                format!("{METADATA}?{}", super::http::encode(&[("scopes", SCOPE)])),
            )
            .header("metadata-flavor", "Google")
            .trust(Trust::Operator)),
            Self::Key { json, trust } => {
                let key: KeyFile = serde_json::from_str(json)
                    .map_err(|_| "service-account.json is not the key of a service account")?;
                let assertion = assertion(&key, at)?;
                Ok(
                    Request::new("the token server", Method::Post, &key.token_uri)
                        .trust(*trust)
                        .form(&[
                            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
                            ("assertion", &assertion),
                        ]),
                )
            }
        }
    }
}

fn assertion(key: &KeyFile, at: Timestamp) -> Result<String, String> {
    let unreadable = || "the private key in service-account.json cannot be read".to_owned();
    let body: String = key
        .private_key
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .map(str::trim)
        .collect();
    let der = STANDARD.decode(body).map_err(|_| unreadable())?;
    let pair = RsaKeyPair::from_pkcs8(&der).map_err(|_| unreadable())?;
    let now = at.as_second();
    let head = json!({"alg": "RS256", "typ": "JWT", "kid": key.private_key_id});
    let claims = json!({
        "iss": key.client_email, "scope": SCOPE, "aud": key.token_uri,
        "iat": now, "exp": now.saturating_add(3600),
    });
    let coded = |v: &serde_json::Value| URL_SAFE_NO_PAD.encode(v.to_string());
    let text = format!("{}.{}", coded(&head), coded(&claims));
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        text.as_bytes(),
        &mut signature,
    )
    .map_err(|_| unreadable())?;
    Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
}
