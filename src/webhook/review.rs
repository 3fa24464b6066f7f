//! The wire of admission: an AdmissionReview in, its answer out. Pure.

use serde_json::{Value, json};

use super::judge::{Asked, Verdict};

/// Longest text of all faults together: more is no help to whoever reads it.
const LONGEST: usize = 8_000;
/// Longest warning that API servers pass on whole.
const LONGEST_WARNING: usize = 256;

/// What was asked, and the id that the answer must have.
///
/// # Errors
/// When the bytes are no AdmissionReview with a request.
pub fn read(bytes: &[u8]) -> Result<(String, Asked), String> {
    let review: Value = serde_json::from_slice(bytes).map_err(|e| format!("no JSON: {e}"))?;
    let is_it =
        review["apiVersion"] == "admission.k8s.io/v1" && review["kind"] == "AdmissionReview";
    let request = &review["request"];
    let (true, Some(uid)) = (is_it, request["uid"].as_str()) else {
        return Err("no AdmissionReview of admission.k8s.io/v1 with a request".to_owned());
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let asked = Asked {
        namespace: text(&request["namespace"]),
        object: request["object"].clone(),
        old: Some(request["oldObject"].clone()).filter(Value::is_object),
    };
    Ok((uid.to_owned(), asked))
}

/// The answer to a review.
pub fn answer(uid: &str, verdict: &Verdict) -> Value {
    let mut response = json!({"uid": uid, "allowed": verdict.faults.is_empty()});
    if !verdict.faults.is_empty() {
        response["status"] = json!({
            "status": "Failure", "code": 422, "reason": "Invalid", "message": message(verdict),
        });
    }
    if !verdict.warnings.is_empty() {
        let warnings: Vec<String> = verdict.warnings.iter().map(|w| one_line(w)).collect();
        response["warnings"] = json!(warnings);
    }
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
}

fn message(verdict: &Verdict) -> String {
    let count = verdict.faults.len();
    let mut text = match count {
        1 => String::new(),
        _ => format!("{count} faults:"),
    };
    for (told, fault) in verdict.faults.iter().enumerate() {
        if text.len() > LONGEST {
            text.push_str(&format!("\n… and {} more", count - told));
            break;
        }
        let start = if count == 1 { "" } else { "\n- " };
        text.push_str(&format!("{start}{fault}"));
    }
    text
}

/// Warnings travel in a header: one line, and not for ever.
fn one_line(text: &str) -> String {
    let text = text.replace(|c: char| c.is_control(), " ");
    if text.chars().count() <= LONGEST_WARNING {
        return text;
    }
    let kept: String = text.chars().take(LONGEST_WARNING - 1).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::fault::Fault;

    fn fault(path: &str) -> Fault {
        Fault {
            path: path.to_owned(),
            message: "is wrong".to_owned(),
        }
    }

    #[test]
    fn a_review_is_read_and_anything_else_is_not() {
        let review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {"uid": "7", "namespace": "shop", "object": {"kind": "Rollout"}, "oldObject": null},
        });
        let (uid, asked) = read(review.to_string().as_bytes()).unwrap();
        assert_eq!((uid.as_str(), asked.namespace.as_str()), ("7", "shop"));
        assert!(asked.old.is_none());
        for text in [
            "",
            "{}",
            "[]",
            r#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{"uid":"7"}}"#,
        ] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_refusal_tells_every_fault() {
        let verdict = Verdict {
            faults: vec![fault("spec.a"), fault("spec.b")],
            warnings: vec!["one\ntwo".to_owned(), "x".repeat(300)],
        };
        let answer = answer("7", &verdict);
        assert_eq!(answer["response"]["allowed"], false);
        let message = &answer["response"]["status"]["message"];
        assert_eq!(message, "2 faults:\n- spec.a: is wrong\n- spec.b: is wrong");
        assert_eq!(answer["response"]["warnings"][0], "one two");
        assert_eq!(
            answer["response"]["warnings"][1]
                .as_str()
                .unwrap()
                .chars()
                .count(),
            256
        );
    }

    #[test]
    fn a_thousand_faults_end_somewhere() {
        let verdict = Verdict {
            faults: vec![fault(&"p".repeat(90)); 1000],
            warnings: vec![],
        };
        let answer = answer("7", &verdict).to_string();
        assert!(
            answer.len() < 10_000 && answer.contains("more"),
            "{}",
            answer.len()
        );
    }

    #[test]
    fn what_is_good_is_let_in_without_a_status() {
        let answer = answer("7", &Verdict::default());
        assert_eq!(answer["response"], json!({"uid": "7", "allowed": true}));
    }
}
