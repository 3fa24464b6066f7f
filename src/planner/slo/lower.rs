//! `slos` as a person wrote them to objectives, or every fault in them. Knows the wire form.

use super::bound::{self, Limit, Read, Unit};
use super::promql::{self, Selector};
use super::{Kind, Objective, SelectBy, SloSpec, Window};
use crate::api::Bound;
use crate::api::providers::CompareMetric;
use crate::api::slo::{self, Slos};
use crate::planner::analysis::compare;
use crate::planner::duration;
use crate::planner::fault::Fault;

/// Longest name of a Rollout under `selectBy: pod`. A pod is called `<rollout>-<hash>-<5 letters>`
/// in at most 63 characters, and what is longer is cut before the 5 letters.
const MAX_NAME_BY_POD: usize = 46;

/// Reads `slos`. `path` is where they stand, such as `spec.strategy.canary.slos`.
///
/// # Errors
/// Every fault, each with its path and what to do.
pub fn lower(slos: &Slos, path: &str) -> Result<SloSpec, Vec<Fault>> {
    let Slos {
        prometheus,
        interval,
        starting_step,
        failure_limit,
        window,
        min_samples,
        hold_for,
        scrape_interval,
        namespace_label,
        hash_label,
        select_by,
        on_failure,
        objectives,
    } = slos;
    let mut reader = Reader {
        path: path.to_owned(),
        faults: Vec::new(),
    };
    let scrape_ms = reader.millis("scrapeInterval", scrape_interval.as_deref(), 1, 0);
    let window_ms = reader.millis("window", window.as_deref(), 1000, 300_000);
    if scrape_ms > 0 && window_ms < scrape_ms.saturating_mul(4) {
        reader.fault(
            "window",
            &window.clone().unwrap_or_else(|| "5m".to_owned()),
            "is shorter than four scrapes: raise window, or lower scrapeInterval",
        );
    }
    let spec = SloSpec {
        prometheus: reader.address(prometheus.as_deref()),
        interval_ms: reader.millis("interval", interval.as_deref(), 1000, 30_000),
        starting_step: reader
            .whole("startingStep", *starting_step, 0, 0)
            .try_into()
            .unwrap_or(0),
        failure_limit: reader.whole("failureLimit", *failure_limit, 0, 0),
        window: Window { millis: window_ms },
        min_samples: reader
            .whole("minSamples", *min_samples, 1, 20)
            .try_into()
            .unwrap_or(20),
        hold_for_ms: reader.millis("holdFor", hold_for.as_deref(), 0, 1_800_000),
        namespace_label: reader.label("namespaceLabel", namespace_label.as_deref(), "namespace"),
        hash_label: reader.label(
            "hashLabel",
            hash_label.as_deref(),
            "rollouts_pod_template_hash",
        ),
        select_by: match select_by.as_deref() {
            None | Some("" | "hash") => SelectBy::Hash,
            Some("pod") => SelectBy::Pod,
            Some(other) => {
                reader.fault(
                    "selectBy",
                    other,
                    "must be hash (the pod hash label) or pod (names of pods)",
                );
                SelectBy::Hash
            }
        },
        pauses_on_failure: match on_failure.as_deref() {
            None | Some("Abort") => false,
            Some("Pause") => true,
            Some(other) => {
                let message = "must be Abort (go back) or Pause (a person decides)";
                reader.fault("onFailure", other, message);
                false
            }
        },
        objectives: Vec::new(),
    };
    let mut list = List {
        reader,
        spec,
        objectives: Vec::new(),
    };
    if objectives.is_empty() {
        list.reader.faults.push(Fault::required(
            &format!("{path}.objectives"),
            "name at least one of latency, success, cost, violations, query, compare",
        ));
    }
    for (i, objective) in objectives.iter().enumerate() {
        list.objective(objective, &format!("objectives[{i}]"));
    }
    let List {
        reader,
        mut spec,
        objectives,
    } = list;
    spec.objectives = objectives;
    if reader.faults.is_empty() {
        Ok(spec)
    } else {
        Err(reader.faults)
    }
}

/// Faults that only show beside the rest of the Rollout: its name and its number of steps.
pub fn check(spec: &SloSpec, rollout: &str, steps: usize, path: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    if spec.select_by == SelectBy::Pod && rollout.len() > MAX_NAME_BY_POD {
        faults.push(Fault::invalid(
            &format!("{path}.selectBy"),
            "\"pod\"",
            format!(
                "the name of this Rollout has more than {MAX_NAME_BY_POD} characters, so that the names of its pods are cut: let Prometheus keep pod labels and use selectBy hash, or shorten the name"
            ),
        ));
    }
    if steps == 0 && spec.starting_step > 0 {
        faults.push(Fault::invalid(
            &format!("{path}.startingStep"),
            spec.starting_step,
            "there are no steps: nothing would be gated; leave startingStep out",
        ));
    }
    if steps > 0 && spec.starting_step >= steps {
        faults.push(Fault::invalid(
            &format!("{path}.startingStep"),
            spec.starting_step,
            format!("there are {steps} steps, counted from 0: nothing would be gated"),
        ));
    }
    faults
}

struct Reader {
    path: String,
    faults: Vec<Fault>,
}

impl Reader {
    fn fault(&mut self, field: &str, value: &str, message: impl std::fmt::Display) {
        self.faults.push(Fault::invalid(
            &format!("{}.{field}", self.path),
            format!("{value:?}"),
            message,
        ));
    }

    fn millis(&mut self, field: &str, text: Option<&str>, least: i64, default: i64) -> i64 {
        let Some(text) = text.filter(|t| !t.is_empty()) else {
            return default;
        };
        match duration::parse(text) {
            Ok(ms) if ms >= least => ms,
            Ok(_) => {
                self.fault(field, text, format!("must be at least {least}ms"));
                default
            }
            Err(why) => {
                self.fault(field, text, why);
                default
            }
        }
    }

    fn whole(&mut self, field: &str, number: Option<i64>, least: i64, default: i64) -> i64 {
        match number {
            None => default,
            Some(n) if n >= least => n,
            Some(n) => {
                let path = format!("{}.{field}", self.path);
                self.faults.push(Fault::invalid(
                    &path,
                    n,
                    format!("must be at least {least}"),
                ));
                default
            }
        }
    }

    fn label(&mut self, field: &str, text: Option<&str>, default: &str) -> String {
        match text.filter(|t| !t.is_empty()) {
            None => default.to_owned(),
            Some(text) if promql::is_label(text) => text.to_owned(),
            Some(text) => {
                self.fault(
                    field,
                    text,
                    "is not a name that a Prometheus label can have",
                );
                default.to_owned()
            }
        }
    }

    fn address(&mut self, text: Option<&str>) -> Option<String> {
        let text = text.filter(|t| !t.is_empty())?;
        let host = text
            .strip_prefix("http://")
            .or_else(|| text.strip_prefix("https://"));
        let usable = host.is_some_and(|h| {
            !h.is_empty() && !h.starts_with('/') && !h.contains(['@', '?', '#', ' ', '{', '}'])
        });
        if !usable {
            self.fault(
                "prometheus",
                text,
                "is not an address: write it like http://prometheus.monitoring:9090, without user, query or fragment",
            );
        }
        Some(text.to_owned())
    }

    /// A metric name with matchers, refused and pointed to `query` where it is more than that.
    fn selector(&mut self, field: &str, text: &str, taken: &[&str]) -> Option<Selector> {
        match promql::parse(text) {
            Ok(selector) => {
                if let Some(m) = selector
                    .matchers
                    .iter()
                    .find(|m| taken.contains(&m.label.as_str()))
                {
                    let label = m.label.clone();
                    self.fault(
                        field,
                        text,
                        format!("serin matches label {label} itself: leave it out, or use query"),
                    );
                    return None;
                }
                Some(selector)
            }
            Err(why) => {
                self.fault(
                    field,
                    text,
                    format!("{why}; for any other expression use query"),
                );
                None
            }
        }
    }
}

/// Which way a bound looks.
#[derive(Clone, Copy)]
enum Way {
    AtMost,
    AtLeast,
}

impl Way {
    fn limit(self, read: Read) -> Limit {
        match (self, read) {
            (Self::AtMost, Read::Value(v)) => Limit::AtMost(v),
            (Self::AtLeast, Read::Value(v)) => Limit::AtLeast(v),
            (Self::AtMost, Read::Worse(share)) => Limit::RatioAtMost(1.0 + share),
            (Self::AtLeast, Read::Worse(share)) => Limit::RatioAtLeast((1.0 - share).max(0.0)),
        }
    }
}

struct List {
    reader: Reader,
    spec: SloSpec,
    objectives: Vec<Objective>,
}

impl List {
    fn objective(&mut self, objective: &slo::Objective, at: &str) {
        let slo::Objective {
            name,
            latency,
            success,
            cost,
            violations,
            query,
            compare,
        } = objective;
        let set = [
            latency.is_some(),
            success.is_some(),
            cost.is_some(),
            violations.is_some(),
            query.is_some(),
            compare.is_some(),
        ];
        if set.iter().filter(|s| **s).count() != 1 {
            let path = format!("{}.{at}", self.reader.path);
            self.reader.faults.push(Fault::required(
                &path,
                "set exactly one of latency, success, cost, violations, query, compare in each entry",
            ));
            return;
        }
        let name = name.as_deref().filter(|n| !n.is_empty());
        if let Some(latency) = latency {
            self.latency(latency, name, &format!("{at}.latency"));
        }
        if let Some(success) = success {
            self.success(success, name, &format!("{at}.success"));
        }
        if let Some(cost) = cost {
            self.cost(cost, name, &format!("{at}.cost"));
        }
        if let Some(violations) = violations {
            self.violations(violations, name, &format!("{at}.violations"));
        }
        if let Some(query) = query {
            self.query(query, name, &format!("{at}.query"));
        }
        if let Some(compare) = compare {
            self.compare(compare, name, &format!("{at}.compare"));
        }
    }

    /// Labels that serin matches itself.
    fn selector(&mut self, field: &str, text: &str) -> Option<Selector> {
        let (ns, hash) = (
            self.spec.namespace_label.clone(),
            self.spec.hash_label.clone(),
        );
        let mut taken = vec![ns.as_str(), hash.as_str()];
        if self.spec.select_by == SelectBy::Pod {
            taken.push("pod");
        }
        self.reader.selector(field, text, &taken)
    }

    fn push(&mut self, name: String, kind: Kind, limit: Limit) {
        let mut unique = name.clone();
        let mut n = 2_u64;
        while self.objectives.iter().any(|o| o.name == unique) {
            unique = format!("{name}-{n}");
            n = n.saturating_add(1);
        }
        self.objectives.push(Objective {
            name: unique,
            kind,
            limit,
        });
    }

    fn bound(
        &mut self,
        field: &str,
        bound: Option<&Bound>,
        way: Way,
        text: impl Fn(&str) -> Result<f64, String>,
    ) -> Option<Limit> {
        let Some(bound) = bound else {
            let path = format!("{}.{field}", self.reader.path);
            self.reader
                .faults
                .push(Fault::required(&path, "a bound is needed to judge by"));
            return None;
        };
        match bound::read(bound, text) {
            Ok(read) => Some(way.limit(read)),
            Err(why) => {
                let path = format!("{}.{field}", self.reader.path);
                let shown = serde_json::to_string(bound).unwrap_or_default();
                self.reader.faults.push(Fault::invalid(&path, shown, why));
                None
            }
        }
    }

    fn latency(&mut self, latency: &slo::Latency, name: Option<&str>, at: &str) {
        let slo::Latency {
            histogram,
            unit,
            p50,
            p90,
            p95,
            p99,
        } = latency;
        let unit = match unit.as_deref() {
            None | Some("") => Unit::Seconds,
            Some(text) => Unit::parse(text).unwrap_or_else(|| {
                self.reader
                    .fault(&format!("{at}.unit"), text, "must be s, ms, us or ns");
                Unit::Seconds
            }),
        };
        let field = format!("{at}.histogram");
        let Some(selector) = self.selector(&field, histogram) else {
            return;
        };
        if ["_bucket", "_count", "_sum"]
            .iter()
            .any(|end| selector.name.ends_with(end))
        {
            self.reader.fault(
                &field,
                histogram,
                "is a part of a histogram: leave out _bucket, _count or _sum",
            );
            return;
        }
        let quantiles = [
            ("p50", "0.5", p50),
            ("p90", "0.9", p90),
            ("p95", "0.95", p95),
            ("p99", "0.99", p99),
        ];
        let asked: Vec<_> = quantiles.into_iter().filter(|q| q.2.is_some()).collect();
        if asked.is_empty() {
            let path = format!("{}.{at}", self.reader.path);
            self.reader.faults.push(Fault::required(
                &path,
                "set a bound for p50, p90, p95 or p99",
            ));
        }
        for (short, quantile, bound) in &asked {
            let field = format!("{at}.{short}");
            let limit = self.bound(&field, bound.as_ref(), Way::AtMost, |t| {
                bound::duration_in(t, unit)
            });
            let name = match name {
                None => format!("{short}-latency"),
                Some(name) if asked.len() == 1 => name.to_owned(),
                Some(name) => format!("{name}-{short}"),
            };
            if let Some(limit) = limit {
                self.push(
                    name,
                    Kind::Latency {
                        histogram: selector.clone(),
                        quantile,
                        unit,
                    },
                    limit,
                );
            }
        }
    }

    fn success(&mut self, success: &slo::Success, name: Option<&str>, at: &str) {
        let slo::Success {
            good,
            total,
            at_least,
        } = success;
        let good = self.selector(&format!("{at}.good"), good);
        let total = self.selector(&format!("{at}.total"), total);
        let limit = self.bound(
            &format!("{at}.atLeast"),
            at_least.as_ref(),
            Way::AtLeast,
            bound::share,
        );
        if let (Some(good), Some(total), Some(limit)) = (good, total, limit) {
            self.push(
                name.unwrap_or("success-rate").to_owned(),
                Kind::Success { good, total },
                limit,
            );
        }
    }

    fn cost(&mut self, cost: &slo::Cost, name: Option<&str>, at: &str) {
        let slo::Cost {
            spent,
            per,
            at_most,
        } = cost;
        let spent = self.selector(&format!("{at}.spent"), spent);
        let per = self.selector(&format!("{at}.per"), per);
        let limit = self.bound(
            &format!("{at}.atMost"),
            at_most.as_ref(),
            Way::AtMost,
            bound::number,
        );
        if let (Some(spent), Some(per), Some(limit)) = (spent, per, limit) {
            self.push(
                name.unwrap_or("cost").to_owned(),
                Kind::Cost { spent, per },
                limit,
            );
        }
    }

    fn violations(&mut self, violations: &slo::Violations, name: Option<&str>, at: &str) {
        let slo::Violations { counter, at_most } = violations;
        let counter = self.selector(&format!("{at}.counter"), counter);
        let zero = Bound::Int(0);
        let field = format!("{at}.atMost");
        let limit = self.bound(
            &field,
            at_most.as_ref().or(Some(&zero)),
            Way::AtMost,
            bound::number,
        );
        let (Some(counter), Some(limit)) = (counter, limit) else {
            return;
        };
        if limit.is_relative() {
            self.reader.faults.push(Fault::invalid(
                &format!("{}.{field}", self.reader.path),
                "noWorseThanStable",
                "violations are counted, not compared: write a number",
            ));
            return;
        }
        self.push(
            name.unwrap_or("violations").to_owned(),
            Kind::Violations { counter },
            limit,
        );
    }

    fn query(&mut self, query: &slo::Query, name: Option<&str>, at: &str) {
        let slo::Query {
            name: own,
            promql,
            at_most,
            at_least,
        } = query;
        let name = own
            .as_deref()
            .filter(|n| !n.is_empty())
            .or(name)
            .unwrap_or("query")
            .to_owned();
        let field = format!("{at}.promql");
        if let Err(why) = super::query::check(promql) {
            self.reader.fault(&field, promql, why);
        }
        let read = |list: &mut Self, field: &str, bound: &Option<Bound>, way| {
            bound
                .as_ref()
                .and_then(|b| list.bound(&format!("{at}.{field}"), Some(b), way, bound::any_number))
        };
        let most = read(self, "atMost", at_most, Way::AtMost);
        let least = read(self, "atLeast", at_least, Way::AtLeast);
        let limit = match (most, least) {
            (Some(Limit::AtMost(most)), Some(Limit::AtLeast(least))) => Limit::Between(least, most),
            (Some(limit), None) | (None, Some(limit)) => limit,
            (Some(_), Some(_)) => {
                self.reader.fault(
                    at,
                    &name,
                    "noWorseThanStable cannot stand beside another bound",
                );
                return;
            }
            (None, None) => {
                if at_most.is_none() && at_least.is_none() {
                    let path = format!("{}.{at}", self.reader.path);
                    self.reader
                        .faults
                        .push(Fault::required(&path, "set atMost, atLeast or both"));
                }
                return;
            }
        };
        if limit.is_relative() && (!promql.contains("{{canary}}") || promql.contains("{{stable}}"))
        {
            self.reader.fault(
                &field,
                promql,
                "to compare with stable, the expression must have {{canary}} and must not have {{stable}}",
            );
        }
        self.push(
            name,
            Kind::Query {
                promql: promql.clone(),
            },
            limit,
        );
    }

    fn compare(&mut self, compare: &slo::Compare, name: Option<&str>, at: &str) {
        let slo::Compare {
            success,
            latency,
            effect,
            false_alarms,
        } = compare;
        let before = self.reader.faults.len();
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (traffic, default) = match (success, latency) {
            (Some(success), None) => {
                self.selector(&format!("{at}.success.good"), &text(&success.good));
                let field = format!("{at}.success.total");
                let total = self.selector(&field, &text(&success.total));
                (total.map(|s| (s, "")), "compare-success")
            }
            (None, Some(latency)) => {
                let field = format!("{at}.latency.histogram");
                let histogram = self.selector(&field, &text(&latency.histogram));
                (histogram.map(|s| (s, "_count")), "compare-latency")
            }
            _ => {
                let path = format!("{}.{at}", self.reader.path);
                let message = "set exactly one of success and latency";
                self.reader.faults.push(Fault::required(&path, message));
                return;
            }
        };
        let Some(traffic) = traffic.filter(|_| self.reader.faults.len() == before) else {
            return;
        };
        let what = CompareMetric {
            // Filled in for each run; here only to be judged with the rest.
            canary: Some("version=\"new\"".to_owned()),
            stable: Some("version=\"old\"".to_owned()),
            success: success.clone(),
            latency: latency.clone(),
            effect: effect.clone(),
            false_alarms: false_alarms.clone(),
            ..CompareMetric::default()
        };
        match compare::lower(&what) {
            Ok(comparison) => self.push(
                name.unwrap_or(default).to_owned(),
                Kind::Compare {
                    what: Box::new(what),
                    traffic,
                },
                Limit::NotWorseBy(comparison.effect()),
            ),
            Err(faults) => {
                for why in faults {
                    let shown = serde_json::to_string(compare).unwrap_or_default();
                    self.reader.faults.push(Fault::invalid(
                        &format!("{}.{at}", self.reader.path),
                        shown,
                        why,
                    ));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
