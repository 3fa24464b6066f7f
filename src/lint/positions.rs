//! YAML texts as documents in which every field knows its line and column. Values are read by the
//! same parser as everywhere; positions come from its events. Knows no kind of object.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_saphyr::granit_parser::{Event, Parser, Span};

use super::strict::join;

/// Line and column, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

impl Place {
    /// The beginning of a text.
    pub const START: Self = Self { line: 1, column: 1 };
}

/// What a text holds.
#[derive(Clone, Debug, Default)]
pub struct Text {
    /// Its documents; empty ones are left out.
    pub documents: Vec<Document>,
    /// Why it is not YAML, and where; then there are no documents.
    pub trouble: Option<(Place, String)>,
}

/// A document of a text.
#[derive(Clone, Debug)]
pub struct Document {
    /// What it says.
    pub value: Value,
    places: BTreeMap<String, Place>,
}

impl Document {
    /// Where the field at `path` stands; of one that is not there, what it should stand in.
    pub fn place(&self, path: &str) -> Place {
        let mut path = path;
        loop {
            if let Some(place) = self.places.get(path) {
                return *place;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = path.get(..end).unwrap_or_default(),
                None if path.is_empty() => return Place::START,
                None => path = "",
            }
        }
    }
}

/// Reads a text.
pub fn read(text: &str) -> Text {
    let values: Vec<Value> = match serde_saphyr::from_multiple(text) {
        Ok(values) => values,
        Err(error) => {
            let at = error.location();
            let number = |n: u64| usize::try_from(n).unwrap_or(1).max(1);
            let place = at.map_or(Place::START, |at| Place {
                line: number(at.line()),
                column: number(at.column()),
            });
            // The first line says what; the rest would show the text again.
            let message = error.without_snippet().to_string();
            let message = message.lines().next().unwrap_or_default().to_owned();
            return Text {
                documents: Vec::new(),
                trouble: Some((place, message)),
            };
        }
    };
    let values = values.into_iter().filter(|value| !value.is_null());
    let mut places = places(text).into_iter();
    let documents = values.map(|value| Document {
        value,
        places: places.next().unwrap_or_default(),
    });
    Text {
        documents: documents.collect(),
        trouble: None,
    }
}

/// An object or list that is being read.
enum Frame {
    /// Path of the object, and the key whose value comes next.
    Object(String, Option<String>),
    /// Path of the list, and the index of the next entry.
    List(String, usize),
}

/// Places of all fields by path, for each document that is not empty.
fn places(text: &str) -> Vec<BTreeMap<String, Place>> {
    let mut all = Vec::new();
    let mut walk = Walk::default();
    let mut parser = Parser::new_from_str(text);
    while let Some(Ok((event, span))) = parser.next_event() {
        if matches!(event, Event::DocumentEnd) {
            let done = std::mem::take(&mut walk);
            if !done.is_empty {
                all.push(done.places);
            }
            continue;
        }
        walk.take(&event, span);
    }
    all
}

struct Walk {
    places: BTreeMap<String, Place>,
    stack: Vec<Frame>,
    /// Nothing but a null so far.
    is_empty: bool,
}

impl Default for Walk {
    fn default() -> Self {
        Self {
            places: BTreeMap::new(),
            stack: Vec::new(),
            is_empty: true,
        }
    }
}

impl Walk {
    fn take(&mut self, event: &Event<'_>, span: Span) {
        let place = Place {
            line: span.start.line(),
            column: span.start.col().saturating_add(1),
        };
        match event {
            Event::Scalar(text, ..) => {
                if let Some(Frame::Object(path, key @ None)) = self.stack.last_mut() {
                    self.places.insert(join(path, text), place);
                    *key = Some(text.to_string());
                    return;
                }
                let is_null = matches!(&**text, "" | "~" | "null" | "Null" | "NULL");
                self.is_empty &= self.stack.is_empty() && is_null;
                self.node(place);
            }
            Event::Alias(_) => {
                self.is_empty = false;
                self.node(place);
            }
            Event::MappingStart(..) => {
                self.is_empty = false;
                let path = self.node(place);
                self.stack.push(Frame::Object(path, None));
            }
            Event::SequenceStart(..) => {
                self.is_empty = false;
                let path = self.node(place);
                self.stack.push(Frame::List(path, 0));
            }
            Event::MappingEnd | Event::SequenceEnd => {
                self.stack.pop();
            }
            _ => {}
        }
    }

    /// A node begins: its path. A field is at its key, an entry of a list at its beginning.
    fn node(&mut self, place: Place) -> String {
        let path = match self.stack.last_mut() {
            None => String::new(),
            Some(Frame::Object(path, key)) => {
                let path = join(path, key.as_deref().unwrap_or_default());
                *key = None;
                path
            }
            Some(Frame::List(path, index)) => {
                let path = format!("{path}[{index}]");
                *index += 1;
                path
            }
        };
        self.places.entry(path.clone()).or_insert(place);
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: usize, column: usize) -> Place {
        Place { line, column }
    }

    #[test]
    fn every_field_knows_its_line_and_column() {
        let text = "\
# a comment
---
kind: A
---
---
kind: B
spec: {a.b/c: 1, steps: [{setWeight: 20}, {pause: {}}]}
list:
  - one
  - name: two
    x: 'é'
";
        let text = read(text);
        assert!(text.trouble.is_none());
        let [a, b] = &text.documents[..] else {
            panic!("{:?}", text.documents);
        };
        assert_eq!(a.place("kind"), at(3, 1));
        assert_eq!(b.value["kind"], "B");
        for (path, place) in [
            ("kind", at(6, 1)),
            ("spec.a.b/c", at(7, 8)),
            ("spec.steps[0].setWeight", at(7, 27)),
            ("spec.steps[1]", at(7, 43)),
            // What is not there stands at what it is missing from.
            ("spec.steps[1].pause.duration", at(7, 44)),
            ("spec.nothing.at.all", at(7, 1)),
            ("list[0]", at(9, 5)),
            ("list[1].x", at(11, 5)),
        ] {
            assert_eq!(b.place(path), place, "{path}");
        }
    }

    #[test]
    fn what_is_not_yaml_is_told_with_its_place() {
        let (place, message) = read("a: 1\nb: [1, 2\nc: 3\n").trouble.unwrap();
        assert!(place.line >= 2, "{place:?}");
        assert!(!message.is_empty() && !message.contains('\n'), "{message}");
        assert!(read("a: 1\na: 2\n").trouble.is_some(), "a key twice");
    }

    #[test]
    fn an_alias_is_at_its_own_place() {
        let text = read("a: &x {b: 1}\nc: *x\n");
        assert_eq!(text.documents[0].place("c.b"), at(2, 1));
    }
}
