//! A timeline as one self-contained page: static charts, tables and text, no script, nothing loaded
//! from anywhere. Everything that comes from outside is escaped.

use std::fmt::Write as _;

use super::chart;
use super::text::{clock, span};
use super::timeline::{Entry, Timeline, Who};

const STYLE: &str = include_str!("report.css");

/// The page.
pub fn render(timeline: &Timeline) -> String {
    let mut body = String::new();
    header(&mut body, timeline);
    verdicts(&mut body, timeline);
    facts(&mut body, timeline);
    charts(&mut body, timeline);
    events(&mut body, timeline);
    page(&timeline.name, "serin rehearsal", &body)
}

/// A page of that title around `body`, which is markup already. Nothing in it is loaded or run.
pub(crate) fn page(title: &str, kind: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<title>{title} · {kind}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )
}

/// Text made safe for content and attributes.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // Control characters mean nothing in a page.
            c if c.is_control() && !matches!(c, '\n' | '\t') => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

fn header(out: &mut String, timeline: &Timeline) {
    put(
        out,
        format_args!(
            "<header>\n<p class=\"kind\">serin rehearsal</p>\n<h1>{}</h1>\n",
            escape(&timeline.name)
        ),
    );
    if let Some(about) = &timeline.about {
        put(
            out,
            format_args!("<p class=\"about\">{}</p>\n", escape(about)),
        );
    }
    out.push_str("</header>\n");
}

fn verdicts(out: &mut String, timeline: &Timeline) {
    let Some(last) = timeline.samples.last() else {
        return;
    };
    let class = match last.phase.as_str() {
        "Healthy" => "good",
        "Degraded" => "bad",
        _ => "open",
    };
    put(
        out,
        format_args!(
            "<section class=\"verdict {class}\">\n<p><strong>Ends {}</strong> after {} <span class=\"quiet\">({})</span></p>\n",
            escape(&last.phase),
            span(timeline.ended_at),
            escape(&timeline.ended_because)
        ),
    );
    if !last.message.is_empty() {
        put(out, format_args!("<p>{}</p>\n", escape(&last.message)));
    }
    if !timeline.expectations.is_empty() {
        out.push_str("<ul class=\"expectations\">\n");
        for expectation in &timeline.expectations {
            let text = escape(&expectation.text);
            match &expectation.miss {
                None => put(
                    out,
                    format_args!("<li class=\"held\">✔ as expected: {text}</li>\n"),
                ),
                Some(miss) => put(
                    out,
                    format_args!(
                        "<li class=\"missed\">✖ expected: {text}, but {}</li>\n",
                        escape(miss)
                    ),
                ),
            }
        }
        out.push_str("</ul>\n");
    }
    out.push_str("</section>\n");
}

fn facts(out: &mut String, timeline: &Timeline) {
    let desired = timeline.samples.first().map_or(0, |sample| sample.desired);
    put(
        out,
        format_args!(
            "<dl>\n<dt>Rollout</dt><dd>{}/{}, {desired} replicas</dd>\n",
            escape(&timeline.namespace),
            escape(&timeline.rollout)
        ),
    );
    out.push_str("<dt>Versions</dt><dd>");
    for (i, version) in timeline.versions.iter().enumerate() {
        put(
            out,
            format_args!(
                "<span class=\"key\"><i class=\"swatch v{}\"></i>{} <code>{}</code></span> ",
                i % 4,
                escape(&version.name),
                escape(&version.image)
            ),
        );
    }
    out.push_str("</dd>\n<dt>Steps</dt><dd>");
    if timeline.steps.is_empty() {
        let switch = timeline
            .switch
            .as_deref()
            .map(|s| format!("none: one switch {s}"));
        out.push_str(&escape(
            switch.as_deref().unwrap_or("none: a rolling update"),
        ));
    } else {
        out.push_str("<ol class=\"steps\">");
        for step in &timeline.steps {
            put(out, format_args!("<li>{}</li>", escape(step)));
        }
        out.push_str("</ol>");
    }
    out.push_str("</dd>\n<dt>Gates</dt><dd>");
    let gates: Vec<String> = timeline
        .gates
        .iter()
        .map(|gate| escape(&format!("{} {}", gate.name, gate.bound)))
        .collect();
    out.push_str(if gates.is_empty() { "none" } else { "" });
    put(out, format_args!("{}</dd>\n</dl>\n", gates.join("<br>")));
    for warning in &timeline.warnings {
        put(
            out,
            format_args!("<p class=\"note\">{}</p>\n", escape(warning)),
        );
    }
}

fn charts(out: &mut String, timeline: &Timeline) {
    out.push_str("<section>\n<h2>Pods and weight</h2>\n<p class=\"legend\">");
    for (i, version) in timeline.versions.iter().enumerate() {
        put(
            out,
            format_args!(
                "<span class=\"key\"><i class=\"swatch v{}\"></i>pods of {}</span> ",
                i % 4,
                escape(&version.name)
            ),
        );
    }
    out.push_str("<span class=\"key\"><i class=\"swatch asked\"></i>weight asked</span> <span class=\"key\"><i class=\"swatch reached\"></i>weight reached</span> <span class=\"key\">● a person</span> <span class=\"key\">✖ a fault</span> <span class=\"key\">▲ a warning</span></p>\n");
    put(
        out,
        format_args!(
            "<figure>{}</figure>\n</section>\n",
            chart::pods_and_weight(timeline)
        ),
    );
    let measured = |name: &str| timeline.measurements.iter().any(|m| m.gate == name);
    for gate in timeline.gates.iter().filter(|gate| measured(&gate.name)) {
        put(
            out,
            format_args!(
                "<section>\n<h2>{} <small>{}</small></h2>\n<figure>{}</figure>\n</section>\n",
                escape(&gate.name),
                escape(&gate.bound),
                chart::gate(timeline, gate)
            ),
        );
    }
}

fn events(out: &mut String, timeline: &Timeline) {
    out.push_str("<section>\n<h2>What happened, and why</h2>\n<div class=\"scroll\">\n<table>\n<thead><tr><th>Time</th><th>Step</th><th>Asked</th><th>Reached</th><th>Old</th><th>New</th><th>What</th></tr></thead>\n<tbody>\n");
    for entry in &timeline.entries {
        event(out, timeline, entry);
    }
    out.push_str("</tbody>\n</table>\n</div>\n</section>\n");
}

fn event(out: &mut String, timeline: &Timeline, entry: &Entry) {
    let class = match (entry.who, entry.is_warning) {
        (_, true) => "warning",
        (Who::User, false) => "user",
        (Who::Fault, false) => "fault",
        (Who::Gate, false) => "gate",
        (Who::Serin | Who::Cluster, false) => "serin",
    };
    let who = match entry.who {
        Who::User => "you",
        Who::Fault => "fault",
        Who::Gate => "gate",
        Who::Serin => "serin",
        Who::Cluster => "cluster",
    };
    let mut cells = vec![clock(entry.at)];
    match timeline.sample_at(entry.at) {
        Some(sample) => {
            cells.push(match sample.steps {
                0 => "–".to_owned(),
                steps => format!("{}/{steps}", (sample.step + 1).min(steps)),
            });
            let (asked, reached) = match sample.asked {
                Some(asked) => (format!("{asked}%"), format!("{:.0}%", sample.reached())),
                None => ("–".to_owned(), "–".to_owned()),
            };
            cells.extend([asked, reached]);
            cells.push((sample.stable.available + sample.older.available).to_string());
            cells.push(match sample.canary_version {
                Some(_) => sample.canary.available.to_string(),
                None => "–".to_owned(),
            });
        }
        None => cells.extend(std::iter::repeat_n(String::new(), 5)),
    }
    put(out, format_args!("<tr class=\"{class}\">"));
    for cell in cells {
        put(out, format_args!("<td>{cell}</td>"));
    }
    put(
        out,
        format_args!(
            "<td><b class=\"who\">{who}</b> {}</td></tr>\n",
            escape(&entry.text)
        ),
    );
}

fn put(out: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    out.write_fmt(what).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_reaches_the_page_as_markup() {
        let mut timeline = Timeline {
            name: "<script>alert(1)</script>".into(),
            ..Timeline::default()
        };
        timeline
            .warnings
            .push("\"><img src=x onerror=alert(1)>".into());
        timeline.steps.push("</title><b>".into());
        timeline.entries.push(Entry {
            at: 0,
            who: Who::User,
            text: "<svg onload=alert(1)>".into(),
            reason: None,
            is_warning: false,
        });
        let page = render(&timeline);
        for markup in ["<script", "<img", "<b>", "<svg onload"] {
            assert!(!page.contains(markup), "{markup}");
        }
        assert!(
            !page.contains("http://") && !page.contains("https://"),
            "nothing external"
        );
    }
}
