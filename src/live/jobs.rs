//! Jobs of AnalysisRuns: created, looked at, deleted. What their state means is the planner's.

use std::sync::Arc;

use kube::api::DeleteParams;
use serde_json::Value;

use super::client::{CALL_LIMIT, CallError, Kind, Target};
use super::controller::Controller;
use crate::api::AnalysisRun;
use crate::planner::analysis::RunObserved;
use crate::planner::analysis::job::{self, JobCall, JobSeen};

impl Controller {
    /// Does what the planner must know of Jobs, and tells what it saw.
    pub(super) async fn call_jobs(
        &self,
        calls: &[JobCall],
        seen: &mut RunObserved,
    ) -> Result<(), CallError> {
        let run = Arc::clone(&seen.run);
        for call in calls {
            let state = match call {
                JobCall::Look { name } => self.look_at_job(&run, name).await?,
                JobCall::Create { name, object } => self.create_job(&run, name, object).await?,
            };
            if matches!(state, JobSeen::Complete | JobSeen::Failed(_))
                && let Some(log) = self.log_of_job(&run, call.name()).await
            {
                seen.job_logs.insert(call.name().to_owned(), log);
            }
            seen.jobs.insert(call.name().to_owned(), state);
        }
        Ok(())
    }

    /// The last lines of what a Job said. A log that cannot be read is no reason to wait: the verdict
    /// does not rest on it.
    async fn log_of_job(&self, run: &AnalysisRun, name: &str) -> Option<String> {
        let lines = self.settings.job_log_lines;
        if lines == 0 {
            return None;
        }
        let pods = self.pods_of_job(run, name).await.ok()??;
        let (pod, container) = job::log_of(&pods)?;
        let (ns, most) = (namespace(run), job::LOG_READ);
        let path = format!(
            "/api/v1/namespaces/{ns}/pods/{pod}/log?container={container}&tailLines={lines}&limitBytes={most}"
        );
        match self.clients.work.raw(&path, CALL_LIMIT).await {
            Ok((200, body)) => Some(job::log_text(&body)),
            Ok((code, _)) => {
                tracing::debug!(job = name, code, "the log cannot be read");
                None
            }
            Err(error) => {
                tracing::debug!(job = name, %error, "the log cannot be read");
                None
            }
        }
    }

    /// The pods of a Job; `None` when the API server does not tell.
    async fn pods_of_job(&self, run: &AnalysisRun, name: &str) -> Result<Option<Value>, CallError> {
        let ns = namespace(run);
        // `=` is the only character of the selector that a path may not hold as it is.
        let path = format!("/api/v1/namespaces/{ns}/pods?labelSelector=job-name%3D{name}&limit=20");
        let (code, body) = self.clients.work.raw(&path, CALL_LIMIT).await?;
        let pods = (code == 200).then(|| serde_json::from_slice(&body).unwrap_or_default());
        Ok(pods)
    }

    async fn create_job(
        &self,
        run: &AnalysisRun,
        name: &str,
        object: &Value,
    ) -> Result<JobSeen, CallError> {
        if !self.offices.may_write(namespace(run)) {
            return Err(CallError::Request("the lease is not held".to_owned()));
        }
        let work = &self.clients.work;
        match work.create(Kind::Job, namespace(run), object, false).await {
            Ok(_) => {
                tracing::info!(run = run.metadata.name, job = name, "job created");
                Ok(JobSeen::Running)
            }
            // A crash, or an answer that was lost: it may be ours.
            Err(CallError::Exists(_)) => self.look_at_job(run, name).await,
            Err(CallError::Refused { message, .. }) => Ok(JobSeen::Refused(message)),
            Err(error) => Err(error),
        }
    }

    async fn look_at_job(&self, run: &AnalysisRun, name: &str) -> Result<JobSeen, CallError> {
        let uid = run.metadata.uid.as_deref().unwrap_or_default();
        let work = &self.clients.work;
        let stored: Value = match work.get(target(run, name)).await {
            Ok(stored) => stored,
            Err(CallError::NotFound(_)) => return Ok(JobSeen::Gone),
            Err(CallError::Refused { message, .. }) => return Ok(JobSeen::Refused(message)),
            Err(error) => return Err(error),
        };
        if let Some(state) = job::read(&stored, uid) {
            return Ok(state);
        }
        let pods = self.pods_of_job(run, name).await?;
        Ok(pods.map_or(JobSeen::Running, |pods| job::read_pods(&pods)))
    }

    /// Deletes Jobs of a run and, first, their pods.
    pub(super) async fn delete_jobs(
        &self,
        run: &AnalysisRun,
        names: &[String],
    ) -> Result<(), CallError> {
        for name in names {
            if !self.offices.may_write(namespace(run)) {
                return Err(CallError::Request("the lease is not held".to_owned()));
            }
            let params = DeleteParams::foreground();
            match self
                .clients
                .work
                .delete_with(target(run, name), &params)
                .await
            {
                Ok(()) | Err(CallError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn namespace(run: &AnalysisRun) -> &str {
    run.metadata.namespace.as_deref().unwrap_or_default()
}

fn target<'a>(run: &'a AnalysisRun, name: &'a str) -> Target<'a> {
    Target {
        kind: Kind::Job,
        namespace: namespace(run),
        name,
    }
}
