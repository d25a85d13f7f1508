//! What a run came to, for people and for programs.
//!
//! It must not measure anything. Invariant: a figure that was not measured is not printed, and what
//! was lost is said in red words above everything else.

use std::{io::IsTerminal, process::ExitCode};

use serde_json::{Value, json};

use super::phase::Phase;

/// More disturbed phases than this are counted instead of named.
const DISTURBED_LINES_MAX: usize = 5;

/// A figure of every phase, and its row in the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) key: &'static str,
    pub(crate) label: &'static str,
    pub(crate) digits: usize,
    /// Does a ratio to the floor say something?
    pub(crate) ratio: bool,
}

/// A row with a ratio.
pub(crate) const fn row(key: &'static str, label: &'static str, digits: usize) -> Row {
    Row { key, label, digits, ratio: true }
}

/// A row without.
pub(crate) const fn plain(key: &'static str, label: &'static str, digits: usize) -> Row {
    Row { key, label, digits, ratio: false }
}

/// A whole run.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) scenario: &'static str,
    /// What was asked for, in words.
    pub(crate) setup: String,
    /// What the two columns are.
    pub(crate) columns: [&'static str; 2],
    pub(crate) rows: Vec<Row>,
    pub(crate) phases: Vec<Phase>,
    /// Failures that belong to no phase.
    pub(crate) failures: Vec<String>,
    /// What a reader should know to believe the figures.
    pub(crate) notes: Vec<String>,
}

/// One figure over all rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Figure {
    pub(crate) floor: Option<f64>,
    pub(crate) target: Option<f64>,
    /// Target by the mean of the floors before and after it.
    pub(crate) ratio: Option<f64>,
    /// How far the floors lie apart, as a part of their middle.
    pub(crate) spread: Option<f64>,
}

impl Report {
    /// An empty one.
    pub(crate) fn new(scenario: &'static str, setup: String, rows: &[Row]) -> Self {
        Self {
            scenario,
            setup,
            columns: ["floor", "target"],
            rows: rows.to_vec(),
            phases: Vec::new(),
            failures: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// What a figure came to.
    pub(crate) fn figure(&self, key: &str) -> Figure {
        let of = |side: &str, round: u32| {
            let mut found =
                self.phases.iter().filter(|each| each.side == side && each.round == round);
            found.find_map(|phase| phase.figures.get(key).copied())
        };
        let all = |side: &str| -> Vec<f64> {
            let phases = self.phases.iter().filter(|each| each.side == side);
            phases.filter_map(|phase| phase.figures.get(key).copied()).collect()
        };
        let (floors, targets) = (all("floor"), all("target"));
        let rounds = 0..u32::try_from(targets.len()).unwrap_or(0);
        let ratios: Vec<f64> = rounds
            .filter_map(|round| {
                let around: Vec<f64> =
                    [round, round + 1].into_iter().filter_map(|at| of("floor", at)).collect();
                Some(of("target", round)? / mean(&around)?)
            })
            .collect();
        Figure {
            floor: median(&floors),
            target: median(&targets),
            ratio: median(&ratios).filter(|ratio| ratio.is_finite()),
            spread: spread(&floors),
        }
    }

    /// What a phase's column is called.
    fn column(&self, phase: &Phase) -> &'static str {
        self.columns[usize::from(phase.side != "floor")]
    }

    /// Everything that must not be.
    pub(crate) fn all_failures(&self) -> Vec<String> {
        let phases = self.phases.iter().flat_map(|phase| phase.failures(self.column(phase)));
        self.failures.iter().cloned().chain(phases).collect()
    }

    /// 1 if anything was lost, repeated or out of order.
    pub(crate) fn exit(&self) -> ExitCode {
        if self.all_failures().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// For programs.
    pub(crate) fn to_json(&self) -> Value {
        let figures: serde_json::Map<String, Value> = self
            .rows
            .iter()
            .map(|row| {
                let Figure { floor, target, ratio, spread } = self.figure(row.key);
                let ratio = ratio.filter(|_| row.ratio);
                let value = json!({"label": row.label, "floor": floor, "target": target,
                                   "ratio": ratio, "floor_spread": spread});
                (row.key.to_owned(), value)
            })
            .collect();
        json!({
            "scenario": self.scenario,
            "setup": self.setup,
            "columns": self.columns,
            "ok": self.all_failures().is_empty(),
            "failures": self.all_failures(),
            "disturbed": self.phases.iter().any(Phase::disturbed),
            "figures": figures,
            "phases": self.phases.iter().map(Phase::to_json).collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }

    /// For people.
    pub(crate) fn to_text(&self, colours: bool) -> String {
        let red =
            |text: &str| if colours { format!("\x1b[1;31m{text}\x1b[0m") } else { text.to_owned() };
        let mut out = format!("{}: {}\n", self.scenario, self.setup);
        let failures = self.all_failures();
        for failure in &failures {
            out.push_str(&format!("{}\n", red(&format!("FAILED  {failure}"))));
        }
        for line in self.disturbances() {
            out.push_str(&red(&format!("DISTURBED  {line}; do not believe the figures\n")));
        }
        out.push_str(&format!(
            "\n{:<44}{:>12}{:>12}{:>10}{:>9}\n",
            "", self.columns[0], self.columns[1], "ratio", "spread"
        ));
        for row in &self.rows {
            out.push_str(&self.line(row));
        }
        out.push('\n');
        let has = |key: &str| self.phases.iter().any(|phase| phase.figures.contains_key(key));
        if failures.is_empty() && has("deliveries") {
            out.push_str("Every subscriber got every message, once, in order.\n");
        }
        if failures.is_empty() && has("checked") {
            out.push_str("Everything that was acknowledged was read back, once, in order.\n");
        }
        self.notes.iter().for_each(|note| out.push_str(&format!("{note}\n")));
        out
    }

    /// Who was disturbed: each phase, or how many if they are many.
    fn disturbances(&self) -> Vec<String> {
        let phases: Vec<_> = self.phases.iter().filter(|phase| phase.disturbed()).collect();
        let most = phases.iter().map(|phase| phase.others).fold(0.0, f64::max);
        if phases.len() > DISTURBED_LINES_MAX {
            let all = self.phases.len();
            let count = phases.len();
            return vec![format!(
                "{count} of {all} phases: others kept up to {most:.1} processors busy"
            )];
        }
        let words = |phase: &&Phase| {
            let (name, round) = (self.column(phase), phase.round + 1);
            format!("{name} (round {round}): others kept {:.1} processors busy", phase.others)
        };
        phases.iter().map(words).collect()
    }

    fn line(&self, row: &Row) -> String {
        let Figure { floor, target, ratio, spread } = self.figure(row.key);
        if floor.is_none() && target.is_none() {
            return String::new();
        }
        let show =
            |value: Option<f64>| value.map_or(String::new(), |value| number(value, row.digits));
        let ratio =
            ratio.filter(|_| row.ratio).map_or(String::new(), |ratio| format!("{ratio:.2} ×"));
        let spread = spread
            .filter(|_| row.ratio)
            .map_or(String::new(), |part| format!("{:.0} %", part * 100.0));
        format!("{:<44}{:>12}{:>12}{ratio:>10}{spread:>9}\n", row.label, show(floor), show(target))
    }

    /// Prints it: text, or JSON on one line.
    pub(crate) fn print(&self, json: bool) {
        if json {
            println!("{}", self.to_json());
        } else {
            print!("{}", self.to_text(std::io::stdout().is_terminal()));
        }
    }
}

/// A number with spaces between thousands as commas.
pub(crate) fn number(value: f64, digits: usize) -> String {
    let text = format!("{:.digits$}", value.abs());
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    let mut out = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    if !part.is_empty() {
        out.push('.');
        out.push_str(part);
    }
    if value < 0.0 { format!("-{out}") } else { out }
}

fn mean(values: &[f64]) -> Option<f64> {
    let count = f64::from(u32::try_from(values.len()).ok()?);
    (count > 0.0).then(|| values.iter().sum::<f64>() / count)
}

/// The middle value; of two in the middle, their mean.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[half]),
        _ => mean(&sorted[half - 1..=half]),
    }
}

fn spread(values: &[f64]) -> Option<f64> {
    let (first, rest) = values.split_first()?;
    if rest.is_empty() {
        return None;
    }
    let (low, high) =
        rest.iter().fold((*first, *first), |(low, high), v| (low.min(*v), high.max(*v)));
    Some((high - low) / median(values)?).filter(|spread| spread.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(side: &str, round: u32, value: f64) -> Phase {
        let mut phase = Phase::new(side, round);
        phase.set("cpu", value);
        phase.set("deliveries", 1.0);
        phase
    }

    fn report() -> Report {
        let mut report = Report::new(
            "fanout",
            "some".to_owned(),
            &[row("cpu", "CPU", 2), row("none", "None", 1)],
        );
        report.phases =
            vec![phase("floor", 0, 4.0), phase("target", 0, 10.0), phase("floor", 1, 6.0)];
        report
    }

    #[test]
    fn a_ratio_is_to_the_floors_around() {
        let mut report = report();
        let figure = report.figure("cpu");
        assert_eq!((figure.ratio, figure.floor, figure.spread), (Some(2.0), Some(5.0), Some(0.4)));
        report.phases.push(phase("target", 1, 30.0));
        report.phases.push(phase("floor", 2, 4.0));
        assert_eq!(report.figure("cpu").ratio, Some(4.0), "the middle of 2 and 6");
        assert_eq!(report.figure("none").ratio, None);
    }

    #[test]
    fn what_was_not_measured_is_not_printed() {
        let text = report().to_text(false);
        assert!(text.contains("2.00 ×") && !text.contains("None"), "{text}");
        assert!(text.contains("every message, once, in order"));
    }

    #[test]
    fn a_loss_is_said_and_ends_with_1() {
        let mut report = report();
        report.phases[1].faults.lost = 7;
        let text = report.to_text(true);
        assert!(text.contains("\x1b[1;31mFAILED  target (round 1): 7 deliveries LOST"), "{text}");
        assert!(!text.contains("every message"));
        assert_eq!(report.to_json()["ok"], false);
        assert_eq!(report.exit(), ExitCode::FAILURE);
    }

    #[test]
    fn many_disturbed_phases_are_one_line() {
        let mut report = report();
        report.phases.iter_mut().for_each(|phase| phase.others = 0.7);
        let lines = |report: &Report| report.to_text(false).matches("DISTURBED").count();
        assert_eq!(lines(&report), 3);
        report.phases.extend((0..4).map(|_| report.phases[0].clone()).collect::<Vec<_>>());
        assert_eq!(lines(&report), 1);
    }

    #[test]
    fn numbers() {
        let cases = [
            (1_234_567.4, 0, "1,234,567"),
            (12.345, 2, "12.35"),
            (999.0, 0, "999"),
            (-1_000.0, 0, "-1,000"),
        ];
        for (value, digits, text) in cases {
            assert_eq!(number(value, digits), text);
        }
        assert_eq!(median(&[3.0, 1.0, 2.0, 10.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }
}
