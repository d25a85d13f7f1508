//! Days of the calendar: what `due` means, and what "this week" is. Pure; asks no clock.
//!
//! A day is a day everywhere: no time zones. "Today" is the day in UTC.

use crate::failure::Failure;

const DAY_MS: u64 = 24 * 3_600 * 1_000;
const WEEKDAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// A day, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Day(i64);

impl Day {
    /// The day of a moment, in UTC.
    pub(crate) fn of(now_ms: u64) -> Self {
        Self(i64::try_from(now_ms / DAY_MS).unwrap_or(i64::MAX))
    }

    /// Parses `YYYY-MM-DD`.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let bad = || Failure::Bad(format!("{text:?} is no day: write it as 2026-11-25"));
        let [year, month, day] = text.split('-').collect::<Vec<_>>()[..] else { return Err(bad()) };
        let number = |text: &str, digits: usize| {
            let is_number = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| text.parse::<i64>().ok()).flatten().ok_or_else(bad)
        };
        let (year, month, day) = (number(year, 4)?, number(month, 2)?, number(day, 2)?);
        let parsed = Self::of_civil(year, month, day);
        // The 31st of April is the first of May: that is not what was written.
        if parsed.to_string() == text { Ok(parsed) } else { Err(bad()) }
    }

    pub(crate) fn plus(self, days: i64) -> Self {
        Self(self.0 + days)
    }

    /// 0 is Monday.
    fn weekday(self) -> usize {
        // 1970-01-01 was a Thursday.
        usize::try_from((self.0 + 3).rem_euclid(7)).unwrap_or_default()
    }

    /// The Sunday that ends its week.
    pub(crate) fn end_of_week(self) -> Self {
        self.plus(6 - i64::try_from(self.weekday()).unwrap_or_default())
    }

    /// How a person says it on `today`.
    pub(crate) fn said_on(self, today: Self) -> String {
        match self.0 - today.0 {
            0 => "today".to_owned(),
            1 => "tomorrow".to_owned(),
            -1 => "yesterday".to_owned(),
            2..=6 => format!("on {}", WEEKDAYS.get(self.weekday()).unwrap_or(&"")),
            _ => format!("on {self}"),
        }
    }

    /// Howard Hinnant, "chrono-compatible low-level date algorithms": `days_from_civil`.
    fn of_civil(year: i64, month: i64, day: i64) -> Self {
        let year = if month <= 2 { year - 1 } else { year };
        let era = year.div_euclid(400);
        let year_of_era = year - era * 400;
        let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        Self(era * 146_097 + day_of_era - 719_468)
    }
}

impl std::fmt::Display for Day {
    /// The same source: `civil_from_days`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let days = self.0 + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days - era * 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Day {
        Day::parse(text).unwrap()
    }

    #[test]
    fn days_are_the_calendars() {
        assert_eq!(Day::of(0).to_string(), "1970-01-01");
        assert_eq!(Day::of(1_795_392_000_000).to_string(), "2026-11-23");
        for text in ["2000-02-29", "2024-02-29", "2026-12-31", "1999-01-01", "2100-03-01"] {
            assert_eq!(day(text).to_string(), text);
            assert_eq!(day(text).plus(1).plus(-1).to_string(), text);
        }
        assert_eq!(day("2024-02-28").plus(1).to_string(), "2024-02-29");
        assert_eq!(day("2026-02-28").plus(1).to_string(), "2026-03-01");
    }

    #[test]
    fn what_is_no_day_is_refused() {
        for text in
            ["", "2026", "2026-02-29", "2026-04-31", "2026-13-01", "26-1-1", "2026-1-01", "x"]
        {
            assert!(Day::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_week_ends_on_sunday() {
        // 2026-11-23 is a Monday.
        for (text, end) in [
            ("2026-11-23", "2026-11-29"),
            ("2026-11-29", "2026-11-29"),
            ("2026-11-30", "2026-12-06"),
        ] {
            assert_eq!(day(text).end_of_week().to_string(), end);
        }
    }

    #[test]
    fn near_days_have_names() {
        let today = day("2026-11-23");
        for (text, said) in [
            ("2026-11-23", "today"),
            ("2026-11-24", "tomorrow"),
            ("2026-11-22", "yesterday"),
            ("2026-11-27", "on Friday"),
            ("2026-11-30", "on 2026-11-30"),
            ("2026-11-20", "on 2026-11-20"),
        ] {
            assert_eq!(day(text).said_on(today), said);
        }
    }
}
