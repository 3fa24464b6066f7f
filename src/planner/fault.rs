//! A fault in something a person wrote: where it is and what to do. Knows no kind in particular.

use std::fmt;

/// One fault of a manifest: the path of the field and a message that says what is wrong and what
/// to do about it. `lower` returns all of them at once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Path of the field from the object's root, as clients print it: `spec.strategy.canary.steps[2].pause`.
    pub path: String,
    /// The rest of the sentence, as Kubernetes renders field errors: `Invalid value: 120: …`.
    pub message: String,
}

impl Fault {
    /// A value that cannot be used, in the rendering of Kubernetes field errors; an empty text says
    /// that there is no one value to show.
    pub fn invalid(path: &str, value: impl fmt::Display, message: impl fmt::Display) -> Self {
        let value = value.to_string();
        let message = match value.is_empty() {
            true => format!("Invalid value: {message}"),
            false => format!("Invalid value: {value}: {message}"),
        };
        Self {
            path: path.to_owned(),
            message,
        }
    }

    /// A value that is missing.
    pub fn required(path: &str, message: impl fmt::Display) -> Self {
        Self {
            path: path.to_owned(),
            message: format!("Required value: {message}"),
        }
    }

    /// A value that means something, but that this release does not do yet.
    pub fn unsupported(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            message: "Invalid value: is not supported yet: remove it, or keep this Rollout with a controller that has it".to_owned(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}
