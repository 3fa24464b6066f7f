//! Many AnalysisRuns at once: what they cost the controller beyond the queries themselves, how late a
//! query is, and how many questions are asked. Prometheus is a stand-in that answers at once.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use serde_json::{Value, json};

use crate::Flags;
use crate::load::{self, blocking};
use crate::report::Report;
use crate::stage::Stage;
use crate::usage;

/// AnalysisRuns; half of them have a query of their own, the others one in pairs.
const RUNS: usize = 1000;
/// What stands in a query that one run alone asks.
const ALONE: &str = "alone-";
/// Seconds between two measurements of one run.
const INTERVAL: u64 = 5;
/// What Prometheus answers: one number that is good.
const ANSWER: &str = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1700000000,"0.2"]}]}}"#;

/// When each query was asked.
type Asked = Arc<Mutex<HashMap<String, Vec<Instant>>>>;

/// Measures them for a minute, after half a minute to begin.
pub(crate) async fn measure(flags: &Flags, dir: &Path, report: &mut Report) -> anyhow::Result<()> {
    let asked = Asked::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    let app = Router::new()
        .route("/api/v1/query", post(answer))
        .with_state(Arc::clone(&asked));
    let server = tokio::spawn(async move { axum::serve(listener, app).await });

    let alone = {
        let address = address.clone();
        blocking(move || query_cost(&address)).await?
    };
    let mut stage = Stage::set(dir, &flags.binary).await?;
    let controller = stage
        .controller_with(&[format!("--prometheus={address}")])
        .await?;
    let runs = load::api(&stage.client, "argoproj.io", "v1alpha1", "AnalysisRun");
    load::create_all(&runs, (0..RUNS).map(run)).await?;
    tokio::time::sleep(Duration::from_secs(30)).await;

    let tail = stage.tail()?;
    asked.lock().unwrap_or_else(PoisonError::into_inner).clear();
    let cpu = usage::cpu(controller.pid())?;
    let begun = Instant::now();
    tokio::time::sleep(flags.idle_for).await;
    let seconds = begun.elapsed().as_secs_f64();
    let used = usage::cpu(controller.pid())? - cpu;
    let written = tail.read()?;
    let asked = std::mem::take(&mut *asked.lock().unwrap_or_else(PoisonError::into_inner));
    let queries: usize = asked.values().map(Vec::len).sum();
    let of_queries = alone * queries as f64;

    report.row("AnalysisRuns", RUNS as f64, "");
    report.row("queries a second", queries as f64 / seconds, "");
    report.row("measurements a second", (RUNS as u64 / INTERVAL) as f64, "");
    report.row(
        "CPU of the controller",
        used / seconds * 100.0,
        "% of one CPU",
    );
    report.row("CPU of one query, asked alone", alone * 1e6, "µs");
    report.at_most(
        15.0,
        "CPU beyond the queries",
        (used - of_queries) / seconds * 100.0,
        "% of one CPU",
    );
    report.at_most(1.0, "a query late by at most", latest(&asked), "s");
    report.row(
        "writes of a run in a minute",
        f64::from(written.all_writes()) / RUNS as f64 / seconds * 60.0,
        "",
    );
    report.row("RSS", usage::memory(controller.pid())?.0, "MiB");
    controller.stop().await?;
    server.abort();
    Ok(())
}

async fn answer(
    State(asked): State<Asked>,
    body: String,
) -> ([(&'static str, &'static str); 1], &'static str) {
    let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
    asked.entry(body).or_default().push(Instant::now());
    ([("content-type", "application/json")], ANSWER)
}

/// The longest time between two askings of a query that one run alone asks, less the interval, in seconds.
fn latest(asked: &HashMap<String, Vec<Instant>>) -> f64 {
    let alone = asked.iter().filter(|(body, _)| body.contains(ALONE));
    let gaps = alone.flat_map(|(_, times)| {
        let pairs = times.windows(2);
        pairs.filter_map(|two| Some(two.last()?.duration_since(*two.first()?).as_secs_f64()))
    });
    gaps.fold(0.0, |most: f64, gap| most.max(gap - INTERVAL as f64))
}

/// CPU seconds of one query from a thread that does nothing else.
fn query_cost(address: &str) -> std::io::Result<f64> {
    const TIMES: u32 = 2000;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let url = format!("{address}/api/v1/query");
    let before = usage::own_thread()?;
    runtime.block_on(async {
        let client = reqwest::Client::new();
        for n in 0..TIMES {
            let request = client
                .post(&url)
                .header("content-type", "application/x-www-form-urlencoded")
                .body(format!("query=cost_{n}"));
            let answer = request.send().await.map_err(std::io::Error::other)?;
            let body = answer.bytes().await.map_err(std::io::Error::other)?;
            let _: Value = serde_json::from_slice(&body)?;
        }
        Ok::<(), std::io::Error>(())
    })?;
    Ok((usage::own_thread()? - before) / f64::from(TIMES))
}

fn run(number: usize) -> Value {
    let version = if number < RUNS / 2 {
        format!("{ALONE}{number}")
    } else {
        format!("pair-{}", number / 2)
    };
    json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AnalysisRun",
        "metadata": {"name": format!("run-{number}"), "namespace": load::NAMESPACE},
        "spec": {"metrics": [{
            "name": "latency",
            "interval": format!("{INTERVAL}s"),
            "successCondition": "result[0] <= 0.8",
            "provider": {"prometheus": {
                "query": format!("histogram_quantile(0.95, sum by (le) (rate(task_seconds_bucket{{version=\"{version}\"}}[5m])))"),
            }},
        }]},
    })
}
