//! One pod from binding to deletion. Knows the order of things; how a pod runs is in `played.rs` and `program.rs`.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::cluster::{Cluster, Gone};
use crate::{played, program};

/// A pod's task; dropping it ends the task and the pod's process at once.
pub(crate) struct Life {
    /// The last list that had this pod.
    pub(crate) round: u64,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Life {
    /// Starts a pod's life: binds it where nobody has, runs it, and deletes it when it is told to end.
    pub(crate) fn begin(cluster: &Arc<Cluster>, pod: Pod) -> Self {
        let (stop, told) = watch::channel(false);
        let cluster = Arc::clone(cluster);
        // A pod that is gone has no life to report on.
        let task = tokio::spawn(async move { drop(live(&cluster, &pod, Stop(told)).await) });
        Self {
            round: 0,
            stop,
            task,
        }
    }

    /// Tells the pod to end; again is the same as once.
    pub(crate) fn end(&self) {
        self.stop.send_replace(true);
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Becomes true when the pod has been deleted by somebody and must end.
#[derive(Clone)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Returns when the pod is told to end.
    pub(crate) async fn told(&mut self) {
        if self.0.wait_for(|is_told| *is_told).await.is_err() {
            // The life was dropped, and with it this task.
            std::future::pending::<()>().await;
        }
    }

    /// Sleeps; true when the pod was told to end meanwhile.
    pub(crate) async fn within(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.told()).await.is_ok()
    }
}

async fn live(cluster: &Cluster, pod: &Pod, mut stop: Stop) -> Result<(), Gone> {
    let spec = pod.spec.as_ref();
    if spec.is_some_and(|spec| spec.node_name.is_none())
        && pod.metadata.deletion_timestamp.is_none()
    {
        cluster.bind(pod).await?;
    }
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    if matches!(phase, Some("Succeeded" | "Failed")) {
        stop.told().await;
    } else if let Some(program) = program::of(cluster, pod) {
        program.run(cluster, pod, &mut stop).await?;
    } else {
        played::run(cluster, pod, &mut stop).await?;
    }
    cluster.delete(pod).await
}

/// Time that a pod has to end by itself.
pub(crate) fn grace(pod: &Pod) -> Duration {
    let seconds = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.termination_grace_period_seconds);
    Duration::from_secs(
        seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .unwrap_or(30),
    )
}
