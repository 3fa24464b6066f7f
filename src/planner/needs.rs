//! What must be known before a turn can be planned and no watch holds. Pure, so that the gatherers
//! have no policy of their own.

use super::observed::{Need, Observed};
use super::revision::{self, Found, Sets};
use super::{config, experiments, kept, restart, roles, runs, services, undo, workload};

/// What is still missing from `seen`; the shell fetches it and asks again until nothing is.
pub fn needs(seen: &Observed) -> Vec<Need> {
    // Before it is known there is no template to speak of.
    if let Some(need) = workload::needs(seen) {
        return vec![need];
    }
    let asks = config::needs(seen);
    if !asks.is_empty() {
        return unanswered(seen, asks);
    }
    if seen.rollout.is_deleting || seen.rollout.spec.is_err() {
        return vec![];
    }
    let mut asks = undo::needs(seen);
    if let Ok(spec) = &seen.rollout.spec {
        asks.extend(services::needs(seen, spec));
    }
    let canary = match revision::find(seen) {
        Found::Ask(more) => {
            asks.extend(more);
            return unanswered(seen, asks);
        }
        Found::Hold(_) => return unanswered(seen, asks),
        // Absence from a cache is not absence: both are read live.
        Found::Missing => {
            asks.extend([Need::Fresh, Need::Template]);
            asks.extend(kept::needs_before_update(seen));
            asks.extend(runs::needs_before_update(seen));
            return unanswered(seen, asks);
        }
        Found::Known(canary) | Found::Adopt(canary) => canary,
    };
    let stable_hash = seen.rollout.status.stable_rs.as_deref().unwrap_or_default();
    let sets = Sets::of(seen, canary);
    if stable_hash != canary.hash && sets.stable.is_none() {
        asks.push(Need::Fresh);
        asks.extend(kept::needs_when_gone(seen).filter(|_| seen.is_fresh));
    }
    if kept::is_due(seen, canary) {
        asks.extend(kept::needs_before_update(seen));
    }
    asks.extend(runs::needs(seen, &sets));
    asks.extend(experiments::needs(seen, &sets));
    asks.extend(restart::needs(seen));
    asks.extend(roles::needs(seen, &sets));
    unanswered(seen, asks)
}

fn unanswered(seen: &Observed, mut asks: Vec<Need>) -> Vec<Need> {
    let answers = &seen.answers;
    asks.retain(|ask| match ask {
        Need::Workload(_) => answers.workload.is_none(),
        Need::Kept(_) => answers.kept.is_none(),
        Need::Config(key) => !answers.configs.contains_key(key),
        Need::Copy(key) => !answers.copies.contains_key(key),
        Need::Template => workload::template(seen).is_none(),
        Need::Object => answers.object.is_none(),
        Need::Fresh => !seen.is_fresh,
        Need::StoredTemplate => answers.stored_template.is_none(),
        Need::ReplicaSetTemplate(name) => !answers.replica_set_templates.contains_key(name),
        Need::Named(name) => !answers.named.contains_key(name),
        Need::Pods => answers.pods.is_none(),
        Need::Run(name) => !answers.runs.contains_key(name),
        Need::Experiment(name) => !answers.experiments.contains_key(name),
        Need::AnalysisTemplate(reference) => !answers.analysis_templates.contains_key(reference),
        Need::Service(name) => !answers.absent_services.contains(name),
    });
    asks.sort();
    asks.dedup();
    asks
}
