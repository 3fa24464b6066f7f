//! Random rehearsals: a Rollout, versions, people and faults. Everything that breaks is mended before
//! the end, so that what is checked last is where the rollout settles.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use serin::api::analysis::AnalysisTemplateSpec;
use serin::api::{MANAGED_BY, OVERRIDE_FREEZE, POD_HASH_LABEL, TRACK_CONFIG};
use serin::planner::config::{ConfigKey, ConfigKind};
use serin::planner::freeze::Window;
use serin::planner::observed::{ServiceSeen, TemplateRef};
use serin::sim::clock::epoch;
use serin::sim::event::Kind;
use serin::sim::manifests::Manifests;
use serin::sim::pods::{Behaviour, Readiness};
use serin::sim::rehearsal::{Rehearsal, Version};
use serin::sim::script::{Action, Plugin, Verb};
use serin::sim::series::Series;
use serin::sim::trigger::{Moment, Trigger};

/// Everything is mended by then, in seconds.
pub const MENDED: i64 = 240;

/// One random story.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub replicas: u32,
    pub surge: Value,
    pub unavailable: Value,
    pub min_ready: u32,
    pub deadline_abort: bool,
    pub steps: Vec<Step>,
    pub gate: Option<&'static str>,
    /// The blueGreen strategy in place of the canary.
    pub blue_green: Option<Value>,
    pub lag_ms: i64,
    pub pods: [Readiness; 2],
    pub startup_ms: i64,
    pub script: Vec<(i64, Verb)>,
    /// More fields of the canary strategy.
    pub extra: Value,
    pub window: Option<u32>,
    /// The canary has Services of its own.
    pub has_services: bool,
    /// A freeze: seconds from the beginning, and how long it lasts.
    pub freeze: Option<(i64, i64)>,
    /// The pod template is a Deployment's, and this is its `scaleDown`.
    pub workload: Option<&'static str>,
    /// Pods take their environment from a ConfigMap and a Secret that are part of the revision.
    pub is_tracked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Weight(u32),
    Pause(u32),
    Wait,
    /// An analysis with a template of its own.
    Analysis,
    /// A pause that aborts after so many seconds.
    WaitAtMost(u32),
    /// Up to all by so many percent every so many seconds; by a factor where it is true.
    Ramp(u32, u32, bool),
    /// An Experiment of both versions, for so many seconds.
    Trial(u32),
}

pub fn any() -> impl Strategy<Value = Scenario> {
    let shape = (
        prop_oneof![8 => 1_u32..7, 1 => Just(0), 1 => 7_u32..13],
        bounds(),
        prop_oneof![4 => Just(0_u32), 1 => 1_u32..4],
        prop::bool::weighted(0.2),
        prop::collection::vec(step(), 0..5),
        prop_oneof![4 => Just(None), 1 => Just(Some("0.3")), 1 => Just(Some("0.3, 2 after 20s")),
            1 => Just(Some("no data, 0.3 after 90s")), 1 => Just(Some("NaN for 40s, error for 60s after 20s"))],
    );
    let world = (
        prop_oneof![2 => Just(0_i64), 2 => 1_i64..500, 1 => 500_i64..4_000],
        [readiness(), readiness()],
        100_i64..9_000,
    );
    let script = prop::collection::vec(entry(), 0..7);
    let more = (
        extra(),
        prop_oneof![2 => Just(None), 1 => (1_u32..4).prop_map(Some)],
        prop::option::weighted(0.25, (0_i64..150, 1_i64..90)),
        prop_oneof![3 => Just(None), 1 => blue_green().prop_map(Some)],
        prop::bool::weighted(0.3),
        prop::collection::vec(strategy_change(), 0..3),
        prop::bool::weighted(0.2),
    );
    let source = prop_oneof![
        21 => Just(None),
        1 => Just(Some("never")),
        1 => Just(Some("onsuccess")),
        1 => Just(Some("progressively")),
    ];
    // Drawn last, so that what was drawn before them stays the story that it was.
    let others = (
        source,
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.2),
        prop::collection::vec(others(), 1..4),
    );
    (shape, world, script, more, others).prop_map(|(shape, world, script, more, others)| {
        let (extra, window, freeze, blue_green, has_services, changes, is_changed) = more;
        let (workload, is_tracked, has_served, others) = others;
        let (replicas, (surge, unavailable), min_ready, deadline_abort, steps, gate) = shape;
        let (lag_ms, pods, startup_ms) = world;
        let mut script = script;
        script.insert(0, (0, Verb::Image("v2".into())));
        if is_changed {
            script.extend(changes);
        }
        if blue_green.is_some() || is_changed {
            // Steps belong to the canary, whose strategy would be there twice.
            script.retain(|(_, verb)| !matches!(verb, Verb::Steps(_)));
        }
        let has_served = has_served && (has_services || blue_green.is_some());
        script.extend(others.into_iter().flatten().filter(|(_, verb)| match verb {
            Verb::Service { .. } => has_served,
            Verb::Config { .. } => is_tracked,
            _ => workload.is_some(),
        }));
        Scenario {
            replicas,
            surge,
            unavailable,
            min_ready,
            deadline_abort,
            steps,
            gate,
            blue_green,
            lag_ms,
            pods,
            startup_ms,
            script,
            extra,
            window,
            freeze,
            has_services,
            workload,
            is_tracked,
        }
    })
}

/// What somebody else does to objects that a Rollout only names, and perhaps takes back.
fn others() -> impl Strategy<Value = Vec<(i64, Verb)>> {
    let name = prop_oneof![Just("live"), Just("next"), Just("old"), Just("new")];
    let service = (name, 0_u32..3, 1_000_i64..60_000, any_bool()).prop_map(
        |(name, what, lasts, is_mended)| {
            let service = |patch: Option<Value>| Verb::Service {
                name: name.to_owned(),
                patch,
            };
            let to = |manager: Option<&str>, hash: Option<&str>| {
                service(Some(json!({
                    "metadata": {"annotations": {MANAGED_BY: manager}},
                    "spec": {"selector": {POD_HASH_LABEL: hash}},
                })))
            };
            let wrong = match what {
                0 => service(None),
                1 => to(Some("thief"), Some("theirs")),
                _ => to(None, None),
            };
            let mended = (lasts, mended_service(name));
            let again = is_mended.then_some(mended).into_iter();
            let all = std::iter::once((0, wrong)).chain(again);
            all.collect::<Vec<(i64, Verb)>>()
        },
    );
    let kind = prop_oneof![Just(ConfigKind::ConfigMap), Just(ConfigKind::Secret)];
    let data = prop_oneof![4 => (0_u32..3).prop_map(Some), 1 => Just(None)];
    let contents = (kind, data).prop_map(|(kind, data)| {
        let data = data.map(|n| json!({ "a": n.to_string() }));
        vec![(0_i64, config(kind, data))]
    });
    let size = |n: u32| json!({ "spec": { "replicas": n } });
    let patch = prop_oneof![
        3 => (0_u32..6).prop_map(move |n| Some(size(n))),
        1 => Just(None),
    ];
    let workload = patch.prop_map(|patch| vec![(0_i64, Verb::Workload(patch))]);
    let what = prop_oneof![service, contents, workload];
    (0_i64..120_000, what).prop_map(|(at, what): (i64, Vec<(i64, Verb)>)| {
        what.into_iter()
            .map(|(later, verb)| (at + later, verb))
            .collect()
    })
}

fn config(kind: ConfigKind, data: Option<Value>) -> Verb {
    let name = match kind {
        ConfigKind::ConfigMap => "settings",
        ConfigKind::Secret => "token",
    };
    Verb::Config {
        kind,
        name: name.to_owned(),
        data,
    }
}

/// As it was at first: nobody manages it, and it selects every pod.
fn mended_service(name: &str) -> Verb {
    Verb::Service {
        name: name.to_owned(),
        patch: Some(json!({
            "metadata": {"annotations": {MANAGED_BY: null}},
            "spec": {"selector": {"app": "web", POD_HASH_LABEL: null}},
        })),
    }
}

/// Fields of our own, one or none at a time.
fn extra() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => Just(json!({})),
        1 => Just(json!({"constantReplicas": true, "maxUnavailable": null, "maxSurge": 1})),
        1 => (1_u32..60, 2_u32..20).prop_map(|(by, every)| {
            json!({"gradualRollback": {"by": by, "every": format!("{every}s")}})
        }),
        1 => (40_u32..100).prop_map(|value| {
            json!({"replicaProgressThreshold": {"type": "Percent", "value": value}})
        }),
        1 => Just(json!({"slos": {"onFailure": "Pause"}})),
        1 => Just(json!({"analyzeFirstDeployment": true})),
        1 => (5_u32..90).prop_map(|limit| json!({"answerWithin": format!("{limit}s")})),
        1 => (5_u32..90).prop_map(|time| json!({"keepCanaryFor": format!("{time}s")})),
        2 => Just(json!({
            "canaryMetadata": {"labels": {"role": "canary", "tier": "new"}},
            "stableMetadata": {"labels": {"role": "stable"}},
            "antiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}},
        })),
        1 => (0_usize..3).prop_map(|step| json!({"analysis": {
            "templates": [{"templateName": "endless"}], "startingStep": step,
        }})),
    ]
}

fn blue_green() -> impl Strategy<Value = Value> {
    let sizes = prop_oneof![2 => Just(None), 1 => (1_u32..4).prop_map(Some)];
    let limit = prop_oneof![3 => Just(None), 1 => (0_u32..3).prop_map(Some)];
    (
        prop::bool::ANY,
        0_u32..20,
        sizes,
        0_u32..40,
        1_u32..40,
        limit,
    )
        .prop_map(|(auto, seconds, size, delay, abort_delay, limit)| {
            let judged = |is: bool| is.then(|| json!({"templates": [{"templateName": "finite"}]}));
            json!({
                "prePromotionAnalysis": judged(delay % 4 == 1),
                "postPromotionAnalysis": judged(delay % 5 == 1),
                "activeService": "live", "previewService": "next",
                "analyzeFirstDeployment": delay % 6 == 1,
                "answerWithin": (abort_delay % 4 == 1).then(|| format!("{}s", 5 + abort_delay)),
                "autoPromotionEnabled": auto, "autoPromotionSeconds": seconds,
                "previewReplicaCount": size,
                "scaleDownDelaySeconds": delay, "abortScaleDownDelaySeconds": abort_delay,
                "scaleDownDelayRevisionLimit": limit,
            })
        })
}

/// The other strategy, or the same with other fields.
fn strategy_change() -> impl Strategy<Value = (i64, Verb)> {
    let canary = (prop::collection::vec(step(), 0..4), any_bool()).prop_map(|(steps, is_served)| {
        let served = |name: &str| is_served.then(|| name.to_owned());
        json!({"blueGreen": null, "canary": {
            "steps": steps_json(&steps), "stableService": served("old"), "canaryService": served("new"),
            "keepCanaryFor": null,
        }})
    });
    let blue_green = blue_green().prop_map(|it| json!({"canary": null, "blueGreen": it}));
    let strategy = prop_oneof![canary, blue_green];
    (0_i64..90_000, strategy)
        .prop_map(|(at, strategy)| (at, Verb::Patch(json!({"spec": {"strategy": strategy}}))))
}

fn bounds() -> impl Strategy<Value = (Value, Value)> {
    prop_oneof![
        3 => Just((json!("25%"), json!("25%"))),
        2 => Just((json!(1), json!(0))),
        1 => Just((json!(0), json!(1))),
        1 => Just((json!("50%"), json!(0))),
        1 => Just((json!(3), json!(2))),
        1 => Just((json!("100%"), json!("10%"))),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0_u32..=100).prop_map(Step::Weight),
        4 => (0_u32..25).prop_map(Step::Pause),
        2 => Just(Step::Wait),
        1 => Just(Step::Analysis),
        1 => (5_u32..60).prop_map(Step::Trial),
        1 => (5_u32..90).prop_map(Step::WaitAtMost),
        2 => (5_u32..50, 1_u32..12, any_bool()).prop_map(|(by, every, times)| Step::Ramp(by, every, times)),
    ]
}

fn readiness() -> impl Strategy<Value = Readiness> {
    prop_oneof![
        6 => Just(Readiness::Steady),
        1 => Just(Readiness::Never),
        1 => (500_i64..20_000).prop_map(|after| Readiness::CrashLoop { after }),
        1 => (500_i64..9_000, 500_i64..9_000).prop_map(|(up, down)| Readiness::Flap { up, down }),
    ]
}

fn entry() -> impl Strategy<Value = (i64, Verb)> {
    (prop_oneof![3 => 0_i64..40_000, 1 => 0_i64..180_000], verb())
}

fn verb() -> impl Strategy<Value = Verb> {
    let version = || prop_oneof![Just("v1"), Just("v2"), Just("v3")].prop_map(str::to_owned);
    let old_list = prop_oneof![2 => Just(None), 1 => (1_000_i64..60_000).prop_map(Some)];
    prop_oneof![
        4 => version().prop_map(Verb::Image),
        3 => (0_u32..9).prop_map(Verb::Scale),
        3 => prop::bool::weighted(0.3).prop_map(|full| Verb::Promote { full }),
        2 => Just(Verb::Abort("a bad feeling".into())),
        2 => Just(Verb::Retry),
        2 => Just(Verb::RetryStep),
        3 => prop_oneof![Just("true"), Just("fast"), Just("1"), Just("2"), Just("1,fast")]
            .prop_map(|value| Verb::Undo(value.into())),
        1 => readiness().prop_map(|readiness| Verb::Pods {
            version: "v1".into(),
            how: Behaviour { readiness, startup: 1_000, ..Behaviour::default() },
        }),
        2 => version().prop_map(Verb::Lose),
        1 => Just(Verb::Annotate(override_freeze())),
        1 => Just(Verb::Pause),
        1 => Just(Verb::Resume),
        2 => Just(Verb::Restart),
        1 => (0_u32..6).prop_map(|least| Verb::Budget(Some(least))),
        2 => prop_oneof![Just(Plugin::Promote), Just(Plugin::PromoteFull), Just(Plugin::Abort),
            Just(Plugin::Retry), Just(Plugin::Pause)].prop_map(Verb::Plugin),
        1 => prop::collection::vec(step(), 1..4).prop_map(|steps| Verb::Steps(steps_json(&steps))),
        2 => (version(), 1_u32..4).prop_map(|(version, pods)| Verb::Kill { version, pods }),
        1 => (1_u32..6).prop_map(|most| Verb::Quota(Some(most))),
        1 => (5_000_i64..60_000).prop_map(Verb::PrometheusDown),
        1 => (500_i64..40_000, old_list.clone())
            .prop_map(|(down, old_list)| Verb::ControllerDown { down, old_list }),
        4 => (1_u32..12, any_bool(), 100_i64..20_000, old_list)
            .prop_map(|(write, is_written, down, old_list)| Verb::Crash { write, is_written, down, old_list }),
        1 => (1_u32..6).prop_map(Verb::Conflicts),
        1 => (1_u32..6).prop_map(Verb::ApiErrors),
        1 => (1_u32..6).prop_map(Verb::LostAnswers),
        2 => (kind(), 500_i64..20_000).prop_map(|(kind, lasts)| Verb::Freeze { kind, lasts }),
        1 => Just(Verb::PatchStatus(json!({"currentStepIndex": 7}))),
        1 => Just(Verb::PatchStatus(json!({"pauseConditions": null}))),
    ]
}

/// What a watch may be of.
fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Rollouts),
        Just(Kind::ReplicaSets),
        Just(Kind::Runs),
        Just(Kind::Services),
        Just(Kind::Experiments),
    ]
}

fn override_freeze() -> serde_json::Map<String, Value> {
    let reason = json!("a fix that cannot wait");
    [(OVERRIDE_FREEZE.to_owned(), reason)].into_iter().collect()
}

/// Analyses of the same metric as the gate's: one that ends, and one that does not.
fn templates() -> BTreeMap<TemplateRef, AnalysisTemplateSpec> {
    let of = |name: &str, count: Value| {
        let spec = json!({"metrics": [{
            "name": "load", "interval": "5s", "count": count, "failureLimit": 1,
            "successCondition": "result[0] <= 1",
            "provider": {"prometheus": {"address": "http://prometheus:9090", "query": "load"}},
        }]});
        let name = TemplateRef {
            name: name.to_owned(),
            is_cluster: false,
        };
        (name, serde_json::from_value(spec).unwrap())
    };
    [of("finite", json!(3)), of("endless", Value::Null)].into()
}

fn any_bool() -> impl Strategy<Value = bool> {
    prop_oneof![Just(true), Just(false)]
}

pub fn steps_json(steps: &[Step]) -> Value {
    let one = |step: &Step| match step {
        Step::Weight(weight) => json!({ "setWeight": weight }),
        Step::Pause(seconds) => json!({ "pause": { "duration": seconds } }),
        Step::Wait => json!({ "pause": {} }),
        Step::Analysis => json!({ "analysis": { "templates": [{ "templateName": "finite" }] } }),
        Step::WaitAtMost(seconds) => json!({ "pause": { "timeout": format!("{seconds}s") } }),
        Step::Ramp(by, every, false) => {
            json!({ "ramp": { "from": by.min(&99), "by": by, "every": format!("{every}s") } })
        }
        Step::Ramp(from, every, true) => json!({ "ramp":
            { "from": from.min(&99), "by": 2, "every": format!("{every}s"), "curve": "exponential" } }),
        Step::Trial(seconds) => {
            json!({ "experiment": { "duration": format!("{seconds}s"), "templates": [
            { "name": "old", "specRef": "stable" }, { "name": "new", "specRef": "canary", "service": {} },
        ] } })
        }
    };
    steps.iter().map(one).collect()
}

impl Scenario {
    /// A plain story without people and faults, to build upon.
    pub fn plain(replicas: u32, steps: &[Step]) -> Self {
        Self {
            replicas,
            surge: json!("25%"),
            unavailable: json!("25%"),
            min_ready: 0,
            deadline_abort: false,
            steps: steps.to_vec(),
            gate: None,
            blue_green: None,
            lag_ms: 0,
            pods: [Readiness::Steady, Readiness::Steady],
            startup_ms: 3_000,
            script: vec![(0, Verb::Image("v2".into()))],
            extra: json!({}),
            window: None,
            freeze: None,
            has_services: false,
            workload: None,
            is_tracked: false,
        }
    }

    /// A plain story of the blueGreen strategy.
    pub fn blue_green(more: Value) -> Self {
        let mut blue_green = json!({
            "activeService": "live", "previewService": "next", "scaleDownDelaySeconds": 5,
        });
        serin::api::patch::apply_merge_patch(&mut blue_green, &more);
        Self {
            blue_green: Some(blue_green),
            ..Self::plain(3, &[])
        }
    }

    /// The same with one more entry of the script.
    pub fn and(mut self, at_ms: i64, verb: Verb) -> Self {
        self.script.push((at_ms, verb));
        self
    }

    /// The manifest.
    pub fn manifest(&self) -> Value {
        let mut canary = json!({
            "maxSurge": self.surge,
            "maxUnavailable": self.unavailable,
            "steps": steps_json(&self.steps),
        });
        if self.has_services {
            canary["stableService"] = json!("old");
            canary["canaryService"] = json!("new");
        }
        let mut blue_green = self.blue_green.clone();
        if self.gate.is_some() {
            let slos = json!({
                "interval": "10s", "window": "1m",
                "objectives": [{"query": {"name": "load", "promql": "max(load{{{canary}}})", "atMost": 1}}],
            });
            canary["slos"] = slos.clone();
            if let Some(blue_green) = &mut blue_green {
                blue_green["slos"] = slos;
            }
        }
        let mut extra = self.extra.clone();
        if self.gate.is_none() && extra.get("slos").is_some() {
            extra = json!({});
        }
        // Pods that are kept must answer no client, and need room.
        if !self.has_services || self.surge == json!(0) {
            extra.as_object_mut().map(|all| all.remove("keepCanaryFor"));
        }
        serin::api::patch::apply_merge_patch(&mut canary, &extra);
        let strategy = match blue_green {
            Some(blue_green) => json!({ "blueGreen": blue_green }),
            None => json!({ "canary": canary }),
        };
        let mut manifest = json!({
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Rollout",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "replicas": self.replicas,
                "minReadySeconds": self.min_ready,
                "progressDeadlineSeconds": 120,
                "progressDeadlineAbort": self.deadline_abort,
                "revisionHistoryLimit": 2,
                "rollbackWindow": self.window.map(|revisions| json!({ "revisions": revisions })),
                "selector": {"matchLabels": {"app": "web"}},
                "template": self.template(),
                "strategy": strategy,
            },
        });
        if self.is_tracked {
            manifest["metadata"]["annotations"] = json!({ TRACK_CONFIG: "true" });
        }
        if let Some(scale_down) = self.workload {
            manifest["spec"]["selector"] = Value::Null;
            manifest["spec"]["template"] = Value::Null;
            manifest["spec"]["workloadRef"] = json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "scaleDown": scale_down,
            });
        }
        manifest
    }

    fn template(&self) -> Value {
        let mut app = json!({"name": "app", "image": "web:1"});
        if self.is_tracked {
            app["envFrom"] = json!([
                {"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "token"}},
            ]);
        }
        json!({
            "metadata": {"labels": {"app": "web", "tier": "own"}},
            "spec": {"containers": [app]},
        })
    }

    /// The Deployment whose template it is.
    fn workloads(&self) -> Vec<Value> {
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "replicas": self.replicas,
                "selector": {"matchLabels": {"app": "web"}},
                "template": self.template(),
            },
        });
        self.workload.map(|_| deployment).into_iter().collect()
    }

    fn configs(&self) -> BTreeMap<ConfigKey, Value> {
        let all = [
            (ConfigKind::ConfigMap, "settings"),
            (ConfigKind::Secret, "token"),
        ];
        let of = |(kind, name): (ConfigKind, &str)| {
            let name = name.to_owned();
            (ConfigKey { kind, name }, json!({"data": {"a": "0"}}))
        };
        let all = all.into_iter().filter(|_| self.is_tracked);
        all.map(of).collect()
    }

    /// What others did and did not take back: given back in the end. Of configuration nobody tells when
    /// it changed, so that one more look is waited for.
    fn given_back(&self) -> Vec<(i64, Verb)> {
        let mended = MENDED * 1_000;
        let verbs = self.script.iter().map(|(_, verb)| verb);
        let mut all: Vec<(i64, Verb)> = verbs
            .filter_map(|verb| match verb {
                Verb::Service { name, .. } => Some((mended, mended_service(name))),
                Verb::Workload(None) => Some((mended, Verb::Workload(Some(json!({}))))),
                Verb::Config {
                    kind, data: None, ..
                } => Some((mended, config(*kind, Some(json!({"a": "0"}))))),
                _ => None,
            })
            .collect();
        all.dedup();
        if self.is_tracked {
            all.push((mended + 45_000, Verb::Budget(None)));
        }
        all
    }

    /// The rehearsal: the script, and at its end the mending of all that it broke.
    pub fn rehearsal(&self) -> Rehearsal {
        let steady = Behaviour {
            startup: self.startup_ms,
            jitter: 700,
            ..Behaviour::default()
        };
        let version = |name: &str, image: &str, readiness: Readiness| Version {
            name: name.into(),
            image: image.into(),
            how: Behaviour {
                readiness,
                ..steady.clone()
            },
            metrics: self.metrics(name),
            traffic: None,
        };
        let [second, third] = &self.pods;
        let mut script: Vec<Action> = self
            .script
            .iter()
            .map(|(at, verb)| action(*at, verb))
            .collect();
        let mended = MENDED * 1_000;
        let repair = [
            Verb::Quota(None),
            Verb::Budget(None),
            Verb::Pods {
                version: "v1".into(),
                how: steady.clone(),
            },
            Verb::Pods {
                version: "v2".into(),
                how: steady.clone(),
            },
            Verb::Pods {
                version: "v3".into(),
                how: steady.clone(),
            },
            Verb::Patch(json!({"spec": {"paused": false}})),
        ];
        script.extend(repair.iter().map(|verb| action(mended, verb)));
        let given_back = self.given_back();
        script.extend(given_back.iter().map(|(at, verb)| action(*at, verb)));
        Rehearsal {
            name: "random".into(),
            about: None,
            rollout: serde_json::from_value(self.manifest()).unwrap(),
            manifests: Manifests {
                freezes: self.windows(),
                services: ["live", "next", "old", "new"].map(service).to_vec(),
                templates: templates(),
                workloads: self.workloads(),
                configs: self.configs(),
                ..Manifests::default()
            },
            versions: vec![
                version("v1", "web:1", Readiness::Steady),
                version("v2", "web:2", second.clone()),
                version("v3", "web:3", third.clone()),
            ],
            script,
            from_empty: false,
            // What waits for a person measures on until then: most of the time of all stories.
            until: 3_600_000,
            expect: Vec::new(),
            lag: self.lag_ms,
            starts: Some(starts()),
        }
    }

    fn windows(&self) -> Vec<Arc<Window>> {
        let window = |(from, lasts): (i64, i64)| {
            let at = |seconds: i64| starts() + SignedDuration::from_secs(seconds);
            let spec = json!({"reason": "chance", "from": at(from).to_string(), "to": at(from + lasts).to_string()});
            let spec = serde_json::from_value(spec).unwrap();
            Arc::new(Window::of(None, "chance", spec))
        };
        self.freeze.into_iter().map(window).collect()
    }

    fn metrics(&self, version: &str) -> BTreeMap<String, Series> {
        let series = self
            .gate
            .filter(|_| version == "v2")
            .map(|text| Series::parse(text).unwrap());
        series
            .map(|series| ("load".to_owned(), series))
            .into_iter()
            .collect()
    }
}

fn service(name: &str) -> ServiceSeen {
    ServiceSeen {
        name: name.to_owned(),
        selector: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
        ..ServiceSeen::default()
    }
}

/// When the story begins, by the calendar: after the first version had an hour to become Healthy.
fn starts() -> Timestamp {
    epoch() + SignedDuration::from_hours(2)
}

fn action(at: i64, verb: &Verb) -> Action {
    Action {
        at: Trigger {
            delay: at,
            moment: Moment::Start,
        },
        verb: verb.clone(),
        place: String::new(),
    }
}
