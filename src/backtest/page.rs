//! A backtest as one self-contained page, in the style of the rehearsal's: static charts and text, no
//! script. Everything that comes from outside is escaped.

use std::fmt::Write as _;

use super::report::{Found, Report, Verdict};
use super::text;
use crate::planner::slo::SloSpec;
use crate::view::html::{escape, page};
use crate::view::{chart, gates};

/// The page. `slos` are the objectives that were judged, in the order of the report.
pub fn render(report: &Report, slos: &SloSpec) -> String {
    let mut out = String::new();
    let title = format!("{}/{}", report.namespace, report.rollout);
    put(
        &mut out,
        format_args!(
            "<header>\n<p class=\"kind\">serin backtest</p>\n<h1>{}</h1>\n<p class=\"about\">{}</p>\n</header>\n",
            escape(&title),
            escape(&text::head(report))
        ),
    );
    let (class, verdict) = match report.is_good() {
        true => ("good", "No gate would have been too strict"),
        false => (
            "bad",
            "A gate would have been too strict, or had nothing to judge",
        ),
    };
    put(
        &mut out,
        format_args!(
            "<section class=\"verdict {class}\">\n<p><strong>{verdict}</strong></p>\n<p>{}</p>\n</section>\n",
            escape(&text::rule(report))
        ),
    );
    for (found, objective) in report.objectives.iter().zip(&slos.objectives) {
        section(&mut out, report, found, &gates::of_objective(objective));
    }
    versions(&mut out, report);
    page(&title, "serin backtest", &out)
}

fn section(out: &mut String, report: &Report, found: &Found, gate: &crate::view::timeline::Gate) {
    put(
        out,
        format_args!(
            "<section>\n<h2>{} <small>{}</small></h2>\n",
            escape(&found.name),
            escape(&found.bound)
        ),
    );
    if found.values > 0 {
        let until = (report.until - report.from) * 1000;
        put(
            out,
            format_args!(
                "<figure>{}</figure>\n",
                chart::history(gate, &found.series, until)
            ),
        );
    }
    for (indent, line) in text::objective(report, found) {
        let class = if indent > 2 { " class=\"quiet\"" } else { "" };
        put(out, format_args!("<p{class}>{}</p>\n", escape(&line)));
    }
    out.push_str("</section>\n");
}

fn versions(out: &mut String, report: &Report) {
    out.push_str("<section>\n<h2>Versions that came in that time</h2>\n");
    if report.versions.is_empty() {
        out.push_str("<p>None came after another one.</p>\n");
    }
    for version in &report.versions {
        let class = match version.verdict {
            Verdict::Passed => "held",
            Verdict::Stopped { .. } => "missed",
            Verdict::Held { .. } => "quiet",
        };
        put(
            out,
            format_args!(
                "<p class=\"{class}\">{}</p>\n",
                escape(&text::version(version))
            ),
        );
    }
    for one in &report.left_out {
        put(
            out,
            format_args!("<p class=\"quiet\">Not judged: {}</p>\n", escape(one)),
        );
    }
    out.push_str("</section>\n");
}

fn put(out: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    out.write_fmt(what).unwrap_or_default();
}
