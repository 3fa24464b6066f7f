//! One metric name with matchers: read, checked, and written again, so that nothing a person wrote
//! reaches a query unread. Knows the grammar of PromQL selectors and no more of it.

use std::fmt;

/// A series selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// Name of the metric.
    pub name: String,
    /// Matchers, as written.
    pub matchers: Vec<Matcher>,
}

/// A condition on a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matcher {
    /// The label.
    pub label: String,
    /// The comparison.
    pub op: Op,
    /// The value, unescaped.
    pub value: String,
}

/// A comparison of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Matches,
    /// `!~`
    MatchesNot,
}

impl Matcher {
    /// `label="value"`.
    pub fn equal(label: &str, value: &str) -> Self {
        Self {
            label: label.to_owned(),
            op: Op::Equal,
            value: value.to_owned(),
        }
    }

    /// `label=~"value"`.
    pub fn matches(label: &str, value: String) -> Self {
        Self {
            label: label.to_owned(),
            op: Op::Matches,
            value,
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = match self.op {
            Op::Equal => "=",
            Op::NotEqual => "!=",
            Op::Matches => "=~",
            Op::MatchesNot => "!~",
        };
        write!(f, "{}{op}\"", self.label)?;
        for c in self.value.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                c => write!(f, "{c}")?,
            }
        }
        f.write_str("\"")
    }
}

impl Selector {
    /// The selector with another name ending and more matchers: `x_bucket{a="b",namespace="n"}`.
    pub fn render(&self, suffix: &str, more: &[Matcher]) -> String {
        format!(
            "{}{suffix}{{{}}}",
            self.name,
            join(self.matchers.iter().chain(more))
        )
    }
}

/// Matchers with commas between them, without braces.
pub fn join<'m>(matchers: impl IntoIterator<Item = &'m Matcher>) -> String {
    matchers
        .into_iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

/// Reads `name` or `name{label="value",…}`.
///
/// # Errors
/// Anything else, with what was expected.
pub fn parse(text: &str) -> Result<Selector, String> {
    let mut at = Cursor { rest: text.trim() };
    let name = at.take(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("expected the name of a metric".to_owned());
    }
    let mut matchers = Vec::new();
    at.blanks();
    if at.eat("{") {
        at.blanks();
        while !at.eat("}") {
            matchers.push(at.matcher()?);
            at.blanks();
            if !at.eat(",") && !at.rest.starts_with('}') {
                return Err(format!("expected \",\" or \"}}\" before {}", at.shown()));
            }
            at.blanks();
        }
        at.blanks();
    }
    if !at.rest.is_empty() {
        return Err(format!(
            "expected one metric name with optional matchers, such as calls_total{{outcome=\"success\"}}; cannot use {}",
            at.shown()
        ));
    }
    Ok(Selector {
        name: name.to_owned(),
        matchers,
    })
}

/// True for a name that a label may have.
pub fn is_label(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, keep: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !keep(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn blanks(&mut self) {
        self.take(char::is_whitespace);
    }

    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn shown(&self) -> String {
        format!("{:?}", self.rest.chars().take(24).collect::<String>())
    }

    fn matcher(&mut self) -> Result<Matcher, String> {
        let label = self.take(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_label(label) {
            return Err(format!(
                "expected the name of a label before {}",
                self.shown()
            ));
        }
        if label == "__name__" {
            return Err("__name__ cannot be matched: the name stands before the braces".to_owned());
        }
        self.blanks();
        let op = [
            ("=~", Op::Matches),
            ("!~", Op::MatchesNot),
            ("!=", Op::NotEqual),
            ("=", Op::Equal),
        ]
        .into_iter()
        .find(|(text, _)| self.rest.starts_with(text));
        let Some((text, op)) = op else {
            return Err(format!("expected =, !=, =~ or !~ after label {label}"));
        };
        self.eat(text);
        self.blanks();
        let value = self.quoted()?;
        if matches!(op, Op::Matches | Op::MatchesNot) && regex::Regex::new(&value).is_err() {
            return Err(format!(
                "label {label}: {value:?} is not a regular expression"
            ));
        }
        Ok(Matcher {
            label: label.to_owned(),
            op,
            value,
        })
    }

    fn quoted(&mut self) -> Result<String, String> {
        let quote = self
            .rest
            .chars()
            .next()
            .filter(|c| matches!(c, '"' | '\'' | '`'));
        let Some(quote) = quote else {
            return Err(format!("expected a quoted value before {}", self.shown()));
        };
        let mut chars = self.rest.char_indices();
        chars.next();
        let mut value = String::new();
        while let Some((i, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.rest = self.rest.get(i.saturating_add(1)..).unwrap_or_default();
                    return Ok(value);
                }
                '\n' if quote != '`' => break,
                '\\' if quote != '`' => match chars.next().map(|(_, c)| c) {
                    Some('n') => value.push('\n'),
                    Some('t') => value.push('\t'),
                    Some('r') => value.push('\r'),
                    Some(c @ ('\\' | '"' | '\'')) => value.push(c),
                    _ => return Err("an escape that is not known in a quoted value".to_owned()),
                },
                c => value.push(c),
            }
        }
        Err("a quoted value without its closing quote".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_read_and_written_again() {
        for (text, rendered) in [
            ("up", "up{}"),
            (
                " calls_total{outcome=\"success\"} ",
                "calls_total{outcome=\"success\"}",
            ),
            ("a:b{x!='y', z=~`a.+`,}", "a:b{x!=\"y\",z=~\"a.+\"}"),
            (r#"m{p="a\"b\\c"}"#, r#"m{p="a\"b\\c"}"#),
        ] {
            assert_eq!(parse(text).unwrap().render("", &[]), rendered);
        }
        let more = [Matcher::equal("namespace", "prod")];
        assert_eq!(
            parse("h{a=\"b\"}").unwrap().render("_bucket", &more),
            "h_bucket{a=\"b\",namespace=\"prod\"}"
        );
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "5m",
            "rate(x[5m])",
            "x[5m]",
            "x{",
            "x{a}",
            "x{a=b}",
            "x{a=\"b\"} or y",
            "x{a=\"b}",
            "x{__name__=\"y\"}",
            "x{a=~\"(\"}",
            "x offset 5m",
            "{a=\"b\"}",
            "x{a=\"b\" c=\"d\"}",
            "x{a=\"\\q\"}",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        /// Whatever a label's value is, what is rendered reads back as the same selector: it cannot
        /// add a matcher or end the selector.
        #[test]
        fn rendering_reads_back(value in "\\PC{0,24}|[\"'\\\\{},=\n]{0,12}") {
            let selector = Selector { name: "x".to_owned(), matchers: vec![Matcher::equal("a", &value)] };
            let more = [Matcher::equal("namespace", "n")];
            let back = parse(&selector.render("_sum", &more)).unwrap();
            proptest::prop_assert_eq!(back.name, "x_sum");
            proptest::prop_assert_eq!(back.matchers.len(), 2);
            proptest::prop_assert_eq!(&back.matchers[0].value, &value);
        }
    }
}
