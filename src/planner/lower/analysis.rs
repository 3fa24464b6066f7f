//! An analysis as a Rollout names it: templates and arguments. The templates themselves are
//! looked at when a run is made.

use crate::api::canary::{AnalysisRunArgument, RolloutAnalysis};
use crate::planner::analysis::field;
use crate::planner::fault::Fault;

/// Checks an analysis at `path`; `None` where it has faults.
pub(super) fn lower_analysis(
    path: &str,
    analysis: &RolloutAnalysis,
    faults: &mut Vec<Fault>,
) -> Option<()> {
    let before = faults.len();
    check_on_failure(path, analysis.on_failure.as_deref(), faults);
    let templates = analysis.templates.as_deref().unwrap_or_default();
    if templates.is_empty() {
        faults.push(Fault::required(
            &format!("{path}.templates"),
            "name at least one AnalysisTemplate",
        ));
    }
    for (i, template) in templates.iter().enumerate() {
        if template
            .template_name
            .as_deref()
            .unwrap_or_default()
            .is_empty()
        {
            faults.push(Fault::required(
                &format!("{path}.templates[{i}].templateName"),
                "name the AnalysisTemplate",
            ));
        }
    }
    check_args(path, analysis.args.as_deref().unwrap_or_default(), faults);
    (faults.len() == before).then_some(())
}

/// Checks the arguments of the analysis at `path` (L25, L36).
pub(super) fn check_args(path: &str, args: &[AnalysisRunArgument], faults: &mut Vec<Fault>) {
    for (i, arg) in args.iter().enumerate() {
        let at = format!("{path}.args[{i}]");
        if arg.name.is_empty() {
            faults.push(Fault::required(&format!("{at}.name"), "name the argument"));
        }
        let Some(from) = &arg.value_from else {
            continue;
        };
        if arg.value.is_some() {
            faults.push(Fault::invalid(
                &at,
                format!("{:?}", arg.name),
                format!("arg '{}' has both Value and ValueFrom fields", arg.name),
            ));
        }
        if let Some(field) = &from.field_ref
            && !field::is_path(&field.field_path)
        {
            faults.push(Fault::invalid(
                &format!("{at}.valueFrom.fieldRef.fieldPath"),
                format!("{:?}", field.field_path),
                "Analyses arguments must refer to valid object metadata supported by downwardAPI: metadata.name, metadata.namespace, metadata.uid, metadata.labels['key'], metadata.annotations['key'], another field of metadata, or a field of spec or status",
            ));
        }
        if let Some(which) = &from.pod_template_hash_value
            && which != "Latest"
            && which != "Stable"
        {
            faults.push(Fault::invalid(
                &format!("{at}.valueFrom.podTemplateHashValue"),
                format!("{which:?}"),
                "must be Latest or Stable",
            ));
        }
    }
}

/// What a failure does: Abort or Pause.
pub(super) fn check_on_failure(path: &str, text: Option<&str>, faults: &mut Vec<Fault>) {
    if let Some(other) = text.filter(|t| *t != "Abort" && *t != "Pause") {
        faults.push(Fault::invalid(
            &format!("{path}.onFailure"),
            format!("{other:?}"),
            "must be Abort (go back) or Pause (a person decides)",
        ));
    }
}
