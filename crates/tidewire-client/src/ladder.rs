//! [`Ladder`]: which rung the next attempt stands on. Pure: time comes in as arguments.
//!
//! Who names a rung stands on it. Who leaves it to the plan goes one rung down where the path does
//! not let the planned one through, and comes back when the path does again.

use std::time::Duration;

use tokio::time::Instant;

use crate::{item::Rung, path::By};

/// So many attempts must fail in the same way before the next rung is tried: one may be chance.
const FAILURES_PER_RUNG: u32 = 2;
/// Below the last rung there is the first. It is left later: a path that blocks everything is most
/// likely one that is down.
const FAILURES_LAST: u32 = 4;
/// Nobody looks more often than this, whatever was asked for.
pub(crate) const RETEST_MIN: Duration = Duration::from_secs(1);

/// A change of rung, for the server's operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Move {
    pub(crate) from: Rung,
    pub(crate) to: Rung,
    pub(crate) by: By,
    /// What was seen, for people.
    pub(crate) detail: Option<String>,
}

/// The rungs of a plan, from the planned one down. What is not kept has no pages to poll.
pub(crate) fn rungs(planned: Rung, is_kept: bool) -> Vec<Rung> {
    let mut rungs = match planned {
        Rung::Sse | Rung::Auto => vec![Rung::Sse, Rung::Ws, Rung::Poll],
        Rung::Ws => vec![Rung::Ws, Rung::Sse, Rung::Poll],
        Rung::Poll => return vec![Rung::Poll],
    };
    rungs.retain(|rung| is_kept || *rung != Rung::Poll);
    rungs
}

#[derive(Debug)]
pub(crate) struct Ladder {
    wanted: Rung,
    rungs: Vec<Rung>,
    // How far below the planned rung we stand.
    step: usize,
    retest: Duration,
    fell_at: Option<Instant>,
    unopened: u32,
    silent: u32,
    // Has an event stream been seen to come through?
    clear: bool,
    by: By,
    // Falls and climbs that the server was not told of yet.
    moves: Vec<Move>,
}

impl Ladder {
    /// `retest` is how long a lower rung is kept before the path is looked at again.
    pub(crate) fn new(wanted: Rung, retest: Duration) -> Self {
        Self {
            wanted,
            rungs: if wanted == Rung::Auto { rungs(Rung::Sse, true) } else { vec![wanted] },
            step: 0,
            retest: retest.max(RETEST_MIN),
            fell_at: None,
            unopened: 0,
            silent: 0,
            clear: false,
            by: By::Plan,
            moves: Vec::new(),
        }
    }

    pub(crate) fn follows_the_plan(&self) -> bool {
        self.wanted == Rung::Auto
    }

    /// The plan names these, from the best one down. If it is another plan, it begins at its top.
    pub(crate) fn planned(&mut self, rungs: Vec<Rung>) {
        if self.follows_the_plan() && self.rungs != rungs {
            self.rungs = rungs;
            self.begin_again(By::Plan);
        }
    }

    pub(crate) fn rung(&self) -> Rung {
        self.rungs.get(self.step).copied().unwrap_or(Rung::Sse)
    }

    /// All of them, from the planned one down.
    pub(crate) fn rungs(&self) -> &[Rung] {
        &self.rungs
    }

    /// Why it is this rung and not another.
    pub(crate) fn by(&self) -> By {
        self.by
    }

    /// Is the path known to let event streams through?
    pub(crate) fn is_clear(&self) -> bool {
        self.clear
    }

    /// The rungs that would be better than this one, the best first.
    pub(crate) fn better(&self) -> &[Rung] {
        self.rungs.get(..self.step).unwrap_or_default()
    }

    /// When to look at them again. Losses between two looks do not make them more frequent.
    pub(crate) fn retest_at(&self, now: Instant) -> Option<Instant> {
        let fell_at = self.fell_at?;
        let looks = now.duration_since(fell_at).as_millis() / self.retest.as_millis();
        let looks = u32::try_from(looks).ok()?.checked_add(1)?;
        fell_at.checked_add(self.retest.checked_mul(looks)?)
    }

    /// What the server is to be told, once the rung that was taken has opened.
    pub(crate) fn moves(&mut self) -> &mut Vec<Move> {
        &mut self.moves
    }

    /// An event stream came through.
    pub(crate) fn came_through(&mut self) {
        self.clear = true;
    }

    /// An attempt was open; `heard` if something came after its greeting.
    pub(crate) fn was_open(&mut self, heard: bool) {
        self.unopened = 0;
        if heard {
            self.silent = 0;
        }
    }

    /// A connection was lost after so long. On a lower rung, a long one ends the fallback also where
    /// no look was possible: the next attempt is the look.
    pub(crate) fn was_lost(&mut self, lasted: Duration, now: Instant) {
        if self.step > 0 && lasted >= self.retest {
            self.climbed(self.rungs.first().copied().unwrap_or(Rung::Sse), now);
        }
    }

    /// An attempt reached somebody and did not open.
    pub(crate) fn did_not_open(&mut self, now: Instant) {
        self.clear = false;
        self.unopened += 1;
        let is_last = self.step + 1 >= self.rungs.len();
        if self.unopened >= if is_last { FAILURES_LAST } else { FAILURES_PER_RUNG } {
            self.fell(By::Connect, None, now);
        }
    }

    /// An attempt opened, and then nothing came, not even a beat.
    pub(crate) fn was_silent(&mut self, now: Instant) {
        self.clear = false;
        self.silent += 1;
        if self.silent >= FAILURES_PER_RUNG {
            self.fell(By::Silence, None, now);
        }
    }

    /// This rung does not work here: the next one, or the first one after the last. Says whether
    /// there was a next one; who goes round has tried them all, and waits.
    pub(crate) fn fell(&mut self, by: By, detail: Option<String>, now: Instant) -> bool {
        let from = self.rung();
        if self.step + 1 >= self.rungs.len() {
            self.begin_again(by);
            return false;
        }
        self.by = by;
        self.step += 1;
        (self.unopened, self.silent, self.clear) = (0, 0, false);
        self.fell_at.get_or_insert(now);
        self.moves.push(Move { from, to: self.rung(), by, detail });
        true
    }

    /// A better rung works again.
    pub(crate) fn climbed(&mut self, rung: Rung, now: Instant) {
        let from = self.rung();
        let step = self.rungs.iter().position(|have| *have == rung).unwrap_or(0);
        self.begin_again(By::Retest);
        if step > 0 {
            self.step = step;
            self.fell_at = Some(now);
        }
        self.moves.push(Move { from, to: rung, by: By::Retest, detail: None });
    }

    fn begin_again(&mut self, by: By) {
        self.by = by;
        self.step = 0;
        self.fell_at = None;
        (self.unopened, self.silent, self.clear) = (0, 0, false);
        self.moves.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETEST: Duration = Duration::from_secs(600);

    fn ladder(wanted: Rung) -> Ladder {
        Ladder::new(wanted, RETEST)
    }

    fn rungs_of_failures(ladder: &mut Ladder, count: usize) -> Vec<&'static str> {
        let mut rungs = Vec::new();
        for _ in 0..count {
            rungs.push(ladder.rung().as_str());
            ladder.did_not_open(Instant::now());
        }
        rungs
    }

    #[test]
    fn a_blocked_path_leads_down_and_round() {
        let mut ladder = ladder(Rung::Auto);
        let rungs = rungs_of_failures(&mut ladder, 9);
        assert_eq!(rungs, ["sse", "sse", "ws", "ws", "poll", "poll", "poll", "poll", "sse"]);
    }

    #[test]
    fn the_plan_says_where_to_begin() {
        let mut ladder = ladder(Rung::Auto);
        ladder.planned(rungs(Rung::Ws, true));
        assert_eq!(rungs_of_failures(&mut ladder, 5), ["ws", "ws", "sse", "sse", "poll"]);
        ladder.planned(rungs(Rung::Ws, true));
        assert_eq!(ladder.rung(), Rung::Poll, "the same plan again changes nothing");
        ladder.planned(rungs(Rung::Poll, true));
        assert_eq!((ladder.rung(), ladder.by()), (Rung::Poll, By::Plan));
        assert_eq!(rungs_of_failures(&mut ladder, 9), ["poll"; 9]);
    }

    #[test]
    fn what_is_not_kept_is_never_polled() {
        let mut ladder = ladder(Rung::Auto);
        ladder.planned(rungs(Rung::Ws, false));
        let rungs = rungs_of_failures(&mut ladder, 7);
        assert_eq!(rungs, ["ws", "ws", "sse", "sse", "sse", "sse", "ws"]);
        assert!(ladder.fell(By::Connect, None, Instant::now()));
        assert!(!ladder.fell(By::Probe, None, Instant::now()), "round, not down");
        assert_eq!(ladder.rung(), Rung::Ws);
    }

    #[test]
    fn who_names_a_rung_stays_on_it() {
        let mut ladder = ladder(Rung::Sse);
        ladder.planned(rungs(Rung::Ws, true));
        assert_eq!(rungs_of_failures(&mut ladder, 4), ["sse"; 4]);
    }

    #[test]
    fn a_verdict_leads_down_at_once_and_is_kept_for_the_server() {
        let now = Instant::now();
        let mut ladder = ladder(Rung::Auto);
        ladder.came_through();
        assert!(ladder.fell(By::Probe, Some("seen".to_owned()), now));
        assert_eq!((ladder.rung(), ladder.by()), (Rung::Ws, By::Probe));
        assert!(!ladder.is_clear());
        ladder.did_not_open(now);
        ladder.did_not_open(now);
        let moves: Vec<_> =
            ladder.moves().iter().map(|went| (went.from, went.to, went.by)).collect();
        assert_eq!(moves, [(Rung::Sse, Rung::Ws, By::Probe), (Rung::Ws, Rung::Poll, By::Connect)]);
        assert_eq!(ladder.better(), [Rung::Sse, Rung::Ws]);
        rungs_of_failures(&mut ladder, 4);
        assert_eq!(ladder.rung(), Rung::Sse);
        assert!(ladder.moves().is_empty(), "nothing opened, so nothing is known of the path");
    }

    #[test]
    fn silence_counts_only_in_a_row() {
        let now = Instant::now();
        let mut ladder = ladder(Rung::Auto);
        ladder.was_silent(now);
        ladder.was_open(true);
        ladder.was_silent(now);
        assert_eq!(ladder.rung(), Rung::Sse);
        ladder.was_open(false);
        ladder.was_silent(now);
        assert_eq!((ladder.rung(), ladder.by()), (Rung::Ws, By::Silence));
    }

    #[test]
    fn a_fallback_lasts_until_it_is_worth_another_look() {
        let now = Instant::now();
        let mut ladder = ladder(Rung::Auto);
        rungs_of_failures(&mut ladder, 2);
        ladder.was_open(true);
        ladder.was_lost(Duration::from_secs(30), now);
        assert_eq!(ladder.rung(), Rung::Ws);
        ladder.was_lost(RETEST, now);
        assert_eq!((ladder.rung(), ladder.by()), (Rung::Sse, By::Retest));
        ladder.did_not_open(now);
        ladder.was_open(false);
        ladder.did_not_open(now);
        assert_eq!(ladder.rung(), Rung::Sse, "one failure now and then is chance");
    }

    #[test]
    fn looks_come_at_their_times_whatever_is_lost_between() {
        let fell_at = Instant::now();
        let mut ladder = ladder(Rung::Auto);
        assert_eq!(ladder.retest_at(fell_at), None, "nothing is better than the planned rung");
        ladder.fell(By::Canary, None, fell_at);
        ladder.fell(By::Connect, None, fell_at + RETEST / 2);
        assert_eq!(ladder.retest_at(fell_at), Some(fell_at + RETEST));
        assert_eq!(ladder.retest_at(fell_at + RETEST), Some(fell_at + RETEST * 2));
        let climbed_at = fell_at + RETEST;
        ladder.climbed(Rung::Ws, climbed_at);
        assert_eq!((ladder.rung(), ladder.better()), (Rung::Ws, &[Rung::Sse][..]));
        assert_eq!(ladder.retest_at(climbed_at), Some(climbed_at + RETEST));
        ladder.climbed(Rung::Sse, climbed_at + RETEST);
        assert_eq!(ladder.retest_at(climbed_at + RETEST), None);
        let mut hasty = Ladder::new(Rung::Auto, Duration::ZERO);
        hasty.fell(By::Canary, None, fell_at);
        assert_eq!(hasty.retest_at(fell_at), Some(fell_at + RETEST_MIN));
        let never = Ladder { retest: Duration::MAX, fell_at: Some(fell_at), ..ladder };
        assert_eq!(never.retest_at(fell_at), None);
    }
}
