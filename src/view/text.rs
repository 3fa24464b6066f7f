//! A timeline as text for a terminal of 80 columns. Knows colours only as an option.

use std::fmt::Write as _;

use super::timeline::{Entry, Sample, Timeline, Who};

/// Whether escape codes for colours are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// On a terminal.
    On,
    /// Into a file or a pipe.
    Off,
}

const WIDTH: usize = 80;
/// Where the sentences of the table begin.
const INDENT: usize = 37;

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const CYAN: &str = "36";

/// The timeline as text; every line ends with a newline.
pub fn render(timeline: &Timeline, colour: Colour) -> String {
    let mut teller = Teller::new(colour);
    [
        teller.head(timeline),
        teller.rows(timeline),
        teller.foot(timeline),
    ]
    .concat()
}

/// Gives a timeline as text piece by piece, for a story that is still going on.
#[derive(Debug)]
pub struct Teller {
    colour: Colour,
    /// How many entries were given.
    told: usize,
    /// Time and state of the last row.
    last: Option<(String, String)>,
}

impl Teller {
    /// One that has told nothing yet.
    pub fn new(colour: Colour) -> Self {
        Self {
            colour,
            told: 0,
            last: None,
        }
    }

    fn page(&self) -> Page {
        Page {
            text: String::new(),
            colour: self.colour,
        }
    }

    /// What it is about, and the head of the table.
    pub fn head(&self, timeline: &Timeline) -> String {
        let mut out = self.page();
        head(&mut out, timeline);
        let title = "  TIME  STEP   WEIGHT     AVAILABLE  WHAT HAPPENS, AND WHY";
        let second = "               ask  real  old  new";
        out.line(&out.paint(DIM, title));
        out.line(&out.paint(DIM, second));
        out.text
    }

    /// Rows for entries that are new since the last call.
    pub fn rows(&mut self, timeline: &Timeline) -> String {
        let mut out = self.page();
        for entry in timeline.entries.iter().skip(self.told) {
            let time = clock(entry.at);
            let state = timeline.sample_at(entry.at).map(state).unwrap_or_default();
            let is_same = self.last.as_ref() == Some(&(time.clone(), state.clone()));
            let left = match is_same {
                true => " ".repeat(INDENT),
                false => format!("{time:>6}  {state}"),
            };
            row(&mut out, &left, entry);
            self.last = Some((time, state));
        }
        self.told = timeline.entries.len();
        out.text
    }

    /// How it ended.
    pub fn foot(&self, timeline: &Timeline) -> String {
        let mut out = self.page();
        out.line("");
        foot(&mut out, timeline);
        out.text
    }
}

struct Page {
    text: String,
    colour: Colour,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn paint(&self, code: &str, text: &str) -> String {
        match self.colour {
            Colour::On => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            Colour::Off => text.to_owned(),
        }
    }

    /// A paragraph whose first line begins with `first` and the others with as many blanks.
    fn paragraph(&mut self, first: &str, code: Option<&str>, text: &str) {
        let indent = first.chars().count();
        for (i, line) in wrap(text, WIDTH - indent).iter().enumerate() {
            let painted = code.map_or_else(|| line.clone(), |code| self.paint(code, line));
            match i {
                0 => self.line(&format!("{first}{painted}")),
                _ => self.line(&format!("{:indent$}{painted}", "")),
            }
        }
    }
}

fn head(out: &mut Page, timeline: &Timeline) {
    let title = out.paint(BOLD, &timeline.name);
    out.line(&title);
    if let Some(about) = &timeline.about {
        out.paragraph("", None, about);
    }
    out.line("");
    let desired = timeline.samples.first().map_or(0, |sample| sample.desired);
    let of = format!(
        "{}/{}, {desired} replicas",
        timeline.namespace, timeline.rollout
    );
    out.paragraph("Rollout   ", None, &of);
    for (i, version) in timeline.versions.iter().enumerate() {
        let first = if i == 0 { "Versions  " } else { "          " };
        out.paragraph(
            first,
            None,
            &format!("{} = {}", version.name, version.image),
        );
    }
    let steps: Vec<String> = timeline
        .steps
        .iter()
        .enumerate()
        .map(|(i, step)| format!("{} {step}", i + 1))
        .collect();
    let steps = if steps.is_empty() {
        "none: a rolling update".to_owned()
    } else {
        steps.join(" · ")
    };
    match &timeline.switch {
        Some(switch) => out.paragraph("Switch    ", None, switch),
        None => out.paragraph("Steps     ", None, &steps),
    }
    let gates: Vec<String> = timeline
        .gates
        .iter()
        .map(|gate| format!("{} {}", gate.name, gate.bound))
        .collect();
    let gates = if gates.is_empty() {
        "none".to_owned()
    } else {
        gates.join(" · ")
    };
    out.paragraph("Gates     ", None, &gates);
    for warning in &timeline.warnings {
        out.paragraph("Note      ", Some(YELLOW), warning);
    }
    out.line("");
}

fn row(out: &mut Page, left: &str, entry: &Entry) {
    let (word, code) = match (entry.who, entry.is_warning) {
        (_, true) => (prefix(entry.who), Some(RED)),
        (Who::User, false) => (prefix(Who::User), Some(CYAN)),
        (Who::Fault, false) => (prefix(Who::Fault), Some(YELLOW)),
        (Who::Serin | Who::Gate | Who::Cluster, false) => (prefix(entry.who), None),
    };
    let left = format!("{left:INDENT$}");
    out.paragraph(&left, code, &format!("{word}{}", entry.text));
}

fn prefix(who: Who) -> &'static str {
    match who {
        Who::User => "you: ",
        Who::Fault => "fault: ",
        Who::Gate => "gate: ",
        Who::Serin | Who::Cluster => "",
    }
}

/// `2/5    20%  33%  2/2  1/1`, always as wide.
fn state(sample: &Sample) -> String {
    let step = match sample.steps {
        0 => "-".to_owned(),
        steps => format!("{}/{steps}", (sample.step + 1).min(steps)),
    };
    let (asked, reached) = match sample.asked {
        Some(asked) => (format!("{asked}%"), format!("{:.0}%", sample.reached())),
        None => ("-".to_owned(), "-".to_owned()),
    };
    let old = sample.stable.available + sample.older.available;
    let new = match sample.canary_version {
        Some(_) => sample.canary.available.to_string(),
        None => "-".to_owned(),
    };
    format!("{step:<5} {asked:>5} {reached:>5} {old:>4} {new:>4}  ")
}

fn foot(out: &mut Page, timeline: &Timeline) {
    if let Some(last) = timeline.samples.last() {
        let end = format!("Ends after {}: {}", span(timeline.ended_at), last.phase);
        let code = match last.phase.as_str() {
            "Healthy" => GREEN,
            "Degraded" => RED,
            _ => YELLOW,
        };
        let painted = out.paint(code, &end);
        out.line(&format!("{painted}  ({})", timeline.ended_because));
        if !last.message.is_empty() {
            out.paragraph("  ", None, &last.message);
        }
    }
    for expectation in &timeline.expectations {
        match &expectation.miss {
            None => {
                let mark = out.paint(GREEN, "✔");
                out.line(&format!("{mark} as expected: {}", expectation.text));
            }
            Some(miss) => {
                let first = format!("{} expected: ", out.paint(RED, "✖"));
                out.line(&format!("{first}{}", expectation.text));
                out.paragraph("  but ", None, miss);
            }
        }
    }
}

/// A time in the story: `3:05`, or `1:03:05`.
pub fn clock(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// A length of time: `7m 12s`.
pub fn span(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut text = String::new();
    for (n, unit) in [(hours, "h"), (minutes, "m"), (rest, "s")] {
        if n > 0 {
            // Writing to a String cannot fail.
            write!(text, "{n}{unit} ").unwrap_or_default();
        }
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text.trim_end().to_owned()
    }
}

/// Breaks a text into lines of at most `width` characters, between words where it can.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut word = word;
        loop {
            let used = lines.last().map_or(0, |line| line.chars().count());
            let gap = usize::from(used > 0);
            let long = word.chars().count();
            if used + gap + long <= width {
                push(&mut lines, word, gap);
                break;
            }
            if long <= width {
                lines.push(String::new());
                continue;
            }
            // A word longer than a line is cut at its edge.
            let room = width.saturating_sub(used + gap);
            if room == 0 {
                lines.push(String::new());
                continue;
            }
            let cut = word
                .char_indices()
                .nth(room)
                .map_or(word.len(), |(at, _)| at);
            let (head, tail) = word.split_at(cut);
            push(&mut lines, head, gap);
            word = tail;
        }
    }
    lines
}

fn push(lines: &mut [String], word: &str, gap: usize) {
    if let Some(line) = lines.last_mut() {
        line.push_str(&" ".repeat(gap));
        line.push_str(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_within_the_width() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("", 4), [""]);
    }

    #[test]
    fn times_read_as_people_write_them() {
        assert_eq!(
            (clock(65_000).as_str(), clock(3_661_000).as_str()),
            ("1:05", "1:01:01")
        );
        assert_eq!(
            (span(432_000).as_str(), span(10).as_str()),
            ("7m 12s", "0s")
        );
    }
}
