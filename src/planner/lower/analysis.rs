//! An analysis as a Rollout names it: templates and arguments. The templates themselves are
//! looked at when a run is made.

use crate::api::canary::RolloutAnalysis;
use crate::planner::fault::Fault;

/// Checks an analysis at `path`; `None` where it has faults.
pub(super) fn lower_analysis(
    path: &str,
    analysis: &RolloutAnalysis,
    faults: &mut Vec<Fault>,
) -> Option<()> {
    let before = faults.len();
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
    for (i, arg) in analysis.args.iter().flatten().enumerate() {
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
    (faults.len() == before).then_some(())
}
