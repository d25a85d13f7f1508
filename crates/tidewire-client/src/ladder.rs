//! [`Ladder`]: which rung the next attempt stands on. Pure.
//!
//! Who names a rung stands on it. Who leaves it to the plan goes one rung down where a path lets the
//! planned one not through, and tries the planned one again after a while.

use std::time::Duration;

use crate::item::Rung;

/// So many attempts must fail to open before the next rung is tried: one may be chance.
const FAILURES_PER_RUNG: u32 = 2;
/// A connection on a lower rung that lasted this long ends the fallback: networks change.
const RETEST: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(crate) struct Ladder {
    wanted: Rung,
    planned: Rung,
    blocked: u32,
}

impl Ladder {
    pub(crate) fn new(wanted: Rung) -> Self {
        Self { wanted, planned: Rung::Sse, blocked: 0 }
    }

    pub(crate) fn follows_the_plan(&self) -> bool {
        self.wanted == Rung::Auto
    }

    pub(crate) fn planned(&mut self, rung: Rung) {
        self.planned = rung;
    }

    pub(crate) fn rung(&self) -> Rung {
        let steps = self.blocked / FAILURES_PER_RUNG;
        match (self.wanted, self.planned, steps) {
            (Rung::Auto, planned, 0) => planned,
            (Rung::Auto, Rung::Sse, 1) => Rung::Ws,
            (Rung::Auto, _, _) => Rung::Poll,
            (wanted, _, _) => wanted,
        }
    }

    /// An attempt reached somebody and did not open.
    pub(crate) fn did_not_open(&mut self) {
        self.blocked = self.blocked.saturating_add(1);
        // Below the last rung there is the first: a path that blocked it once may have changed.
        if self.blocked >= FAILURES_PER_RUNG * 4 {
            self.blocked = 0;
        }
    }

    /// An attempt was open for so long.
    pub(crate) fn was_open(&mut self, lasted: Duration) {
        if self.blocked < FAILURES_PER_RUNG || lasted >= RETEST {
            self.blocked = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rungs_of_failures(ladder: &mut Ladder, count: usize) -> Vec<&'static str> {
        let mut rungs = Vec::new();
        for _ in 0..count {
            rungs.push(ladder.rung().as_str());
            ladder.did_not_open();
        }
        rungs
    }

    #[test]
    fn a_blocked_path_leads_down_and_round() {
        let mut ladder = Ladder::new(Rung::Auto);
        let rungs = rungs_of_failures(&mut ladder, 9);
        assert_eq!(rungs, ["sse", "sse", "ws", "ws", "poll", "poll", "poll", "poll", "sse"]);
    }

    #[test]
    fn the_plan_says_where_to_begin() {
        let mut ladder = Ladder::new(Rung::Auto);
        ladder.planned(Rung::Ws);
        assert_eq!(rungs_of_failures(&mut ladder, 3), ["ws", "ws", "poll"]);
    }

    #[test]
    fn who_names_a_rung_stays_on_it() {
        let mut ladder = Ladder::new(Rung::Sse);
        ladder.planned(Rung::Ws);
        assert_eq!(rungs_of_failures(&mut ladder, 4), ["sse"; 4]);
    }

    #[test]
    fn a_fallback_lasts_until_it_is_worth_another_look() {
        let mut ladder = Ladder::new(Rung::Auto);
        rungs_of_failures(&mut ladder, 2);
        ladder.was_open(Duration::from_secs(30));
        assert_eq!(ladder.rung(), Rung::Ws);
        ladder.was_open(RETEST);
        assert_eq!(ladder.rung(), Rung::Sse);
        ladder.did_not_open();
        ladder.was_open(Duration::ZERO);
        ladder.did_not_open();
        assert_eq!(ladder.rung(), Rung::Sse, "one failure now and then is chance");
    }
}
