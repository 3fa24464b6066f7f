//! The webhook's own certificate: made in this process, where its key stays, and made known to the API
//! server by the `caBundle` of the ValidatingWebhookConfiguration, in which every replica's stands
//! beside the others'. What is published is decided here without I/O; `keeper` carries it out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Annotation of the configuration: which certificates of the bundle are ours, and until when.
pub const RECORD: &str = "serin.dev/webhook-certificates";
/// Valid this long before it was made: clocks differ.
const SKEW: Duration = Duration::from_secs(300);
/// Certificates of ours in the bundle at most; each lives in one process.
const MOST: usize = 24;
const END: &str = "-----END CERTIFICATE-----";

/// A certificate with its key.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate, as it is published.
    pub pem: String,
    /// What TLS is served with.
    pub key: Arc<CertifiedKey>,
    /// When it ends.
    pub until: Timestamp,
}

/// Makes a certificate for these names, signed by itself.
///
/// # Errors
/// When a name is none, or no key can be made.
pub fn make(names: &[String], now: Timestamp, lifetime: Duration) -> Result<Pair, String> {
    let say = |e: rcgen::Error| format!("no certificate can be made: {e}");
    let key = KeyPair::generate().map_err(say)?;
    let mut params = CertificateParams::new(names.to_vec()).map_err(say)?;
    let common = names.first().map(String::as_str).unwrap_or_default();
    // A common name has 64 characters at most, a host name 253.
    let common: String = common.chars().take(64).collect();
    params.distinguished_name.push(DnType::CommonName, common);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let now_there = date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    params.not_before = now_there - SKEW;
    params.not_after = now_there + lifetime;
    let certificate = params.self_signed(&key).map_err(say)?;
    let until = now.saturating_add(lifetime).map_err(|e| e.to_string())?;
    let key = certified(certificate.pem().as_bytes(), key.serialize_pem().as_bytes())?;
    Ok(Pair {
        pem: certificate.pem(),
        key,
        until,
    })
}

/// A certificate chain and its key, both as PEM.
///
/// # Errors
/// When they cannot be read, or do not belong together.
pub fn certified(chain: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, String> {
    let chain: Result<Vec<CertificateDer<'static>>, _> =
        CertificateDer::pem_slice_iter(chain).collect();
    let chain = chain.map_err(|e| format!("the certificate is no PEM: {e}"))?;
    if chain.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| format!("the key is no PEM: {e}"))?;
    let key = any_supported_type(&key).map_err(|e| format!("the key cannot be used: {e}"))?;
    let pair = CertifiedKey::new(chain, key);
    match pair.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
            Ok(Arc::new(pair))
        }
        Err(error) => Err(format!(
            "certificate and key do not belong together: {error}"
        )),
    }
}

/// What must be changed of a configuration so that API servers believe `pem`: a merge patch with the
/// version it was decided on; `None` where nothing must. Certificates of ours that have ended go;
/// those that others put there stay.
pub fn publish(
    configuration: &Value,
    pem: &str,
    until: Timestamp,
    now: Timestamp,
) -> Option<Value> {
    changed(configuration, now, |record, blocks| {
        record.insert(id(pem), until);
        if !blocks.iter().any(|b| id(b) == id(pem)) {
            blocks.push(pem.to_owned());
        }
    })
}

/// The same, so that it is believed no longer.
pub fn withdraw(configuration: &Value, pem: &str, now: Timestamp) -> Option<Value> {
    changed(configuration, now, |record, blocks| {
        record.remove(&id(pem));
        blocks.retain(|b| id(b) != id(pem));
    })
}

type Record = BTreeMap<String, Timestamp>;

fn changed(
    configuration: &Value,
    now: Timestamp,
    change: impl Fn(&mut Record, &mut Vec<String>),
) -> Option<Value> {
    let metadata = &configuration["metadata"];
    let old = metadata["annotations"][RECORD].as_str().unwrap_or_default();
    let known: Record = serde_json::from_str(old).unwrap_or_default();
    let mut webhooks = configuration["webhooks"].clone();
    let mut record = Record::new();
    for webhook in webhooks.as_array_mut().into_iter().flatten() {
        let bundle = webhook["clientConfig"]["caBundle"].as_str();
        let bundle = STANDARD
            .decode(bundle.unwrap_or_default())
            .unwrap_or_default();
        let mut blocks = blocks(&String::from_utf8_lossy(&bundle));
        record = known.clone();
        change(&mut record, &mut blocks);
        let ended = stale(&record, now);
        blocks.retain(|block| !ended.contains(&id(block)));
        record.retain(|id, _| !ended.contains(id));
        webhook["clientConfig"]["caBundle"] = json!(STANDARD.encode(blocks.concat()));
    }
    let text = json!(record).to_string();
    if webhooks == configuration["webhooks"] && text == old {
        return None;
    }
    Some(json!({
        "metadata": {
            "resourceVersion": metadata["resourceVersion"],
            "annotations": {RECORD: text},
        },
        "webhooks": webhooks,
    }))
}

/// Which of ours have ended, or are too many: those that end first.
fn stale(record: &Record, now: Timestamp) -> Vec<String> {
    let mut all: Vec<(&Timestamp, &String)> =
        record.iter().map(|(id, until)| (until, id)).collect();
    all.sort();
    let surplus = all.len().saturating_sub(MOST);
    let stale = all.iter().enumerate();
    let stale = stale.filter(|(i, (until, _))| *i < surplus || **until <= now);
    stale.map(|(_, (_, id))| (*id).clone()).collect()
}

/// The certificates of a bundle, each with its line break.
fn blocks(bundle: &str) -> Vec<String> {
    let parts = bundle
        .split_inclusive(END)
        .filter(|part| part.contains(END));
    parts.map(|part| format!("{}\n", part.trim())).collect()
}

/// A certificate's name in the record.
fn id(pem: &str) -> String {
    let digest = Sha256::digest(pem.trim().as_bytes());
    digest.iter().take(12).map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn block(name: &str) -> String {
        format!("-----BEGIN CERTIFICATE-----\n{name}\n{END}\n")
    }

    fn configuration() -> Value {
        json!({
            "metadata": {"name": "serin-webhook", "resourceVersion": "5"},
            "webhooks": [{"name": "a", "clientConfig": {"service": {"name": "s"}}}, {"name": "b", "clientConfig": {}}],
        })
    }

    fn patched(configuration: &Value, patch: &Value) -> Value {
        let mut next = configuration.clone();
        next["webhooks"] = patch["webhooks"].clone();
        next["metadata"]["annotations"] = patch["metadata"]["annotations"].clone();
        next
    }

    fn bundle(configuration: &Value, i: usize) -> String {
        let text = configuration["webhooks"][i]["clientConfig"]["caBundle"]
            .as_str()
            .unwrap();
        String::from_utf8(STANDARD.decode(text).unwrap()).unwrap()
    }

    #[test]
    fn every_replica_stands_in_the_bundle_and_the_second_time_changes_nothing() {
        let (one, two) = (block("one"), block("two"));
        let patch = publish(&configuration(), &one, at(100), at(0)).unwrap();
        assert_eq!(patch["metadata"]["resourceVersion"], "5");
        assert_eq!(patch["webhooks"][0]["clientConfig"]["service"]["name"], "s");
        let now = patched(&configuration(), &patch);
        assert_eq!(publish(&now, &one, at(100), at(1)), None);
        let now = patched(&now, &publish(&now, &two, at(100), at(1)).unwrap());
        assert_eq!(bundle(&now, 0), format!("{one}{two}"));
        assert_eq!(bundle(&now, 1), format!("{one}{two}"));
        let now = patched(&now, &withdraw(&now, &one, at(2)).unwrap());
        assert_eq!(bundle(&now, 0), two);
    }

    #[test]
    fn what_has_ended_goes_and_what_others_put_there_stays() {
        let mut given = configuration();
        let theirs = block("theirs");
        given["webhooks"][0]["clientConfig"]["caBundle"] = json!(STANDARD.encode(&theirs));
        let now = patched(
            &given,
            &publish(&given, &block("old"), at(100), at(0)).unwrap(),
        );
        let now = patched(
            &now,
            &publish(&now, &block("new"), at(200), at(100)).unwrap(),
        );
        assert_eq!(bundle(&now, 0), format!("{theirs}{}", block("new")));
    }

    #[test]
    fn a_crash_loop_does_not_fill_the_bundle() {
        let mut now = configuration();
        for i in 0..50 {
            let patch = publish(&now, &block(&i.to_string()), at(1000 + i), at(i)).unwrap();
            now = patched(&now, &patch);
        }
        assert_eq!(blocks(&bundle(&now, 0)).len(), MOST);
        assert!(bundle(&now, 0).contains("\n49\n"));
    }

    #[test]
    fn a_certificate_is_made_and_a_foreign_key_is_refused() {
        let names = ["serin-webhook.serin-system.svc".to_owned()];
        let one = make(&names, at(1_800_000_000), Duration::from_secs(60)).unwrap();
        assert_eq!(one.until, at(1_800_000_060));
        let other = KeyPair::generate().unwrap().serialize_pem();
        let error = certified(one.pem.as_bytes(), other.as_bytes()).unwrap_err();
        assert!(error.contains("do not belong together"), "{error}");
        assert!(
            certified(b"", other.as_bytes())
                .unwrap_err()
                .contains("no certificate")
        );
        assert!(certified(one.pem.as_bytes(), b"x").is_err());
    }
}
