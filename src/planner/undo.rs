//! Going back to a former revision by one command: `serin.dev/undo=true`, `=REVISION`, and `,fast`
//! for without steps, pauses and gates. The template comes out of that revision's ReplicaSet, and
//! goes to where the Rollout has its template: into its spec, or into the workload it refers to. Knows
//! no strategy; which ReplicaSet the template then belongs to is told by `revision::find`.

use serde_json::Value;

use super::command::{Judgement, LastCommand};
use super::draft::Draft;
use super::observed::{Need, Observed, ReplicaSetSeen};
use super::plan::{Event, PatchWorkload};
use super::revision::{self, Sets};
use super::{origin, reasons, roles, workload};
use crate::api::UNDO;
use crate::api::patch::to_merge_patch;

/// What is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Request {
    /// `None` for the newest one besides the current one that was ever stable.
    revision: Option<u64>,
    is_fast: bool,
}

const HOW: &str = "the value must be true (the previous revision), a revision number, or one of them with fast: true,fast or 3,fast";

fn parse(value: &str) -> Result<Request, String> {
    let mut request = Request::default();
    for word in value.split(',').map(str::trim) {
        match (word, word.parse::<u64>()) {
            ("true", _) => {}
            ("fast", _) => request.is_fast = true,
            (_, Ok(number)) if request.revision.is_none() => request.revision = Some(number),
            (_, Ok(_) | Err(_)) => return Err(HOW.to_owned()),
        }
    }
    Ok(request)
}

/// The ReplicaSet to go back to.
fn target(seen: &Observed, request: Request) -> Result<&ReplicaSetSeen, String> {
    let current = seen.rollout.status.current_pod_hash.as_deref();
    let mut known: Vec<&ReplicaSetSeen> = seen
        .replica_sets
        .iter()
        .filter(|rs| !rs.is_deleting && rs.revision > 0)
        .collect();
    known.sort_by_key(|rs| rs.revision);
    let is_current = |rs: &ReplicaSetSeen| Some(rs.hash.as_str()) == current;
    let Some(number) = request.revision else {
        let others = || known.iter().rev().filter(|rs| !is_current(rs));
        let status = &seen.rollout.status;
        let good = others().find(|rs| origin::may_be_good(status, rs));
        return good.copied().ok_or_else(|| match others().next() {
            Some(rs) => format!(
                "no other revision was ever stable; to go to one that was not, name it: serin.dev/undo={}",
                rs.revision
            ),
            None => "there is no other revision to go back to".to_owned(),
        });
    };
    match known.iter().find(|rs| rs.revision == number) {
        Some(rs) if is_current(rs) => Err(format!("revision {number} is the current one already")),
        Some(rs) => Ok(rs),
        None => {
            let all: Vec<String> = known.iter().map(|rs| rs.revision.to_string()).collect();
            Err(format!(
                "there is no revision {number}: known are {}",
                all.join(", ")
            ))
        }
    }
}

/// The templates to look at: that of the revision to go back to, and the present one.
pub(crate) fn needs(seen: &Observed) -> Vec<Need> {
    let Some(value) = seen.rollout.annotations.get(UNDO) else {
        return vec![];
    };
    match parse(value).and_then(|request| target(seen, request)) {
        Ok(_) if workload::is_lost(seen) => vec![],
        Ok(rs) => vec![Need::Template, Need::ReplicaSetTemplate(rs.name.clone())],
        Err(_) => vec![],
    }
}

/// Judges the command when it is taken: the patch that takes it brings the template back.
pub(super) fn judge(d: &mut Draft<'_>, value: &str) -> Judgement {
    match template_back(d, value) {
        Ok((hash, true)) => Judgement::AcceptFor(hash),
        Ok((_, false)) => Judgement::Done,
        Err(why) => Judgement::Refuse(why),
    }
}

fn template_back(d: &mut Draft<'_>, value: &str) -> Result<(String, bool), String> {
    let seen = d.seen;
    let request = parse(value)?;
    let rs = target(seen, request)?;
    let present = workload::template(seen).ok_or("the present template cannot be read")?;
    let answers = &seen.answers;
    let stored = answers.replica_set_templates.get(&rs.name);
    let stored = stored
        .filter(|t| t.is_object())
        .ok_or_else(|| format!("the template of ReplicaSet {} cannot be read", rs.name))?;
    let revision = rs.revision;
    let own = roles::own_template(rs, stored);
    let back = without_nulls(&revision::written(&own));
    match (to_merge_patch(present.value(), &back), workload::used(seen)) {
        (Some(patch), None) => {
            d.spec_patch.insert("template".into(), patch);
        }
        (None, None) => {
            return Err(format!(
                "spec.template is that of revision {revision} already"
            ));
        }
        // Where the template lives, as existing clients do it (K9): the Rollout has none.
        (Some(template), Some((key, there))) => d.give_back(PatchWorkload {
            key: key.clone(),
            version: there.version.clone(),
            template,
        }),
        // Done before a crash, and not put down yet.
        (None, Some(_)) => {}
    }
    // As with promote=full, a person in a hurry lets a frozen update go on.
    if request.is_fast && d.spec.paused {
        d.spec_patch.insert("paused".into(), Value::Bool(false));
    }
    Ok((rs.hash.clone(), request.is_fast))
}

/// A merge patch cannot write a null, and a template means the same without.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(_, inner)| !inner.is_null())
            .map(|(key, inner)| (key.clone(), without_nulls(inner)))
            .collect(),
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// The fast part: everything that is left is skipped, still only onto available pods.
pub(super) fn act(d: &mut Draft<'_>, sets: &Sets<'_>) {
    if d.read().stable_rs.as_deref() == Some(sets.canary.hash.as_str()) {
        return;
    }
    d.next.promote_full = Some(true);
    let revision = revision::revision_of(d.seen, Some(sets.canary));
    let text = format!(
        "serin.dev/undo asked for fast: the way back to the template of ReplicaSet {} (now revision {revision}) skips steps, pauses and gates",
        sets.canary.name
    );
    d.event(Event::warning(reasons::GATE_OVERRIDDEN, text));
}

/// True when the present update is the fast way back that a person has asked for.
pub(crate) fn is_fast(last: Option<&LastCommand>, hash: &str) -> bool {
    last.is_some_and(|command| {
        let is_fast = parse(&command.value).is_ok_and(|request| request.is_fast);
        command.verb == "undo" && is_fast && command.hash == hash
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_asked_for() {
        let request = |revision, is_fast| Ok(Request { revision, is_fast });
        for (text, wanted) in [
            ("true", request(None, false)),
            ("7", request(Some(7), false)),
            ("fast", request(None, true)),
            ("true,fast", request(None, true)),
            ("fast, 7", request(Some(7), true)),
            ("soon", Err(HOW.to_owned())),
            ("", Err(HOW.to_owned())),
            ("1,2", Err(HOW.to_owned())),
        ] {
            assert_eq!(parse(text), wanted, "{text}");
        }
    }
}
