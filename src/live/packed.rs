//! A status as it is kept between turns: JSON, and deflated once the Rollout is Healthy, which most
//! are most of the time. Knows no index.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use crate::api::RolloutStatus;

/// A status in as few bytes as pay for the time they take.
#[derive(Debug)]
pub(super) enum Packed {
    /// JSON: it changes soon.
    Json(Box<[u8]>),
    /// Deflated JSON: it stays as it is for hours.
    Deflated(Box<[u8]>),
}

impl Packed {
    /// Packs a status.
    pub(super) fn new(status: &RolloutStatus) -> Self {
        // A status is plain data: writing it as JSON cannot fail.
        let json = serde_json::to_vec(status).unwrap_or_default();
        if status.phase.as_deref() == Some("Healthy")
            && let Some(bytes) = deflate(&json)
        {
            return Self::Deflated(bytes);
        }
        Self::Json(json.into_boxed_slice())
    }

    /// The status again.
    pub(super) fn status(&self) -> RolloutStatus {
        match self {
            Self::Json(json) => serde_json::from_slice(json).unwrap_or_default(),
            Self::Deflated(bytes) => serde_json::from_slice(&inflate(bytes)).unwrap_or_default(),
        }
    }
}

fn deflate(json: &[u8]) -> Option<Box<[u8]>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(json).ok()?;
    Some(encoder.finish().ok()?.into_boxed_slice())
}

fn inflate(bytes: &[u8]) -> Vec<u8> {
    let mut json = Vec::new();
    match DeflateDecoder::new(bytes).read_to_end(&mut json) {
        Ok(_) => json,
        // What we packed ourselves can be unpacked; nothing reads as a status without anything.
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_comes_back_as_it_was_and_a_healthy_one_is_small() {
        let read = |phase: &str| -> RolloutStatus {
            let conditions: Vec<_> = ["Available", "Progressing", "Completed", "Healthy", "Ready"]
                .map(|kind| {
                    serde_json::json!({
                        "type": kind, "status": "True", "reason": "NewReplicaSetAvailable",
                        "message": "ReplicaSet \"web-7597f55cbc\" has successfully progressed.",
                        "lastUpdateTime": "2026-11-21T13:43:35Z",
                        "lastTransitionTime": "2026-11-21T13:43:35Z",
                    })
                })
                .to_vec();
            serde_json::from_value(serde_json::json!({
                "phase": phase, "stableRS": "7597f55cbc", "conditions": conditions,
            }))
            .unwrap()
        };
        for phase in ["Healthy", "Progressing"] {
            assert_eq!(Packed::new(&read(phase)).status(), read(phase), "{phase}");
        }
        let Packed::Deflated(small) = Packed::new(&read("Healthy")) else {
            panic!("a healthy status is deflated");
        };
        let plain = serde_json::to_vec(&read("Healthy")).unwrap().len();
        assert!(small.len() * 3 < plain, "{} of {plain}", small.len());
    }
}
