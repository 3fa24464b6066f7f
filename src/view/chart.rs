//! Charts of a timeline as static SVG: pods and weight over time, gate values against their bounds.
//! Colours come from the page's style; knows no script.

use std::fmt::Write as _;

use super::html::escape;
use super::text::clock;
use super::timeline::{Gate, Measured, Sample, Timeline};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
/// Seconds.
const DAY: i64 = 86_400;

/// Where time and values lie on the page.
struct Frame {
    from: f64,
    until: f64,
    top: f64,
    height: f64,
    least: f64,
    most: f64,
}

impl Frame {
    fn x(&self, at: i64) -> f64 {
        let share = (at as f64 - self.from) / (self.until - self.from).max(1.0);
        LEFT + share.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        let span = (self.most - self.least).max(f64::MIN_POSITIVE);
        let share = ((value - self.least) / span).clamp(0.0, 1.04);
        self.top + self.height * (1.0 - share)
    }

    fn bottom(&self) -> f64 {
        self.top + self.height
    }
}

/// Pods by version, and weight asked and reached, over the whole story.
pub fn pods_and_weight(timeline: &Timeline) -> String {
    let until = timeline.ended_at.max(1_000) as f64;
    let most = timeline.samples.iter().map(total).max().unwrap_or(1).max(1);
    let pods = Frame {
        from: 0.0,
        until,
        top: 44.0,
        height: 180.0,
        least: 0.0,
        most: f64::from(most),
    };
    let weight = Frame {
        from: 0.0,
        until,
        top: 268.0,
        height: 120.0,
        least: 0.0,
        most: 100.0,
    };
    let mut svg = open(
        430.0,
        "Pods by version, and the weight of the new version, over time",
    );
    step_bands(&mut svg, timeline, &pods, weight.bottom());
    grid(&mut svg, &pods, &pod_ticks(most), "pods available");
    areas(&mut svg, timeline, &pods);
    grid(&mut svg, &weight, &[0.0, 50.0, 100.0], "weight, %");
    weights(&mut svg, timeline, &weight);
    marks(&mut svg, timeline, &pods, weight.bottom());
    times(&mut svg, &weight);
    svg.push_str("</svg>\n");
    svg
}

/// The values of one gate against its bound.
pub fn gate(timeline: &Timeline, gate: &Gate) -> String {
    let values: Vec<&Measured> = timeline
        .measurements
        .iter()
        .filter(|m| m.gate == gate.name)
        .collect();
    against_bound(gate, &values, timeline.ended_at, |_| true)
}

/// A value of a gate long after it was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// When, in milliseconds from the beginning.
    pub at: i64,
    /// The value, where there was one.
    pub value: Option<f64>,
    /// It misses the bound.
    pub is_bad: bool,
}

/// Values of a gate over days: a line, and a cross where the bound is missed.
pub fn history(gate: &Gate, points: &[Point], until: i64) -> String {
    let measured = |point: &Point| Measured {
        at: point.at,
        gate: gate.name.clone(),
        version: String::new(),
        value: point.value,
        verdict: if point.is_bad { "Failed" } else { "Successful" }.to_owned(),
        message: None,
    };
    let values: Vec<Measured> = points.iter().map(measured).collect();
    let values: Vec<&Measured> = values.iter().collect();
    against_bound(gate, &values, until, |value| value.verdict == "Failed")
}

/// The bound, a line of values, and a mark for each that is to have one, until that many milliseconds.
fn against_bound(
    gate: &Gate,
    values: &[&Measured],
    until: i64,
    is_marked: impl Fn(&Measured) -> bool,
) -> String {
    let numbers = values
        .iter()
        .filter_map(|m| m.value)
        .filter(|value| value.is_finite())
        .chain(gate.limit);
    let ticks = round_ticks(numbers, gate.is_upper);
    let frame = Frame {
        from: 0.0,
        until: until.max(1_000) as f64,
        top: 14.0,
        height: 110.0,
        least: ticks.first().copied().unwrap_or(0.0),
        most: ticks.last().copied().unwrap_or(1.0),
    };
    let mut svg = open(160.0, &format!("Values of {} over time", gate.name));
    bound(&mut svg, gate, &frame);
    let labels: Vec<(f64, String)> = ticks
        .iter()
        .map(|value| (*value, gate.unit.text(*value)))
        .collect();
    axis(&mut svg, &frame, &labels);
    line_of_values(&mut svg, values, &frame);
    for value in values.iter().filter(|value| is_marked(value)) {
        point(&mut svg, value, gate, &frame);
    }
    times(&mut svg, &frame);
    svg.push_str("</svg>\n");
    svg
}

/// Three to five round values that span all numbers. From zero up, except for values that must stay
/// high (99 % of successes): what matters there lies in the last tenth, which zero would hide.
fn round_ticks(numbers: impl Iterator<Item = f64>, from_zero: bool) -> Vec<f64> {
    let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
    for number in numbers {
        low = low.min(number);
        high = high.max(number);
    }
    if high <= 0.0 {
        return vec![0.0, 0.5, 1.0];
    }
    if from_zero || low < high / 2.0 {
        low = 0.0;
    }
    let rough = ((high - low) / 3.0).max(high / 1000.0);
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|digit| digit * power)
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(rough);
    // A hair's breadth of room, so that 0.3 / 0.1 counts as 3.
    let first = (low / step + 1e-9).floor();
    let last = (high / step - 1e-9).ceil().max(first + 1.0);
    let mut ticks = vec![];
    let mut at = first;
    while at <= last {
        ticks.push(at * step);
        at += 1.0;
    }
    ticks
}

fn open(height: f64, title: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{0}\"><title>{0}</title>\n",
        escape(title)
    )
}

fn total(sample: &Sample) -> u32 {
    sample.available().max(sample.desired)
}

fn pod_ticks(most: u32) -> Vec<f64> {
    let step = most.div_ceil(4).max(1);
    (0..=most).step_by(step as usize).map(f64::from).collect()
}

/// Alternating bands, one for each step that took time, with its text.
fn step_bands(svg: &mut String, timeline: &Timeline, frame: &Frame, bottom: f64) {
    let mut from = 0;
    let mut current: Option<usize> = None;
    let mut row = 0;
    let ends = timeline
        .samples
        .iter()
        .map(|s| (s.at, s.asked.map(|_| s.step)));
    for (at, step) in ends.chain([(timeline.ended_at, None)]) {
        let is_end = at >= timeline.ended_at;
        if step == current && !is_end {
            continue;
        }
        if let Some(index) = current {
            let (x, width) = (frame.x(from), frame.x(at) - frame.x(from));
            if width > 1.0 {
                let class = if index % 2 == 0 { "band" } else { "band other" };
                let text = timeline
                    .steps
                    .get(index)
                    .map_or("promotion", String::as_str);
                let height = bottom - frame.top;
                put(
                    svg,
                    format_args!(
                        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"><title>{}</title></rect>\n",
                        frame.top,
                        escape(text)
                    ),
                );
                let label = format!("{} {text}", index + 1);
                if width > label.chars().count() as f64 * 6.3 {
                    row = 1 - row;
                    put(
                        svg,
                        format_args!(
                            "<text class=\"step\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
                            x + 3.0,
                            frame.top - 8.0,
                            escape(&label)
                        ),
                    );
                }
            }
        }
        from = at;
        current = step;
    }
}

fn grid(svg: &mut String, frame: &Frame, ticks: &[f64], title: &str) {
    let labels: Vec<(f64, String)> = ticks
        .iter()
        .map(|tick| (*tick, format!("{tick:.0}")))
        .collect();
    axis(svg, frame, &labels);
    put(
        svg,
        format_args!(
            "<text class=\"axis\" transform=\"translate(14 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
            frame.top + frame.height / 2.0,
            escape(title)
        ),
    );
}

fn axis(svg: &mut String, frame: &Frame, ticks: &[(f64, String)]) {
    for (tick, label) in ticks {
        let y = frame.y(*tick);
        put(
            svg,
            format_args!(
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0,
                escape(label)
            ),
        );
    }
}

/// Available pods, stacked: one area for each version.
fn areas(svg: &mut String, timeline: &Timeline, frame: &Frame) {
    let names: Vec<&str> = timeline
        .versions
        .iter()
        .map(|version| version.name.as_str())
        .collect();
    let counts: Vec<Vec<f64>> = timeline
        .samples
        .iter()
        .map(|sample| by_version(sample, &names))
        .collect();
    for (i, name) in names.iter().enumerate() {
        let level = |upto: usize, row: &Vec<f64>| row.iter().take(upto).sum::<f64>();
        let lower: Vec<f64> = counts.iter().map(|row| level(i, row)).collect();
        let upper: Vec<f64> = counts.iter().map(|row| level(i + 1, row)).collect();
        if lower == upper {
            continue;
        }
        let there = staircase(timeline, &upper, frame);
        let mut back = staircase(timeline, &lower, frame);
        back.reverse();
        let points: Vec<String> = there
            .into_iter()
            .chain(back)
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        put(
            svg,
            format_args!(
                "<polygon class=\"version v{}\" points=\"{}\"><title>{}</title></polygon>\n",
                i % 4,
                points.join(" "),
                escape(name)
            ),
        );
    }
}

fn by_version(sample: &Sample, names: &[&str]) -> Vec<f64> {
    let mut counts = vec![0.0; names.len()];
    let mut add = |name: Option<&str>, pods: u32| {
        let at = names.iter().position(|known| Some(*known) == name);
        if let Some(slot) = at.and_then(|at| counts.get_mut(at)) {
            *slot += f64::from(pods);
        }
    };
    add(sample.stable_version.as_deref(), sample.stable.available);
    add(sample.canary_version.as_deref(), sample.canary.available);
    for (name, pods) in &sample.others {
        add(Some(name), pods.available);
    }
    counts
}

/// Corners of a line that keeps each value until the next sample.
fn staircase(timeline: &Timeline, values: &[f64], frame: &Frame) -> Vec<(f64, f64)> {
    let mut corners = Vec::new();
    let mut last: Option<f64> = None;
    for (sample, value) in timeline.samples.iter().zip(values) {
        let x = frame.x(sample.at);
        if let Some(last) = last {
            corners.push((x, frame.y(last)));
        }
        corners.push((x, frame.y(*value)));
        last = Some(*value);
    }
    if let Some(last) = last {
        corners.push((frame.x(timeline.ended_at), frame.y(last)));
    }
    corners
}

fn weights(svg: &mut String, timeline: &Timeline, frame: &Frame) {
    let first = timeline
        .samples
        .first()
        .and_then(|sample| sample.stable_version.clone());
    let done = |sample: &Sample| match sample.stable_version == first {
        true => 0.0,
        false => 100.0,
    };
    let asked: Vec<f64> = timeline
        .samples
        .iter()
        .map(|s| s.asked.map_or_else(|| done(s), f64::from))
        .collect();
    let reached: Vec<f64> = timeline
        .samples
        .iter()
        .map(|s| {
            if s.canary_version.is_some() {
                s.reached()
            } else {
                done(s)
            }
        })
        .collect();
    for (class, title, values) in [
        ("asked", "weight asked", asked),
        ("reached", "weight reached", reached),
    ] {
        let points: Vec<String> = staircase(timeline, &values, frame)
            .into_iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        put(
            svg,
            format_args!(
                "<polyline class=\"{class}\" points=\"{}\"><title>{title}</title></polyline>\n",
                points.join(" ")
            ),
        );
    }
}

/// What people did and what broke, as marks over both charts.
fn marks(svg: &mut String, timeline: &Timeline, frame: &Frame, bottom: f64) {
    use super::timeline::Who;
    let mut last = f64::NEG_INFINITY;
    for entry in &timeline.entries {
        let class = match (entry.who, entry.is_warning) {
            (Who::User, _) => "user",
            (Who::Fault, _) => "fault",
            (Who::Serin | Who::Gate, true) => "warning",
            (Who::Serin | Who::Gate | Who::Cluster, _) => continue,
        };
        let x = frame.x(entry.at);
        put(
            svg,
            format_args!(
                "<line class=\"mark {class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{bottom:.1}\"><title>{} {}</title></line>\n",
                frame.top,
                clock(entry.at),
                escape(&entry.text)
            ),
        );
        if x - last > 14.0 {
            let sign = match class {
                "user" => "\u{25cf}",
                "fault" => "\u{2716}",
                _ => "\u{25b2}",
            };
            put(
                svg,
                format_args!(
                    "<text class=\"sign {class}\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{sign}</text>\n",
                    bottom + 11.0
                ),
            );
            last = x;
        }
    }
}

fn times(svg: &mut String, frame: &Frame) {
    const STEPS: [i64; 16] = [
        1,
        5,
        10,
        15,
        30,
        60,
        120,
        300,
        600,
        900,
        1_800,
        3_600,
        7_200,
        21_600,
        DAY,
        7 * DAY,
    ];
    let seconds = (frame.until / 1000.0).max(1.0);
    let step = STEPS
        .into_iter()
        .find(|step| seconds / *step as f64 <= 10.0)
        .unwrap_or(30 * DAY);
    let mut at = 0;
    while at as f64 <= seconds {
        let x = frame.x(at * 1000);
        put(
            svg,
            format_args!(
                "<text class=\"axis\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
                frame.bottom() + 26.0,
                if step < DAY {
                    clock(at * 1000)
                } else {
                    format!("day {}", at / DAY)
                }
            ),
        );
        at += step;
    }
}

fn bound(svg: &mut String, gate: &Gate, frame: &Frame) {
    let Some(limit) = gate.limit else { return };
    let y = frame.y(limit);
    let (top, height) = match gate.is_upper {
        true => (frame.top, y - frame.top),
        false => (y, frame.bottom() - y),
    };
    let width = WIDTH - LEFT - RIGHT;
    put(
        svg,
        format_args!(
            "<rect class=\"bad\" x=\"{LEFT}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>\n"
        ),
    );
    put(
        svg,
        format_args!(
            "<line class=\"bound\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"><title>bound: {}</title></line>\n",
            WIDTH - RIGHT,
            escape(&gate.unit.text(limit))
        ),
    );
}

fn line_of_values(svg: &mut String, values: &[&Measured], frame: &Frame) {
    let mut pieces: Vec<Vec<String>> = vec![Vec::new()];
    let mut version = "";
    for value in values {
        let number = value.value.filter(|number| number.is_finite());
        if value.version != version || number.is_none() {
            pieces.push(Vec::new());
            version = &value.version;
        }
        if let (Some(number), Some(piece)) = (number, pieces.last_mut()) {
            piece.push(format!("{:.1},{:.1}", frame.x(value.at), frame.y(number)));
        }
    }
    for piece in pieces.iter().filter(|piece| piece.len() > 1) {
        put(
            svg,
            format_args!(
                "<polyline class=\"values\" points=\"{}\"/>\n",
                piece.join(" ")
            ),
        );
    }
}

fn point(svg: &mut String, value: &Measured, gate: &Gate, frame: &Frame) {
    let x = frame.x(value.at);
    let number = value.value.filter(|number| number.is_finite());
    let what = number.map_or_else(|| "no value".to_owned(), |number| gate.unit.text(number));
    let title = escape(&format!("{} {what} {}", clock(value.at), value.verdict));
    match (number, value.verdict.as_str()) {
        (Some(number), "Successful") => put(
            svg,
            format_args!(
                "<circle class=\"good\" cx=\"{x:.1}\" cy=\"{:.1}\" r=\"3\"><title>{title}</title></circle>\n",
                frame.y(number)
            ),
        ),
        (Some(number), _) => {
            let y = frame.y(number);
            put(
                svg,
                format_args!(
                    "<path class=\"cross\" d=\"M{:.1} {:.1}l8 8m0 -8l-8 8\"><title>{title}</title></path>\n",
                    x - 4.0,
                    y - 4.0
                ),
            );
        }
        (None, _) => put(
            svg,
            format_args!(
                "<text class=\"none\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">?<title>{title}</title></text>\n",
                frame.bottom() - 4.0
            ),
        ),
    }
}

fn put(svg: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    svg.write_fmt(what).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::round_ticks;

    #[test]
    fn axes_have_round_values_and_span_what_they_show() {
        let texts = |numbers: &[f64], from_zero| -> Vec<String> {
            round_ticks(numbers.iter().copied(), from_zero)
                .iter()
                .map(|tick| format!("{tick:.3}"))
                .collect()
        };
        assert_eq!(
            texts(&[0.2, 1.2, 0.8], true),
            ["0.000", "0.500", "1.000", "1.500"]
        );
        assert_eq!(
            texts(&[0.98, 1.0, 0.99], false),
            ["0.980", "0.990", "1.000"]
        );
        assert_eq!(texts(&[0.2, 1.0, 0.99], false), ["0.000", "0.500", "1.000"]);
        assert_eq!(texts(&[0.0], true), ["0.000", "0.500", "1.000"]);
        assert_eq!(texts(&[7.0], false).len(), 2);
    }
}
