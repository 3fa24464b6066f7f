//! `fieldRef` arguments that name a field of the spec: the field must be there, or the analysis
//! could not begin when its step comes. Knows where analyses stand in a Rollout.

use serde_json::Value;

use crate::api::Rollout;
use crate::api::canary::{AnalysisRunArgument, RolloutAnalysis};
use crate::planner::analysis::field;
use crate::planner::fault::Fault;

/// Tells of every argument that names a field of the spec which is not there.
pub(super) fn check(rollout: &Rollout, faults: &mut Vec<Fault>) {
    let asked: Vec<(String, &str)> = arguments(rollout)
        .into_iter()
        .filter_map(|(path, arg)| {
            let field = arg.value_from.as_ref()?.field_ref.as_ref()?;
            Some((path, field.field_path.as_str()))
        })
        .filter(|(_, field)| field.starts_with("spec.") && !field::is_held(field))
        .collect();
    if asked.is_empty() {
        return;
    }
    let object = serde_json::to_value(rollout).unwrap_or(Value::Null);
    for (path, name) in asked {
        if field::is_path(name) && field::field(&object, name).is_none() {
            faults.push(Fault::invalid(
                &format!("{path}.valueFrom.fieldRef.fieldPath"),
                format!("{name:?}"),
                "this Rollout has no such field with a text, a number, true or false: correct the path, or set the field",
            ));
        }
    }
}

/// Every argument of every analysis, with its path.
fn arguments(rollout: &Rollout) -> Vec<(String, &AnalysisRunArgument)> {
    let mut found: Vec<(String, &[AnalysisRunArgument])> = vec![];
    let mut of = |path, analysis| take(&mut found, path, analysis);
    let strategy = rollout.spec.strategy.as_ref();
    if let Some(canary) = strategy.and_then(|s| s.canary.as_ref()) {
        let path = "spec.strategy.canary";
        let background = canary.analysis.as_ref().map(|b| &b.analysis);
        of(format!("{path}.analysis"), background);
        for (i, step) in canary.steps.iter().flatten().enumerate() {
            of(
                format!("{path}.steps[{i}].analysis"),
                step.analysis.as_ref(),
            );
        }
    }
    if let Some(blue_green) = strategy.and_then(|s| s.blue_green.as_ref()) {
        let path = "spec.strategy.blueGreen";
        let (pre, post) = (
            &blue_green.pre_promotion_analysis,
            &blue_green.post_promotion_analysis,
        );
        of(format!("{path}.prePromotionAnalysis"), pre.as_ref());
        of(format!("{path}.postPromotionAnalysis"), post.as_ref());
    }
    found
        .into_iter()
        .flat_map(|(path, args)| {
            let one = move |(i, arg)| (format!("{path}.args[{i}]"), arg);
            args.iter().enumerate().map(one)
        })
        .collect()
}

fn take<'a>(
    found: &mut Vec<(String, &'a [AnalysisRunArgument])>,
    path: String,
    analysis: Option<&'a RolloutAnalysis>,
) {
    if let Some(args) = analysis.and_then(|a| a.args.as_deref()) {
        found.push((path, args));
    }
}
