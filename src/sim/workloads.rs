//! Plays the ReplicaSet controller and the nodes: pods made and removed, statuses written later
//! than the pods they count. Knows how Kubernetes does it, and nothing of rollouts.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::clock::{Ms, Queue, plus};
use super::cluster::{Cluster, ReplicaSet};
use super::event::{Happen, Kind};
use super::pods::{Behaviour, Pod, Stage};
use crate::planner::observed::PodSeen;
use crate::planner::plan::{Outcome, PodPatch};

/// Pods of all ReplicaSets and what limits them.
#[derive(Debug, Default)]
pub struct Workloads {
    /// Pods by the name of their ReplicaSet.
    pods: BTreeMap<Arc<str>, Vec<Pod>>,
    /// How pods behave, by the image of their first container.
    behaviours: BTreeMap<String, Arc<Behaviour>>,
    /// How pods behave whose image is not listed.
    pub otherwise: Arc<Behaviour>,
    /// Most pods that a quota allows.
    pub quota: Option<u32>,
    /// Pods that a disruption budget keeps healthy.
    pub budget: Option<u32>,
    /// Most pods that the nodes can run.
    pub capacity: Option<u32>,
    /// From a change to the ReplicaSet controller's look at it.
    pub sync_delay: Ms,
    next_pod: u64,
}

/// Time the ReplicaSet controller waits before it tries a refused pod again.
const REFUSED_RETRY: Ms = 10_000;

impl Workloads {
    /// Nothing runs yet; the ReplicaSet controller takes 20 ms to look at a change.
    pub fn new() -> Self {
        Self {
            sync_delay: 20,
            ..Self::default()
        }
    }

    /// Says how pods with `image` behave; pods that run already follow at their next transition.
    pub fn set_behaviour(&mut self, image: &str, how: Behaviour) {
        self.behaviours.insert(image.to_owned(), Arc::new(how));
    }

    /// Pods of a ReplicaSet, those on their way out included.
    pub fn pods(&self, set: &str) -> &[Pod] {
        self.pods.get(set).map_or(&[], Vec::as_slice)
    }

    /// Pods of a ReplicaSet that are available right now, whatever its status says.
    pub fn available(&self, set: &ReplicaSet, now: Timestamp) -> u32 {
        let min_ready = set.seen.min_ready_seconds;
        count(self.pods(&set.seen.name), |pod| {
            pod.is_available(min_ready, now)
        })
    }

    /// Pods of a ReplicaSet that exist and are not on their way out.
    pub fn active(&self, set: &str) -> u32 {
        count(self.pods(set), |pod| !pod.is_terminating)
    }

    /// Forgets a ReplicaSet that was deleted: its pods go with it.
    pub fn forget(&mut self, set: &str) {
        self.pods.remove(set);
    }

    fn behaviour(&self, image: &str) -> Arc<Behaviour> {
        Arc::clone(self.behaviours.get(image).unwrap_or(&self.otherwise))
    }

    fn total(&self) -> u32 {
        self.pods
            .values()
            .map(|pods| u32::try_from(pods.len()).unwrap_or(u32::MAX))
            .sum()
    }

    fn healthy(&self) -> u32 {
        let is_healthy = |pod: &Pod| !pod.is_terminating && pod.stage == Stage::Ready;
        self.pods.values().map(|pods| count(pods, is_healthy)).sum()
    }

    fn bound(&self) -> u32 {
        self.pods
            .values()
            .map(|pods| count(pods, |pod| pod.stage != Stage::Pending))
            .sum()
    }
}

fn pod_name(set: &str, pod: &Pod) -> String {
    format!("{set}-{}", pod.id)
}

fn pod_uid(id: u64) -> String {
    format!("pod-{id:04}")
}

fn change(map: &mut BTreeMap<String, String>, patch: Option<&Value>) {
    for (key, value) in patch.and_then(Value::as_object).into_iter().flatten() {
        match value.as_str() {
            Some(value) => map.insert(key.clone(), value.to_owned()),
            None => map.remove(key),
        };
    }
}

/// Times of objects have whole seconds.
fn whole(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn count(pods: &[Pod], is: impl Fn(&Pod) -> bool) -> u32 {
    u32::try_from(pods.iter().filter(|pod| is(pod)).count()).unwrap_or(u32::MAX)
}

/// The numbers of a ReplicaSet's status.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Counts {
    current: u32,
    ready: u32,
    available: u32,
}

impl Cluster {
    /// One look of the ReplicaSet controller at `name`. The status it writes counts the pods there
    /// were when it began, as in Kubernetes; what it made or removed shows after the next look.
    pub fn sync(&mut self, now: Timestamp, name: &Arc<str>, queue: &mut Queue<Happen>) {
        let Some(set) = self.replica_sets.get(name).cloned() else {
            return;
        };
        let counts = self.counts(&set, now);
        let failure = self.manage(&set, now, queue);
        self.write_counts(&set, counts, failure, now, queue);
        self.look_again_when_available(&set, now, queue);
    }

    /// The next transition of one pod.
    pub fn pod_happens(
        &mut self,
        now: Timestamp,
        (name, id, serial): (&Arc<str>, u64, u32),
        queue: &mut Queue<Happen>,
    ) {
        let Some(set) = self.replica_sets.get(name).cloned() else {
            return;
        };
        let how = self.workloads.behaviour(&set.image);
        let is_full = self
            .workloads
            .capacity
            .is_some_and(|most| self.workloads.bound() >= most);
        let Some(pods) = self.workloads.pods.get_mut(name) else {
            return;
        };
        let Some(pod) = pods
            .iter_mut()
            .find(|pod| pod.id == id && pod.serial == serial)
        else {
            return;
        };
        if pod.is_terminating {
            return;
        }
        let Some((_, stage)) = pod.next(&how) else {
            return;
        };
        if pod.stage == Stage::Pending && is_full {
            queue.push(plus(now, 1_000), pod_event(name, pod));
            return;
        }
        if pod.stage == Stage::Down {
            pod.restarts += 1;
        }
        pod.enter(stage, now);
        plan_next(pod, &how, name, now, queue);
        self.notice(now, name, queue);
    }

    /// A terminating pod is gone: quota and nodes have room again.
    pub fn pod_gone(&mut self, name: &Arc<str>, id: u64) {
        if let Some(pods) = self.workloads.pods.get_mut(name) {
            pods.retain(|pod| pod.id != id);
        }
    }

    /// Ends up to `most` pods of a ReplicaSet from outside: a node that dies, an eviction.
    pub fn kill(
        &mut self,
        now: Timestamp,
        name: &str,
        most: u32,
        queue: &mut Queue<Happen>,
    ) -> u32 {
        let name: Arc<str> = Arc::from(name);
        let Some(set) = self.replica_sets.get(&name).cloned() else {
            return 0;
        };
        let grace = self.workloads.behaviour(&set.image).grace;
        let Some(pods) = self.workloads.pods.get_mut(&name) else {
            return 0;
        };
        let mut killed = 0;
        for pod in pods
            .iter_mut()
            .filter(|pod| !pod.is_terminating)
            .take(most as usize)
        {
            end(pod, grace, &name, now, queue);
            killed += 1;
        }
        self.notice(now, &name, queue);
        killed
    }

    /// Evicts one pod, if the disruption budget lets it go.
    pub fn evict(
        &mut self,
        now: Timestamp,
        pod: &str,
        uid: &str,
        queue: &mut Queue<Happen>,
    ) -> Outcome {
        let gone = Outcome::Done {
            version: String::new(),
        };
        let found = self.workloads.pods.iter().find_map(|(set, pods)| {
            let pod = pods.iter().find(|p| pod_name(set, p) == pod)?;
            Some((Arc::clone(set), pod.id, pod.stage == Stage::Ready))
        });
        let Some((set, id, is_healthy)) = found.filter(|(_, id, _)| pod_uid(*id) == uid) else {
            return gone;
        };
        let healthy = self.workloads.healthy();
        let after = healthy - u32::from(is_healthy);
        if self.workloads.budget.is_some_and(|least| after < least) {
            let why = "Cannot evict pod as it would violate the pod's disruption budget.";
            return Outcome::Refused(why.into());
        }
        let image = self.replica_sets.get(&set).map(|set| set.image.clone());
        let grace = self.workloads.behaviour(&image.unwrap_or_default()).grace;
        let pods = self.workloads.pods.get_mut(&set).into_iter().flatten();
        for pod in pods.filter(|p| p.id == id && !p.is_terminating) {
            end(pod, grace, &set, now, queue);
        }
        self.notice(now, &set, queue);
        gone
    }

    /// Changes labels and annotations of pods that are still there.
    pub fn patch_pods(&mut self, patches: &[PodPatch]) -> Outcome {
        for patch in patches {
            let pods = self.workloads.pods.values_mut().flatten();
            for pod in pods.filter(|pod| pod_uid(pod.id) == patch.uid) {
                let meta = Arc::make_mut(&mut pod.meta);
                change(&mut meta.labels, patch.patch.pointer("/metadata/labels"));
                let annotations = patch.patch.pointer("/metadata/annotations");
                change(&mut meta.annotations, annotations);
            }
        }
        Outcome::Done {
            version: String::new(),
        }
    }

    /// All pods as a list shows them.
    pub fn pods_seen(&self) -> Vec<PodSeen> {
        let of_set = |(name, pods): (&Arc<str>, &Vec<Pod>)| {
            let owner = self.replica_sets.get(name).map(|set| set.seen.uid.clone());
            let seen = |pod: &Pod| PodSeen {
                name: pod_name(name, pod),
                uid: pod_uid(pod.id),
                owner: owner.clone().unwrap_or_default(),
                created: whole(pod.created),
                is_active: !pod.is_terminating,
                ready_since: pod.ready_since.map(whole),
                labels: pod.meta.labels.clone(),
                annotations: pod.meta.annotations.clone(),
            };
            pods.iter().map(seen).collect::<Vec<_>>()
        };
        self.workloads.pods.iter().flat_map(of_set).collect()
    }

    /// Pods are looked at again: their behaviour, the quota or the nodes have changed.
    pub fn stir(&mut self, now: Timestamp, queue: &mut Queue<Happen>) {
        let names: Vec<Arc<str>> = self.workloads.pods.keys().cloned().collect();
        for name in names {
            let Some(set) = self.replica_sets.get(&name).cloned() else {
                continue;
            };
            let how = self.workloads.behaviour(&set.image);
            for pod in self.workloads.pods.get_mut(&name).into_iter().flatten() {
                pod.serial += 1;
                plan_next(pod, &how, &name, now, queue);
            }
            self.notice(now, &name, queue);
        }
    }

    /// The ReplicaSet controller will look at `name`.
    pub fn notice(&self, now: Timestamp, name: &Arc<str>, queue: &mut Queue<Happen>) {
        queue.push(
            plus(now, self.workloads.sync_delay),
            Happen::Sync(Arc::clone(name)),
        );
    }

    fn counts(&self, set: &ReplicaSet, now: Timestamp) -> Counts {
        let pods = self.workloads.pods(&set.seen.name);
        Counts {
            current: count(pods, |pod| !pod.is_terminating),
            ready: count(pods, |pod| !pod.is_terminating && pod.stage == Stage::Ready),
            available: self.workloads.available(set, now),
        }
    }

    /// Makes or removes pods; the answer is why pods could not be made.
    fn manage(
        &mut self,
        set: &ReplicaSet,
        now: Timestamp,
        queue: &mut Queue<Happen>,
    ) -> Option<(String, String)> {
        let name: Arc<str> = Arc::from(set.seen.name.as_str());
        let active = self.workloads.active(&name);
        if active < set.seen.replicas {
            return self.make(set, &name, set.seen.replicas - active, (now, queue));
        }
        if active > set.seen.replicas {
            self.remove(set, &name, active - set.seen.replicas, (now, queue));
        }
        None
    }

    fn make(
        &mut self,
        set: &ReplicaSet,
        name: &Arc<str>,
        wanted: u32,
        (now, queue): (Timestamp, &mut Queue<Happen>),
    ) -> Option<(String, String)> {
        let how = self.workloads.behaviour(&set.image);
        let room = self
            .workloads
            .quota
            .map(|most| most.saturating_sub(self.workloads.total()));
        let made = room.map_or(wanted, |room| room.min(wanted));
        for nth in 0..made {
            let id = self.workloads.next_pod;
            self.workloads.next_pod += 1;
            // Batches of 1, 2, 4, …: each waits for the answers to the one before.
            let batch = Ms::from(u32::BITS - (nth + 1).leading_zeros());
            let mut pod = Pod::new(id, plus(now, batch));
            pod.meta = Arc::clone(&set.meta);
            plan_next(&pod, &how, name, plus(now, batch), queue);
            self.workloads
                .pods
                .entry(Arc::clone(name))
                .or_default()
                .push(pod);
        }
        if made > 0 {
            self.notice(now, name, queue);
        }
        if made == wanted {
            return None;
        }
        queue.push_once(plus(now, REFUSED_RETRY), Happen::Sync(Arc::clone(name)));
        let most = self.workloads.quota.unwrap_or_default();
        Some((
            "FailedCreate".into(),
            format!(
                "pods \"{name}-\" is forbidden: exceeded quota: pods, requested: pods=1, used: pods={most}, limited: pods={most}"
            ),
        ))
    }

    fn remove(
        &mut self,
        set: &ReplicaSet,
        name: &Arc<str>,
        surplus: u32,
        (now, queue): (Timestamp, &mut Queue<Happen>),
    ) {
        let grace = self.workloads.behaviour(&set.image).grace;
        let Some(pods) = self.workloads.pods.get_mut(name) else {
            return;
        };
        let mut victims: Vec<&mut Pod> = pods.iter_mut().filter(|p| !p.is_terminating).collect();
        victims.sort_by(|a, b| a.cmp_for_removal(b));
        for pod in victims.into_iter().take(surplus as usize) {
            end(pod, grace, name, now, queue);
        }
        self.notice(now, name, queue);
    }

    fn write_counts(
        &mut self,
        set: &ReplicaSet,
        counts: Counts,
        failure: Option<(String, String)>,
        now: Timestamp,
        queue: &mut Queue<Happen>,
    ) {
        let seen = &set.seen;
        let same = Counts {
            current: seen.current,
            ready: seen.ready,
            available: seen.available,
        } == counts
            && set.observed_generation == set.generation
            && seen.failure == failure;
        if same {
            return;
        }
        let mut next = set.clone();
        next.seen.current = counts.current;
        next.seen.ready = counts.ready;
        next.seen.available = counts.available;
        next.seen.failure = failure;
        next.seen.is_observed = true;
        next.observed_generation = next.generation;
        self.store_replica_set(next, now, queue);
    }

    fn look_again_when_available(
        &self,
        set: &ReplicaSet,
        now: Timestamp,
        queue: &mut Queue<Happen>,
    ) {
        let wait = Ms::from(set.seen.min_ready_seconds) * 1000;
        let pods = self.workloads.pods(&set.seen.name);
        let due = pods
            .iter()
            .filter(|pod| !pod.is_terminating)
            .filter_map(|pod| pod.ready_since);
        let next = due
            .map(|since| plus(since, wait))
            .filter(|at| *at > now)
            .min();
        if let Some(at) = next {
            queue.push_once(at, Happen::Sync(Arc::from(set.seen.name.as_str())));
        }
    }

    /// Stores a version of a ReplicaSet and tells when the watch brings it.
    pub(super) fn store_replica_set(
        &mut self,
        mut set: ReplicaSet,
        now: Timestamp,
        queue: &mut Queue<Happen>,
    ) -> String {
        let version = self.next_version();
        set.seen.version.clone_from(&version);
        let name = set.seen.name.clone();
        if let Some(due) = self.replica_sets.put(now, &name, set) {
            queue.push(due, Happen::Deliver(Kind::ReplicaSets));
        }
        version
    }
}

fn pod_event(name: &Arc<str>, pod: &Pod) -> Happen {
    Happen::Pod {
        set: Arc::clone(name),
        pod: pod.id,
        serial: pod.serial,
    }
}

fn plan_next(
    pod: &Pod,
    how: &Behaviour,
    name: &Arc<str>,
    now: Timestamp,
    queue: &mut Queue<Happen>,
) {
    if pod.is_terminating {
        return;
    }
    if let Some((after, _)) = pod.next(how) {
        queue.push(plus(now, after), pod_event(name, pod));
    }
}

fn end(pod: &mut Pod, grace: Ms, name: &Arc<str>, now: Timestamp, queue: &mut Queue<Happen>) {
    pod.is_terminating = true;
    pod.ready_since = None;
    pod.serial += 1;
    queue.push(
        plus(now, grace),
        Happen::Gone {
            set: Arc::clone(name),
            pod: pod.id,
        },
    );
}
