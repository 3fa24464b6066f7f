//! ConfigMaps and Secrets of tracked Rollouts: read when a turn asks, by a Role of that namespace, and
//! kept nowhere.

use std::sync::Arc;

use serde_json::Value;

use super::client::{CallError, Kind, Rest, Target};
use super::controller::Controller;
use crate::api::CONFIG_COPY_OF;
use crate::planner::config::{ConfigKey, ConfigKind, Contents, Found};

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

/// Deletes a copy; what is no copy is left alone, whatever it is called.
pub(super) async fn delete_copy(
    work: &Rest,
    namespace: &str,
    key: &ConfigKey,
) -> Result<(), CallError> {
    let target = Target {
        kind: kind(key.kind),
        namespace,
        name: &key.name,
    };
    delete_labelled(work, target, CONFIG_COPY_OF).await
}

/// Deletes an object that is there and carries this label.
pub(super) async fn delete_labelled(
    work: &Rest,
    target: Target<'_>,
    label: &str,
) -> Result<(), CallError> {
    let object: Value = match work.get(target).await {
        Ok(object) => object,
        Err(CallError::NotFound(_)) => return Ok(()),
        Err(error) => return Err(error),
    };
    let labels = object.pointer("/metadata/labels");
    if labels.is_none_or(|l| l.get(label).is_none()) {
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
