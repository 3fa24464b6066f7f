//! Manifests checked before a cluster sees them: fields against the schema, the controller's own
//! rules, references between the objects given. Texts in, findings with file, line and column out;
//! reads no file itself and plays no rehearsal.

pub mod document;
pub mod positions;
pub mod report;
pub mod strict;

mod references;

use serde_json::Value;

use crate::planner::advice;
use crate::planner::fault::Fault;
use document::Object;
use positions::{Place, Text};

/// A text to check, under the name it is told by.
#[derive(Clone, Debug)]
pub struct Source {
    /// Path as it was given.
    pub name: String,
    /// What it holds.
    pub text: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The controller, or the API server, will not do what is written.
    Error,
    /// It works, though perhaps not as it was meant.
    Warning,
    /// Worth knowing.
    Note,
}

impl Severity {
    /// The word that people read.
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One finding and where it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Name of the source.
    pub file: String,
    /// Line and column of the field, or of what it should stand in.
    pub place: Place,
    /// How bad it is.
    pub severity: Severity,
    /// `Rollout web`, empty where the document is no object.
    pub object: String,
    /// Path of the field, and what is wrong with it.
    pub fault: Fault,
}

/// What came of a check.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Everything found, in the order of the files and lines.
    pub findings: Vec<Finding>,
    /// Sources looked at.
    pub files: usize,
    /// Objects of our kinds, and rehearsals, among them.
    pub checked: usize,
    /// Objects of other kinds: looked at only where a Rollout refers to them.
    pub others: usize,
}

impl Report {
    /// Number of findings of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        let found = self.findings.iter();
        found.filter(|f| f.severity == severity).count()
    }
}

/// What is wrong with a document that is no object of a cluster, and what is worth a word.
pub type Played = (Vec<Fault>, Vec<String>);

/// Checks all sources together. `play` reads a rehearsal: the name of its source, and the document.
pub fn check(sources: &[Source], play: &dyn Fn(&str, &Value) -> Played) -> Report {
    let mut report = Report {
        files: sources.len(),
        ..Report::default()
    };
    let texts: Vec<Text> = sources.iter().map(|s| positions::read(&s.text)).collect();
    let mut given: Vec<Given<'_>> = Vec::new();
    for (source, text) in sources.iter().zip(&texts) {
        if let Some((place, message)) = &text.trouble {
            report.findings.push(Finding {
                file: source.name.clone(),
                place: *place,
                severity: Severity::Error,
                object: String::new(),
                fault: Fault {
                    path: String::new(),
                    message: format!("is not YAML: {message}"),
                },
            });
        }
        for document in &text.documents {
            let value = &document.value;
            let mut told = Told {
                file: &source.name,
                document,
                object: document::title(value),
                report: &mut report,
            };
            if document::is_rehearsal(value) {
                let (faults, notes) = play(&source.name, value);
                faults
                    .into_iter()
                    .for_each(|f| told.add(Severity::Error, f));
                for message in notes {
                    let path = String::new();
                    told.add(Severity::Note, Fault { path, message });
                }
                told.report.checked += 1;
                continue;
            }
            let mut faults = Vec::new();
            let object = document::read(value, &mut faults);
            faults
                .into_iter()
                .for_each(|f| told.add(Severity::Error, f));
            match &object {
                Some(Object::Other(_)) => told.report.others += 1,
                Some(_) | None => told.report.checked += 1,
            }
            if let Some(Object::Rollout(rollout)) = &object
                && let Ok(spec) = crate::planner::lower::lower(rollout)
            {
                for advice in advice::of(&rollout.spec, &spec) {
                    let severity = if advice.is_note {
                        Severity::Note
                    } else {
                        Severity::Warning
                    };
                    told.add(severity, advice.fault);
                }
            }
            if let Some(object) = object {
                let file = &source.name;
                given.push(Given {
                    file,
                    document,
                    object,
                });
            }
        }
    }
    references::check(&given, &mut report);
    let order = |name: &str| sources.iter().position(|s| s.name == name);
    report
        .findings
        .sort_by_key(|f| (order(&f.file), f.place, f.severity));
    report
}

/// An object that was read, and where it stands.
struct Given<'a> {
    file: &'a str,
    document: &'a positions::Document,
    object: Object,
}

/// Adds findings about one document.
struct Told<'a> {
    file: &'a str,
    document: &'a positions::Document,
    object: String,
    report: &'a mut Report,
}

impl Told<'_> {
    fn add(&mut self, severity: Severity, fault: Fault) {
        self.report.findings.push(Finding {
            file: self.file.to_owned(),
            place: self.document.place(&fault.path),
            severity,
            object: self.object.clone(),
            fault,
        });
    }
}

#[cfg(test)]
mod tests;
