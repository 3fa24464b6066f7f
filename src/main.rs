//! The `serin` binary: parses the command line, installs the TLS provider, runs one verb.

use std::process::ExitCode;

fn main() -> ExitCode {
    // One TLS provider for the Kubernetes client and the metric providers, before either exists.
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        eprintln!("serin: a TLS provider was installed twice; this is a defect, please report it");
        return ExitCode::from(70);
    }
    serin::cli::main()
}
