//! Experiments: the phase of each.

use std::fmt::Error;
use std::sync::Arc;

use prometheus_client::encoding::DescriptorEncoder;

use super::{Labels, gauges};
use crate::api::Experiment;

/// The phases that `experiment_phase` tells of, each as 0 or 1 (contract M14, with Failed, which the
/// peer leaves out).
const PHASES: [&str; 6] = [
    "Pending",
    "Running",
    "Successful",
    "Failed",
    "Error",
    "Inconclusive",
];

fn of(experiment: &Experiment) -> Labels<'_> {
    let meta = &experiment.metadata;
    vec![
        ("namespace", meta.namespace.as_deref().unwrap_or_default()),
        ("name", meta.name.as_deref().unwrap_or_default()),
    ]
}

fn phase(experiment: &Experiment) -> &str {
    let phase = experiment.status.as_ref().and_then(|s| s.phase.as_deref());
    phase.filter(|p| !p.is_empty()).unwrap_or("Pending")
}

pub(super) fn encode_experiments(
    e: &mut DescriptorEncoder<'_>,
    all: &[Arc<Experiment>],
) -> Result<(), Error> {
    let info = all.iter().map(|experiment| {
        let mut labels = of(experiment);
        labels.push(("phase", phase(experiment)));
        (labels, 1.0)
    });
    gauges(
        e,
        ("experiment_info", "Information about experiments."),
        info,
    )?;
    let phases = all.iter().flat_map(|experiment| {
        let now = phase(experiment);
        PHASES.into_iter().map(move |phase| {
            let mut labels = of(experiment);
            labels.push(("phase", phase));
            (labels, f64::from(u8::from(phase == now)))
        })
    });
    gauges(
        e,
        (
            "experiment_phase",
            "Whether an experiment is in a phase, 0 or 1 (deprecated: use experiment_info).",
        ),
        phases,
    )
}
