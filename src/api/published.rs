//! Canary steps with exactly those fields shown that the published encoder shows. It leaves out
//! false, empty text and empty lists in optional fields, and always shows a plain struct, be it
//! empty. `currentStepHash` is taken over that text, so one field more restarts a canary that was
//! taken over (decisions §5).
//!
//! Known to differ: a label selector with both matchLabels and matchExpressions (k8s-openapi writes
//! them in the other order), and an experiment without templates (written as null there).

use std::collections::BTreeMap;

use super::analysis::AnalysisRunMetadata;
use super::canary::{
    AnalysisRunArgument, AnalysisTemplateRef, CanaryStep, RolloutAnalysis,
    RolloutExperimentAnalysis, RolloutExperimentStep, RolloutExperimentTemplate, RouteMatch,
    SetCanaryScale, SetHeaderRoute, SetMirrorRoute, StringMatch,
};
use super::rollout::PodTemplateMetadata;

/// Fields that are serin's own, by names that no published field has: another controller's definitions
/// drop them without a word.
pub const ADDITIONS: &[&str] = &[
    "analyzeFirstDeployment",
    "answerWithin",
    "azureMonitor",
    "compare",
    "constantReplicas",
    "dynatrace",
    "googleCloudMonitoring",
    "gradualRollback",
    "keepCanaryFor",
    "kubernetes",
    "onFailure",
    "ramp",
    "serin",
    "slos",
    "splunk",
];

/// The step with the fields that the published encoder shows, no more and no fewer.
pub fn published(mut step: CanaryStep) -> CanaryStep {
    step.experiment = step.experiment.map(experiment);
    step.analysis = step.analysis.map(analysis);
    step.set_canary_scale = step.set_canary_scale.map(canary_scale);
    step.set_header_route = step.set_header_route.map(header_route);
    step.set_mirror_route = step.set_mirror_route.map(mirror_route);
    if let Some(config) = step
        .plugin
        .as_mut()
        .and_then(|plugin| plugin.config.as_mut())
    {
        // The API server gives back raw JSON with sorted keys; a file may have any order.
        config.sort_all_objects();
    }
    step
}

fn analysis(mut it: RolloutAnalysis) -> RolloutAnalysis {
    it.templates = each(it.templates, template_ref);
    it.args = each(it.args, argument);
    it.dry_run = each(it.dry_run, |rule| rule);
    it.measurement_retention = each(it.measurement_retention, |mut rule| {
        rule.limit.get_or_insert(0);
        rule
    });
    it.analysis_run_metadata = Some(run_metadata(it.analysis_run_metadata));
    it
}

fn template_ref(mut it: AnalysisTemplateRef) -> AnalysisTemplateRef {
    it.template_name.get_or_insert_default();
    it.cluster_scope = truth(it.cluster_scope);
    it
}

fn argument(mut it: AnalysisRunArgument) -> AnalysisRunArgument {
    it.value = text(it.value);
    it
}

fn run_metadata(it: Option<AnalysisRunMetadata>) -> AnalysisRunMetadata {
    let it = it.unwrap_or_default();
    AnalysisRunMetadata {
        labels: map(it.labels),
        annotations: map(it.annotations),
    }
}

fn experiment(mut it: RolloutExperimentStep) -> RolloutExperimentStep {
    it.templates = it
        .templates
        .map(|all| all.into_iter().map(experiment_template).collect());
    it.duration = text(it.duration);
    it.analyses = each(it.analyses, experiment_analysis);
    it.dry_run = each(it.dry_run, |rule| rule);
    it.analysis_run_metadata = Some(run_metadata(it.analysis_run_metadata));
    it
}

fn experiment_template(mut it: RolloutExperimentTemplate) -> RolloutExperimentTemplate {
    let metadata = it.metadata.unwrap_or_default();
    it.metadata = Some(PodTemplateMetadata {
        labels: map(metadata.labels),
        annotations: map(metadata.annotations),
    });
    it.service = it.service.map(|mut service| {
        service.name = text(service.name);
        service
    });
    it
}

fn experiment_analysis(mut it: RolloutExperimentAnalysis) -> RolloutExperimentAnalysis {
    it.cluster_scope = truth(it.cluster_scope);
    it.args = each(it.args, argument);
    it.required_for_completion = truth(it.required_for_completion);
    it
}

fn canary_scale(mut it: SetCanaryScale) -> SetCanaryScale {
    it.match_traffic_weight = truth(it.match_traffic_weight);
    it
}

fn header_route(mut it: SetHeaderRoute) -> SetHeaderRoute {
    it.name = text(it.name);
    it.match_ = each(it.match_, |mut header| {
        header.header_value = header.header_value.map(string_match);
        header
    });
    it
}

fn mirror_route(mut it: SetMirrorRoute) -> SetMirrorRoute {
    it.match_ = each(it.match_, route_match);
    it
}

fn route_match(mut it: RouteMatch) -> RouteMatch {
    it.method = it.method.map(string_match);
    it.path = it.path.map(string_match);
    it.headers = map(it.headers).map(|headers| {
        headers
            .into_iter()
            .map(|(name, value)| (name, string_match(value)))
            .collect()
    });
    it
}

fn string_match(it: StringMatch) -> StringMatch {
    StringMatch {
        exact: text(it.exact),
        prefix: text(it.prefix),
        regex: text(it.regex),
    }
}

fn each<T>(list: Option<Vec<T>>, one: impl FnMut(T) -> T) -> Option<Vec<T>> {
    let list = list.filter(|list| !list.is_empty())?;
    Some(list.into_iter().map(one).collect())
}

fn map<T>(map: Option<BTreeMap<String, T>>) -> Option<BTreeMap<String, T>> {
    map.filter(|map| !map.is_empty())
}

fn text(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

fn truth(flag: Option<bool>) -> Option<bool> {
    flag.filter(|flag| *flag)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::published;

    fn check(step: Value, expected: &str) {
        let step = serde_json::from_value(step).unwrap();
        assert_eq!(serde_json::to_string(&published(step)).unwrap(), expected);
    }

    #[test]
    fn plain_steps_are_as_written() {
        check(json!({"setWeight": 0}), r#"{"setWeight":0}"#);
        check(json!({"pause": {}}), r#"{"pause":{}}"#);
        check(
            json!({"pause": {"duration": "10s"}}),
            r#"{"pause":{"duration":"10s"}}"#,
        );
        check(
            json!({"plugin": {"name": "p", "config": {"b": false, "a": []}}}),
            r#"{"plugin":{"name":"p","config":{"a":[],"b":false}}}"#,
        );
    }

    #[test]
    fn optional_fields_without_content_are_left_out() {
        check(
            json!({"setCanaryScale": {"replicas": 0, "matchTrafficWeight": false}}),
            r#"{"setCanaryScale":{"replicas":0}}"#,
        );
        check(
            json!({"setHeaderRoute": {"name": "", "match": []}}),
            r#"{"setHeaderRoute":{}}"#,
        );
        check(
            json!({"setMirrorRoute": {"name": "m", "match": [{"path": {"exact": "", "prefix": "/"}, "headers": {}}]}}),
            r#"{"setMirrorRoute":{"name":"m","match":[{"path":{"prefix":"/"}}]}}"#,
        );
    }

    #[test]
    fn plain_structs_are_always_shown() {
        check(
            json!({"analysis": {"templates": [{"templateName": "t", "clusterScope": false}], "args": [{"name": "a", "value": ""}], "dryRun": []}}),
            r#"{"analysis":{"templates":[{"templateName":"t"}],"args":[{"name":"a"}],"analysisRunMetadata":{}}}"#,
        );
        check(
            json!({"experiment": {"duration": "", "templates": [{"specRef": "canary", "name": "c"}], "analyses": [{"name": "x", "templateName": "t", "requiredForCompletion": true}]}}),
            r#"{"experiment":{"templates":[{"name":"c","specRef":"canary","metadata":{}}],"analyses":[{"name":"x","templateName":"t","requiredForCompletion":true}],"analysisRunMetadata":{}}}"#,
        );
    }
}
