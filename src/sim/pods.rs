//! How the pods of a version live: scheduled, started, ready, crashed, flapping. Knows no
//! ReplicaSet and no rollout; time is given in.

use std::sync::Arc;

use jiff::Timestamp;

use super::clock::{Ms, plus};
use crate::planner::spec::Meta;

/// How the pods of one version behave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// From being made to being bound to a node.
    pub schedule: Ms,
    /// From being bound to the first readiness.
    pub startup: Ms,
    /// Up to this much is added to `startup`, different for each pod, the same in each run.
    pub jitter: Ms,
    /// How readiness goes on.
    pub readiness: Readiness,
    /// From being told to end to being gone.
    pub grace: Ms,
}

/// How a pod's readiness goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Ready for good.
    Steady,
    /// Never ready.
    Never,
    /// Crashes so long after each readiness; restarts with the kubelet's back-off.
    CrashLoop {
        /// Time from ready to the crash.
        after: Ms,
    },
    /// The probe answers, then does not, then does.
    Flap {
        /// Time ready.
        up: Ms,
        /// Time not ready.
        down: Ms,
    },
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            schedule: 200,
            startup: 5_000,
            jitter: 0,
            readiness: Readiness::Steady,
            grace: 2_000,
        }
    }
}

/// Where a pod stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Not bound to a node.
    Pending,
    /// Bound; its containers start.
    Starting,
    /// Its probe does not answer, or it restarts.
    Down,
    /// Ready.
    Ready,
}

/// One pod.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Number in the order of creation, over all pods.
    pub id: u64,
    /// When it was made.
    pub created: Timestamp,
    /// Where it stands.
    pub stage: Stage,
    /// Since when it has been ready, when it is.
    pub ready_since: Option<Timestamp>,
    /// How often its container was started again.
    pub restarts: u32,
    /// Told to end; no longer counted by its ReplicaSet.
    pub is_terminating: bool,
    /// Its labels and annotations.
    pub meta: Arc<Meta>,
    /// Raised with each change, so that a transition planned before is recognised as stale.
    pub serial: u32,
}

impl Pod {
    /// A pod that was just made.
    pub fn new(id: u64, created: Timestamp) -> Self {
        Self {
            id,
            created,
            stage: Stage::Pending,
            ready_since: None,
            restarts: 0,
            is_terminating: false,
            meta: Arc::default(),
            serial: 0,
        }
    }

    /// Ready for at least `min_ready` seconds at `now`.
    pub fn is_available(&self, min_ready: u32, now: Timestamp) -> bool {
        !self.is_terminating
            && self
                .ready_since
                .is_some_and(|since| plus(since, Ms::from(min_ready) * 1000) <= now)
    }

    /// Moves to `stage` at `now`.
    pub fn enter(&mut self, stage: Stage, now: Timestamp) {
        if stage == Stage::Ready && self.stage != Stage::Ready {
            self.ready_since = Some(now);
        }
        if stage != Stage::Ready {
            self.ready_since = None;
        }
        self.stage = stage;
        self.serial += 1;
    }

    /// What happens next to this pod, and how long from now, if it is left alone.
    pub fn next(&self, how: &Behaviour) -> Option<(Ms, Stage)> {
        match (self.stage, &how.readiness) {
            (Stage::Pending, _) => Some((how.schedule, Stage::Starting)),
            (Stage::Starting, Readiness::Never) => None,
            (Stage::Starting, _) => Some((how.startup + self.spread(how.jitter), Stage::Ready)),
            (Stage::Ready, Readiness::CrashLoop { after }) => Some((*after, Stage::Down)),
            (Stage::Ready, Readiness::Flap { up, .. }) => Some((*up, Stage::Down)),
            (Stage::Ready, Readiness::Steady | Readiness::Never) => None,
            (Stage::Down, Readiness::Flap { down, .. }) => Some((*down, Stage::Ready)),
            (Stage::Down, Readiness::CrashLoop { .. }) => {
                Some((backoff(self.restarts) + how.startup, Stage::Ready))
            }
            (Stage::Down, Readiness::Steady) => Some((how.startup, Stage::Ready)),
            (Stage::Down, Readiness::Never) => None,
        }
    }

    /// The order in which a ReplicaSet gives pods up: unbound first, then not ready, then those
    /// ready for the shortest time, then those that restarted most, then the youngest.
    pub fn cmp_for_removal(&self, other: &Self) -> std::cmp::Ordering {
        let bound = |pod: &Self| pod.stage != Stage::Pending;
        let ready = |pod: &Self| pod.stage == Stage::Ready;
        bound(self)
            .cmp(&bound(other))
            .then(ready(self).cmp(&ready(other)))
            .then(other.ready_since.cmp(&self.ready_since))
            .then(other.restarts.cmp(&self.restarts))
            .then(other.created.cmp(&self.created))
            .then(other.id.cmp(&self.id))
    }

    /// A fixed share of `jitter` for this pod.
    fn spread(&self, jitter: Ms) -> Ms {
        if jitter <= 0 {
            return 0;
        }
        let mixed = self.id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
        Ms::try_from(mixed).unwrap_or(0) % jitter
    }
}

/// The kubelet's back-off before restart `n`: 10 s, doubled each time, 5 min at most.
fn backoff(restarts: u32) -> Ms {
    10_000_i64.saturating_mul(1 << restarts.min(5)).min(300_000)
}

#[cfg(test)]
mod tests {
    use super::super::clock::epoch;
    use super::*;

    #[test]
    fn victims_are_chosen_as_kubernetes_does() {
        let at = |id, stage, ready: Option<Ms>| {
            let mut pod = Pod::new(id, plus(epoch(), Ms::try_from(id).unwrap()));
            pod.stage = stage;
            pod.ready_since = ready.map(|ms| plus(epoch(), ms));
            pod
        };
        let mut pods = [
            at(1, Stage::Ready, Some(10)),
            at(2, Stage::Ready, Some(50)),
            at(3, Stage::Starting, None),
            at(4, Stage::Pending, None),
            at(5, Stage::Down, None),
        ];
        pods.sort_by(Pod::cmp_for_removal);
        assert_eq!(pods.map(|pod| pod.id), [4, 5, 3, 2, 1]);
    }

    #[test]
    fn a_crash_loop_backs_off() {
        let how = Behaviour {
            readiness: Readiness::CrashLoop { after: 3_000 },
            startup: 1_000,
            ..Behaviour::default()
        };
        let mut pod = Pod::new(1, epoch());
        pod.enter(Stage::Ready, epoch());
        assert_eq!(pod.next(&how), Some((3_000, Stage::Down)));
        pod.enter(Stage::Down, epoch());
        assert_eq!(pod.next(&how), Some((11_000, Stage::Ready)));
        pod.restarts = 9;
        assert_eq!(pod.next(&how), Some((301_000, Stage::Ready)));
    }
}
