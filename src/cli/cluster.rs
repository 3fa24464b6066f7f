//! Which cluster a verb speaks to: the kubeconfig given, the usual one, or the pod's service account.

use std::path::Path;

use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};

/// The configuration, by the file and the context that were named.
///
/// # Errors
/// There is no kubeconfig, it cannot be used, or it has no such context.
pub(super) async fn config(
    file: Option<&Path>,
    context: Option<&str>,
) -> anyhow::Result<kube::Config> {
    let options = KubeConfigOptions {
        context: context.map(str::to_owned),
        ..KubeConfigOptions::default()
    };
    match (file, context) {
        (None, None) => kube::Config::infer()
            .await
            .context("no cluster: give --kubeconfig, or run in a pod with a service account"),
        (None, Some(context)) => kube::Config::from_kubeconfig(&options)
            .await
            .with_context(|| format!("the context {context} cannot be used")),
        (Some(path), _) => {
            let at = || format!("the kubeconfig {} cannot be used", path.display());
            let kubeconfig = Kubeconfig::read_from(path).with_context(at)?;
            kube::Config::from_custom_kubeconfig(kubeconfig, &options)
                .await
                .with_context(at)
        }
    }
}
