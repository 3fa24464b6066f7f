//! Plays a pod's life from its script. Knows when to report what; runs nothing.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use crate::cluster::{Cluster, Gone};
use crate::life::{Stop, grace};
use crate::script::{self, Act};
use crate::status::{self, Containers, Report};

/// Plays the pod until it is told to end and has ended.
pub(crate) async fn run(cluster: &Cluster, pod: &Pod, stop: &mut Stop) -> Result<(), Gone> {
    let script = script::read(pod);
    let part = Part::new(cluster, pod);
    // Told to end before it started: nothing to report.
    if pod.metadata.deletion_timestamp.is_none() {
        play(&part, script.act, stop).await?;
    }
    stop.told().await;
    tokio::time::sleep(script.stop_after.min(grace(pod))).await;
    Ok(())
}

/// Each branch returns when there is no more to report, or the pod is told to end.
async fn play(part: &Part<'_>, act: Act, stop: &mut Stop) -> Result<(), Gone> {
    match act {
        Act::Serve { ready_after } => {
            if ready_after > Duration::ZERO {
                part.run(false).await?;
                if stop.within(ready_after).await {
                    return Ok(());
                }
            }
            part.run(true).await
        }
        Act::NeverReady => part.run(false).await,
        Act::Crash { after } => {
            if let Some(after) = after {
                part.run(true).await?;
                if stop.within(after).await {
                    return Ok(());
                }
            }
            part.say(crash_loop(), 3).await
        }
        Act::Wait { reason } => {
            let message = "as the pod's annotation says".to_owned();
            part.say(
                Containers::Waiting {
                    reason,
                    message,
                    exit_code: None,
                },
                0,
            )
            .await
        }
        Act::Flap { every } => {
            for is_ready in [true, false].into_iter().cycle() {
                part.run(is_ready).await?;
                if stop.within(every).await {
                    break;
                }
            }
            Ok(())
        }
        Act::Exit { after, code } => {
            if after > Duration::ZERO {
                part.run(true).await?;
                if stop.within(after).await {
                    return Ok(());
                }
            }
            part.say(
                Containers::Ended {
                    since: status::now(),
                    exit_code: code,
                },
                0,
            )
            .await
        }
    }
}

fn crash_loop() -> Containers {
    Containers::Waiting {
        reason: "CrashLoopBackOff".to_owned(),
        message: "back-off restarting failed container".to_owned(),
        exit_code: Some(1),
    }
}

/// A pod's part: what stays the same from report to report.
struct Part<'a> {
    cluster: &'a Cluster,
    pod: &'a Pod,
    pod_ip: String,
    started: String,
}

impl<'a> Part<'a> {
    fn new(cluster: &'a Cluster, pod: &'a Pod) -> Self {
        Self {
            cluster,
            pod,
            pod_ip: cluster.new_pod_ip(),
            started: status::now(),
        }
    }

    async fn run(&self, is_ready: bool) -> Result<(), Gone> {
        self.say(
            Containers::Running {
                since: self.started.clone(),
                is_ready,
            },
            0,
        )
        .await
    }

    async fn say(&self, containers: Containers, restarts: u32) -> Result<(), Gone> {
        let (pod_ip, started) = (self.pod_ip.clone(), self.started.clone());
        let report = Report {
            containers,
            restarts,
            pod_ip,
            started,
            address: None,
        };
        self.cluster
            .report(self.pod, status::patch(self.pod, &report))
            .await
    }
}
