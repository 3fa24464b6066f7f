//! ConfigMaps and Secrets of tracked Rollouts: read when a turn asks, by a Role of that namespace, and
//! kept nowhere.

use std::sync::Arc;

use serde_json::Value;

use super::client::{CallError, Kind, Rest, Target};
use super::controller::Controller;
use crate::api::CONFIG_COPY_OF;
use crate::planner::config::{ConfigKey, ConfigKind, Contents, Found};
use crate::planner::plan::Owned;

/// The kind as the API server knows it.
pub(super) fn kind(kind: ConfigKind) -> Kind {
    match kind {
        ConfigKind::ConfigMap => Kind::ConfigMap,
        ConfigKind::Secret => Kind::Secret,
    }
}

impl Controller {
    /// Reads one, for this turn only.
    pub(super) async fn config(
        &self,
        namespace: &str,
        wanted: &ConfigKey,
    ) -> Result<Found, CallError> {
        match self.get(kind(wanted.kind), namespace, &wanted.name).await {
            Ok(Some(object)) => Ok(Found::There(Arc::new(Contents::of(&object)))),
            Ok(None) => Ok(Found::Absent),
            Err(CallError::Refused { message, .. }) => Ok(Found::Refused(message)),
            Err(error) => Err(error),
        }
    }
}

/// Deletes a copy; what is no copy, or another's, is left alone, whatever it is called.
pub(super) async fn delete_copy(
    work: &Rest,
    namespace: &str,
    copy: &Owned<ConfigKey>,
) -> Result<(), CallError> {
    let target = Target {
        kind: kind(copy.what.kind),
        namespace,
        name: &copy.what.name,
    };
    delete_owned(work, target, CONFIG_COPY_OF, &copy.owner).await
}

/// Deletes an object that is there, carries this label and is owned by the object of that uid.
pub(super) async fn delete_owned(
    work: &Rest,
    target: Target<'_>,
    label: &str,
    owner: &str,
) -> Result<(), CallError> {
    let object: Value = match work.get(target).await {
        Ok(object) => object,
        Err(CallError::NotFound(_)) => return Ok(()),
        Err(error) => return Err(error),
    };
    let labels = object.pointer("/metadata/labels");
    let owners = object.pointer("/metadata/ownerReferences");
    let mut owners = owners.and_then(Value::as_array).into_iter().flatten();
    let is_owned = owners.any(|o| o.get("uid").and_then(Value::as_str) == Some(owner));
    if !is_owned || labels.is_none_or(|l| l.get(label).is_none()) {
        return Ok(());
    }
    let text = |path: &str| object.pointer(path).and_then(Value::as_str);
    let uid = text("/metadata/uid").unwrap_or_default();
    let version = text("/metadata/resourceVersion").unwrap_or_default();
    match work.delete(target, uid, version).await {
        Err(CallError::NotFound(_)) => Ok(()),
        other => other,
    }
}
