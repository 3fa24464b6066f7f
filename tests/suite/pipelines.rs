//! examples/pipelines, .github/workflows and deploy/terraform: they parse, they are linted, and what they rest on holds.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

use crate::agents::{images, know, overlay};
use crate::bench::control_plane::ControlPlane;
use crate::bench::programs;
use crate::cluster;
use crate::delivery::{kustomize, plane, succeeded};
use crate::deploy::{documents, path};

fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(path(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|file| file.extension().is_some_and(|e| e == ending))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "{folder} has no .{ending}");
    found
}

fn workflows() -> Vec<PathBuf> {
    [
        files(".github/workflows", "yaml"),
        files("examples/pipelines/github", "yaml"),
    ]
    .concat()
}

#[test]
fn the_workflows_are_sound() {
    if !cluster::is_wanted() {
        return;
    }
    // Workflows that call each other are looked for where a repository has them.
    let root = cluster::dir().join("workflows");
    let folder = root.join(".github/workflows");
    fs::create_dir_all(&folder).unwrap();
    fs::create_dir_all(root.join(".git")).unwrap();
    for file in workflows() {
        fs::copy(&file, folder.join(file.file_name().unwrap())).unwrap();
    }
    let mut actionlint = Command::new(programs::delivery_tool("actionlint").unwrap());
    let output = actionlint
        .args(["-shellcheck=", "-pyflakes="])
        .current_dir(root)
        .output()
        .unwrap();
    succeeded(&output);
}

#[test]
fn workflows_pin_actions_by_digest_and_ask_for_little() {
    for file in workflows() {
        let text = fs::read_to_string(&file).unwrap();
        let shown = file.display();
        let workflow: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(
            workflow["permissions"],
            serde_json::json!({"contents": "read"}),
            "{shown}"
        );
        for (name, job) in workflow["jobs"].as_object().unwrap() {
            assert!(job["permissions"] != "write-all", "{shown}: {name}");
            let is_bounded = job.get("timeout-minutes").is_some() || job.get("uses").is_some();
            assert!(is_bounded, "{shown}: {name} has no timeout-minutes");
        }
        for line in text
            .lines()
            .filter_map(|line| line.trim_start_matches([' ', '-']).strip_prefix("uses: "))
        {
            let is_local = line.starts_with("./");
            let digest = line
                .split_once('@')
                .map(|(_, rest)| rest.split(' ').next().unwrap_or_default());
            let is_pinned =
                digest.is_some_and(|d| d.len() == 40 && d.bytes().all(|b| b.is_ascii_hexdigit()));
            assert!(is_local || is_pinned, "{shown}: {line}");
        }
        // What others wrote, such as the title of a pull request, must not be put into a script.
        for line in text.lines().filter(|line| line.contains("github.event.")) {
            assert!(
                !line.contains("title") && !line.contains("body"),
                "{shown}: {line}"
            );
        }
    }
}

#[test]
fn the_jenkinsfile_is_groovy_with_the_same_stages() {
    if !cluster::is_wanted() {
        return;
    }
    let jar = programs::delivery_tool("groovy.jar").unwrap();
    let file = path("examples/pipelines/Jenkinsfile");
    let parse = |file: &PathBuf| {
        let mut java = Command::new("java");
        java.arg("-cp")
            .arg(&jar)
            .arg(path("tests/delivery-tools/ParseGroovy.java"))
            .arg(file);
        java.output().unwrap()
    };
    succeeded(&parse(&file));
    let text = fs::read_to_string(&file).unwrap();
    let broken = cluster::dir().join("Jenkinsfile");
    fs::write(&broken, text.replacen("stages {", "stages (", 1)).unwrap();
    assert!(
        !parse(&broken).status.success(),
        "a broken Jenkinsfile must not parse"
    );
    for word in [
        "rehearse.sh",
        "trivy image --exit-code 1",
        "cosign sign",
        "serin status",
        "audit.sh",
        "input message",
        "proxy/health",
    ] {
        assert!(text.contains(word), "the Jenkinsfile has no {word}");
    }
    assert!(
        !text.contains("|| true'"),
        "a gate that cannot fail is none"
    );
}

#[test]
fn scripts_are_sound_shell() {
    for file in [
        files("examples/pipelines/scripts", "sh"),
        files("examples/agents", "sh"),
        files("tests/delivery-tools", "sh"),
    ]
    .concat()
    {
        succeeded(&Command::new("sh").arg("-n").arg(&file).output().unwrap());
        let text = fs::read_to_string(&file).unwrap();
        assert!(
            text.contains("\nset -eu\n"),
            "{}: set -eu is missing",
            file.display()
        );
    }
}

#[test]
fn the_terraform_is_hcl_in_its_canonical_form() {
    if !cluster::is_wanted() {
        return;
    }
    for file in [
        files("deploy/terraform/serin", "tf"),
        files("deploy/terraform/eks", "tf"),
    ]
    .concat()
    {
        let mut hclfmt = Command::new(programs::delivery_tool("hclfmt").unwrap());
        let printed = succeeded(&hclfmt.arg(&file).output().unwrap());
        assert_eq!(
            printed,
            fs::read_to_string(&file).unwrap(),
            "{}",
            file.display()
        );
    }
    // Every variable that is used is declared, and every one that is declared is used and told what it is.
    for folder in ["deploy/terraform/serin", "deploy/terraform/eks"] {
        let text: String = files(folder, "tf")
            .iter()
            .map(|f| fs::read_to_string(f).unwrap())
            .collect();
        let all = |pattern: &str| -> BTreeSet<String> {
            let pattern = regex::Regex::new(pattern).unwrap();
            pattern
                .captures_iter(&text)
                .map(|c| c[1].to_owned())
                .collect()
        };
        assert_eq!(all(r#"variable "(\w+)""#), all(r"\bvar\.(\w+)"), "{folder}");
        let told = text.matches("description").count();
        assert_eq!(
            told,
            all(r#"variable "(\w+)""#).len() + all(r#"output "(\w+)""#).len(),
            "{folder}"
        );
    }
}

#[test]
fn the_compose_file_uses_files_that_exist() {
    let text = fs::read_to_string(path("deploy/compose/compose.yaml")).unwrap();
    let compose: Value = serde_saphyr::from_str(&text).unwrap();
    let folder = path("deploy/compose");
    for (name, service) in compose["services"].as_object().unwrap() {
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let source = volume.as_str().unwrap().split(':').next().unwrap();
            assert!(folder.join(source).exists(), "{name}: {source}");
        }
        for port in service["ports"].as_array().unwrap() {
            assert!(
                port.as_str().unwrap().starts_with("127.0.0.1:"),
                "{name} is open to the network"
            );
        }
        assert!(
            !service["image"]
                .as_str()
                .is_some_and(|i| !i.contains(':') || i.ends_with("latest")),
            "{name}"
        );
        assert_eq!(service["cap_drop"], serde_json::json!(["ALL"]), "{name}");
    }
    for file in files("deploy/compose", "yaml") {
        let _: Value = serde_saphyr::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    }
}

/// A program that is kubectl with the admin's kubeconfig, as a pipeline has it.
fn kubectl_as_admin(plane: &ControlPlane) -> PathBuf {
    static WRITTEN: OnceLock<PathBuf> = OnceLock::new();
    let write = || {
        let wrapper = cluster::dir().join("kubectl-as-admin");
        let program = plane.kubectl().get_program().to_string_lossy().into_owned();
        let script = format!(
            "#!/bin/sh\nexec {program} --kubeconfig {} \"$@\"\n",
            plane.admin.kubeconfig.display()
        );
        fs::write(&wrapper, script).unwrap();
        let mut chmod = Command::new("chmod");
        succeeded(&chmod.arg("+x").arg(&wrapper).output().unwrap());
        wrapper
    };
    WRITTEN.get_or_init(write).clone()
}

#[tokio::test]
async fn the_deploy_step_ships_one_digest_and_puts_it_on_the_list() {
    let Some(plane) = plane() else {
        return;
    };
    let kubectl = |args: &[&str]| succeeded(&plane.kubectl().args(args).output().unwrap());
    // The step writes the digest into the overlay: into a copy here.
    let agents = cluster::dir().join("shipped");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(path("examples/agents"))
        .arg(&agents)
        .output();
    succeeded(&copied.unwrap());
    // What was shipped before is on the list.
    for image in images(&documents(&kustomize(plane, &overlay("staging")))) {
        know(plane, &image);
    }
    let ship = |image: &str| {
        Command::new(path("examples/pipelines/scripts/deploy.sh"))
            .args(["staging", "security-agent", image])
            .env("AGENTS", &agents)
            .env("OUT", cluster::dir().join("shipped-out"))
            .env("SERIN", env!("CARGO_BIN_EXE_serin"))
            .env("KUBECTL", kubectl_as_admin(plane))
            .output()
            .unwrap()
    };
    let name = "registry.example.com/ai-agents/security-agent";
    let tagged = ship(&format!("{name}:1.0.0"));
    assert_eq!(tagged.status.code(), Some(2), "a tag is not shipped");
    let digest = "7".repeat(64);
    // Where the policies act, the API server learns of the list a moment later.
    let printed = cluster::until("it is shipped", || {
        let output = ship(&format!("{name}@sha256:{digest}"));
        let said = String::from_utf8_lossy(&output.stderr);
        let is_early = said.contains("serin-known-images");
        (output.status.success() || !is_early).then(|| succeeded(&output))
    })
    .await;
    assert!(
        printed.contains("as expected: "),
        "it is rehearsed: {printed}"
    );
    let image = "jsonpath={.spec.template.spec.containers[0].image}";
    let space = "--namespace=ai-agents-staging";
    let shipped = kubectl(&["get", "rollout", "security-agent", space, "-o", image]);
    assert_eq!(shipped, format!("{name}@sha256:{digest}"));
    let other = kubectl(&["get", "rollout", "ai-agent", space, "-o", image]);
    assert!(
        !other.contains(&digest),
        "only the one that was named: {other}"
    );
    let list = kubectl(&[
        "get",
        "configmap",
        "serin-known-images",
        "--namespace=serin-system",
        "-o",
        "json",
    ]);
    let list: Value = serde_json::from_str(&list).unwrap();
    let entry = list["data"][format!("sha256.{digest}")].as_str().unwrap();
    assert!(entry.starts_with("security-agent "), "{entry}");
}

/// A Rollout as the gate sees it: the status is what a controller would have written.
fn with_status(plane: &ControlPlane, status: &str) {
    let rollout = r#"{"apiVersion":"argoproj.io/v1alpha1","kind":"Rollout","metadata":{"name":"gated","namespace":"default"},
        "spec":{"replicas":0,"selector":{"matchLabels":{"app":"gated"}},"strategy":{"canary":{}},
        "template":{"metadata":{"labels":{"app":"gated"}},"spec":{"containers":[{"name":"a","image":"a:1"}]}}}}"#;
    plane.apply(rollout).unwrap();
    let mut kubectl = plane.kubectl();
    kubectl.args([
        "patch",
        "rollout",
        "gated",
        "--subresource=status",
        "--type=merge",
        "-p",
        status,
    ]);
    succeeded(&kubectl.output().unwrap());
}

#[test]
fn the_gate_tells_out_from_taken_back_from_waiting() {
    let Some(plane) = plane() else {
        return;
    };
    let wrapper = kubectl_as_admin(plane);
    let run = |script: &str, args: &[&str]| -> Output {
        let mut command = Command::new(path("examples/pipelines/scripts").join(script));
        command
            .args(args)
            .env("KUBECTL", &wrapper)
            .output()
            .unwrap()
    };
    let gate = |more: &str| -> Output {
        let mut serin = Command::new(env!("CARGO_BIN_EXE_serin"));
        serin
            .args([
                "status",
                "gated",
                "-n",
                "default",
                "--watch",
                "--timeout=1s",
            ])
            .args((!more.is_empty()).then_some(more))
            .arg("--kubeconfig")
            .arg(&plane.admin.kubeconfig)
            .output()
            .unwrap()
    };
    for (status, more, code) in [
        (
            r#"{"status":{"observedGeneration":"1","phase":"Healthy"}}"#,
            "",
            0,
        ),
        (
            r#"{"status":{"observedGeneration":"1","phase":"Degraded","message":"RolloutAborted: slow"}}"#,
            "",
            1,
        ),
        (
            r#"{"status":{"observedGeneration":"1","phase":"Paused","message":"CanaryPauseStep"}}"#,
            "",
            4,
        ),
        (
            r#"{"status":{"observedGeneration":"1","phase":"Paused","message":"InconclusiveAnalysisRun","pauseConditions":[{"reason":"InconclusiveAnalysisRun","startTime":"2026-01-01T00:00:00Z"}]}}"#,
            "",
            3,
        ),
        (
            r#"{"status":{"observedGeneration":"1","phase":"Paused","message":"InconclusiveAnalysisRun"}}"#,
            "--through-pauses",
            3,
        ),
        // Of an older generation: nobody has looked at this update yet.
        (
            r#"{"status":{"observedGeneration":"0","phase":"Healthy","message":null}}"#,
            "",
            4,
        ),
    ] {
        with_status(plane, status);
        let output = gate(more);
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{status}: {said}");
    }
    let output = run(
        "audit.sh",
        &["default", "gated", "a@sha256:1", "ann", "abc", "success"],
    );
    let record: Value = serde_json::from_str(&succeeded(&output)).unwrap();
    assert_eq!(record["who"], "ann");
    let events = [
        "get",
        "events.v1.events.k8s.io",
        "--namespace=default",
        "-o",
        "jsonpath={.items[*].note}",
    ];
    let noted = succeeded(&plane.kubectl().args(events).output().unwrap());
    assert!(
        noted.contains("ann shipped a@sha256:1 (commit abc): success"),
        "{noted}"
    );
}

#[test]
fn the_dockerfile_keeps_the_rules() {
    for file in ["Dockerfile", "deploy/compose/agent.Dockerfile"] {
        let text = fs::read_to_string(path(file)).unwrap().replace("\\\n", " ");
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .collect();
        let of = |word: &str| -> Vec<&str> {
            lines
                .iter()
                .filter_map(|line| line.strip_prefix(word))
                .map(str::trim)
                .collect()
        };
        let stages = of("FROM ");
        assert!(
            stages.len() > 1,
            "{file}: what builds must not be in what ships"
        );
        for stage in &stages {
            let image = stage.split(' ').next().unwrap_or_default();
            let tag = image.rsplit_once(':').map(|(_, tag)| tag);
            assert!(
                tag.is_some_and(|tag| tag != "latest"),
                "{file}: {image} is not pinned to a version"
            );
        }
        assert!(
            stages.last().unwrap().contains("distroless"),
            "{file}: the last stage has a shell"
        );
        assert_eq!(
            of("USER "),
            ["65532:65532"],
            "{file}: a number, so that runAsNonRoot can be checked"
        );
        assert!(of("ADD ").is_empty(), "{file}: COPY says what it does");
        for run in of("RUN ") {
            assert!(
                !run.contains("| sh") && !run.contains("sudo") && !run.contains("curl"),
                "{file}: {run}"
            );
            assert!(
                !run.contains("apt-get") || run.contains("--no-install-recommends"),
                "{file}: {run}"
            );
            assert!(
                !run.contains("cargo") || run.contains("--locked"),
                "{file}: {run}"
            );
        }
        for word in ["ENTRYPOINT ", "CMD "] {
            assert!(
                of(word).iter().all(|form| form.starts_with('[')),
                "{file}: {word} goes through a shell"
            );
        }
        for folder in of("WORKDIR ") {
            assert!(
                folder.starts_with('/'),
                "{file}: WORKDIR {folder} is relative"
            );
        }
        assert!(
            !text.to_lowercase().contains("password") && !text.contains("TOKEN"),
            "{file}: a secret stays in its layer"
        );
    }
}

fn python(script: &str, args: &[&str]) -> String {
    let output = Command::new("python3")
        .arg(path("deploy/image").join(script))
        .args(args)
        .output()
        .unwrap();
    succeeded(&output)
}

#[test]
fn the_bills_of_materials_name_what_the_lock_file_names() {
    if !cluster::is_wanted() {
        return;
    }
    let lock = fs::read_to_string(path("Cargo.lock")).unwrap();
    let field = |block: &str, name: &str| -> String {
        let line = block
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name} = \"")));
        line.unwrap_or_default().trim_end_matches('"').to_owned()
    };
    let locked: BTreeSet<(String, String, String)> = lock
        .split("[[package]]")
        .skip(1)
        .map(|block| {
            (
                field(block, "name"),
                field(block, "version"),
                field(block, "checksum"),
            )
        })
        .collect();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let cyclonedx: Value = serde_json::from_str(&python("sbom.py", &["cyclonedx"])).unwrap();
    let own = &cyclonedx["metadata"]["component"];
    let parts = cyclonedx["components"]
        .as_array()
        .unwrap()
        .iter()
        .chain([own]);
    let named: BTreeSet<_> = parts
        .map(|p| {
            (
                text(&p["name"]),
                text(&p["version"]),
                text(&p["hashes"][0]["content"]),
            )
        })
        .collect();
    assert_eq!(named, locked);
    let spdx: Value = serde_json::from_str(&python("sbom.py", &["spdx"])).unwrap();
    let parts = spdx["packages"].as_array().unwrap().iter();
    let named: BTreeSet<_> = parts
        .map(|p| {
            (
                text(&p["name"]),
                text(&p["versionInfo"]),
                text(&p["checksums"][0]["checksumValue"]),
            )
        })
        .collect();
    assert_eq!(named, locked);
    assert_eq!(
        python("sbom.py", &["spdx"]),
        python("sbom.py", &["spdx"]),
        "the same lock file, the same bytes"
    );
}

#[test]
fn the_image_holds_one_binary_certificates_and_a_user() {
    if !cluster::is_wanted() {
        return;
    }
    let (binary, certificates) = (
        cluster::dir().join("a-binary"),
        cluster::dir().join("certificates"),
    );
    fs::write(&binary, b"not really").unwrap();
    fs::write(&certificates, b"-----BEGIN CERTIFICATE-----\n").unwrap();
    let build = |name: &str| {
        let out = cluster::dir().join(name);
        let args = [&binary, &certificates, &out].map(|path| path.display().to_string());
        let told: Value =
            serde_json::from_str(&python("oci.py", &args.each_ref().map(String::as_str))).unwrap();
        (out, told)
    };
    let (out, told) = build("image-1");
    let (_, again) = build("image-2");
    assert_eq!(
        told, again,
        "the same binary makes the same image, wherever it is made"
    );
    let read = |digest: &Value| -> Vec<u8> {
        let name = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
        fs::read(out.join("image/blobs/sha256").join(name)).unwrap()
    };
    let index: Value =
        serde_json::from_slice(&fs::read(out.join("image/index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"][0]["digest"], told["digest"]);
    let manifest: Value = serde_json::from_slice(&read(&told["digest"])).unwrap();
    let config: Value = serde_json::from_slice(&read(&manifest["config"]["digest"])).unwrap();
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(
        config["config"]["Entrypoint"],
        serde_json::json!(["/serin"])
    );
    let layer = out.join("layer.tar.gz");
    fs::write(&layer, read(&manifest["layers"][0]["digest"])).unwrap();
    let listing = succeeded(
        &Command::new("tar")
            .arg("-tvzf")
            .arg(&layer)
            .output()
            .unwrap(),
    );
    let files: Vec<&str> = listing
        .lines()
        .filter(|line| line.starts_with('-'))
        .collect();
    let names: Vec<&str> = files
        .iter()
        .filter_map(|line| line.split(' ').next_back())
        .collect();
    assert_eq!(
        names,
        [
            "etc/group",
            "etc/passwd",
            "etc/ssl/certs/ca-certificates.crt",
            "serin"
        ]
    );
    for line in files {
        let is_read_only = line.starts_with("-r--r--r--") || line.starts_with("-r-xr-xr-x");
        assert!(is_read_only && line.contains(" 0/0 "), "{line}");
    }
}
