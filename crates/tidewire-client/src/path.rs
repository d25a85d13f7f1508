//! [`PathJudge`]: does the path hold event streams back? Pure: time comes in as arguments.
//!
//! Two witnesses: the canary, a short answer whose three events must not arrive together, and the
//! sequence probe, which asks the server what it has written to our stream. The rules stand in prose
//! in `conformance/path.json`, which the TypeScript client runs too.
//!
//! Knows no HTTP. Invariant: one verdict is final, `Buffered`; whoever hears it leaves the stream.

use std::time::Duration;

/// Between the events of the first canary.
pub(crate) const GAP: Duration = Duration::from_millis(250);
/// The widest gap that is asked for.
const GAP_MAX: Duration = Duration::from_secs(2);
/// How much later than a round trip bytes may come without being late.
const SLACK: Duration = Duration::from_millis(300);
/// The longest silence of a stream that beats early.
const QUIET_EARLY: Duration = Duration::from_millis(550);
/// How late a beat may be before the server is asked.
const QUIET_LATE: Duration = Duration::from_secs(1);
/// What arrives so far apart was not held together.
const APART: Duration = Duration::from_millis(100);
/// Between two probes that count as two.
const AGAIN: Duration = Duration::from_secs(1);
/// The longest wait between two probes that tell nothing.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// What became of one canary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Canary {
    /// The gap that was asked for.
    pub(crate) gap: Duration,
    /// When each event arrived, since the request. Three, unless it failed.
    pub(crate) arrivals: Vec<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CanarySays {
    Clear,
    Buffered,
    /// Between the two: again, with a wider gap.
    Again,
    Unknown,
}

impl Canary {
    pub(crate) fn says(&self) -> CanarySays {
        let [first, _, third] = self.arrivals[..] else { return CanarySays::Unknown };
        let spread = third.saturating_sub(first);
        if spread > self.gap * 6 / 10 {
            CanarySays::Clear
        } else if spread < self.gap * 16 / 100 {
            CanarySays::Buffered
        } else if self.gap < GAP_MAX {
            CanarySays::Again
        } else {
            CanarySays::Unknown
        }
    }

    /// The gap to ask for next.
    pub(crate) fn wider(&self) -> Duration {
        (self.gap * 2).min(GAP_MAX)
    }

    /// How long a held canary took, less one gap.
    fn held(&self) -> Duration {
        let third = self.arrivals.last().copied().unwrap_or_default();
        third.saturating_sub(self.gap)
    }
}

/// What the server has written to our stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) events: u64,
    pub(crate) open: Duration,
    pub(crate) quiet: Duration,
    pub(crate) blocked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Written(Written),
    /// No stream of that name: our request has not arrived, or this server has no such path.
    NotFound,
    Failed,
}

/// A probe that was answered, beside what was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) received_events: u64,
    pub(crate) rtt: Duration,
    /// Since the last byte, or since the request.
    pub(crate) silent: Duration,
    /// Since a probe of this silence missed something already.
    pub(crate) missing: Option<Duration>,
    pub(crate) answer: Answer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProbeSays {
    Clear,
    Stuck,
    Wait,
    Unknown,
}

impl Probe {
    pub(crate) fn says(&self) -> ProbeSays {
        let Answer::Written(written) = self.answer else { return ProbeSays::Unknown };
        if written.events <= self.received_events {
            return ProbeSays::Clear;
        }
        let late = self.rtt + SLACK;
        let is_old = written.quiet >= late
            || (self.received_events == 0 && written.open >= late)
            || self.missing.is_some_and(|missing| missing >= late);
        if is_old && self.silent >= late && !written.blocked {
            ProbeSays::Stuck
        } else {
            ProbeSays::Wait
        }
    }
}

/// What a change of rung rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// The three events of a canary came together.
    Canary,
    /// The server wrote what did not come.
    Probe,
    /// Connections open and then nothing comes, not even a beat.
    Silence,
    /// Connections do not open.
    Connect,
    /// A better rung works again.
    Retest,
    /// The server plans another.
    Plan,
}

impl By {
    /// The word on the wire, and what it says of the path; nothing where it says nothing.
    pub(crate) fn words(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Canary => Some(("canary", "buffered")),
            Self::Probe => Some(("probe", "buffered")),
            Self::Silence => Some(("silence", "buffered")),
            Self::Connect => Some(("connect", "blocked")),
            Self::Retest => Some(("retest", "clear")),
            Self::Plan => None,
        }
    }

    /// The same as a sentence, for people.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::Canary => {
                "something on this path holds event streams back (three events came together)"
            }
            Self::Probe => {
                "something on this path holds event streams back (the server wrote what did not come)"
            }
            Self::Silence => "connections open here and then nothing comes, not even a beat",
            Self::Connect => "it does not open here",
            Self::Retest => "it is worth another look: the path may let it through again",
            Self::Plan => "the server's plan says so",
        }
    }
}

/// What is known of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum PathVerdict {
    #[default]
    Unknown,
    Clear,
    Buffered(By),
}

/// What an event of the stream proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Hello { beat: Duration },
    Beat,
    Other,
}

/// Hears one stream's life and says what to ask, and what it means. Every `now` is the time since
/// the stream was asked for.
#[derive(Debug)]
pub(crate) struct PathJudge {
    verdict: PathVerdict,
    // Was the stream asked to beat early? It is, while nothing is known of the path.
    early: bool,
    // Has the stream itself shown that it is not held back?
    proved: bool,
    beat: Option<Duration>,
    hello_at: Option<Duration>,
    received: u64,
    // The last byte, or the request.
    byte_at: Duration,
    // When a probe of this silence first missed something.
    missing_at: Option<Duration>,
    probe_at: Option<Duration>,
    stuck: u32,
    told_nothing: u32,
    // The server does not know our stream although it speaks to us: no use asking.
    blind: bool,
    canary_gap: Option<Duration>,
    held_canaries: u32,
    patience: Option<Duration>,
}

impl PathJudge {
    /// A stream was asked for, to beat early or not.
    pub(crate) fn new(early: bool) -> Self {
        let mut judge = Self {
            verdict: PathVerdict::Unknown,
            early,
            proved: false,
            beat: None,
            hello_at: None,
            received: 0,
            byte_at: Duration::ZERO,
            missing_at: None,
            probe_at: None,
            stuck: 0,
            told_nothing: 0,
            blind: false,
            canary_gap: early.then_some(GAP),
            held_canaries: 0,
            patience: None,
        };
        judge.probe_when_quiet(Duration::ZERO);
        judge
    }

    pub(crate) fn verdict(&self) -> PathVerdict {
        self.verdict
    }

    /// When to ask the server what it has written. While a question is on its way, nothing is due.
    pub(crate) fn probe_at(&self) -> Option<Duration> {
        self.probe_at
    }

    /// The gap of the canary to send now, if one is wanted and none is on its way.
    pub(crate) fn canary_gap(&self) -> Option<Duration> {
        self.canary_gap
    }

    /// Bytes came with these whole events in them, or we were too busy to read and begin to listen
    /// again.
    pub(crate) fn piece(&mut self, now: Duration, signals: &[Signal]) {
        for signal in signals {
            self.received += 1;
            if let Signal::Hello { beat } = signal {
                self.hello_at = Some(now);
                self.beat = Some(*beat);
            }
        }
        // A proxy that fills blocks brings beats apart too, each among the entries of its block.
        let is_apart = match signals {
            [Signal::Beat] => now >= self.byte_at + APART,
            _ => false,
        };
        let is_later = self.verdict == PathVerdict::Clear
            && signals.contains(&Signal::Beat)
            && self.hello_at.is_some_and(|hello_at| now >= hello_at + APART);
        if is_apart || is_later {
            self.prove();
        }
        self.byte_at = now;
        self.nothing_is_stuck(now);
    }

    /// A canary came back, or did not.
    pub(crate) fn canary(&mut self, now: Duration, canary: &Canary) {
        self.canary_gap = None;
        if self.proved || self.is_decided() {
            return;
        }
        match canary.says() {
            CanarySays::Clear => {
                self.verdict = PathVerdict::Clear;
                self.held_canaries = 0;
            }
            CanarySays::Again => self.canary_gap = Some(canary.wider()),
            CanarySays::Unknown => {}
            CanarySays::Buffered => self.canary_was_held(now, canary),
        }
    }

    fn canary_was_held(&mut self, now: Duration, canary: &Canary) {
        self.held_canaries += 1;
        self.patience = Some(canary.held() * 2 + SLACK);
        // On a slow line canaries wait behind the stream's own bytes: then these keep coming.
        let is_silent = now.saturating_sub(self.byte_at) >= canary.held() + SLACK;
        if self.stuck > 0 {
            self.decide(By::Probe);
        } else if self.held_canaries > 1 && is_silent {
            self.decide(By::Canary);
        } else if canary.gap < GAP_MAX {
            self.canary_gap = Some(canary.wider());
        }
    }

    /// A probe was answered after a round trip.
    pub(crate) fn answered(&mut self, now: Duration, rtt: Duration, answer: Answer) {
        if self.is_decided() {
            return;
        }
        let probe = Probe {
            received_events: self.received,
            rtt,
            silent: now.saturating_sub(self.byte_at),
            missing: self.missing_at.map(|missing_at| now.saturating_sub(missing_at)),
            answer,
        };
        match (probe.says(), answer) {
            (ProbeSays::Clear, Answer::Written(written)) => self.nothing_is_missing(now, written),
            (ProbeSays::Stuck, _) => {
                self.stuck += 1;
                self.probe_at = Some(now + AGAIN.max(rtt * 2));
                if self.stuck > 1 || (self.held_canaries > 0 && !self.proved) {
                    self.decide(By::Probe);
                }
            }
            (ProbeSays::Wait, _) => {
                self.missing_at.get_or_insert(now);
                self.ask_later(now, rtt);
            }
            (_, Answer::NotFound) if self.received > 0 => {
                self.blind = true;
                self.probe_at = None;
            }
            _ => {
                self.ask_later(now, rtt);
                let nothing_came = self.received == 0 && self.byte_at == Duration::ZERO;
                if nothing_came && self.patience.is_some_and(|patience| now >= patience) {
                    self.decide(By::Canary);
                }
            }
        }
    }

    fn nothing_is_missing(&mut self, now: Duration, written: Written) {
        // All of it came, and it was not written at once.
        if written.events > 1 && written.open.saturating_sub(written.quiet) >= APART {
            self.prove();
        }
        self.nothing_is_stuck(now);
    }

    fn nothing_is_stuck(&mut self, now: Duration) {
        self.stuck = 0;
        self.told_nothing = 0;
        self.missing_at = None;
        self.probe_when_quiet(now);
    }

    fn prove(&mut self) {
        if self.is_decided() {
            return;
        }
        self.proved = true;
        self.canary_gap = None;
        self.verdict = PathVerdict::Clear;
    }

    fn decide(&mut self, by: By) {
        self.verdict = PathVerdict::Buffered(by);
        self.canary_gap = None;
        self.probe_at = None;
    }

    fn is_decided(&self) -> bool {
        matches!(self.verdict, PathVerdict::Buffered(_))
    }

    /// The next probe comes when nothing was heard for longer than a stream is quiet.
    fn probe_when_quiet(&mut self, now: Duration) {
        if self.blind || self.is_decided() {
            return;
        }
        let quiet = match self.beat {
            _ if self.early && !self.proved => Some(QUIET_EARLY),
            Some(beat) => Some(beat + QUIET_LATE),
            // Nothing speaks against the path, and a server that thousands come back to is slow.
            None => None,
        };
        self.probe_at = quiet.map(|quiet| now + quiet);
    }

    /// The answer told nothing: ask less and less often.
    fn ask_later(&mut self, now: Duration, rtt: Duration) {
        let doubled = 1_u32.checked_shl(self.told_nothing).unwrap_or(u32::MAX);
        self.told_nothing += 1;
        self.probe_at = Some(now + (rtt + SLACK).saturating_mul(doubled).min(PAUSE_MAX));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn vectors() -> Value {
        let text =
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../conformance/path.json"));
        serde_json::from_str(text).unwrap()
    }

    fn ms(value: &Value) -> Duration {
        Duration::from_millis(value.as_u64().unwrap_or_else(|| panic!("milliseconds: {value}")))
    }

    fn each<'a>(vectors: &'a Value, of: &str) -> &'a Vec<Value> {
        let cases = vectors[of].as_array().unwrap();
        assert!(cases.len() > 5, "{of}: {} cases", cases.len());
        cases
    }

    fn canary(value: &Value) -> Canary {
        let arrivals = value["arrivals_ms"].as_array().unwrap().iter().map(ms).collect();
        Canary { gap: ms(&value["gap_ms"]), arrivals }
    }

    fn answer(value: &Value) -> Answer {
        match value.as_str() {
            Some("not_found") => Answer::NotFound,
            Some("failed") => Answer::Failed,
            Some(other) => panic!("no such answer: {other}"),
            None => Answer::Written(Written {
                events: value["events"].as_u64().unwrap(),
                open: ms(&value["open_ms"]),
                quiet: ms(&value["quiet_ms"]),
                blocked: value["blocked"].as_bool().unwrap(),
            }),
        }
    }

    #[test]
    fn canaries() {
        for case in each(&vectors(), "canaries") {
            let says = match canary(case).says() {
                CanarySays::Clear => "clear",
                CanarySays::Buffered => "buffered",
                CanarySays::Again => "again",
                CanarySays::Unknown => "unknown",
            };
            assert_eq!(says, case["says"], "{}", case["name"]);
        }
    }

    #[test]
    fn probes() {
        for case in each(&vectors(), "probes") {
            let probe = Probe {
                received_events: case["received_events"].as_u64().unwrap(),
                rtt: ms(&case["rtt_ms"]),
                silent: ms(&case["silent_ms"]),
                missing: case.get("missing_ms").map(ms),
                answer: answer(&case["answer"]),
            };
            let says = match probe.says() {
                ProbeSays::Clear => "clear",
                ProbeSays::Stuck => "stuck",
                ProbeSays::Wait => "wait",
                ProbeSays::Unknown => "unknown",
            };
            assert_eq!(says, case["says"], "{}", case["name"]);
        }
    }

    fn step(judge: &mut PathJudge, step: &Value, beat: Duration) {
        let now = ms(&step["at_ms"]);
        if let Some(events) = step["piece"].as_array() {
            let signals = events.iter().map(|event| match event.as_str().unwrap() {
                "hello" => Signal::Hello { beat },
                "beat" => Signal::Beat,
                "entry" => Signal::Other,
                other => panic!("no such event: {other}"),
            });
            judge.piece(now, &signals.collect::<Vec<_>>());
        } else if step["canary"].is_object() {
            judge.canary(now, &canary(&step["canary"]));
        } else {
            let probe = &step["probe"];
            judge.answered(now, now - ms(&probe["sent_ms"]), answer(&probe["answer"]));
        }
    }

    fn assert_state(judge: &PathJudge, expect: &Value, what: &str) {
        let (verdict, by) = match judge.verdict() {
            PathVerdict::Unknown => ("unknown", Value::Null),
            PathVerdict::Clear => ("clear", Value::Null),
            PathVerdict::Buffered(by) => {
                let (by, verdict) = by.words().unwrap();
                (verdict, by.into())
            }
        };
        let in_ms = |time: Option<Duration>| match time {
            Some(time) => Value::from(time.as_millis() as u64),
            None => Value::Null,
        };
        assert_eq!(verdict, expect["verdict"], "{what}");
        assert_eq!(by, expect["by"], "{what}");
        assert_eq!(in_ms(judge.probe_at()), expect["probe_ms"], "{what}: the next probe");
        assert_eq!(in_ms(judge.canary_gap()), expect["canary_ms"], "{what}: the next canary");
    }

    #[test]
    fn streams() {
        for case in each(&vectors(), "streams") {
            let mut judge = PathJudge::new(case["early"].as_bool().unwrap());
            assert_state(&judge, &case["begins"], &format!("{} begins", case["name"]));
            let beat = ms(&case["beat_ms"]);
            for taken in case["steps"].as_array().unwrap() {
                step(&mut judge, taken, beat);
                assert_state(&judge, &taken["then"], &format!("{}: {taken}", case["name"]));
            }
        }
    }
}
