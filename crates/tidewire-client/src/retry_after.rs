//! `Retry-After` (RFC 9110 §10.2.3): seconds, or a date.
//!
//! Asks no clock: a date is read against the `Date` of the same answer, so a client whose clock is
//! wrong waits just as long as one whose clock is right.

use std::time::Duration;

use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};

/// How long an answer asks us to stay away, if it does.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok();
    let value = text(RETRY_AFTER)?.trim();
    if value.bytes().all(|byte| byte.is_ascii_digit()) {
        return value.parse().ok().map(Duration::from_secs);
    }
    let seconds = seconds_of(value)?.checked_sub(seconds_of(text(DATE)?)?)?;
    Some(Duration::from_secs(seconds))
}

/// An IMF-fixdate (RFC 9110 §5.6.7), `Sun, 06 Nov 1994 08:49:37 GMT`, as seconds since the year 0.
/// Only differences of these are used, so the era does not matter.
fn seconds_of(date: &str) -> Option<u64> {
    let mut parts = date.split_ascii_whitespace();
    let _weekday = parts.next()?;
    let day: u64 = parts.next()?.parse().ok()?;
    let month = month_of(parts.next()?)?;
    let year: u64 = parts.next()?.parse().ok()?;
    let mut time = parts.next()?.splitn(3, ':').map(|part| part.parse::<u64>().ok());
    let (hours, minutes, seconds) = (time.next()??, time.next()??, time.next()??);
    if parts.next() != Some("GMT") || year > 9_999 || !(1..=31).contains(&day) {
        return None;
    }
    // Counting from March puts the leap day at the end of the year.
    let (year, month) =
        if month < 3 { (year.checked_sub(1)?, month + 9) } else { (year, month - 3) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day;
    Some(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
}

fn month_of(name: &str) -> Option<u64> {
    const NAMES: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    (1..).zip(NAMES).find(|(_, have)| *have == name).map(|(number, _)| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str, date: Option<&str>) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, value.parse().unwrap());
        if let Some(date) = date {
            headers.insert(DATE, date.parse().unwrap());
        }
        retry_after(&headers).map(|wait| wait.as_secs())
    }

    #[test]
    fn seconds_and_dates_are_understood() {
        assert_eq!(read("120", None), Some(120));
        let date = Some("Tue, 28 Feb 2028 23:59:30 GMT");
        assert_eq!(read("Tue, 28 Feb 2028 23:59:37 GMT", date), Some(7));
        assert_eq!(read("Tue, 29 Feb 2028 00:00:00 GMT", date), Some(30), "a leap year");
        assert_eq!(read("Wed, 01 Mar 2028 00:00:00 GMT", date), Some(86_430));
        let eve = Some("Fri, 31 Dec 2027 23:59:59 GMT");
        assert_eq!(read("Sat, 01 Jan 2028 00:00:00 GMT", eve), Some(1));
    }

    #[test]
    fn what_makes_no_sense_is_no_word() {
        let date = Some("Tue, 28 Feb 2028 23:59:30 GMT");
        for value in ["soon", "-5", "1.5", "Tue, 28 Feb 2028 23:59:00 GMT", "99999999999999999999"]
        {
            assert_eq!(read(value, date), None, "{value}");
        }
        assert_eq!(read("Tue, 28 Feb 2028 23:59:37 GMT", None), None, "nothing to compare with");
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
