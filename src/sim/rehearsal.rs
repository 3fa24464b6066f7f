//! A rehearsal as a file tells it: which manifests, what happens, what is expected. Reads strictly,
//! all faults at once. Does no file I/O itself: whoever calls hands in how to read a manifest.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::clock::Ms;
use super::expect::Expect;
use super::manifests::Manifests;
use super::pods::{Behaviour, Readiness};
use super::script::{self, Action, Verb};
use super::series::{Reading, Series};
use super::trigger::{Trigger, duration};
use crate::api;
use crate::lint::strict::{Fields, join, nearest, text_of, wrong_type};
use crate::planner::fault::Fault;

/// Everything that a rehearsal needs to know.
#[derive(Clone, Debug)]
pub struct Rehearsal {
    /// What it is called.
    pub name: String,
    /// What it shows, in a sentence.
    pub about: Option<String>,
    /// The Rollout, as it is first applied.
    pub rollout: api::Rollout,
    /// Analysis templates at hand, and what else the manifests hold.
    pub manifests: Manifests,
    /// Versions in the order in which they are named; the first is what runs at the beginning.
    pub versions: Vec<Version>,
    /// What happens.
    pub script: Vec<Action>,
    /// True: the rehearsal begins with an empty cluster, not with the first version Healthy.
    pub from_empty: bool,
    /// When the rehearsal ends at the latest.
    pub until: Ms,
    /// What must come true; without any, it must end Healthy.
    pub expect: Vec<Expect>,
    /// How long watches take to bring a change.
    pub lag: Ms,
}

/// One version of the workload.
#[derive(Clone, Debug)]
pub struct Version {
    /// Short name: v1, v2, …
    pub name: String,
    /// Image of the first container.
    pub image: String,
    /// How its pods behave.
    pub how: Behaviour,
    /// Its metrics by name.
    pub metrics: BTreeMap<String, Series>,
    /// Its traffic: where this has no data, no metric has.
    pub traffic: Option<Series>,
}

/// Where a rehearsal ends when nothing else ends it.
pub const UNTIL: Ms = 2 * 3_600_000;

const FIELDS: &[&str] = &[
    "name",
    "about",
    "manifests",
    "rollout",
    "versions",
    "script",
    "from",
    "until",
    "expect",
    "lag",
];

impl Rehearsal {
    /// What a reader of the manifest might miss.
    pub fn warnings(&self) -> Vec<String> {
        super::warnings::of(self)
    }

    /// What a Rollout alone rehearses: the image changes at once, all is well.
    pub fn of_manifest(name: &str, rollout: api::Rollout, manifests: Manifests) -> Self {
        let versions = default_versions(&manifests.template_of(&rollout));
        Self {
            name: name.to_owned(),
            about: None,
            rollout,
            manifests,
            versions,
            script: vec![update_at_once()],
            from_empty: false,
            until: UNTIL,
            expect: Vec::new(),
            lag: 0,
        }
    }

    /// Reads a rehearsal file. `read` gives the documents of a manifest file by its path as written.
    ///
    /// # Errors
    /// Every fault of the file and of its manifests.
    pub fn parse(
        name: &str,
        file: &Value,
        read: &dyn Fn(&str) -> Result<Vec<Value>, String>,
    ) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let fields = Fields::new("", file, FIELDS, &mut faults);
        let mut manifests = read_manifests(&fields, read, &mut faults);
        let rollout = one_rollout(&fields, &mut manifests, &mut faults);
        let versions = read_versions(&fields, rollout.as_ref(), &manifests, &mut faults);
        check_metrics(&versions, rollout.as_ref(), &manifests, &mut faults);
        let script = read_script(&fields, &versions, &mut faults);
        let expect = read_expect(&fields, &mut faults);
        let from_empty = match fields.text("from", &mut faults).as_deref() {
            None | Some("Healthy" | "healthy") => false,
            Some("empty") => true,
            Some(_) => {
                let message = "must be Healthy (the default) or empty".into();
                faults.push(Fault {
                    path: "from".into(),
                    message,
                });
                false
            }
        };
        let until = fields
            .parsed("until", duration, &mut faults)
            .unwrap_or(UNTIL);
        let lag = fields.parsed("lag", duration, &mut faults).unwrap_or(0);
        let name = fields
            .text("name", &mut faults)
            .unwrap_or_else(|| name.to_owned());
        let about = fields.text("about", &mut faults);
        match rollout {
            Some(rollout) if faults.is_empty() => Ok(Self {
                name,
                about,
                rollout,
                manifests,
                versions,
                script,
                from_empty,
                until,
                expect,
                lag,
            }),
            Some(_) | None => Err(faults),
        }
    }

    /// The image that a version's name, or an image, stands for.
    pub fn image_of(&self, version: &str) -> String {
        let named = self.versions.iter().find(|known| known.name == version);
        named.map_or_else(|| version.to_owned(), |known| known.image.clone())
    }

    /// The version that runs this image.
    pub fn version_of(&self, image: &str) -> Option<&Version> {
        self.versions.iter().find(|known| known.image == image)
    }
}

fn read_manifests(
    fields: &Fields<'_>,
    read: &dyn Fn(&str) -> Result<Vec<Value>, String>,
    faults: &mut Vec<Fault>,
) -> Manifests {
    let mut manifests = Manifests::default();
    let listed = fields.get("manifests");
    let items: Vec<&Value> = match listed {
        Some(Value::Array(items)) => items.iter().collect(),
        Some(one) => vec![one],
        None => Vec::new(),
    };
    for (i, item) in items.into_iter().enumerate() {
        let path = format!("manifests[{i}]");
        match item {
            Value::String(file) => match read(file) {
                Ok(documents) => {
                    for document in &documents {
                        manifests.add(file, document, faults);
                    }
                }
                Err(message) => faults.push(Fault { path, message }),
            },
            Value::Object(_) => manifests.add(&path, item, faults),
            other => faults.push(wrong_type(&path, other, "a path, or a manifest")),
        }
    }
    if listed.is_none() {
        let message = "is needed: paths of manifests relative to this file, or manifests".into();
        faults.push(Fault {
            path: "manifests".into(),
            message,
        });
    }
    manifests
}

fn one_rollout(
    fields: &Fields<'_>,
    manifests: &mut Manifests,
    faults: &mut Vec<Fault>,
) -> Option<api::Rollout> {
    let wanted = fields.text("rollout", faults);
    let names: Vec<String> = manifests
        .rollouts
        .iter()
        .map(|r| r.metadata.name.clone().unwrap_or_default())
        .collect();
    let position = match (&wanted, names.as_slice()) {
        (Some(wanted), _) => names.iter().position(|name| name == wanted),
        (None, [_]) => Some(0),
        (None, _) => None,
    };
    if let Some(position) = position {
        return Some(manifests.rollouts.swap_remove(position));
    }
    let is_already_said = names.is_empty() && !faults.is_empty();
    if !is_already_said {
        let message = match names.as_slice() {
            [] => "the manifests hold no Rollout".into(),
            names => format!("must say which Rollout to rehearse: {}", names.join(", ")),
        };
        faults.push(Fault {
            path: "rollout".into(),
            message,
        });
    }
    None
}

fn read_versions(
    fields: &Fields<'_>,
    rollout: Option<&api::Rollout>,
    manifests: &Manifests,
    faults: &mut Vec<Fault>,
) -> Vec<Version> {
    let mut versions = rollout
        .map(|rollout| default_versions(&manifests.template_of(rollout)))
        .unwrap_or_default();
    let Some(value) = fields.get("versions") else {
        return versions;
    };
    let Some(map) = value.as_object() else {
        faults.push(wrong_type(
            "versions",
            value,
            "names of versions and what is known of them",
        ));
        return versions;
    };
    for (name, value) in map {
        let path = join("versions", name);
        let inner = Fields::new(
            &path,
            value,
            &["image", "pods", "metrics", "traffic"],
            faults,
        );
        let at = versions
            .iter()
            .position(|version| version.name == *name)
            .unwrap_or_else(|| {
                let image = next_image(versions.last().map_or("app:1", |last| &last.image));
                versions.push(plain(name, image));
                versions.len() - 1
            });
        let Some(version) = versions.get_mut(at) else {
            continue;
        };
        if let Some(image) = inner.text("image", faults) {
            version.image = image;
        }
        if let Some(pods) = inner.get("pods") {
            let known = ["ready", "crash", "flap", "jitter"];
            let inner = Fields::new(&inner.at("pods"), pods, &known, faults);
            version.how = behaviour(&inner, faults);
        }
        version.metrics = read_metrics(&inner, faults);
        version.traffic = inner.parsed(
            "traffic",
            |text| Series::parse(&text.replace("normal", "healthy")),
            faults,
        );
    }
    versions
}

fn read_metrics(fields: &Fields<'_>, faults: &mut Vec<Fault>) -> BTreeMap<String, Series> {
    let Some(value) = fields.get("metrics") else {
        return BTreeMap::new();
    };
    let path = fields.at("metrics");
    let Some(map) = value.as_object() else {
        faults.push(wrong_type(
            &path,
            value,
            "names of metrics and their values",
        ));
        return BTreeMap::new();
    };
    let mut metrics = BTreeMap::new();
    for (name, value) in map {
        let parsed = match text_of(value) {
            Some(text) => Series::parse(&text).map_err(|message| (join(&path, name), message)),
            None => Err((join(&path, name), super::series::HOW_TO_WRITE.to_owned())),
        };
        match parsed {
            Ok(series) => {
                metrics.insert(name.clone(), series);
            }
            Err((path, message)) => faults.push(Fault { path, message }),
        }
    }
    metrics
}

/// A metric that nothing measures is a slip of the pen.
fn check_metrics(
    versions: &[Version],
    rollout: Option<&api::Rollout>,
    manifests: &Manifests,
    faults: &mut Vec<Fault>,
) {
    let Some(Ok(spec)) = rollout.map(crate::planner::lower::lower) else {
        return;
    };
    let objectives = spec
        .slos()
        .into_iter()
        .flat_map(|slos| slos.objectives.iter());
    let mut known: Vec<&str> = objectives
        .map(|objective| objective.name.as_str())
        .collect();
    let metrics = manifests
        .templates
        .values()
        .flat_map(|template| template.metrics.iter().flatten());
    known.extend(metrics.map(|metric| metric.name.as_str()));
    for version in versions {
        for name in version.metrics.keys() {
            if known.contains(&name.as_str()) {
                continue;
            }
            let path = format!("versions.{}.metrics.{name}", version.name);
            let message = match nearest(name, known.iter().copied()) {
                Some(near) => format!("nothing measures this: did you mean {near:?}?"),
                None if known.is_empty() => {
                    "nothing measures this: the Rollout has no slos, and no analysis template is given"
                        .to_owned()
                }
                None => format!("nothing measures this: measured are {}", known.join(", ")),
            };
            faults.push(Fault { path, message });
        }
    }
}

/// Reads how pods behave: `{ready: 8s}`, `{ready: never}`, `{crash: 20s}`, `{flap: 10s}`.
pub(super) fn behaviour(fields: &Fields<'_>, faults: &mut Vec<Fault>) -> Behaviour {
    let mut how = Behaviour::default();
    match fields.text("ready", faults).as_deref() {
        None => {}
        Some("never") => how.readiness = Readiness::Never,
        Some(text) => match duration(text) {
            Ok(ms) => how.startup = ms,
            Err(message) => faults.push(Fault {
                path: fields.at("ready"),
                message: format!("{message}, or never"),
            }),
        },
    }
    if let Some(after) = fields.parsed("crash", duration, faults) {
        how.readiness = Readiness::CrashLoop { after };
    }
    if let Some(each) = fields.parsed("flap", duration, faults) {
        how.readiness = Readiness::Flap {
            up: each,
            down: each,
        };
    }
    how.jitter = fields.parsed("jitter", duration, faults).unwrap_or(0);
    how
}

fn read_script(fields: &Fields<'_>, versions: &[Version], faults: &mut Vec<Fault>) -> Vec<Action> {
    let Some(value) = fields.get("script") else {
        return vec![update_at_once()];
    };
    let script = script::read("script", value, faults);
    for action in &script {
        let (field, name) = match &action.verb {
            Verb::Image(name) if !name.contains([':', '/']) => ("image", name),
            Verb::Kill { version, .. } => ("kill.version", version),
            Verb::Pods { version, .. } => ("pods.version", version),
            _ => continue,
        };
        let known = || versions.iter().map(|version| version.name.as_str());
        if known().any(|version| version == name) {
            continue;
        }
        let hint = match nearest(name, known()) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("known: {}", known().collect::<Vec<_>>().join(", ")),
        };
        let path = join(&action.place, field);
        faults.push(Fault {
            path,
            message: format!("no version is called {name:?}: {hint}"),
        });
    }
    script
}

/// What happens when the file does not say.
fn update_at_once() -> Action {
    Action {
        at: Trigger::START,
        verb: Verb::Image("v2".into()),
        place: "script".into(),
    }
}

fn read_expect(fields: &Fields<'_>, faults: &mut Vec<Fault>) -> Vec<Expect> {
    let items: Vec<&Value> = match fields.get("expect") {
        Some(Value::Array(items)) => items.iter().collect(),
        Some(one) => vec![one],
        None => Vec::new(),
    };
    let mut all = Vec::new();
    for (i, item) in items.into_iter().enumerate() {
        let path = format!("expect[{i}]");
        match item.as_str().map(Expect::parse) {
            Some(Ok(expect)) => all.push(expect),
            Some(Err(message)) => faults.push(Fault { path, message }),
            None => faults.push(wrong_type(
                &path,
                item,
                "a sentence such as 'Healthy within 10m'",
            )),
        }
    }
    all
}

/// The image in the manifest as v1, and the next one as v2.
fn default_versions(template: &api::PodTemplate) -> Vec<Version> {
    let image = template
        .containers()
        .first()
        .map_or("", api::template::Container::image)
        .to_owned();
    let next = next_image(&image);
    vec![plain("v1", image), plain("v2", next)]
}

fn plain(name: &str, image: String) -> Version {
    Version {
        name: name.to_owned(),
        image,
        how: Behaviour::default(),
        metrics: BTreeMap::new(),
        traffic: None,
    }
}

/// The image that follows: the last number of the tag goes up by one.
fn next_image(image: &str) -> String {
    let (name, tag) = match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => return format!("{image}:next"),
    };
    let digits = tag.len() - tag.chars().rev().take_while(char::is_ascii_digit).count();
    match tag
        .get(digits..)
        .and_then(|number| number.parse::<u64>().ok())
    {
        Some(number) => format!("{name}:{}{}", &tag[..digits], number.saturating_add(1)),
        None => format!("{name}:{tag}-next"),
    }
}

/// A merge patch that gives the first container another image.
pub(super) fn image_patch(template: &Value, image: &str) -> Value {
    let mut containers = template
        .pointer("/spec/containers")
        .cloned()
        .unwrap_or_else(|| json!([{ "name": "app" }]));
    if let Some(first) = containers.get_mut(0).and_then(Value::as_object_mut) {
        first.insert("image".into(), Value::String(image.to_owned()));
    }
    json!({ "spec": { "template": { "spec": { "containers": containers } } } })
}

/// What a version's metric shows when nobody says anything: whatever satisfies its condition.
pub(super) fn healthy() -> Series {
    Series::constant(Reading::Healthy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_image_is_the_next_number() {
        let cases = [
            ("ghcr.io/org/agent:1.0.1", "ghcr.io/org/agent:1.0.2"),
            ("agent:v9", "agent:v10"),
            ("agent:latest", "agent:latest-next"),
            ("host:5000/agent", "host:5000/agent:next"),
        ];
        for (image, next) in cases {
            assert_eq!(next_image(image), next);
        }
    }

    #[test]
    fn all_faults_come_at_once() {
        let file = json!({
            "manifest": [],
            "manifests": [{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rolout"}],
            "versions": {"v2": {"metrics": {"p95": "quick"}}},
            "script": [{"at": "1m", "imgae": "v2"}, {"image": "v3"}, {"promote": true, "retry": true}],
            "expect": "Happy within 3m",
            "until": "soon"
        });
        let faults = Rehearsal::parse("t", &file, &|_| Ok(Vec::new())).unwrap_err();
        let paths: Vec<&str> = faults.iter().map(|fault| fault.path.as_str()).collect();
        for path in [
            "manifest",
            "manifests[0].kind",
            "versions.v2.metrics.p95",
            "script[0].imgae",
            "script[1].image",
            "script[2]",
            "expect[0]",
            "until",
        ] {
            assert!(paths.contains(&path), "{path} is not among {paths:?}");
        }
    }
}
