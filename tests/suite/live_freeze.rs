//! Freeze windows on a real control plane: seen by a watch, held by the controller, overridden by people.

use serde_json::{Value, json};
use serin::api::{FreezeWindow, Rollout, RolloutStatus};

use crate::controller::{Serin, phase, space, web};

fn status(rollout: Option<&Rollout>) -> Option<&RolloutStatus> {
    rollout?.status.as_ref()
}

/// Waits for a freeze, and says which.
fn is_frozen(rollout: Option<&Rollout>) -> bool {
    status(rollout).is_some_and(|s| {
        let serin = s.serin.as_ref();
        s.phase.as_deref() == Some("Paused") && serin.is_some_and(|s| s.freeze.is_some())
    })
}

const FREEZE: &str =
    "{apiVersion: serin.dev/v1alpha1, kind: FreezeWindow, metadata: {name: incident},
  spec: {reason: an incident is being looked into, owner: on-call}}";

#[tokio::test]
async fn a_freeze_holds_updates_until_it_goes_or_is_overridden() {
    let Some(space) = space("freeze").await else {
        return;
    };
    let serin = Serin::start(&space, &[]);
    serin.ready().await;
    let canary = "{steps: [{setWeight: 50}]}";
    // A first deployment is not held.
    space.apply(FREEZE);
    space.apply(&web("1", 2, canary));
    space
        .reaches("web", "the first version is there", phase("Healthy"))
        .await;

    space.apply(&web("2", 2, canary));
    let held = space.reaches("web", "it is frozen", is_frozen).await;
    let message = held.message.unwrap();
    let wanted = format!(
        "frozen by FreezeWindow {}/incident until it is deleted: an incident is being looked into (owner: on-call)",
        space.namespace
    );
    assert_eq!(message, wanted);
    space.noted("web", "UpdateFrozen", 1).await;
    assert_eq!(
        space.sizes().await,
        [("1".to_owned(), 2), ("2".to_owned(), 0)]
    );
    space.command("web", "promote", "true");
    let refused = space.noted("web", "CommandRefused", 1).await;
    assert!(refused[0].contains("frozen by FreezeWindow"), "{refused:?}");

    // It ends: the watch tells it, and the update goes on.
    space.kubectl(&["delete", "fw", "incident"]);
    space
        .reaches("web", "the update is done", phase("Healthy"))
        .await;
    space.noted("web", "FreezeEnded", 1).await;

    // A freeze that begins stops the next update; a reason lets it through, once.
    space.apply(FREEZE);
    space.apply(&web("3", 2, canary));
    space.reaches("web", "it is frozen", is_frozen).await;
    space.command(
        "web",
        "override-freeze",
        "CVE-2026-1, approved by the on-call",
    );
    let done = space
        .reaches("web", "it went through", phase("Healthy"))
        .await;
    let over = done.serin.unwrap().freeze_override.unwrap();
    assert_eq!(over.reason, "CVE-2026-1, approved by the on-call");
    assert!(over.freeze.unwrap().contains("incident"));
    let told = space.noted("web", "FreezeOverridden", 1).await;
    assert!(told[0].contains("Reason given: CVE-2026-1"), "{told:?}");

    // Aborts and rollbacks go on.
    space.apply(&web("4", 2, canary));
    space.reaches("web", "it is frozen", is_frozen).await;
    space.apply(&web("3", 2, canary));
    space.reaches("web", "it went back", phase("Healthy")).await;
    let columns = space.kubectl(&["get", "fw"]);
    assert!(
        columns.contains("an incident is being looked into"),
        "{columns}"
    );
}

#[tokio::test]
async fn wrong_freezes_are_refused_with_what_to_do() {
    let Some(space) = space("freezes").await else {
        return;
    };
    let api = space.api::<FreezeWindow>();
    let cases: [(Value, &str); 6] = [
        (json!({}), "reason: Required value"),
        (
            json!({"reason": "r", "schedule": "0 18 * * FRI"}),
            "schedule and duration go together",
        ),
        (
            json!({"reason": "r", "schedule": "at six", "duration": "1h"}),
            "write five fields",
        ),
        (
            json!({"reason": "r", "schedule": "0 18 * * FRI", "duration": "2 days"}),
            "write a duration with units",
        ),
        (
            json!({"reason": "r", "schedule": "0 18 * * FRI", "duration": "1h", "to": "2026-12-20"}),
            "for one that comes once",
        ),
        (
            json!({"reason": "r", "from": "tomorrow", "timeZone": "Europe/Warsaw"}),
            "write a time such as",
        ),
    ];
    let params = kube::api::PatchParams::apply("test").dry_run();
    for (spec, told) in cases {
        let manifest = json!({"apiVersion": "serin.dev/v1alpha1", "kind": "FreezeWindow",
            "metadata": {"name": "w"}, "spec": spec});
        let said = api
            .patch("w", &params, &kube::api::Patch::Apply(&manifest))
            .await;
        let said = said.unwrap_err().to_string();
        assert!(said.contains(told), "{manifest}: {said}");
    }
}

/// The kinds may be missing altogether: an older cluster, an installation that wants none.
#[tokio::test]
async fn a_controller_works_where_the_kinds_are_not_installed() {
    use crate::bench::control_plane::{ControlPlane, Options};
    if !crate::cluster::is_wanted() {
        return;
    }
    let dir = crate::cluster::dir().join("no-freezes");
    let crds = dir.join("crds");
    std::fs::create_dir_all(&crds).unwrap();
    let all = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    for entry in std::fs::read_dir(all).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_owned();
        if !name.to_string_lossy().contains("freeze") {
            std::fs::copy(&path, crds.join(name)).unwrap();
        }
    }
    let options = Options {
        crds: Some(crds),
        ..Options::default()
    };
    let plane = ControlPlane::start_with(&dir.join("plane"), options).unwrap();
    plane.give_serin_its_rights().unwrap();
    let flags = ["--leader-elect=false"];
    let serin = Serin::start_on(&plane, &plane.serin, "no-freezes", &flags);
    serin.ready().await;
}
