//! Texts in, findings out.

use super::*;

fn check_all(texts: &[(&str, &str)]) -> Report {
    let sources: Vec<Source> = texts
        .iter()
        .map(|(name, text)| Source {
            name: (*name).to_owned(),
            text: (*text).to_owned(),
        })
        .collect();
    check(&sources, &|_, _| (Vec::new(), Vec::new()))
}

fn lines(report: &Report) -> Vec<String> {
    let told = report.findings.iter().map(|f| {
        format!(
            "{}:{}:{}: {}: {}: {}",
            f.file,
            f.place.line,
            f.place.column,
            f.severity.word(),
            f.object,
            f.fault
        )
    });
    told.collect()
}

const WEB: &str = "\
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: app, image: 'web:1'}]
  strategy:
    canary:
      maxSurge: '1'
      steps:
      - setWeight: 20
      - pause: {duration: 1m}
      analysis: {templates: [{templateName: good}], args: [{name: a, value: '1'}]}
";

#[test]
fn faults_have_file_line_and_column_and_come_all_at_once() {
    let wrong = WEB
        .replace("replicas: 2", "replica: 2")
        .replace("setWeight: 20", "setWeight: 120")
        .replace("duration: 1m", "duration: soon");
    let found = lines(&check_all(&[("a.yaml", WEB), ("b.yaml", &wrong)]));
    for wanted in [
        "a.yaml:13:7: warning: Rollout web: spec.strategy.canary.maxSurge: maxSurge: \"1\" is a text",
        "a.yaml:15:9: warning: Rollout web: spec.strategy.canary.steps[0].setWeight: with 2 replicas",
        "b.yaml:5:3: error: Rollout web: spec.replica: unknown field: did you mean \"replicas\"?",
        "b.yaml:15:9: error: Rollout web: spec.strategy.canary.steps[0].setWeight: Invalid value: 120: SetWeight",
        "b.yaml:16:17: error: Rollout web: spec.strategy.canary.steps[1].pause.duration: Invalid value: \"soon\"",
    ] {
        assert!(
            found.iter().any(|f| f.starts_with(wanted)),
            "{wanted}\nis not in\n{found:#?}"
        );
    }
    assert_eq!(found.len(), 5, "{found:#?}");
}

#[test]
fn references_are_followed_where_the_object_is_in_the_files() {
    let template = "\
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata: {name: good}
spec:
  args: [{name: a}, {name: b}]
  metrics: [{name: m, interval: 1m, provider: {prometheus: {address: 'http://p', query: up}}}]
";
    let found = lines(&check_all(&[("a.yaml", WEB), ("t.yaml", template)]));
    let unresolved = "a.yaml:17:18: error: Rollout web: spec.strategy.canary.analysis.templates: Invalid value: {…}: args.b was not resolved";
    assert!(found.iter().any(|f| f == unresolved), "{found:#?}");
    let other = template.replace("name: good", "name: other");
    let found = lines(&check_all(&[("a.yaml", WEB), ("t.yaml", &other)]));
    let missing = "AnalysisTemplate \"good\" is not in these files";
    assert!(found.iter().any(|f| f.contains(missing)), "{found:#?}");
}

#[test]
fn services_must_select_the_pods_of_the_rollout() {
    let service = |selector: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {{selector: {selector}}}\n"
        )
    };
    let web = WEB.replace("maxSurge: '1'", "canaryService: web");
    for (selector, told) in [
        ("{app: other}", true),
        ("{app: web, tier: front}", true),
        ("{app: web, rollouts-pod-template-hash: abc}", false),
    ] {
        let service = service(selector);
        let found = lines(&check_all(&[("a.yaml", &web), ("s.yaml", &service)]));
        let is_told = found.iter().any(|f| f.contains("has unmatch label"));
        assert_eq!(is_told, told, "{selector}: {found:#?}");
    }
    let second = web.replace("name: web}\nspec", "name: web2}\nspec");
    let found = lines(&check_all(&[("a.yaml", &web), ("b.yaml", &second)]));
    let clash = "Service \"web\" is managed by another Rollout: web";
    assert!(found.iter().any(|f| f.contains(clash)), "{found:#?}");
}

#[test]
fn what_is_not_yaml_is_a_finding_and_the_rest_is_checked() {
    let report = check_all(&[
        ("a.yaml", "a: [1,\nb: 2\n"),
        (
            "b.yaml",
            "kind: Rollotu\napiVersion: argoproj.io/v1alpha1\n",
        ),
    ]);
    let found = lines(&report);
    assert!(
        found[0].starts_with("a.yaml:") && found[0].contains("is not YAML: "),
        "{found:#?}"
    );
    assert!(found[1].contains("did you mean \"Rollout\"?"), "{found:#?}");
    assert_eq!(report.count(Severity::Error), 2);
}

#[test]
fn a_report_fits_80_columns_and_every_form_has_every_finding() {
    let wrong = WEB.replace("setWeight: 20", "setWeight: 120");
    let name = "a/path/that/is/rather/long/for/a/manifest.yaml";
    let report = check_all(&[(name, &wrong)]);
    let text = report::text(&report);
    let widest = text.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(80), "{text}");
    assert!(text.ends_with("1 manifest in 1 file: 1 fault\n"), "{text}");
    let json = report::json(&report);
    assert_eq!(json["findings"].as_array().map(Vec::len), Some(1));
    let sarif = report::sarif(&report);
    let results = &sarif["runs"][0]["results"];
    assert_eq!(
        results[0]["locations"][0]["physicalLocation"]["region"]["startLine"],
        15
    );
    assert_eq!(results[0]["ruleId"], "invalid");
}

#[test]
fn a_preview_larger_than_the_rollout_is_worth_a_word() {
    let text = WEB.split("    canary:").next().unwrap().to_owned()
        + "    blueGreen: {activeService: live, previewReplicaCount: 9}\n";
    let told = lines(&check_all(&[("web.yaml", &text)]));
    let wanted = "spec.strategy.blueGreen.previewReplicaCount: previewReplicaCount is 9, and the preview never has more than spec.replicas: it gets 2";
    assert!(told.iter().any(|line| line.ends_with(wanted)), "{told:#?}");
}
