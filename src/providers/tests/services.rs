//! Every provider against a server that plays its service. Bodies are written from the services'
//! public documentation.

use serde_json::{Value, json};

use super::server::{Server, Way};
use super::tls::task;
use super::*;

/// A service, what is asked of it, and what comes of it. `$URL` and `$HOST` are the server's.
struct Case {
    provider: Value,
    credentials: Vec<(&'static str, &'static str)>,
    /// Bodies by the beginning of the path.
    bodies: Vec<(&'static str, &'static str)>,
    /// What must be in the last request.
    sent: Vec<&'static str>,
    value: &'static str,
    /// A good status with a bad body: that, and what is told of it.
    refused: Option<(&'static str, &'static str)>,
}

fn cases() -> Vec<Case> {
    vec![
        Case {
            provider: json!({"prometheus": {"address": "$URL", "query": "up == 1",
                "authentication": {"oauth2": {"tokenUrl": "$URL/token", "clientId": "me", "clientSecret": "hush-hush"}}}}),
            credentials: vec![],
            bodies: vec![
                (
                    "/token",
                    r#"{"access_token": "t-0123", "token_type": "Bearer", "expires_in": 3600}"#,
                ),
                (
                    "/api/v1/query",
                    r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"0.5"]}]}}"#,
                ),
            ],
            sent: vec![
                "POST /api/v1/query",
                "authorization: Bearer t-0123",
                "query=up+%3D%3D+1",
            ],
            value: "[0.5]",
            refused: Some((
                r#"{"status":"error","errorType":"bad_data","error":"SEEN"}"#,
                "Prometheus cannot read the query",
            )),
        },
        Case {
            provider: json!({"web": {"method": "PUT", "url": "$URL/check", "body": "ping", "jsonPath": "{$.data[1].v}",
                "headers": [{"key": "X-Key", "value": "hush-hush"}]}}),
            credentials: vec![],
            bodies: vec![("/check", r#"{"data": [{"v": 1}, {"v": {"ok": true}}]}"#)],
            sent: vec!["PUT /check", "x-key: hush-hush", "ping"],
            value: "ok",
            refused: Some((r#"{"SEEN": 1}"#, "jsonPath finds nothing")),
        },
        Case {
            provider: json!({"datadog": {"query": "avg:system.cpu.user{*}", "interval": "10m"}}),
            credentials: vec![
                ("address", "$URL"),
                ("api-key", "hush-api"),
                ("app-key", "hush-app"),
            ],
            bodies: vec![(
                "/api/v1/query",
                r#"{"status":"ok","res_type":"time_series","series":[{"metric":"system.cpu.user","pointlist":[[1430311800000,4.5],[1430311860000,4.75]]}]}"#,
            )],
            sent: vec![
                "from=1795272845&to=1795273445",
                "dd-api-key: hush-api",
                "dd-application-key: hush-app",
            ],
            value: "4.75",
            refused: Some((
                r#"{"status":"error","error":"SEEN","series":[]}"#,
                "Datadog cannot carry the query out",
            )),
        },
        Case {
            provider: json!({"datadog": {"apiVersion": "v2", "queries": {"a": "sum:err{*}.as_count()", "b": "sum:all{*}.as_count()"},
                "formula": "a / b", "aggregator": "sum"}}),
            credentials: vec![
                ("address", "$URL"),
                ("api-key", "hush-api"),
                ("app-key", "hush-app"),
            ],
            bodies: vec![(
                "/api/v2/query/scalar",
                r#"{"data":{"type":"scalar_response","attributes":{"columns":[{"name":"a / b","type":"number","values":[0.0006]}]}}}"#,
            )],
            sent: vec![
                "POST /api/v2/query/scalar",
                r#""formula":"a / b""#,
                r#""aggregator":"sum""#,
                r#""data_source":"metrics""#,
            ],
            value: "0.0006",
            refused: Some((r#"{"errors":"SEEN"}"#, "Datadog cannot carry the query out")),
        },
        Case {
            provider: json!({"newRelic": {"query": "FROM Transaction SELECT percentage(count(*), WHERE error IS false) AS ok"}}),
            credentials: vec![
                ("personal-api-key", "hush-key"),
                ("account-id", "1234"),
                ("base-url-nerdgraph", "$URL/graphql"),
            ],
            bodies: vec![(
                "/graphql",
                r#"{"data":{"actor":{"account":{"nrql":{"results":[{"ok": 99.5}]}}}}}"#,
            )],
            sent: vec![
                "POST /graphql",
                "api-key: hush-key",
                r#""account":1234"#,
                "SELECT percentage",
            ],
            value: "99.5",
            refused: Some((
                r#"{"errors":[{"message":"SEEN"}]}"#,
                "New Relic cannot carry the query out",
            )),
        },
        Case {
            provider: json!({"wavefront": {"address": "$HOST", "query": "ts(a.b)"}}),
            credentials: vec![("token", "hush-token")],
            bodies: vec![(
                "/api/v2/chart/api",
                r#"{"query":"ts(a.b)","granularity":1,"timeseries":[{"label":"a.b","data":[[1795273400,1.5],[1795273440,2.5]]}]}"#,
            )],
            sent: vec![
                "GET /api/v2/chart/api?q=ts%28a.b%29",
                "authorization: Bearer hush-token",
            ],
            value: "2.5",
            refused: Some((r#"{"timeseries":[]}"#, "Wavefront has no series")),
        },
        Case {
            provider: json!({"graphite": {"address": "$URL", "query": "target=summarize(a.b, '5min')&from=-5min"}}),
            credentials: vec![],
            bodies: vec![(
                "/render",
                r#"[{"target":"a.b","datapoints":[[1.5,1450754160],[null,1450754220],[2,1450754280]]}]"#,
            )],
            sent: vec!["GET /render?target=summarize", "format=json", "from=-5min"],
            value: "[1.5,2]",
            refused: Some(("[]", "Graphite knows no series")),
        },
        Case {
            provider: json!({"influxdb": {"query": "from(bucket: \"b\") |> range(start: -5m)"}}),
            credentials: vec![
                ("address", "$URL"),
                ("authToken", "hush-token"),
                ("org", "my org"),
            ],
            bodies: vec![(
                "/api/v2/query",
                "#datatype,string,long,dateTime:RFC3339,double\r\n,result,table,_time,_value\r\n,_result,0,2026-11-21T15:00:00Z,0.25\r\n,_result,0,2026-11-21T15:01:00Z,0.75\r\n\r\n",
            )],
            sent: vec![
                "POST /api/v2/query?org=my+org",
                "authorization: Token hush-token",
                r#""type":"flux""#,
            ],
            value: "[0.25,0.75]",
            refused: Some((
                "#datatype,string,string\r\n,error,reference\r\n,SEEN,897\r\n",
                "InfluxDB could not carry the query out",
            )),
        },
        Case {
            provider: json!({"skywalking": {"address": "$URL", "query": "query queryData($duration: Duration!) { r: x(duration: $duration) }", "interval": "3m"}}),
            credentials: vec![],
            bodies: vec![(
                "/graphql",
                r#"{"data":{"r":{"values":{"values":[{"value":10000}]}}}}"#,
            )],
            sent: vec![
                "POST /graphql",
                r#""start":"2026-11-21 1501""#,
                r#""end":"2026-11-21 1504""#,
                r#""step":"MINUTE""#,
            ],
            value: "10000",
            refused: Some((
                r#"{"errors":[{"message":"SEEN"}],"data":null}"#,
                "SkyWalking cannot carry the query out",
            )),
        },
        Case {
            provider: json!({"cloudWatch": {"interval": "30m", "metricDataQueries": [
                {"id": "rate", "expression": "errors / requests"},
                {"id": "errors", "metricStat": {"metric": {"namespace": "app", "metricName": "errors", "dimensions": [{"name": "svc", "value": "web"}]},
                    "period": 300, "stat": "Sum", "unit": "Count"}, "returnData": false}]}}),
            credentials: vec![],
            bodies: vec![(
                "/",
                r#"{"MetricDataResults":[{"Id":"rate","Label":"rate","Timestamps":[1795273200],"Values":[0.01],"StatusCode":"Complete"}],"Messages":[]}"#,
            )],
            sent: vec![
                "x-amz-target: GraniteServiceVersion20100801.GetMetricData",
                "authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261121/eu-west-1/monitoring/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target",
                r#""Expression":"errors / requests""#,
                r#""ReturnData":false"#,
            ],
            value: "0.01",
            refused: Some((r#"{"SEEN":1}"#, "the reply is not one of CloudWatch")),
        },
        Case {
            provider: json!({"kayenta": {"address": "$URL", "application": "app", "canaryConfigName": "cfg",
                "metricsAccountName": "m", "configurationAccountName": "c", "storageAccountName": "s",
                "threshold": {"pass": 90, "marginal": 75},
                "scopes": [{"name": "default",
                    "controlScope": {"scope": "a", "region": "r", "step": 60, "start": "2026-11-21T14:00:00Z", "end": "2026-11-21T15:00:00Z"},
                    "experimentScope": {"scope": "b", "region": "r", "step": 60, "start": "2026-11-21T14:00:00Z", "end": "2026-11-21T15:00:00Z"}}]}}),
            credentials: vec![],
            bodies: vec![
                (
                    "/canaryConfig",
                    r#"[{"id": "0-1", "name": "other"}, {"id": "0-2", "name": "cfg"}]"#,
                ),
                ("/canary/0-2", r#"{"canaryExecutionId": "01ABC"}"#),
                (
                    "/canary/01ABC",
                    r#"{"complete": true, "status": "succeeded", "result": {"judgeResult": {"score": {"score": 91.7}}}}"#,
                ),
            ],
            sent: vec!["GET /canary/01ABC?storageAccountName=s"],
            value: "91",
            refused: Some((
                r#"[{"id": "0-1", "name": "SEEN"}]"#,
                "Kayenta has no configuration",
            )),
        },
        Case {
            provider: json!({"googleCloudMonitoring": {"project": "my-project", "query": "up"}}),
            credentials: vec![
                ("service-account.json", include_str!("google-key.json")),
                ("address", "$URL"),
            ],
            bodies: vec![
                (
                    "/token",
                    r#"{"access_token": "t-0123", "expires_in": 3599, "token_type": "Bearer"}"#,
                ),
                (
                    "/v1/projects/my-project/location/global/prometheus/api/v1/query",
                    r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"3"]}]}}"#,
                ),
            ],
            sent: vec![
                "POST /v1/projects/my-project/",
                "authorization: Bearer t-0123",
                "query=up",
            ],
            value: "[3]",
            refused: None,
        },
        Case {
            provider: json!({"dynatrace": {"metricSelector": "builtin:service.errors.total.rate", "entitySelector": "type(SERVICE)"}}),
            credentials: vec![("address", "$URL"), ("api-token", "hush-token")],
            bodies: vec![(
                "/api/v2/metrics/query",
                r#"{"totalCount":1,"nextPageKey":null,"resolution":"Inf","result":[{"metricId":"builtin:service.errors.total.rate","data":[{"dimensions":["SERVICE-1"],"timestamps":[1795273440000],"values":[0.5]},{"dimensions":["SERVICE-2"],"timestamps":[1795273440000],"values":[null]}]}]}"#,
            )],
            sent: vec![
                "metricSelector=builtin%3Aservice.errors.total.rate",
                "entitySelector=type%28SERVICE%29",
                "resolution=Inf",
                "authorization: Api-Token hush-token",
            ],
            value: "[0.5]",
            refused: Some((
                r#"{"error":{"message":"SEEN"}}"#,
                "the reply is not one of Dynatrace",
            )),
        },
        Case {
            provider: json!({"azureMonitor": {"resourceId": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/w",
                "metricName": "Http5xx", "aggregation": "total", "filter": "Instance eq '*'"}}),
            credentials: vec![
                ("tenant-id", "tenant"),
                ("client-id", "client"),
                ("client-secret", "hush-secret"),
                ("address", "$URL"),
                ("login-address", "$URL"),
            ],
            bodies: vec![
                (
                    "/tenant/oauth2/v2.0/token",
                    r#"{"token_type":"Bearer","expires_in":3599,"access_token":"t-0123"}"#,
                ),
                (
                    "/subscriptions/s",
                    r#"{"cost":59,"value":[{"name":{"value":"Http5xx"},"timeseries":[{"metadatavalues":[],"data":[{"timeStamp":"2026-11-21T15:00:00Z","total":2.0},{"timeStamp":"2026-11-21T15:01:00Z"}]}]}]}"#,
                ),
            ],
            sent: vec![
                "GET /subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/w/providers/Microsoft.Insights/metrics?",
                "metricnames=Http5xx",
                "aggregation=Total",
                "authorization: Bearer t-0123",
            ],
            value: "[2]",
            refused: Some((
                r#"{"access_token": "t-0123", "SEEN": 1}"#,
                "the reply is not one of Azure Monitor",
            )),
        },
        Case {
            provider: json!({"splunk": {"query": "index=web status>=500 | stats count AS errors"}}),
            credentials: vec![("address", "$URL"), ("token", "hush-token")],
            bodies: vec![(
                "/services/search/jobs",
                r#"{"preview":false,"results":[{"errors":"12","host":"web-1"}]}"#,
            )],
            sent: vec![
                "POST /services/search/jobs",
                "search=search+index%3Dweb",
                "exec_mode=oneshot",
                "authorization: Bearer hush-token",
            ],
            value: "12",
            refused: Some((
                r#"{"messages":[{"type":"FATAL","text":"SEEN"}]}"#,
                "Splunk cannot carry the search out",
            )),
        },
        Case {
            provider: json!({"compare": {"address": "$URL", "canary": "v=\"a\"", "stable": "v=\"b\"",
                "success": {"good": "ok_total", "total": "all_total"}}}),
            credentials: vec![],
            bodies: vec![(
                "/api/v1/query",
                r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"7"]}]}}"#,
            )],
            sent: vec!["POST /api/v1/query", "_total%7Bv%3D%22", "%5B60s%5D"],
            value: "[0,7]",
            refused: Some((
                r#"{"status":"error","errorType":"bad_data","error":"SEEN"}"#,
                "Prometheus cannot read the query",
            )),
        },
        Case {
            provider: json!({"plugin": {"acme/latency": {"service": "web"}}}),
            credentials: vec![],
            bodies: vec![("/measure", r#"{"value": {"p99": 0.2}}"#)],
            sent: vec![
                "POST /measure",
                r#""config":{"service":"web"}"#,
                r#""plugin":"acme/latency""#,
                r#""namespace":"ns""#,
                r#""version":1"#,
            ],
            value: "0.2",
            refused: Some((
                r#"{"error": "no-data"}"#,
                "the plugin has no answer: no-data",
            )),
        },
    ]
}

fn with_address(value: &Value, server: &Server) -> Value {
    let text = value.to_string().replace("$URL", &server.url());
    serde_json::from_str(&text.replace("$HOST", &server.address.to_string())).unwrap()
}

/// A server and a pool for a case, the operator's parts included.
async fn scene(case: &Case) -> (Server, Pool, Question) {
    let (authority, _) = authority();
    let server = Server::start(authority.server("127.0.0.1", |_| {})).await;
    let name = format!(
        "serin-plugins-{}-{}",
        std::process::id(),
        server.address.port()
    );
    let plugins = std::env::temp_dir().join(name);
    if case.provider.get("plugin").is_some() {
        let text = format!(
            "plugins:\n  acme/latency: {{url: \"{}/measure\"}}\n",
            server.url()
        );
        std::fs::write(&plugins, text).unwrap();
    }
    let url = server.url();
    let pool = pool(|config| {
        config.plugins = Some(plugins);
        config.aws = aws::Environment {
            access_key_id: Some("AKIDEXAMPLE".to_owned()),
            secret_access_key: Some("hush-hush".to_owned()),
            region: Some("eu-west-1".to_owned()),
            cloud_watch_endpoint: Some(url),
            ..aws::Environment::default()
        };
    });
    let mut asked = question(with_address(&case.provider, &server), &case.credentials);
    for value in asked.credentials.values_mut() {
        *value = value
            .replace("$URL", &server.url())
            // Written here, so that no file of the repository reads as a key to who looks for keys.
            .replace("$KIND", "PRIVATE KEY");
    }
    (server, pool, asked)
}

fn is_login(path: &str) -> bool {
    path.contains("token") || path.starts_with("/canary")
}

#[tokio::test]
async fn every_service_is_asked_and_read_as_its_documentation_says() {
    for case in cases() {
        let (server, pool, asked) = scene(&case).await;
        let bodies = case.bodies.iter();
        server.does(Way::Well(
            bodies
                .map(|(p, b)| ((*p).to_owned(), (*b).to_owned()))
                .collect(),
        ));
        let answer = pool.ask(task(asked.clone(), 20_000)).await;
        let shown = answer.result.map(|v| v.to_string());
        let shown = shown.unwrap_or_else(|e| panic!("{}: {e}", case.provider));
        assert!(shown.contains(case.value), "{}: {shown}", case.provider);
        let requests = server.requests();
        let last = requests.last().unwrap();
        for part in &case.sent {
            assert!(last.contains(part), "{last}\nlacks {part}");
        }
        // A token is used until it ends.
        let again = pool.ask(task(asked.clone(), 20_000)).await;
        assert!(again.result.is_ok());
        let logins = server.requests();
        let logins = logins.iter().filter(|r| r.contains("grant_type"));
        assert_eq!(logins.count(), 0, "{}", case.provider);
        if let Some((body, expected)) = case.refused {
            let wrong = case.bodies.iter().map(|(path, good)| {
                let is_kept = is_login(path) && *path != "/canaryConfig";
                (
                    (*path).to_owned(),
                    if is_kept { *good } else { body }.to_owned(),
                )
            });
            server.does(Way::Well(wrong.collect()));
            let error = pool.ask(task(asked, 20_000)).await.result.unwrap_err();
            assert!(error.contains(expected), "{}: {error}", case.provider);
            assert!(!error.contains("SEEN"), "{error}");
        }
    }
}

/// F49 for every provider: each misbehaviour is one short sentence of ours, without a word of the
/// reply and without a secret.
#[tokio::test]
async fn every_service_may_misbehave() {
    let ways = [
        (Way::Status(401), "refuses the credentials"),
        (Way::Status(403), "refuses the credentials"),
        (Way::Status(429), "too often"),
        (Way::Status(500), "HTTP 500"),
        (Way::Status(503), "HTTP 503"),
        (Way::Status(302), "redirect (HTTP 302)"),
        (Way::Says(b"<html>SEEN".to_vec()), "the reply is not"),
        (Way::Says(b"{\"SEEN\": ".to_vec()), "the reply is not"),
        (Way::Says(vec![0xff, 0xfe, 0]), "the reply is not"),
        (Way::TooMuch, "more than 1024 KiB"),
        (Way::Bomb, "compressed"),
        (Way::BreaksOff, "broke off"),
        (Way::Hangs, "no answer within"),
    ];
    for case in cases() {
        let (server, pool, asked) = scene(&case).await;
        for (way, expected) in &ways {
            server.does(way.clone());
            let limit = if matches!(way, Way::Hangs) {
                200
            } else {
                20_000
            };
            let answer = pool.ask(task(asked.clone(), limit)).await;
            let error = answer
                .result
                .expect_err(&format!("{}: {way:?}", case.provider));
            assert!(
                error.contains(expected),
                "{}: {way:?}: {error}",
                case.provider
            );
            assert!(
                !error.contains("SEEN") && !error.contains("hush"),
                "{error}"
            );
            assert!(error.len() <= MAX_ERROR, "{error}");
        }
    }
}

/// RFC 6749 2.3.1: servers differ in where they look for id and secret; both are tried.
#[tokio::test]
async fn a_token_that_is_refused_is_asked_for_anew() {
    let case = cases().remove(0);
    let (server, pool, asked) = scene(&case).await;
    let good = || {
        Way::Well(
            case.bodies
                .iter()
                .map(|(p, b)| ((*p).to_owned(), (*b).to_owned()))
                .collect(),
        )
    };
    server.does(good());
    assert!(pool.ask(task(asked.clone(), 20_000)).await.result.is_ok());
    let first = server.requests();
    assert!(
        first[0].contains("authorization: Basic bWU6aHVzaC1odXNo"),
        "{}",
        first[0]
    );
    server.does(Way::Status(401));
    assert!(pool.ask(task(asked.clone(), 20_000)).await.result.is_err());
    drop(server.requests());
    server.does(good());
    assert!(pool.ask(task(asked, 20_000)).await.result.is_ok());
    let paths: Vec<String> = server
        .requests()
        .iter()
        .map(|r| r.lines().next().unwrap().to_owned())
        .collect();
    assert_eq!(
        paths,
        ["POST /token HTTP/1.1", "POST /api/v1/query HTTP/1.1"]
    );
}

/// Plugins may be programs in any language.
#[tokio::test]
async fn a_program_is_asked_on_its_standard_input() {
    let folder = std::env::temp_dir();
    let file = folder.join(format!("serin-programs-{}", std::process::id()));
    let pool = pool(|config| config.plugins = Some(file.clone()));
    let asked = || question(json!({"plugin": {"p": {"n": 7}}}), &[]);
    for (script, expected) in [
        (
            "read q; case \"$q\" in *'\"n\":7'*) echo '{\"value\": [7]}';; esac",
            Ok("[7]"),
        ),
        ("echo '{\"value\": null}'", Ok("")),
        (
            "echo '{\"error\": \"no-data\"}'",
            Err("the plugin has no answer: no-data"),
        ),
        (
            "echo '{\"error\": \"SEEN this\"}'",
            Err("the plugin has no answer"),
        ),
        ("echo SEEN; exit 3", Err("ended with code 3")),
        ("echo SEEN", Err("the reply is not one of the plugin")),
        ("yes SEEN", Err("more than 1024 KiB")),
        ("sleep 60", Err("no answer within")),
    ] {
        // The file is read at every question: the plugin changes without a restart.
        let text = json!({"plugins": {"p": {"command": ["/bin/sh", "-c", script]}}});
        std::fs::write(&file, text.to_string()).unwrap();
        let limit = if script.starts_with("sleep") {
            200
        } else {
            20_000
        };
        let answer = pool.ask(task(asked(), limit)).await.result;
        match expected {
            Ok(value) => assert!(answer.unwrap().to_string().contains(value), "{script}"),
            Err(part) => {
                let error = answer.unwrap_err();
                assert!(
                    error.contains(part) && !error.contains("SEEN"),
                    "{script}: {error}"
                );
            }
        }
    }
    std::fs::write(&file, "plugins: {p: {url: 'http://x', command: [y]}}").unwrap();
    let answer = pool.ask(task(asked(), 20_000)).await.result;
    assert!(answer.unwrap_err().contains("url or command"));
    drop(std::fs::remove_file(&file));
}

#[test]
fn the_metrics_api_of_the_cluster_is_read() {
    let read = |status: u16, body: &str| {
        let reply = Reply {
            status,
            body: body.into(),
        };
        kubernetes::parse(&reply).map(|v| v.to_string())
    };
    let body = r#"{"kind":"ExternalMetricValueList","apiVersion":"external.metrics.k8s.io/v1beta1","items":[{"metricName":"q","timestamp":"2026-11-21T15:00:00Z","value":"1500m"},{"metricName":"q","value":"2"}]}"#;
    assert_eq!(read(200, body).as_deref(), Ok("[1.5,2]"));
    assert!(read(403, "SEEN").unwrap_err().contains("generate-rbac"));
    assert!(read(404, "SEEN").unwrap_err().contains("no such metric"));
    assert!(
        read(200, r#"{"items":[{"value":"SEEN"}]}"#)
            .unwrap_err()
            .contains("the reply is not")
    );
}
