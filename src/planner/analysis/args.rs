//! Arguments of an analysis: `{{args.x}}` becomes a value. Knows where a value lands, so that it
//! cannot end the quotes it stands in; knows no metric.

use std::collections::BTreeMap;

use serde_json::Value;

/// Values of arguments by name.
pub type Values = BTreeMap<String, String>;

/// What stands in for a secret in anything that can be read.
pub const REDACTED: &str = "*****";

/// Replaces `{{args.x}}` in every string of a JSON value. Strings that hold an expression (queries
/// and conditions, by key) are replaced with regard to quotes.
///
/// # Errors
/// `failed to resolve {{tag}}` for the first tag that is not an argument with a value.
pub fn substitute(value: &mut Value, args: &Values) -> Result<(), String> {
    substitute_keyed(value, "", args)
}

fn substitute_keyed(value: &mut Value, key: &str, args: &Values) -> Result<(), String> {
    match value {
        Value::String(text) if text.contains("{{") => {
            let quotes = matches!(key, "query" | "successCondition" | "failureCondition");
            *text = fill(text, quotes, args)?;
        }
        Value::Array(items) => {
            for item in items {
                substitute_keyed(item, key, args)?;
            }
        }
        Value::Object(map) => {
            for (key, item) in map.iter_mut() {
                substitute_keyed(item, key, args)?;
            }
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    Ok(())
}

/// Fills one text. With `quotes`, a value that lands inside a quoted string of an expression cannot
/// end it: it may hold escapes, but no bare quote, line break or trailing backslash. Outside of
/// quotes the author of the template asked for a piece of expression and gets it as it is.
pub fn fill(text: &str, quotes: bool, args: &Values) -> Result<String, String> {
    fill_with(text, quotes, |tag| {
        args.get(tag.strip_prefix("args.").map(str::trim)?)
    })
}

/// The same for tags of any kind.
///
/// # Errors
/// `failed to resolve {{tag}}` for the first tag that has no value.
pub fn fill_with<'a>(
    text: &str,
    quotes: bool,
    value_of: impl Fn(&str) -> Option<&'a String>,
) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut quote: Option<char> = None;
    while let Some((before, after)) = rest.split_once("{{") {
        if quotes {
            quote = quote_after(before, quote);
        }
        out.push_str(before);
        let Some((tag, tail)) = after.split_once("}}") else {
            out.push_str("{{");
            rest = after;
            continue;
        };
        let Some(value) = value_of(tag.trim()) else {
            return Err(format!("failed to resolve {{{{{}}}}}", tag.trim()));
        };
        match quote {
            Some(quote) => out.push_str(&inside(value, quote, tag.trim())?),
            None => out.push_str(value),
        }
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

/// The quote that is open after `text`, given the one that was open before it.
fn quote_after(text: &str, open: Option<char>) -> Option<char> {
    let mut open = open;
    let mut escaped = false;
    for c in text.chars() {
        match open {
            _ if escaped => escaped = false,
            Some(q) if c == '\\' && q != '`' => escaped = true,
            Some(q) if c == q => open = None,
            Some(_) => {}
            None if matches!(c, '"' | '\'' | '`') => open = Some(c),
            None => {}
        }
    }
    open
}

/// A value as it may stand inside quotes. Escapes written in it keep their meaning.
fn inside(value: &str, quote: char, tag: &str) -> Result<String, String> {
    if quote == '`' {
        if value.contains('`') {
            return Err(format!(
                "failed to resolve {{{{{tag}}}}}: its value holds a back quote"
            ));
        }
        return Ok(value.to_owned());
    }
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                out.push('\\');
                match chars.next() {
                    Some('\n') => out.push('n'),
                    Some(next) => out.push(next),
                    None => out.push('\\'),
                }
            }
            '\n' => out.push_str("\\n"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

/// Hides secrets wherever they turn up in a text. Secrets of fewer than 3 bytes are left: they
/// would hide half of the text and hide nothing from anyone.
pub fn redact(text: &str, secrets: &[String]) -> String {
    secrets
        .iter()
        .filter(|s| s.len() >= 3)
        .fold(text.to_owned(), |text, s| {
            text.replace(s.as_str(), REDACTED)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, &str)]) -> Values {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn tags_are_filled_with_or_without_blanks() {
        let args = values(&[("svc", "web"), ("n", "5")]);
        assert_eq!(
            fill("a{{args.svc}}b{{ args.n }}", false, &args),
            Ok("awebb5".to_owned())
        );
        assert_eq!(
            fill("x{{args.nope}}", false, &args),
            Err("failed to resolve {{args.nope}}".to_owned())
        );
        assert_eq!(
            fill("x{{other}}", false, &args),
            Err("failed to resolve {{other}}".to_owned())
        );
        assert_eq!(
            fill("x{{args.svc", false, &args),
            Ok("x{{args.svc".to_owned())
        );
    }

    #[test]
    fn a_value_cannot_leave_its_quotes() {
        let evil = r#"x",namespace="prod"#;
        let args = values(&[
            ("svc", evil),
            ("tail", "x\\"),
            ("re", r"a\\.b"),
            ("raw", "`x"),
        ]);
        assert_eq!(
            fill(r#"up{svc="{{args.svc}}"}"#, true, &args),
            Ok(r#"up{svc="x\",namespace=\"prod"}"#.to_owned())
        );
        assert_eq!(
            fill(r#"up{svc="{{args.tail}}"}"#, true, &args),
            Ok(r#"up{svc="x\\"}"#.to_owned())
        );
        assert_eq!(
            fill(r#"up{svc=~"{{args.re}}"}"#, true, &args),
            Ok(r#"up{svc=~"a\\.b"}"#.to_owned())
        );
        assert!(fill("up{svc=~`{{args.raw}}`}", true, &args).is_err());
        assert_eq!(
            fill("rate(x[{{args.tail}}])", true, &args),
            Ok("rate(x[x\\])".to_owned())
        );
    }

    #[test]
    fn secrets_are_hidden() {
        assert_eq!(
            redact("token abcd in text", &["abcd".to_owned()]),
            "token ***** in text"
        );
        assert_eq!(redact("a or b", &["a".to_owned()]), "a or b");
    }

    proptest::proptest! {
        /// Whatever a value holds, the quotes it is put into still end where the template ends them.
        #[test]
        fn quotes_hold_for_any_value(value in "\\PC{0,20}|[\"'\\\\\n]{0,8}", single in proptest::bool::ANY) {
            let q = if single { '\'' } else { '"' };
            let args = values(&[("x", &value)]);
            let text = fill(&format!("up{{a={q}{{{{args.x}}}}{q}}}"), true, &args).unwrap();
            let body = text.strip_prefix(&format!("up{{a={q}")).unwrap();
            let body = body.strip_suffix(&format!("{q}}}")).unwrap();
            proptest::prop_assert_eq!(quote_after(body, Some(q)), Some(q));
            proptest::prop_assert!(!body.contains('\n'));
            let escapes = body.chars().rev().take_while(|c| *c == '\\').count();
            proptest::prop_assert!(escapes % 2 == 0);
        }
    }
}
