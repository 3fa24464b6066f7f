//! What can happen in the rehearsal's world. Knows nothing of what it leads to.

use std::sync::Arc;

/// A kind of object with a watch of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Rollouts.
    Rollouts,
    /// ReplicaSets.
    ReplicaSets,
    /// AnalysisRuns.
    Runs,
    /// Services.
    Services,
    /// Experiments.
    Experiments,
}

/// One happening in virtual time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happen {
    /// A watch has something to bring.
    Deliver(Kind),
    /// The ReplicaSet controller looks at one ReplicaSet.
    Sync(Arc<str>),
    /// A pod's next transition.
    Pod {
        /// Its ReplicaSet.
        set: Arc<str>,
        /// The pod.
        pod: u64,
        /// The transition is stale when the pod's serial has moved on.
        serial: u32,
    },
    /// A terminating pod is gone.
    Gone {
        /// Its ReplicaSet.
        set: Arc<str>,
        /// The pod.
        pod: u64,
    },
    /// The controller looks at the Rollout.
    Turn,
    /// The controller looks at Services that no Rollout names any more.
    LetGo,
    /// The controller looks at an AnalysisRun.
    RunTurn(Arc<str>),
    /// The controller looks at an Experiment.
    ExperimentTurn(Arc<str>),
    /// The answer of a measurement arrives.
    Answer(u64),
    /// A scripted action is due.
    Act(usize),
    /// The controller starts.
    Start,
    /// A frozen watch goes on.
    Thaw(Kind),
    /// Nothing but time passes; scripted actions that wait for a situation are looked at.
    Tick,
}
