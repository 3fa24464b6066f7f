//! Measurements that are Jobs: created when they are due, written down as Running, looked at until
//! they end. A crash between the two finds the Job by its name.

use super::{
    Measurement, MetricSpec, Phase, Prepared, Time, Timestamp, Turn, floor, later, nearest, shorten,
};
use crate::planner::analysis::args;
use crate::planner::analysis::job::{self, JobCall, JobSeen};

use std::collections::BTreeMap;

/// Name of the Job of a measurement, if it is one.
pub(super) fn name_of(measurement: &Measurement) -> Option<String> {
    measurement.metadata.as_ref()?.get(job::NAME_KEY).cloned()
}

impl Turn<'_> {
    /// The measurement of a Job that goes on.
    fn job_under_way(&self, metric: &MetricSpec) -> Option<&Measurement> {
        let last = self.result(&metric.name)?.measurements.as_ref()?.last()?;
        let is_running = !Phase::read(&last.phase).is_completed();
        (is_running && name_of(last).is_some()).then_some(last)
    }

    fn job_name(&self, metric: &MetricSpec) -> String {
        // A Job that another controller named is followed under its own name.
        let running = self.job_under_way(metric).and_then(name_of);
        running.unwrap_or_else(|| {
            let uid = self.seen.run.metadata.uid.as_deref().unwrap_or_default();
            job::name(uid, &metric.name, self.slot(metric))
        })
    }

    /// Takes what was seen of the metric's Job.
    pub(super) fn fold_job(&mut self, metric: &MetricSpec, run: &Prepared) {
        if metric.provider.job.is_none() || self.phase(metric).is_completed() {
            return;
        }
        let name = self.job_name(metric);
        let Some(seen) = self.seen.jobs.get(&name) else {
            return;
        };
        let (phase, message) = match seen {
            JobSeen::Running => {
                self.begin_job(metric, run, name);
                return;
            }
            JobSeen::Complete => (Phase::Successful, None),
            JobSeen::Failed(why) => (Phase::Failed, Some(why.clone())),
            JobSeen::NoImage(why) => {
                self.plan.delete_jobs.push(name.clone());
                let why = format!("an image of job {name} cannot be had: {why}");
                (Phase::Inconclusive, Some(why))
            }
            JobSeen::Gone => {
                let why = format!("job {name} is gone: it was deleted before it ended");
                (Phase::Error, Some(why))
            }
            JobSeen::Foreign => {
                let why = format!("there is a job {name} that is not of this run: delete it");
                (Phase::Error, Some(why))
            }
            JobSeen::Refused(why) => {
                let why = format!("job {name} is refused: {why}");
                (Phase::Error, Some(why))
            }
        };
        self.finish_job(metric, run, (phase, message, name));
    }

    fn measured_by(&self, name: String) -> Measurement {
        let namespace = self.seen.run.metadata.namespace.clone();
        Measurement {
            phase: Phase::Running.as_str().to_owned(),
            started_at: Some(floor(self.seen.now)),
            metadata: Some(BTreeMap::from([
                (job::NAME_KEY.to_owned(), name),
                (job::NAMESPACE_KEY.to_owned(), namespace.unwrap_or_default()),
            ])),
            ..Measurement::default()
        }
    }

    /// Writes down that the Job is there, once.
    fn begin_job(&mut self, metric: &MetricSpec, run: &Prepared, name: String) {
        if self.job_under_way(metric).is_some() {
            return;
        }
        let begun = self.measured_by(name);
        self.plan.urgent = true;
        if let Some(result) = self.result_or_new(metric, run) {
            let kept = result.measurements.get_or_insert_default();
            kept.retain(|m| Phase::read(&m.phase).is_completed());
            kept.push(begun);
        }
    }

    fn finish_job(
        &mut self,
        metric: &MetricSpec,
        run: &Prepared,
        (phase, message, name): (Phase, Option<String>, String),
    ) {
        let begun = self.job_under_way(metric).cloned();
        let log = self.seen.job_logs.get(&name);
        // A secret is hidden before the text is cut: half of one would not be found.
        let log = log.map(|log| job::log_tail(&args::redact(log, &run.secrets)));
        let mut done = begun.unwrap_or_else(|| self.measured_by(name));
        if let Some(log) = log.filter(|log| !log.is_empty()) {
            let told = done.metadata.get_or_insert_default();
            told.insert(job::LOG_KEY.to_owned(), log);
        }
        done.phase = phase.as_str().to_owned();
        done.message = message
            .filter(|m| !m.is_empty())
            .map(|m| shorten(&args::redact(&m, &run.secrets)));
        done.finished_at = Some(nearest(self.seen.now));
        self.add(metric, run, done);
        self.plan.urgent = true;
    }

    /// The run ends: Jobs that go on are deleted, and were no measurement (N13).
    pub(super) fn end_jobs(&mut self, run: &Prepared) {
        for metric in &run.metrics {
            let Some(name) = self.job_under_way(metric).and_then(name_of) else {
                continue;
            };
            self.plan.delete_jobs.push(name.clone());
            let message = Some("Metric Terminated".to_owned());
            self.finish_job(metric, run, (Phase::Inconclusive, message, name));
        }
    }

    /// Creates the Job when it is due, looks at one that goes on.
    pub(super) fn next_job(&mut self, metric: &MetricSpec) {
        let name = self.job_name(metric);
        if let Some(begun) = self.job_under_way(metric) {
            let started = begun
                .started_at
                .as_ref()
                .map_or(self.seen.now, |t: &Time| t.0);
            if self.seen.jobs.contains_key(&name) {
                let wake = self.next_look(started);
                self.wake(wake);
            } else {
                self.plan.jobs.push(JobCall::Look { name });
            }
            return;
        }
        match (self.due(metric), &metric.provider.job) {
            (Some(due), _) if due > self.seen.now => self.wake(due),
            (_, Some(spec)) => {
                let object = job::object(&self.seen.run, &metric.name, spec, &name);
                self.plan.jobs.push(JobCall::Create { name, object });
            }
            (_, None) => {}
        }
    }

    fn next_look(&self, started: Timestamp) -> Timestamp {
        let elapsed = self
            .seen
            .now
            .as_millisecond()
            .saturating_sub(started.as_millisecond());
        later(self.seen.now, job::next_look(elapsed))
    }
}
