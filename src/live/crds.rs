//! Whether the cluster's definitions are ours. On the peer's, `slos` and `status.serin` would be
//! pruned without a word: gates gone, commands repeated for ever. So they are looked at before the
//! first turn, and the answer to every status write is checked.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::client::Rest;
use super::clock;

const ADVICE: &str = "the CustomResourceDefinitions in this cluster are not serin's: they drop status.serin and slos. Nothing is acted on until they are replaced: kubectl apply -f crds/";

/// How long foreign definitions are believed in where the schema cannot be read.
const BLIND: Duration = Duration::from_secs(60);

/// Why nothing may be acted on, if so.
#[derive(Debug, Default)]
pub struct Definitions {
    trouble: Mutex<Option<(&'static str, Instant)>>,
}

/// What of the published schema is looked at.
#[derive(Deserialize)]
struct Document {
    components: Components,
}

#[derive(Deserialize)]
struct Components {
    schemas: std::collections::HashMap<String, Schema>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Schema {
    properties: Properties,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Properties {
    status: Option<StatusSchema>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct StatusSchema {
    properties: StatusProperties,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct StatusProperties {
    serin: Option<IgnoredAny>,
}

const ROLLOUT_SCHEMA: &str = "io.argoproj.v1alpha1.Rollout";

impl Definitions {
    /// What is wrong, if anything.
    pub fn trouble(&self) -> Option<&'static str> {
        self.lock().map(|(trouble, _)| trouble)
    }

    /// A status came back without our block.
    pub fn are_foreign(&self) {
        *self.lock() = Some((ADVICE, clock::instant()));
    }

    /// Looks at the published schema. Where it cannot be read, the check of every answer remains, and
    /// what it found is tried again after a while.
    pub async fn look(&self, rest: &Rest) {
        let path = "/openapi/v3/apis/argoproj.io/v1alpha1";
        let found = match rest.document::<Document>(path).await {
            Ok(document) => judge(&document),
            Err(error) => {
                tracing::debug!(%error, "the published schema cannot be read");
                let known = *self.lock();
                known
                    .filter(|(_, since)| since.elapsed() < BLIND)
                    .map(|(trouble, _)| trouble)
            }
        };
        let mut trouble = self.lock();
        *trouble = match (found, *trouble) {
            (Some(_), Some(known)) => Some(known),
            (found, _) => found.map(|f| (f, clock::instant())),
        };
    }

    fn lock(&self) -> MutexGuard<'_, Option<(&'static str, Instant)>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn judge(document: &Document) -> Option<&'static str> {
    let rollout = document.components.schemas.get(ROLLOUT_SCHEMA)?;
    let status = rollout.properties.status.as_ref()?;
    status.properties.serin.is_none().then_some(ADVICE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: &str, is_fine: bool) {
        let json = format!(
            r#"{{"components":{{"schemas":{{"{ROLLOUT_SCHEMA}":{{"properties":{{"status":{status}}}}}}}}}}}"#
        );
        let document: Document = serde_json::from_str(&json).unwrap();
        assert_eq!(judge(&document).is_none(), is_fine, "{status}");
    }

    #[test]
    fn definitions_without_our_block_are_foreign() {
        check(r#"{"properties":{"serin":{"type":"object"}}}"#, true);
        check(r#"{"properties":{"phase":{"type":"string"}}}"#, false);
    }
}
