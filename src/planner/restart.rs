//! Restart: pods made before `spec.restartAt` are evicted and made anew by their ReplicaSets, never
//! below the availability floor (contract Z1, R41). Knows nothing of budgets that others keep: the
//! API server refuses an eviction where one would be broken, and it is tried again.

use jiff::Timestamp;

use super::draft::{Draft, after, whole_seconds};
use super::observed::{Need, Observed, PodSeen, ReplicaSetSeen};
use super::plan::Event;
use super::reasons;
use super::replicas::{Fence, Pair, fenceposts};
use super::revision::Sets;
use super::spec::{Bound, Spec};
use crate::api::status::RestartStatus;

/// Seconds until pods that could not be evicted are tried again, where nothing else happens before.
const AGAIN: i64 = 30;

/// What a restart asks of the turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restart {
    /// Nothing: none is due, or it waits for pods.
    Idle,
    /// Pods are evicted in this turn: nothing is scaled on counts that are about to change.
    Evicts,
    /// No pod may be missing: these sizes make room first.
    Surge(Pair),
}

/// How far a restart may go from the sizes that the strategy wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// Pods that may be missing.
    missing: u32,
    /// Pods that may be made before others go, where none may be missing.
    extra: u32,
    /// Most pods in all, where there is such a limit.
    ceiling: Option<u32>,
}

impl Room {
    /// Of a canary. With one replica none may be missing where one more can be made first: the peer
    /// always takes one, and so takes the only one (argo-rollouts#1583).
    pub(crate) fn of_canary(replicas: u32, fence: Fence) -> Self {
        let is_alone = replicas <= 1 && fence.surge > 0;
        Self {
            missing: if is_alone { 0 } else { fence.unavailable },
            extra: fence.surge,
            ceiling: Some(fence.ceiling(replicas)),
        }
    }

    /// Of blueGreen, where nothing else reads `maxUnavailable` (B10) and nothing limits the pods: one
    /// more is made where none may be missing.
    pub(crate) fn of_blue_green(replicas: u32, max_unavailable: Bound) -> Self {
        let missing = fenceposts(replicas, Bound::Pods(1), max_unavailable).unavailable;
        Self {
            missing: if replicas <= 1 { 0 } else { missing },
            extra: 1,
            ceiling: None,
        }
    }
}

/// `spec.restartAt` where it is neither done nor still to come.
fn due(spec: &Spec, restarted_at: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    spec.restart_at
        .filter(|at| restarted_at != Some(*at) && *at <= now)
}

/// What must be known: the pods, while a restart is due.
pub(crate) fn needs(seen: &Observed) -> Option<Need> {
    let spec = seen.rollout.spec.as_ref().ok()?;
    let done = seen.rollout.status.restarted_at.as_ref().map(|t| t.0);
    due(spec, done, seen.now).map(|_| Need::Pods)
}

/// True while a restart is under way, by the status in the making.
pub(crate) fn is_under_way(d: &Draft<'_>) -> bool {
    let done = d.next.restarted_at.as_ref().map(|t| t.0);
    due(d.spec, done, d.now()).is_some()
}

/// A new template replaces every pod by itself: a restart that was due is done with (A27).
pub(crate) fn forget(d: &mut Draft<'_>) {
    if is_under_way(d) {
        d.next.restarted_at = d
            .spec
            .restart_at
            .map(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time);
    }
}

/// A restart in this turn: what is to go, and how much room may be made for it.
pub(crate) struct Stage<'a> {
    /// Pods made before the restart that may go now.
    chosen: Vec<&'a PodSeen>,
    /// All that are left.
    left: u32,
    room: Room,
    /// Sizes with as many pods more as there may be.
    raised: Pair,
}

/// What a restart could do now; `None` where none is due or it has just ended. `base` is how big the
/// strategy wants the two sides.
pub(crate) fn look<'a>(
    d: &mut Draft<'a>,
    sets: &Sets<'_>,
    room: Room,
    base: Pair,
) -> Option<Stage<'a>> {
    let done = d.read().restarted_at.as_ref().map(|t| t.0);
    let Some(at) = due(d.spec, done, d.now()) else {
        if let Some(at) = d.spec.restart_at.filter(|at| *at > d.now()) {
            d.wake.at(at);
        }
        return None;
    };
    let pods = d.seen.answers.pods.as_ref()?;
    let mut sides = vec![Side::of(d, sets.canary, base.canary, pods, at)];
    sides.extend(
        sets.stable
            .map(|stable| Side::of(d, stable, base.stable, pods, at)),
    );
    let left = sides.iter().fold(0_u32, |sum, side| {
        sum.saturating_add(count(side.old.iter()))
    });
    d.wake.at(after(d.now(), AGAIN));
    if let Some(at) = next_available(d) {
        d.wake.at(at);
    }
    if left == 0 {
        // The counts on which the phase will rest still tell of pods that are gone.
        if !d.counts_are_late {
            end(d, at);
        }
        return None;
    }
    Some(Stage {
        chosen: victims(d, sets, room, &sides, pods),
        left,
        room,
        raised: raised(room, base, &sides),
    })
}

fn end(d: &mut Draft<'_>, at: Timestamp) {
    d.next.restarted_at = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at));
    if let Some(serin) = &mut d.next.serin {
        serin.restart = None;
    }
    let text = format!("Every pod made before {at} has been replaced");
    d.event(Event::normal(reasons::ROLLOUT_RESTARTED, text));
}

impl Stage<'_> {
    /// Sizes that make room, where no pod may be missing; `None` where none are needed.
    pub(crate) fn surge(&self, d: &mut Draft<'_>) -> Option<Pair> {
        if self.room.missing > 0 {
            return None;
        }
        if d.spec.paused {
            d.note(
                "restart: no pod may be missing and spec.paused keeps another from being made first; it goes on when spec.paused is cleared",
            );
            return None;
        }
        Some(self.raised)
    }

    /// Evicts what may go. False where nothing may, or where the same was tried a moment ago and a
    /// disruption budget said no: what else is to be done does not wait for that.
    pub(crate) fn evict(&self, d: &mut Draft<'_>) -> bool {
        if self.chosen.is_empty() {
            d.note(if self.room.missing > 0 {
                "restart: waiting for pods to become available before more are evicted"
            } else {
                "restart: no pod may be missing, so another is made before one goes"
            });
            return false;
        }
        let tried = d.read().serin.as_ref().and_then(|s| s.restart.as_ref());
        let again = tried
            .filter(|tried| tried.left == i64::from(self.left))
            .and_then(|tried| Some(after(tried.at.as_ref()?.0, AGAIN)));
        if let Some(again) = again.filter(|again| *again > d.now()) {
            d.wake.at(again);
            d.note("restart: pods are not evicted, by a disruption budget or a missing right; tried again every 30 s");
            return false;
        }
        let names: Vec<&str> = self.chosen.iter().map(|pod| pod.name.as_str()).collect();
        d.note(format!("restart: evicting {}", names.join(", ")));
        self.chosen.iter().for_each(|pod| d.evict(pod));
        let at = Some(whole_seconds(d.now()));
        d.serin().restart = Some(RestartStatus {
            left: i64::from(self.left),
            at,
        });
        // On record, or the next turn would try the same.
        d.is_forced = true;
        true
    }
}

/// Evicts what may go now, or says what stands in the way. Comes before sizes, because an eviction
/// changes what sizes are decided on.
pub(crate) fn steer(d: &mut Draft<'_>, sets: &Sets<'_>, room: Room, base: Pair) -> Restart {
    let Some(stage) = look(d, sets, room, base) else {
        return Restart::Idle;
    };
    // A way back comes first: what clients had goes on until they have what is known good.
    let read = d.read();
    let shown = read.blue_green.as_ref();
    let shown = shown.and_then(|b| b.active_selector.as_deref());
    if read.abort == Some(true) && shown != read.stable_rs.as_deref() {
        d.note("restart: waits until the update has gone back");
        return Restart::Idle;
    }
    if stage.evict(d) {
        return Restart::Evicts;
    }
    stage.surge(d).map_or(Restart::Idle, Restart::Surge)
}

/// The same turn with the available pods that there really are: a ReplicaSet's own count is late after
/// an eviction, and nothing may rest on a pod that is on its way out. Beside it, when to
/// look again. `None` where no pods were read, or nothing is late.
pub(crate) fn without_late_counts(seen: &Observed) -> Option<(Observed, Option<Timestamp>)> {
    let pods = seen.answers.pods.as_ref()?;
    let mut next: Option<Observed> = None;
    for (i, set) in seen.replica_sets.iter().enumerate() {
        let mine = || pods.iter().filter(|pod| pod.owner == set.uid);
        let live = count(mine().filter(|pod| is_up(pod, set.min_ready_seconds, seen.now)));
        // A pod that nobody can tell of is none that is gone: what is taken for missing is given away.
        let most = mine().filter(|pod| may_be_up(pod, set.min_ready_seconds, seen.now));
        if count(most) >= set.available {
            continue;
        }
        let copy = next.get_or_insert_with(|| seen.clone());
        if let Some(set) = copy.replica_sets.get_mut(i) {
            set.available = live;
        }
    }
    // A pod that is ready and not yet available brings no news when it is, nor when it may be.
    let min_ready = |pod: &PodSeen| {
        let mut sets = seen.replica_sets.iter();
        let set = sets.find(|set| set.uid == pod.owner);
        set.map_or(0, |set| set.min_ready_seconds)
    };
    let ready = pods.iter().filter(|pod| pod.is_active);
    let due = ready
        .filter_map(|pod| Some((pod.ready_since?, min_ready(pod))))
        .flat_map(|(since, min)| [after(since, i64::from(min)), available_at(since, min)])
        .filter(|at| *at > seen.now)
        .min();
    Some((next?, due))
}

/// One side of the update: its ReplicaSet's pods of before and after.
struct Side<'a> {
    /// Pods made before `restartAt` that are not on their way out.
    old: Vec<&'a PodSeen>,
    /// Pods that are available now.
    available: u32,
    /// Pods the strategy wants.
    base: u32,
}

impl<'a> Side<'a> {
    fn of(
        d: &Draft<'_>,
        set: &ReplicaSetSeen,
        base: u32,
        pods: &'a [PodSeen],
        at: Timestamp,
    ) -> Self {
        let mine = || pods.iter().filter(|p| p.owner == set.uid && p.is_active);
        let mut old: Vec<&PodSeen> = mine().filter(|p| p.created < at).collect();
        // Those that serve nobody cost nothing; then the oldest.
        old.sort_by_key(|p| (may_be_available(d, p), p.created, p.name.clone()));
        Self {
            old,
            available: count(mine().filter(|p| is_available(d, p))),
            base,
        }
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

/// Availability by the pod itself, read in this turn: a ReplicaSet's count is late after an eviction.
fn is_available(d: &Draft<'_>, pod: &PodSeen) -> bool {
    is_up(pod, d.spec.min_ready_seconds, d.now())
}

fn is_up(pod: &PodSeen, min_ready: u32, now: Timestamp) -> bool {
    pod.is_active
        && pod
            .ready_since
            .is_some_and(|since| available_at(since, min_ready) <= now)
}

/// False for a pod that certainly serves nobody: taking it costs nothing. In the second in which that
/// cannot be told a pod does not count as available, and is not free either.
fn may_be_available(d: &Draft<'_>, pod: &PodSeen) -> bool {
    may_be_up(pod, d.spec.min_ready_seconds, d.now())
}

fn may_be_up(pod: &PodSeen, min_ready: u32, now: Timestamp) -> bool {
    let is_time = |since| after(since, i64::from(min_ready)) <= now;
    pod.is_active && pod.ready_since.is_some_and(is_time)
}

/// When a pod that is ready since then is available for certain: times of objects are cut to whole
/// seconds, so a second more is given where seconds count.
fn available_at(since: Timestamp, min_ready: u32) -> Timestamp {
    match min_ready {
        0 => since,
        seconds => after(since, i64::from(seconds).saturating_add(1)),
    }
}

/// When the next of the pods that are ready becomes available.
fn next_available(d: &Draft<'_>) -> Option<Timestamp> {
    let pods = d.seen.answers.pods.iter().flatten();
    pods.filter(|pod| pod.is_active)
        .filter_map(|pod| pod.ready_since)
        .map(|since| available_at(since, d.spec.min_ready_seconds))
        .filter(|at| *at > d.now())
        .min()
}

/// The pods that go now. Those that are not available cost nothing. Of the others as many as are
/// available beyond what must stay: `max(replicas, Σ sizes) - maxUnavailable` (R41: of 4 with 3 that
/// may be missing 3 go; of 5 with 1 it is 1). Where none may be missing, what a side has beyond its
/// size; and where the update itself fills all the room there is, what is beyond `replicas`.
fn victims<'a>(
    d: &Draft<'_>,
    sets: &Sets<'_>,
    room: Room,
    sides: &[Side<'a>],
    pods: &[PodSeen],
) -> Vec<&'a PodSeen> {
    let replicas = d.spec.replicas;
    let total = sets
        .all()
        .fold(0_u32, |sum, rs| sum.saturating_add(rs.replicas));
    let stays = if room.missing > 0 {
        replicas.max(total).saturating_sub(room.missing)
    } else {
        replicas
    };
    let is_by_side = room.missing == 0 && room.ceiling.is_none_or(|most| total < most);
    // Pods of Experiments may bear the same labels: they stand in for nothing.
    let is_ours = |pod: &&PodSeen| sets.all().any(|rs| rs.uid == pod.owner);
    let available = count(pods.iter().filter(is_ours).filter(|p| is_available(d, p)));
    let mut budget = available.saturating_sub(stays);
    let mut chosen = vec![];
    for side in sides {
        let beyond = side.available.saturating_sub(side.base);
        let mut spare = if is_by_side { beyond } else { budget };
        for pod in &side.old {
            if may_be_available(d, pod) {
                if spare == 0 || budget == 0 {
                    break;
                }
                spare = spare.saturating_sub(1);
                budget = budget.saturating_sub(1);
            }
            chosen.push(*pod);
        }
    }
    chosen
}

/// Sizes with as many more pods as there may be, on the side that has old ones. A side that is to be
/// empty gets none: its old pods go anyway.
fn raised(room: Room, base: Pair, sides: &[Side<'_>]) -> Pair {
    let more = |side: Option<&Side<'_>>| {
        let side = side.filter(|side| side.base > 0);
        let old = side.map_or(0, |s| count(s.old.iter()));
        old.min(room.extra)
    };
    let canary = more(sides.first());
    let stable = if canary == 0 { more(sides.get(1)) } else { 0 };
    Pair {
        canary: base.canary.saturating_add(canary),
        stable: base.stable.saturating_add(stable),
    }
}

#[cfg(test)]
mod tests;
