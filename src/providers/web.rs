//! Any HTTP server: a request as the metric says, the JSON or text of the reply as the value
//! (contract P2).

use jsonpath_rust::JsonPath;
use serde_json::Value;

use super::auth;
use super::http::{Method, Reply, Request};
use super::{Question, Service};
use crate::api::providers::MetricProvider;
use crate::planner::analysis::MetricValue;

/// The provider.
#[derive(Debug)]
pub struct Web;

const NAME: &str = "the server";

impl Service for Web {
    fn is_asked(&self, provider: &MetricProvider) -> bool {
        provider.web.is_some()
    }

    fn request(&self, asked: &Question) -> Result<Request, String> {
        let Some(metric) = &asked.provider.web else {
            return Err("no provider".to_owned());
        };
        let method = match metric.method.as_deref().unwrap_or_default() {
            "" | "GET" => Method::Get,
            "POST" => Method::Post,
            "PUT" => Method::Put,
            _ => return Err("web.method must be GET, POST or PUT".to_owned()),
        };
        if metric.url.trim().is_empty() {
            return Err("web.url is empty".to_owned());
        }
        let body = metric.body.as_deref().filter(|b| !b.is_empty());
        let mut request = Request::new(NAME, method, metric.url.trim());
        for header in metric.headers.iter().flatten() {
            request = request.header(&header.key, header.value.clone().unwrap_or_default());
        }
        let has_type = request
            .headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        match (body, &metric.json_body) {
            (Some(_), Some(_)) => {
                return Err("web has body and jsonBody: one of them".to_owned());
            }
            (Some(_), None) | (None, Some(_)) if method == Method::Get => {
                return Err("a web metric with a body needs the method POST or PUT".to_owned());
            }
            (Some(text), None) => request.body = Some(text.to_owned()),
            (None, Some(json)) if has_type => request.body = Some(json.to_string()),
            (None, Some(json)) => request = request.json(json),
            (None, None) => {}
        }
        // Signatures are for API Gateway only: with the name of another service the controller's
        // identity could be used for anything that it may do.
        let (login, auth) = auth::of_metric(metric.authentication.as_ref(), "execute-api")?;
        request.headers.extend(login);
        request.insecure = metric.insecure == Some(true);
        path_of(metric.json_path.as_deref())?;
        Ok(request.auth(auth))
    }

    fn parse(&self, asked: &Question, reply: &Reply) -> Result<MetricValue, String> {
        reply.ok(NAME)?;
        let path = asked
            .provider
            .web
            .as_ref()
            .and_then(|w| w.json_path.as_deref());
        let path = path_of(path)?;
        let Ok(value) = serde_json::from_slice::<Value>(&reply.body) else {
            if path != "$" {
                return Err("the reply is not JSON, and jsonPath asks for a part of it".to_owned());
            }
            return Ok(MetricValue::text(
                String::from_utf8_lossy(&reply.body).trim_end(),
            ));
        };
        let found = value.query(&path).map_err(|_| wrong_path())?;
        let first = found
            .first()
            .ok_or("jsonPath finds nothing in the reply: nothing is there under that path")?;
        Ok(MetricValue::from(*first))
    }
}

fn wrong_path() -> String {
    "jsonPath cannot be read: write it like {$.data.value}, as RFC 9535 says".to_owned()
}

/// The path in RFC 9535: clients write it in braces, and may leave the `$` out.
fn path_of(text: Option<&str>) -> Result<String, String> {
    let text = text.unwrap_or_default().trim();
    let inner = match text.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}').ok_or_else(wrong_path)?.trim(),
        None => text,
    };
    let path = match inner.chars().next() {
        None => "$".to_owned(),
        Some('$') => inner.to_owned(),
        Some('.' | '[') => format!("${inner}"),
        Some(_) => format!("$.{inner}"),
    };
    Value::Null.query(&path).map_err(|_| wrong_path())?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::question;
    use super::*;

    fn read(path: &str, body: &str) -> Result<String, String> {
        let asked = question(json!({"web": {"url": "http://x", "jsonPath": path}}), &[]);
        let reply = Reply {
            status: 200,
            body: body.into(),
        };
        Web.parse(&asked, &reply).map(|v| v.to_string())
    }

    #[test]
    fn paths_are_those_of_clients_and_of_the_standard() {
        let body = r#"{"data": {"ok": true, "items": [{"n": "a", "v": 1.5}, {"n": "b", "v": 2}], "a b": null}}"#;
        for (path, expected) in [
            ("", None),
            ("{$}", None),
            ("{$.data.ok}", Some("true")),
            ("{.data.ok}", Some("true")),
            ("$.data.items[1].v", Some("2")),
            ("{$.data.items[?(@.n=='b')].v}", Some("2")),
            ("{$..v}", Some("1.5")),
            ("{$['data']['items'][-1].n}", Some("b")),
        ] {
            let found = read(path, body).unwrap();
            if let Some(expected) = expected {
                assert_eq!(found.trim_matches('"'), expected, "{path}");
            }
        }
        assert!(
            read("{$.nothing}", body)
                .unwrap_err()
                .contains("finds nothing")
        );
        assert!(read("{$.data", body).unwrap_err().contains("RFC 9535"));
        assert!(read("{$.a[?(}", body).unwrap_err().contains("RFC 9535"));
    }

    #[test]
    fn bodies_that_are_no_json_are_texts() {
        assert_eq!(read("", "OK\n").unwrap().trim_matches('"'), "OK");
        assert_eq!(read("", "").unwrap().trim_matches('"'), "");
        assert!(read("{$.a}", "OK").unwrap_err().contains("not JSON"));
    }

    #[test]
    fn what_is_sent_is_what_the_metric_says() {
        let sent = |web: Value| Web.request(&question(json!({ "web": web }), &[]));
        let put = sent(
            json!({"method": "PUT", "url": "http://x/y", "jsonBody": {"a": [1]},
            "headers": [{"key": "Authorization", "value": "Bearer t"}]}),
        )
        .unwrap();
        assert_eq!(put.method, Method::Put);
        assert_eq!(put.body.as_deref(), Some(r#"{"a":[1]}"#));
        assert!(
            put.headers
                .contains(&("content-type".to_owned(), "application/json".to_owned()))
        );
        let own = sent(json!({"method": "POST", "url": "http://x", "jsonBody": {},
            "headers": [{"key": "Content-Type", "value": "application/vnd.x+json"}]}))
        .unwrap();
        assert_eq!(own.headers.len(), 1);
        for wrong in [
            json!({"url": ""}),
            json!({"url": "http://x", "method": "DELETE"}),
            json!({"url": "http://x", "body": "b"}),
            json!({"url": "http://x", "method": "POST", "body": "b", "jsonBody": {}}),
            json!({"url": "http://x", "authentication": {"oauth2": {"tokenUrl": "http://t"}}}),
            json!({"url": "http://x", "authentication": {"sigv4": {"profile": "p"}}}),
        ] {
            assert!(sent(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
