//! Recorded replies, and what is sent.

use serde_json::{Value, json};

use super::*;

fn numbers(body: &str) -> Result<String, String> {
    parse(200, body.as_bytes()).map(|v| v.to_string())
}

/// Replies as Prometheus 2.42 and 3 write them.
#[test]
fn recorded_replies_become_numbers() {
    for (body, expected) in [
        // A classic histogram's quantile.
        (
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1700000000,"0.475"]}]}}"#,
            "[0.475]",
        ),
        // A native histogram's quantile; Prometheus 3 adds annotations.
        (
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1700000000.123,"0.7071067811865475"]}]},"infos":["PromQL info: x"],"warnings":["w"]}"#,
            "[0.7071067811865475]",
        ),
        (
            r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#,
            "[]",
        ),
        (
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[1,"1"]},{"metric":{"a":"c"},"value":[1,"2"]}]}}"#,
            "[1,2]",
        ),
        (
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"NaN"]}]}}"#,
            "[NaN]",
        ),
        (
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"+Inf"]},{"metric":{},"value":[1,"-Inf"]}]}}"#,
            "[+Inf,-Inf]",
        ),
        (
            r#"{"status":"success","data":{"resultType":"scalar","result":[1700000000,"3.5"]}}"#,
            "3.5",
        ),
        (
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"1"],[2,"2"]]},{"metric":{},"values":[[1,"3"]]}]}}"#,
            "[1,2,3]",
        ),
        (
            r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#,
            "[]",
        ),
    ] {
        assert_eq!(numbers(body).as_deref(), Ok(expected), "{body}");
    }
}

/// I-10 and S11: each misbehaviour is one sentence of ours, without a word of the reply.
#[test]
fn anything_else_is_an_error_without_a_word_of_the_reply() {
    for (status, body, expected) in [
        (
            200,
            r#"{"status":"success","data":{"resultType":"string","result":[1,"SEEN"]}}"#,
            "the query gives a text, not numbers",
        ),
        (
            200,
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"l":"SEEN"},"histogram":[1,{"count":"2","sum":"3","buckets":[[0,"1","2","2"]]}]}]}}"#,
            "the query gives a histogram, not numbers",
        ),
        (
            200,
            r#"{"status":"success","data":{"resultType":"SEEN","result":[]}}"#,
            "the reply is not one of Prometheus",
        ),
        (
            200,
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"SEEN"]}]}}"#,
            "the reply is not one of Prometheus",
        ),
        (
            200,
            "<html>SEEN</html>",
            "the reply is not one of Prometheus",
        ),
        (200, "", "the reply is not one of Prometheus"),
        (
            200,
            r#"{"status":"success"}"#,
            "the reply is not one of Prometheus",
        ),
        (
            400,
            r#"{"status":"error","errorType":"bad_data","error":"SEEN"}"#,
            "Prometheus cannot read the query (bad_data, HTTP 400)",
        ),
        (
            422,
            r#"{"status":"error","errorType":"execution","error":"SEEN"}"#,
            "Prometheus cannot carry the query out (execution, HTTP 422)",
        ),
        (
            503,
            r#"{"status":"error","errorType":"timeout","error":"SEEN"}"#,
            "Prometheus took too long for the query",
        ),
        (
            500,
            r#"{"status":"error","errorType":"SEEN","error":"SEEN"}"#,
            "Prometheus refuses the query (HTTP 500)",
        ),
        (
            302,
            "SEEN",
            "the address answers with a redirect (HTTP 302), which is not followed",
        ),
        (401, "SEEN", "Prometheus refuses the credentials (HTTP 401)"),
        (
            404,
            "SEEN",
            "there is no Prometheus API at the address (HTTP 404)",
        ),
        (500, "SEEN", "the address answers with HTTP 500"),
    ] {
        let error = parse(status, body.as_bytes()).unwrap_err();
        assert!(error.starts_with(expected), "{body}: {error}");
        assert!(
            !error.contains("SEEN") && error.len() <= super::super::MAX_ERROR,
            "{error}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(status in 0..600_u16, body in proptest::collection::vec(proptest::num::u8::ANY, 0..64)) {
        drop(parse(status, &body));
    }
}

fn asked(metric: Value) -> Result<Request, String> {
    let at = Timestamp::from_second(1_700_000_000).unwrap();
    request(&serde_json::from_value(metric).unwrap(), at)
}

#[test]
fn credentials_and_headers_are_sent() {
    let sent = asked(json!({
        "query": "up", "headers": [{"key": "X-Scope-OrgID", "value": "team"}],
        "authentication": {"basicAuth": {"username": "user", "password": "pass:word"}}
    }))
    .unwrap();
    assert_eq!(
        sent.headers,
        [
            ("X-Scope-OrgID".to_owned(), "team".to_owned()),
            (
                "authorization".to_owned(),
                "Basic dXNlcjpwYXNzOndvcmQ=".to_owned()
            ),
        ]
    );
    assert!(
        !format!("{sent:?}").contains("dXNlcj"),
        "a request does not show its secrets"
    );
    let sent =
        asked(json!({"query": "up", "authentication": {"bearer": {"token": "abc\n"}}})).unwrap();
    assert_eq!(sent.headers[0].1, "Bearer abc");
    assert!(
        asked(json!({"query": "up", "authentication": {"bearer": {}, "basicAuth": {}}})).is_err()
    );
    assert!(asked(json!({"query": " "})).is_err());
}

#[test]
fn range_queries_know_now_and_durations() {
    let range = |start: &str, end: &str, step: &str| {
        asked(json!({"query": "up", "rangeQuery": {"start": start, "end": end, "step": step}}))
            .map(|r| r.range.unwrap())
    };
    assert_eq!(
        range("now() - duration(\"5m\")", "now()", "1m"),
        Ok((1_699_999_700, 1_700_000_000, 60.0))
    );
    assert_eq!(
        range("now()-duration('1h') + duration('30m')", "now()", "500ms"),
        Ok((1_699_998_200, 1_700_000_000, 0.5))
    );
    for (start, end, step) in [
        ("yesterday", "now()", "1m"),
        ("now()", "now() - duration('1m')", "1m"),
        ("now()", "now()", ""),
        ("now() * 2", "now()", "1m"),
        ("now() - duration(5)", "now()", "1m"),
    ] {
        assert!(range(start, end, step).is_err(), "{start}");
    }
}

#[test]
fn sigv4_is_for_workspaces_of_amazon() {
    let signed = |address: &str| {
        asked(
            json!({"address": address, "query": "up", "authentication": {"sigv4": {"region": "eu-west-1"}}}),
        )
    };
    let good = signed("https://aps-workspaces.eu-west-1.amazonaws.com/workspaces/ws-1").unwrap();
    let http = good.to_http(good.address.as_deref().unwrap(), Trust::Object);
    assert_eq!(
        http.url,
        "https://aps-workspaces.eu-west-1.amazonaws.com/workspaces/ws-1/api/v1/query"
    );
    assert!(matches!(http.auth, Auth::Sigv4(_)));
    assert!(
        signed("https://prom.example.com")
            .unwrap_err()
            .contains("aps-workspaces")
    );
}
