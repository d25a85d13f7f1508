//! The run as one picture that stands by itself: the table, latency by percentile, deliveries over
//! time, floor against target.
//!
//! It must not measure. No script, no font and no style from elsewhere: the file can be mailed.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::Context;

use super::{
    phase::{Phase, milliseconds},
    report::{Figure, Report, number},
    timeline::STEP,
};

const WIDTH: f64 = 1_000.0;
const PANEL_WIDTH: f64 = 400.0;
const PANEL_HEIGHT: f64 = 260.0;
const LINE: f64 = 20.0;
const FLOOR: &str = "#8a8f98";
const TARGET: &str = "#1668c7";
const ALARM: &str = "#c62828";
/// Steps that are averaged over: a fifth of a second.
const SMOOTH: usize = 4;

/// Draws the report into a file, if one is named: HTML by its ending, else SVG.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn draw(report: &Report, file: Option<&Path>) -> anyhow::Result<()> {
    let Some(file) = file else { return Ok(()) };
    let svg = svg(report);
    let is_html = file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("html"));
    let text = if is_html {
        let title = escaped(report.scenario);
        format!(
            "<!doctype html><meta charset=\"utf-8\"><title>tidewire bench {title}</title>\n{svg}"
        )
    } else {
        svg
    };
    fs::write(file, text).with_context(|| format!("{} cannot be written", file.display()))
}

/// The whole picture.
fn svg(report: &Report) -> String {
    let mut out = String::new();
    let mut y = 40.0;
    text(&mut out, 30.0, y, "title", &format!("tidewire bench {}", report.scenario));
    y += 24.0;
    text(&mut out, 30.0, y, "small", &report.setup);
    for failure in report.all_failures() {
        y += LINE;
        text(&mut out, 30.0, y, "alarm", &format!("FAILED {failure}"));
    }
    if report.phases.iter().any(Phase::disturbed) {
        y += LINE;
        text(&mut out, 30.0, y, "alarm", "DISTURBED: others kept more than half a processor busy");
    }
    y = table(&mut out, report, y + 34.0);
    let latency: Vec<_> = report.phases.iter().filter(|phase| phase.latency.count() > 0).collect();
    let timeline: Vec<_> = report.phases.iter().filter(|phase| phase.timeline.len() > 1).collect();
    if !latency.is_empty() || !timeline.is_empty() {
        y += 52.0;
        percentiles(&mut out, &latency, 80.0, y);
        over_time(&mut out, &timeline, 560.0, y);
        y += PANEL_HEIGHT + 70.0;
    }
    legend(&mut out, report, y);
    y += 30.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" width=\"{WIDTH}\" height=\"{y}\">\n\
         <style>text{{font:13px system-ui,sans-serif;fill:#1d2127}}.title{{font-size:22px;font-weight:600}}\
         .small{{fill:#5b616b}}.alarm{{fill:{ALARM};font-weight:600}}.right{{text-anchor:end}}\
         .middle{{text-anchor:middle;fill:#5b616b;font-size:11px}}.axis{{text-anchor:end;fill:#5b616b;font-size:11px}}\
         path{{fill:none;stroke-width:1.8}}line{{stroke:#e3e6ea}}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{out}</svg>\n"
    )
}

fn table(out: &mut String, report: &Report, top: f64) -> f64 {
    const COLUMNS: [f64; 4] = [520.0, 660.0, 780.0, 880.0];
    let mut y = top;
    for (x, name) in
        COLUMNS.into_iter().zip([report.columns[0], report.columns[1], "ratio", "spread"])
    {
        text(out, x, y, "right small", name);
    }
    for row in &report.rows {
        let Figure { floor, target, ratio, spread } = report.figure(row.key);
        if floor.is_none() && target.is_none() {
            continue;
        }
        y += LINE;
        text(out, 30.0, y, "", row.label);
        let show = |value: Option<f64>| value.map(|value| number(value, row.digits));
        let ratio = ratio.filter(|_| row.ratio).map(|ratio| format!("{ratio:.2} ×"));
        let spread = spread.filter(|_| row.ratio).map(|part| format!("{:.0} %", part * 100.0));
        for (x, value) in COLUMNS.into_iter().zip([show(floor), show(target), ratio, spread]) {
            text(out, x, y, "right", &value.unwrap_or_default());
        }
    }
    y
}

/// Latency by percentile; each nine takes the same room, so that the tail can be seen.
fn percentiles(out: &mut String, phases: &[&Phase], left: f64, top: f64) {
    const NINES: f64 = 4.0;
    let most =
        phases.iter().map(|phase| milliseconds(phase.latency.quantile(0.9999))).fold(0.0, f64::max);
    let most = round_up(most);
    panel(out, left, top, "latency (ms) by percentile", most);
    for (nines, name) in
        [(2_f64.log10(), "50"), (1.0, "90"), (2.0, "99"), (3.0, "99.9"), (4.0, "99.99")]
    {
        let x = left + nines / NINES * PANEL_WIDTH;
        mark(out, x, top, name);
    }
    for phase in phases {
        let points = (0..=80).map(|step| {
            let nines = f64::from(step) / 20.0;
            let value = milliseconds(phase.latency.quantile(1.0 - 10_f64.powf(-nines)));
            (left + nines / NINES * PANEL_WIDTH, value)
        });
        curve(out, points, top, most, phase);
    }
}

/// Deliveries a second, averaged over a fifth of a second.
fn over_time(out: &mut String, phases: &[&Phase], left: f64, top: f64) {
    let per_second = 1e9 / STEP as f64;
    let smooth = |phase: &Phase| -> Vec<f64> {
        let windows = phase.timeline.windows(SMOOTH.min(phase.timeline.len()));
        windows
            .map(|part| part.iter().sum::<u64>() as f64 / part.len() as f64 * per_second)
            .collect()
    };
    let curves: Vec<_> = phases.iter().map(|phase| (phase, smooth(phase))).collect();
    let most = curves.iter().flat_map(|(_, values)| values).copied().fold(0.0, f64::max);
    let most = round_up(most);
    let steps = curves.iter().map(|(_, values)| values.len()).max().unwrap_or(1).max(2) - 1;
    panel(out, left, top, "deliveries per second, over time (s)", most);
    let seconds = steps as f64 / per_second;
    for quarter in 0..=4 {
        let part = f64::from(quarter) / 4.0;
        mark(out, left + part * PANEL_WIDTH, top, &format!("{:.1}", part * seconds));
    }
    for (phase, values) in &curves {
        let points = values
            .iter()
            .enumerate()
            .map(|(at, value)| (left + at as f64 / steps as f64 * PANEL_WIDTH, *value));
        curve(out, points, top, most, phase);
    }
}

fn panel(out: &mut String, left: f64, top: f64, name: &str, most: f64) {
    text(out, left, top - 10.0, "small", name);
    for quarter in 0..=4 {
        let part = f64::from(quarter) / 4.0;
        let y = top + (1.0 - part) * PANEL_HEIGHT;
        let right = left + PANEL_WIDTH;
        let _fits =
            writeln!(out, "<line x1=\"{left}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>");
        let digits = if most < 10.0 { 2 } else { 0 };
        text(out, left - 6.0, y + 4.0, "axis", &number(most * part, digits));
    }
}

/// The next number that can be divided by four at sight: 1, 12, 16, 2 and so on, with zeros.
fn round_up(value: f64) -> f64 {
    let ten = 10_f64.powf(value.max(f64::MIN_POSITIVE).log10().floor());
    [1.0, 1.2, 1.6, 2.0, 2.4, 3.2, 4.0, 6.0, 8.0, 10.0]
        .map(|step| step * ten)
        .into_iter()
        .find(|top| *top >= value)
        .unwrap_or(value)
}

fn mark(out: &mut String, x: f64, top: f64, name: &str) {
    let bottom = top + PANEL_HEIGHT;
    let _fits = writeln!(out, "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>");
    text(out, x, bottom + 16.0, "middle", name);
}

fn curve(
    out: &mut String,
    points: impl Iterator<Item = (f64, f64)>,
    top: f64,
    most: f64,
    phase: &Phase,
) {
    let mut path = String::new();
    for (x, value) in points {
        let y = top + (1.0 - value / most.max(f64::MIN_POSITIVE)).max(0.0) * PANEL_HEIGHT;
        let letter = if path.is_empty() { 'M' } else { 'L' };
        let _fits = write!(path, "{letter}{x:.1} {y:.1}");
    }
    let _fits = writeln!(out, "<path d=\"{path}\" stroke=\"{}\"/>", colour(&phase.side));
}

fn colour(side: &str) -> &'static str {
    if side == "floor" { FLOOR } else { TARGET }
}

fn legend(out: &mut String, report: &Report, y: f64) {
    for (x, colour, name) in [(30.0, FLOOR, report.columns[0]), (150.0, TARGET, report.columns[1])]
    {
        let _fits = writeln!(
            out,
            "<rect x=\"{x}\" y=\"{}\" width=\"18\" height=\"4\" fill=\"{colour}\"/>",
            y - 6.0
        );
        text(out, x + 26.0, y, "small", name);
    }
    let _fits = report.notes.first().map(|note| text(out, 300.0, y, "small", note));
}

fn text(out: &mut String, x: f64, y: f64, class: &str, words: &str) {
    let _fits = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{}</text>",
        escaped(words)
    );
}

fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::row;

    #[test]
    fn a_picture_has_what_was_measured_and_what_went_wrong() {
        let mut report =
            Report::new("fanout", "a < b".to_owned(), &[row("p50_ms", "latency p50", 1)]);
        let mut phase = Phase::new("target", 0);
        (1..1_000).for_each(|value| phase.latency.record(value * 1_000));
        phase.set_latencies();
        phase.timeline = vec![4, 5, 6, 7, 8];
        phase.faults.lost = 2;
        report.phases.push(phase);
        let svg = svg(&report);
        assert!(svg.contains("a &lt; b") && svg.contains("2 deliveries LOST"), "{svg}");
        assert_eq!(svg.matches("<path ").count(), 2);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn a_run_without_deliveries_has_a_table_only() {
        let mut report = Report::new("idle", String::new(), &[row("x", "X", 0)]);
        let mut phase = Phase::new("floor", 0);
        phase.set("x", 3.0);
        report.phases.push(phase);
        assert!(!svg(&report).contains("<path"));
    }
}
