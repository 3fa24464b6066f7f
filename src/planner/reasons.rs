//! Condition types, reasons and the messages that existing clients know (contract A19–A22, A39,
//! Q1): one place, no string twice. Knows no rule.

/// Condition: the spec cannot be used.
pub const INVALID_SPEC: &str = "InvalidSpec";
/// Condition: enough pods are available.
pub const AVAILABLE: &str = "Available";
/// Condition: how the update goes on.
pub const PROGRESSING: &str = "Progressing";
/// Condition: a ReplicaSet cannot make its pods.
pub const REPLICA_FAILURE: &str = "ReplicaFailure";
/// Condition: an update waits for a person or a timer.
pub const PAUSED: &str = "Paused";
/// Condition: the version in spec is the stable one.
pub const COMPLETED: &str = "Completed";
/// Condition: promoted, at full size, nothing left to do.
pub const HEALTHY: &str = "Healthy";
/// Condition of ours: exactly when the phase is Healthy for this generation.
pub const READY: &str = "Ready";
/// Condition of ours: serin still has something to do or to wait for.
pub const RECONCILING: &str = "Reconciling";
/// Condition of ours: only a person can help.
pub const STALLED: &str = "Stalled";

/// Reason of condition Available, True and False alike.
pub const AVAILABLE_REASON: &str = "AvailableReason";
/// Progressing: a ReplicaSet was made.
pub const NEW_RS_CREATED: &str = "NewReplicaSetCreated";
/// Progressing: an old ReplicaSet has this template.
pub const FOUND_NEW_RS: &str = "FoundNewReplicaSet";
/// Progressing: a ReplicaSet could not be made.
pub const RS_CREATE_ERROR: &str = "ReplicaSetCreateError";
/// Progressing: counts move.
pub const RS_UPDATED: &str = "ReplicaSetUpdated";
/// Progressing: promoted, but no longer at full size.
pub const RS_NOT_AVAILABLE: &str = "ReplicaSetNotAvailable";
/// Progressing: done.
pub const NEW_RS_AVAILABLE: &str = "NewReplicaSetAvailable";
/// Progressing and event: waits.
pub const ROLLOUT_PAUSED: &str = "RolloutPaused";
/// Progressing and event: goes on.
pub const ROLLOUT_RESUMED: &str = "RolloutResumed";
/// Progressing: starts again after an abort.
pub const ROLLOUT_RETRY: &str = "RolloutRetry";
/// Progressing and event: rolled back.
pub const ROLLOUT_ABORTED: &str = "RolloutAborted";
/// Progressing: no progress in time.
pub const DEADLINE_EXCEEDED: &str = "ProgressDeadlineExceeded";
/// Condition Completed's reason and the event of a promotion.
pub const ROLLOUT_COMPLETED: &str = "RolloutCompleted";
/// Condition Healthy's reason.
pub const ROLLOUT_HEALTHY: &str = "RolloutHealthy";

/// Event: a Rollout is handled for the first time.
pub const ROLLOUT_ADDED: &str = "RolloutAddedToInformer";
/// Event: a Rollout is gone.
pub const ROLLOUT_DELETED: &str = "RolloutDeleted";
/// Event: an update began.
pub const ROLLOUT_NOT_COMPLETED: &str = "RolloutNotCompleted";
/// Event: the Rollout has a new revision.
pub const ROLLOUT_UPDATED: &str = "RolloutUpdated";
/// Event: the size of a ReplicaSet was changed.
pub const SCALING_RS: &str = "ScalingReplicaSet";
/// Event: a step is done.
pub const STEP_COMPLETED: &str = "RolloutStepCompleted";
/// Event: a Service selects other pods.
pub const SWITCH_SERVICE: &str = "SwitchService";
/// Event: steps are left out.
pub const SKIP_STEPS: &str = "SkipSteps";
/// Event of ours: a command was refused, and why.
pub const COMMAND_REFUSED: &str = "CommandRefused";
/// Event of ours: a person overrode a gate.
pub const GATE_OVERRIDDEN: &str = "GateOverridden";
/// Event of ours: a gate has no verdict, the step waits.
pub const GATE_HOLDING: &str = "GateHolding";
/// Event of ours: the analysis of a first deployment failed.
pub const FIRST_FAILED: &str = "FirstDeploymentFailed";
/// Event of ours: a freeze window holds an update.
pub const UPDATE_FROZEN: &str = "UpdateFrozen";
/// Event of ours: no freeze holds the update any more.
pub const FREEZE_ENDED: &str = "FreezeEnded";
/// Event of ours: a person let an update through a freeze.
pub const FREEZE_OVERRIDDEN: &str = "FreezeOverridden";
/// Event of ours: a ReplicaSet made by another controller goes on as it is.
pub const RS_ADOPTED: &str = "ReplicaSetAdopted";
/// Event of ours: every pod made before `spec.restartAt` has been replaced.
pub const ROLLOUT_RESTARTED: &str = "RolloutRestarted";
/// Event of ours: a Rollout that is being deleted was held for its workload, and is not any more.
pub const WORKLOAD_RESTORED: &str = "WorkloadRestored";
/// Event of ours: a Deployment keeps its pods, because the Rollout is not meant to have as many.
pub const WORKLOAD_KEPT: &str = "WorkloadKept";
/// Event of ours: a stable ReplicaSet that somebody deleted is made again.
pub const STABLE_RESTORED: &str = "StableRestored";
/// Event of ours: the new version's ReplicaSet, which somebody deleted, is made again.
pub const CANARY_RESTORED: &str = "CanaryRestored";
/// Event of ours: a disruption budget, or a missing right, keeps a pod from being evicted.
pub const EVICTION_REFUSED: &str = "EvictionRefused";
/// Event: something failed that serin will try again.
pub const RECONCILIATION_ERROR: &str = "ReconciliationError";

/// Pause reason: a pause step.
pub const CANARY_PAUSE_STEP: &str = "CanaryPauseStep";
/// Pause reason: before the switch of a blueGreen update.
pub const BLUE_GREEN_PAUSE: &str = "BlueGreenPause";
/// Pause reason: an analysis came to no verdict.
pub const INCONCLUSIVE_RUN: &str = "InconclusiveAnalysisRun";
/// Pause reason: an experiment came to no verdict.
pub const INCONCLUSIVE_EXPERIMENT: &str = "InconclusiveExperiment";
/// Pause reason of ours: a gate or an analysis failed, and a person shall decide.
pub const FAILED_RUN: &str = "FailedAnalysisRun";
/// Pause reason of ours: a gate holds the update at its very end.
pub const HELD_BY_GATE: &str = "HeldByGate";

/// The four phases.
pub const PHASE_HEALTHY: &str = "Healthy";
/// Something is wrong and an update does not go on.
pub const PHASE_DEGRADED: &str = "Degraded";
/// On its way.
pub const PHASE_PROGRESSING: &str = "Progressing";
/// Waits.
pub const PHASE_PAUSED: &str = "Paused";

/// The verb that `events.k8s.io/v1` asks for, one per reason.
pub fn action(reason: &str) -> &'static str {
    match reason {
        ROLLOUT_UPDATED | ROLLOUT_NOT_COMPLETED => "Update",
        NEW_RS_CREATED | RS_CREATE_ERROR => "Create",
        SCALING_RS | WORKLOAD_KEPT => "Scale",
        ROLLOUT_COMPLETED => "Promote",
        ROLLOUT_PAUSED => "Pause",
        ROLLOUT_RESUMED | FREEZE_ENDED => "Resume",
        ROLLOUT_ABORTED => "Abort",
        STEP_COMPLETED | SKIP_STEPS => "Step",
        SWITCH_SERVICE => "Switch",
        COMMAND_REFUSED => "Refuse",
        GATE_OVERRIDDEN | FREEZE_OVERRIDDEN => "Override",
        GATE_HOLDING | UPDATE_FROZEN => "Hold",
        RS_ADOPTED => "Adopt",
        ROLLOUT_RESTARTED => "Restart",
        WORKLOAD_RESTORED => "Restore",
        STABLE_RESTORED | CANARY_RESTORED => "Restore",
        EVICTION_REFUSED => "Evict",
        r if r.starts_with("Experiment") || r.starts_with("Template") => "Experiment",
        r if r.starts_with("AnalysisRun") || r.starts_with("Metric") => "Analyze",
        _ => "Reconcile",
    }
}
