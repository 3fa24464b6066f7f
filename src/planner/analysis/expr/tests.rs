//! The corpus of conditions, and the limits of the language.

use serde_json::json;

use super::*;

fn check(condition: &str) -> Result<(), String> {
    Condition::parse(condition).map(drop)
}

fn floats(values: &[f64]) -> MetricValue {
    MetricValue::floats(values.iter().copied())
}

/// Conditions in the style of the public documentation, with what clients expect of them. `None`
/// is a measurement in Error.
#[test]
fn corpus_of_conditions() {
    let good = floats(&[0.97]);
    let two = floats(&[0.97, 0.5]);
    let none = floats(&[]);
    let nan = floats(&[f64::NAN]);
    let inf = floats(&[f64::INFINITY]);
    let scalar = MetricValue::Float(3.0);
    let web = MetricValue::from(&json!({
        "ok": true, "successPercent": 0.95, "count": "7", "notes": "all fine",
        "data": {"items": [1, 2, 3], "in_use": 4, "nothing": null}, "tags": ["a", "b"],
        "list": [{"name": "x", "v": 1}, {"name": "y", "v": 5}]
    }));
    let text = MetricValue::text("4");
    let nil = MetricValue::Nil;
    let yes = Some(true);
    let no = Some(false);
    for (condition, result, expected) in [
        ("result[0] >= 0.95", &good, yes),
        ("result[0] < 0.95", &good, no),
        ("result[0]>=0.95&&result[0]<1", &good, yes),
        ("result >= 3", &scalar, yes),
        ("result == 3", &scalar, yes),
        ("result[0] >= 0.95", &none, None),
        ("len(result) == 0 || result[0] >= 0.95", &none, yes),
        ("len(result) > 0 && result[0] >= 0.95", &none, no),
        ("len(result) == 0 or result[0] >= 0.99", &good, no),
        ("default(result, 0) < 5", &nil, yes),
        ("default(result, 0) < 5", &scalar, yes),
        ("default(result, 10) < 5", &none, no),
        ("isNil(result)", &nil, yes),
        ("isNil(result) || result > 2", &scalar, yes),
        ("all(result, # < 0.05)", &two, no),
        ("all(result, # > 0.05)", &two, yes),
        ("all(result, {# > 0.05})", &two, yes),
        ("any(result, {# > 0.9})", &two, yes),
        ("none(result, # > 1)", &two, yes),
        ("one(result, # > 0.9)", &two, yes),
        ("count(result, # > 0.4) == 2", &two, yes),
        ("len(filter(result, # < 0.9)) == 1", &two, yes),
        ("map(result, # * 100)[1] == 50", &two, yes),
        ("find(result, # < 0.9) == 0.5", &two, yes),
        ("sum(result) > 1.4 and sum(result) < 1.5", &two, yes),
        ("mean(result) > 0.7", &two, yes),
        ("median(result) > 0.7", &two, yes),
        ("max(result) == 0.97 && min(result) == 0.5", &two, yes),
        ("result[-1] == 0.5", &two, yes),
        ("result[0:1] == [0.97]", &two, yes),
        ("result[5] > 0", &two, None),
        ("isNaN(result[0])", &nan, yes),
        ("isNaN(result[0]) || result[0] <= 0.5", &nan, yes),
        ("!isNaN(result[0]) && result[0] <= 0.5", &nan, no),
        ("result[0] <= 0.5", &nan, no),
        ("result[0] > 0.5", &nan, no),
        ("isInf(result[0])", &inf, yes),
        ("!isInf(result[0])", &good, yes),
        ("isNaN(result)", &two, None),
        ("result.ok && result.successPercent >= 0.90", &web, yes),
        ("result['ok'] == true", &web, yes),
        ("asInt(result.count) < 8", &web, yes),
        ("asFloat(result.count) == 7.0", &web, yes),
        ("asInt(result) < 5", &text, yes),
        ("asFloat(result) * 2 == 8", &text, yes),
        ("asInt(result.notes) < 5", &web, None),
        ("result.data.items[0] == 1", &web, yes),
        ("result.data.in_use == 4", &web, yes),
        ("result.missing == nil", &web, yes),
        ("result.missing.deeper == nil", &web, None),
        ("result?.missing?.deeper == nil", &web, yes),
        ("result.missing?.deeper.still == nil", &web, yes),
        ("(result.missing ?? 5) == 5", &web, yes),
        ("result.missing > 5", &web, None),
        ("'a' in result.tags", &web, yes),
        ("'c' not in result.tags", &web, yes),
        ("\"ok\" in result", &web, yes),
        ("result.notes contains 'fine'", &web, yes),
        (
            "result.notes startsWith 'all' && result.notes endsWith 'fine'",
            &web,
            yes,
        ),
        ("result.notes matches '^all .*e$'", &web, yes),
        ("not (result.notes matches \"x\")", &web, yes),
        ("upper(result.notes) == 'ALL FINE'", &web, yes),
        ("all(result.list, .v >= 1)", &web, yes),
        ("any(result.list, #.name == \"y\" && #.v > 4)", &web, yes),
        ("any(result.list, {.name == 'z'})", &web, no),
        ("len(result.list) == 2 ? result.ok : false", &web, yes),
        ("result[0] > 0.9 ? true : false", &good, yes),
        ("not (result[0] < 0.95)", &good, yes),
        ("!(result[0] < 0.95)", &good, yes),
        ("!result[0] < 1", &good, None),
        ("result[0] >= 0.95 and result[1] < 0.6", &two, yes),
        ("true || false && false", &nil, yes),
        (
            "1 + 2 * 3 == 7 && 10 % 3 == 1 && 2 ** 3 == 8 && 5 / 2 == 2.5",
            &nil,
            yes,
        ),
        ("-2 ** 2 == -4 && (2 - 3) * 2 == -2", &nil, yes),
        (
            "1 == 1.0 && 0x10 == 16 && 1_000 == 1e3 && .5 == 0.5",
            &nil,
            yes,
        ),
        ("len(1..3) == 3 && 2 in 1..3", &nil, yes),
        ("let x = result[0]; x > 0.9", &good, yes),
        ("result | len() == 2", &two, yes),
        ("{a: {b: 1}}.a.b == 1", &nil, yes),
        ("result[0] > 0.9 // the share\n", &good, yes),
        ("any(result, any([0.5], # == 0.5))", &two, yes),
        ("result[0]", &good, None),
        ("result[0] == 'x'", &good, no),
        ("result[0] > 'x'", &good, None),
        ("result && true", &good, None),
        (
            "abs(-3) == 3 && ceil(0.1) == 1 && floor(0.9) == 0 && round(0.5) == 1",
            &nil,
            yes,
        ),
        (
            "int(3.9) == 3 && float('3.5') == 3.5 && string(3) == '3'",
            &nil,
            yes,
        ),
    ] {
        let verdict = evaluate(condition, result);
        assert_eq!(
            verdict.as_ref().ok().copied(),
            expected,
            "{condition} over {result}: {verdict:?}"
        );
    }
}

#[test]
fn what_cannot_be_read_is_refused_with_a_reason() {
    for (condition, reason) in [
        ("", "is empty"),
        ("result[0] >", "ends where a value is expected"),
        ("result[0] between 1", "unexpected \"between\""),
        ("results[0] > 1", "unknown name \"results\""),
        ("median_of(result)", "unknown function \"median_of\""),
        ("now() > 1", "unknown function \"now\""),
        (
            "repeat('x', 1000000000) == ''",
            "unknown function \"repeat\"",
        ),
        ("reduce(result, #acc + #)", "unknown function \"reduce\""),
        (
            "len(0..9000000000000000000) > 1",
            "a range must go between two written numbers",
        ),
        (
            "len(0..result) > 1",
            "a range must go between two written numbers",
        ),
        ("len(1, 2)", "takes one value"),
        ("all(result)", "takes a list and a predicate"),
        ("# > 1", "stands outside"),
        ("result matches '('", "cannot be read"),
        ("result matches result", "needs a written pattern"),
        ("'open", "without closing quote"),
        ("result @ 3", "unexpected character"),
        ("1e", "cannot be read"),
    ] {
        let fault = check(condition).unwrap_err();
        assert!(fault.contains(reason), "{condition}: {fault}");
    }
}

#[test]
fn long_deep_and_costly_conditions_are_refused() {
    assert!(
        check(&format!("result == '{}'", "x".repeat(MAX_LENGTH)))
            .unwrap_err()
            .contains("bytes long")
    );
    for deep in [
        format!("{}1{} == 1", "(".repeat(500), ")".repeat(500)),
        format!("{}true", "!".repeat(500)),
        format!("{}1 == 1", "-".repeat(500)),
        format!("{} == 1", vec!["1"; 1000].join("+")),
        format!("result{} == 1", "[0]".repeat(500)),
        format!("{}true", "true ? true : ".repeat(100)),
        format!("{}true", "let x = 1; ".repeat(100)),
        format!("{}1 == 1", "[".repeat(500)),
    ] {
        assert!(check(&deep).is_err(), "{deep:.40}");
    }
    let many = floats(&vec![1.0; 40_000]);
    assert_eq!(
        evaluate("all(result, # > 0 && # < 2 && !isNaN(#))", &many),
        Ok(true)
    );
    let costly = "all(result, all(result, # > 0))";
    assert!(
        evaluate(costly, &many).unwrap_err().contains("steps"),
        "{costly}"
    );
    let big = MetricValue::text("x".repeat(1 << 20));
    let doubled = format!(
        "let a = {}; let b = {}; len({}) > 0",
        ["result"; 60].join("+"),
        ["a"; 60].join("+"),
        ["b"; 60].join("+")
    );
    assert!(evaluate(&doubled, &big).unwrap_err().contains("steps"));
}

#[test]
fn words_that_ask_are_found_as_words() {
    let read = |text: &str| Condition::parse(text).unwrap();
    assert!(read("!isNaN(result[0])").asks_for_nan());
    assert!(!read("result.isNaNish == 'isNaN'").asks_for_nan());
    assert!(read("len(result) == 0").asks_for_absence());
    assert!(!read("result[0] < 5").asks_for_absence());
}

proptest::proptest! {
    /// Total: any text gives a verdict or a reason, and never panics.
    #[test]
    fn any_text_is_judged_or_refused(
        text in "(result|len\\(|all\\(|#|\\[|\\]|\\)|\\(|0|1\\.5|'a'|>|&&|\\||\\?|:|\\.|,|!|-|\\{|\\}| |let x =|;|nil|\\.\\.|\\?\\?|in|not){0,30}|.{0,40}",
        values in proptest::collection::vec(proptest::num::f64::ANY, 0..4),
    ) {
        drop(evaluate(&text, &MetricValue::floats(values)));
        drop(evaluate(&text, &MetricValue::Nil));
    }

    /// A gate's conditions never pass on what is not a finite number.
    #[test]
    fn comparisons_with_guards_never_pass_nan(bound in -1e6..1e6_f64, which in 0..3_usize) {
        let value = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY][which];
        let condition = format!("len(result) > 0 && !isNaN(result[0]) && !isInf(result[0]) && result[0] <= {bound}");
        proptest::prop_assert_eq!(evaluate(&condition, &MetricValue::floats([value])), Ok(false));
        proptest::prop_assert_eq!(evaluate(&condition, &MetricValue::floats([])), Ok(false));
    }
}
