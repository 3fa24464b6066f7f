//! One look at a Service that says a Rollout manages it: let go where that is true no longer. The
//! Rollout is read live, because its absence from the index proves nothing.

use super::client::{CallError, Kind, Target};
use super::clock;
use super::controller::Controller;
use super::queue::Rest;
use super::service_index::SlimService;
use super::slim::SlimRollout;
use super::stores::ObjectKey;
use crate::api::INSTANCE_ID;
use crate::planner::plan::ServicePatch;
use crate::planner::services::release;

impl Controller {
    /// Looks at one Service.
    pub(super) async fn service_turn(&self, key: &ObjectKey) -> Rest {
        match self.try_service(key).await {
            Ok(rest) => rest,
            Err(error) => {
                tracing::warn!(service = %key, %error, "a service could not be let go");
                let earliest = error.retry_after().map(|d| clock::instant() + d);
                Rest::Failed(earliest)
            }
        }
    }

    async fn try_service(&self, key: &ObjectKey) -> Result<Rest, CallError> {
        let Some(service) = self.index.service(key) else {
            return Ok(Rest::Quiet);
        };
        let Some(manager) = service.manager.as_deref() else {
            return Ok(Rest::Quiet);
        };
        let target = Target {
            kind: Kind::Rollout,
            namespace: &key.namespace,
            name: manager,
        };
        let manager = match self.clients.work.get::<SlimRollout>(target).await {
            Ok(SlimRollout(seen)) => Some(seen),
            Err(CallError::NotFound(_)) => None,
            Err(error) => return Err(error),
        };
        // A Rollout of another controller: so is its Service.
        let id = manager.as_ref().map(|seen| seen.labels.get(INSTANCE_ID));
        if id.is_some_and(|id| id != self.settings.instance_id.as_ref()) {
            return Ok(Rest::Quiet);
        }
        let Some(patch) = release(&service, manager.as_deref()) else {
            return Ok(Rest::Quiet);
        };
        self.let_go(key, &patch).await
    }

    async fn let_go(&self, key: &ObjectKey, patch: &ServicePatch) -> Result<Rest, CallError> {
        if !self.offices.may_write(&key.namespace) {
            return Ok(Rest::Failed(None));
        }
        let target = Target {
            kind: Kind::Service,
            namespace: &key.namespace,
            name: &key.name,
        };
        match self
            .clients
            .work
            .merge(target, None, &patch.to_json())
            .await
        {
            Ok(answer) => {
                tracing::info!(service = %key, "let go: no Rollout names it any more");
                self.wake(self.index.answered_service(answer.read()?));
                Ok(Rest::Quiet)
            }
            Err(CallError::NotFound(_)) => Ok(Rest::Quiet),
            Err(CallError::Conflict(_)) => {
                self.read_service(key).await?;
                Ok(Rest::Again)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads a Service into the index. False when there is none.
    pub(super) async fn read_service(&self, key: &ObjectKey) -> Result<bool, CallError> {
        let target = Target {
            kind: Kind::Service,
            namespace: &key.namespace,
            name: &key.name,
        };
        match self.clients.work.get::<SlimService>(target).await {
            Ok(service) => {
                self.wake(self.index.answered_service(service));
                Ok(true)
            }
            Err(CallError::NotFound(_)) => {
                self.index.gone_service(key);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}
