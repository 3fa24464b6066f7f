//! Gathers what a turn may look at: from the index, and from the API server where `needs` asks.
//! Has no policy of its own.

use std::sync::Arc;

use kube::api::ListParams;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{CALL_LIMIT, CallError, Kind, Page, Rest, Target};
use super::controller::Controller;
use super::perform::Owner;
use super::slim::{SlimReplicaSet, WireRollout};
use super::stores::ObjectKey;
use super::{clock, watch};
use crate::api::analysis::AnalysisTemplateSpec;
use crate::api::{POD_HASH_LABEL, PodTemplate, TEMPLATE, TEMPLATE_ALSO};
use crate::planner::observed::{Answers, Named, Need, Observed, RolloutSeen, TemplateRef};
use crate::planner::{self, config, revision, workload};

/// Rounds of questions that one turn may ask. Each answers everything the planner asked at once.
const ROUNDS: u32 = 8;

/// What a turn has found out beyond the index.
#[derive(Debug, Default)]
pub(super) struct Sight {
    pub(super) answers: Answers,
    /// Version of the live list, once there was one.
    pub(super) evidence: Option<String>,
    /// Read live before anything else.
    pub(super) must_read: bool,
}

impl Sight {
    /// Knows nothing yet and trusts nothing.
    pub(super) fn wary() -> Self {
        Self {
            must_read: true,
            ..Self::default()
        }
    }
}

/// An analysis template by name and whether it is one of the cluster; `None` when there is none.
pub(super) async fn read_template(
    work: &Rest,
    namespace: &str,
    (name, is_cluster): (&str, bool),
) -> Result<Option<Arc<AnalysisTemplateSpec>>, CallError> {
    #[derive(Deserialize)]
    struct Template {
        spec: AnalysisTemplateSpec,
    }
    let (kind, namespace) = if is_cluster {
        (Kind::ClusterAnalysisTemplate, "")
    } else {
        (Kind::AnalysisTemplate, namespace)
    };
    let target = Target {
        kind,
        namespace,
        name,
    };
    match work.get::<Template>(target).await {
        Ok(template) => Ok(Some(Arc::new(template.spec))),
        Err(CallError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Controller {
    /// Observes until the planner needs no more. `None` when the Rollout is gone.
    pub(super) async fn observe(
        &self,
        key: &ObjectKey,
        sight: &mut Sight,
    ) -> Result<Option<Observed>, CallError> {
        for _ in 0..ROUNDS {
            if sight.must_read {
                self.read_live(key, sight).await?;
            }
            let Some(seen) = self.observed(key, sight) else {
                return Ok(None);
            };
            let mut needs = planner::needs(&seen);
            if needs.is_empty() {
                return Ok(Some(seen));
            }
            // A live read brings the template with it.
            if needs.contains(&Need::Fresh) {
                self.read_live(key, sight).await?;
                needs.retain(|need| !matches!(need, Need::Fresh | Need::Template));
            }
            for need in needs {
                self.answer(key, &seen.rollout, need, sight).await?;
            }
        }
        Err(CallError::Request(format!(
            "the planner still asks after {ROUNDS} rounds"
        )))
    }

    fn observed(&self, key: &ObjectKey, sight: &Sight) -> Option<Observed> {
        let family = self.index.family(key)?;
        let mut answers = sight.answers.clone();
        // The Rollout may have moved on since its template was read.
        let digest = answers.template.as_ref().map(revision::template_digest);
        if digest.is_some_and(|d| d != family.rollout.template_digest) {
            answers.template = None;
        }
        let rollout = workload::resolved(
            family.rollout,
            &family.replica_sets,
            answers.workload.as_ref(),
        );
        Some(Observed {
            now: clock::now(),
            rollout: config::resolved(rollout, &family.replica_sets, &answers),
            replica_sets: family.replica_sets,
            runs: family.runs,
            experiments: family.experiments,
            services: family.services,
            answers,
            is_fresh: sight.evidence.is_some(),
            evidence: sight.evidence.clone(),
            default_prometheus: self.settings.prometheus.clone(),
            freezes: self.index.freezes(),
            epoch: self
                .term(&key.namespace)
                .map(|t| t.to_string())
                .unwrap_or_default(),
        })
    }

    /// Answers one question of the planner.
    pub(super) async fn answer(
        &self,
        key: &ObjectKey,
        seen: &RolloutSeen,
        need: Need,
        sight: &mut Sight,
    ) -> Result<(), CallError> {
        match need {
            Need::Fresh => self.read_live(key, sight).await?,
            Need::Workload(wanted) => {
                let found = self.workload(key, &seen.namespace, &wanted).await?;
                sight.answers.workload = Some(found);
            }
            Need::Kept(name) => {
                let kind = Kind::ControllerRevision;
                let kept = self.get(kind, &seen.namespace, &name).await?;
                sight.answers.kept = Some(kept.map(Arc::new));
            }
            Need::Config(wanted) => {
                let found = self.config(&seen.namespace, &wanted).await?;
                sight.answers.configs.insert(wanted, found);
            }
            Need::Copy(wanted) => {
                let kind = super::configs::kind(wanted.kind);
                let found = self.get(kind, &seen.namespace, &wanted.name).await?;
                let found = found.map(|object| Arc::new(config::CopySeen::of(&object)));
                sight.answers.copies.insert(wanted, found);
            }
            Need::Template => {
                sight.answers.template = self.read_rollout(key).await?;
            }
            Need::Object => {
                let object = self.get(Kind::Rollout, &key.namespace, &key.name).await?;
                sight.answers.object = Some(Arc::new(object.unwrap_or_default()));
            }
            Need::StoredTemplate => {
                let template = match (&sight.answers.workload, &sight.answers.template) {
                    (Some(workload::Found::There(found)), _) => Some(found.template.clone()),
                    (_, Some(template)) => Some(template.clone()),
                    (_, None) => self.read_rollout(key).await?,
                };
                let Some(template) = template else {
                    return Ok(());
                };
                sight.answers.stored_template = Some(self.dry_run(seen, &template).await?);
                sight.answers.template = Some(template);
            }
            Need::ReplicaSetTemplate(name) => {
                let set = self.get(Kind::ReplicaSet, &seen.namespace, &name).await?;
                let template = set.and_then(|s| s.pointer("/spec/template").cloned());
                let template = Arc::new(template.unwrap_or(Value::Null));
                sight.answers.replica_set_templates.insert(name, template);
            }
            Need::Named(name) => {
                let set = self.get(Kind::ReplicaSet, &seen.namespace, &name).await?;
                sight.answers.named.insert(name, set.as_ref().map(named));
            }
            Need::Pods => {
                let pods = self.pods_of(key, seen).await?;
                sight.answers.pods = Some(pods);
            }
            Need::Run(name) => {
                let run = self.get(Kind::AnalysisRun, &seen.namespace, &name).await?;
                let owner = run.as_ref().map(|run| named(run).owner);
                sight.answers.runs.insert(name, owner);
            }
            Need::Experiment(name) => {
                let kind = Kind::Experiment;
                let found = self.get(kind, &seen.namespace, &name).await?;
                let owner = found.as_ref().map(|e| named(e).owner);
                sight.answers.experiments.insert(name, owner);
            }
            Need::AnalysisTemplate(reference) => {
                let spec = self.analysis_template(&seen.namespace, &reference).await?;
                sight.answers.analysis_templates.insert(reference, spec);
            }
            Need::Service(name) => {
                let service = ObjectKey::new(&key.namespace, &name);
                if !self.read_service(&service).await? {
                    sight.answers.absent_services.insert(name);
                }
            }
        }
        Ok(())
    }

    /// Reads the Rollout and its ReplicaSets from the API server into the index.
    pub(super) async fn read_live(
        &self,
        key: &ObjectKey,
        sight: &mut Sight,
    ) -> Result<(), CallError> {
        // What the Rollout refers to is read as live as the rest.
        sight.answers.workload = None;
        sight.answers.template = self.read_rollout(key).await?;
        let Some(family) = self.index.family(key) else {
            sight.must_read = false;
            return Ok(());
        };
        let rollout = &family.rollout;
        let mut selector = POD_HASH_LABEL.to_owned();
        if let Ok(spec) = &rollout.spec
            && !spec.selector_text.is_empty()
        {
            selector = format!("{selector},{}", spec.selector_text);
        }
        let requests = Kind::ReplicaSet.requests(Some(&rollout.namespace));
        let mut params = ListParams::default().labels(&selector).limit(500);
        let mut listed = Vec::new();
        let version = loop {
            let page: Page<SlimReplicaSet> = self
                .clients
                .work
                .list(&requests, &params, CALL_LIMIT)
                .await?;
            for set in page.items {
                listed.push(set.seen.uid.clone());
                self.wake(self.index.answered_set(set));
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => break page.metadata.resource_version.unwrap_or_default(),
            }
        };
        // One that the list does not show may be gone, or may have lost its labels: ask by name.
        for set in &family.replica_sets {
            let is_older = watch::number(&set.version) <= watch::number(&version);
            if is_older && !listed.contains(&set.uid) {
                self.read_set(Owner::of(rollout), &set.name, &set.uid)
                    .await?;
            }
        }
        // What traffic goes where is decided on Services as they are now.
        if let Ok(spec) = &rollout.spec {
            let named = planner::services::named(spec);
            let mut names: Vec<&str> = named.into_iter().map(|(_, name)| name).collect();
            let managed = family.services.iter().map(|service| service.name.as_str());
            names.extend(managed);
            names.sort_unstable();
            names.dedup();
            for name in names {
                let service = ObjectKey::new(&key.namespace, name);
                if !self.read_service(&service).await? {
                    sight.answers.absent_services.insert(name.to_owned());
                }
            }
        }
        sight.evidence = Some(version);
        sight.must_read = false;
        self.settle_doubt(key);
        Ok(())
    }

    /// Reads one ReplicaSet of an owner into the index.
    pub(super) async fn read_set(
        &self,
        owner: Owner<'_>,
        name: &str,
        uid: &str,
    ) -> Result<(), CallError> {
        let target = Target {
            kind: Kind::ReplicaSet,
            namespace: owner.namespace,
            name,
        };
        match self.clients.work.get::<SlimReplicaSet>(target).await {
            Ok(set) if set.seen.uid == uid => self.wake(self.index.answered_set(set)),
            Ok(other) => {
                self.index.gone_set(owner.uid, name);
                self.wake(self.index.answered_set(other));
            }
            Err(CallError::NotFound(_)) => self.index.gone_set(owner.uid, name),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Reads the Rollout into the index and returns its template.
    async fn read_rollout(&self, key: &ObjectKey) -> Result<Option<PodTemplate>, CallError> {
        let target = Target {
            kind: Kind::Rollout,
            namespace: &key.namespace,
            name: &key.name,
        };
        let wire: WireRollout = match self.clients.work.get(target).await {
            Ok(wire) => wire,
            Err(CallError::NotFound(_)) => {
                self.wake(self.index.gone_rollout(key));
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let template = wire.template();
        if !self.index.knows(&wire) {
            self.wake(self.index.answered_rollout(wire.into()));
        }
        Ok(template)
    }

    /// The template as the API server would store it in a ReplicaSet, or why it refuses.
    async fn dry_run(
        &self,
        seen: &RolloutSeen,
        template: &PodTemplate,
    ) -> Result<Result<Arc<Value>, String>, CallError> {
        let set = json!({
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "generateName": format!("{}-", seen.name),
                "namespace": seen.namespace,
                "labels": template.labels(),
            },
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": template.labels()},
                "template": template.value(),
            },
        });
        match self
            .clients
            .work
            .create(Kind::ReplicaSet, &seen.namespace, &set, true)
            .await
        {
            Ok(answer) => {
                let stored: Value = answer.read()?;
                let template = stored.pointer("/spec/template").cloned();
                Ok(Ok(Arc::new(template.unwrap_or(Value::Null))))
            }
            Err(CallError::Refused { message, .. }) => Ok(Err(message)),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn analysis_template(
        &self,
        namespace: &str,
        reference: &TemplateRef,
    ) -> Result<Option<Arc<AnalysisTemplateSpec>>, CallError> {
        let name = (reference.name.as_str(), reference.is_cluster);
        read_template(&self.clients.work, namespace, name).await
    }

    /// Reads one object as it is stored; `None` when there is none.
    pub(super) async fn get(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, CallError> {
        match self
            .clients
            .work
            .get(Target {
                kind,
                namespace,
                name,
            })
            .await
        {
            Ok(object) => Ok(Some(object)),
            Err(CallError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Who controls an object and what template it says it has.
pub(super) fn named(set: &Value) -> Named {
    let owners = set
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array);
    let owner = owners
        .into_iter()
        .flatten()
        .find(|o| o["controller"] == true);
    let text = |v: &Value| v.as_str().map(str::to_owned);
    Named {
        owner: owner.and_then(|o| text(&o["uid"])),
        template_digest: revision::recorded(
            set["metadata"]["annotations"][TEMPLATE].as_str(),
            set["metadata"]["annotations"][TEMPLATE_ALSO].as_str(),
        ),
    }
}
