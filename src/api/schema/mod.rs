//! The CustomResourceDefinitions of the five published kinds and of our own: what `serin crds` prints.
//!
//! The types say the shapes; this module says what the API server wants beyond them. Pure
//! functions over JSON, nothing is read or written here.

mod field;
mod finish;
mod pod;

use kube::CustomResourceExt;
use serde_json::Value;

pub(crate) use field::{
    any, any_object, bound, cron, duration, http_address, label_name, moment, natural,
    objective_name, promql, selector_text, step_duration, time_zone,
};
pub(crate) use pod::pod_template;

use super::{
    AnalysisRun, AnalysisTemplate, ClusterAnalysisTemplate, ClusterFreezeWindow, Experiment,
    FreezeWindow, Rollout,
};

/// One CustomResourceDefinition.
#[derive(Clone, Debug, PartialEq)]
pub struct Crd {
    /// Name of its file under crds/.
    pub file: &'static str,
    /// The definition.
    pub definition: Value,
}

/// The definitions, in the order in which they are printed.
///
/// # Errors
/// Only when a type has no JSON form, which no test would let pass.
pub fn crds() -> Result<Vec<Crd>, serde_json::Error> {
    let all = [
        ("rollout-crd.yaml", Rollout::crd()),
        ("analysistemplate-crd.yaml", AnalysisTemplate::crd()),
        (
            "clusteranalysistemplate-crd.yaml",
            ClusterAnalysisTemplate::crd(),
        ),
        ("analysisrun-crd.yaml", AnalysisRun::crd()),
        ("experiment-crd.yaml", Experiment::crd()),
        ("freezewindow-crd.yaml", FreezeWindow::crd()),
        ("clusterfreezewindow-crd.yaml", ClusterFreezeWindow::crd()),
    ];
    all.into_iter()
        .map(|(file, crd)| {
            let mut definition = finish::finish(serde_json::to_value(crd)?);
            // The order of keys in memory depends on features that other crates turn on.
            definition.sort_all_objects();
            Ok(Crd { file, definition })
        })
        .collect()
}
