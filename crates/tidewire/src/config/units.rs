//! Human units: durations (`"30s"`, `"7d"`) and byte sizes (`"256KiB"`), read and shown.
//!
//! Knows nothing of the config that uses them. Invariant: what [`show_duration`] and [`show_bytes`]
//! print, [`duration()`] and [`bytes()`] read back as the same value.

use std::time::Duration;

/// Longest duration that is understood: a hundred years. Beyond it, adding one to a clock could overflow.
pub const DURATION_MAX: Duration = Duration::from_secs(36_525 * 24 * 3600);

/// Milliseconds in each unit of time, largest first.
const TIME_UNITS: [(&str, u64); 6] = [
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Bytes in each unit of size, largest first. `KiB` is 1024 (IEC 80000-13), `KB` is 1000 (SI).
const SIZE_UNITS: [(&str, u64); 10] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Why a text is not a duration or not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a whole number followed by a unit.
    #[error("not a whole number with a unit")]
    Form,
    /// A number with no unit after it.
    #[error("a number without a unit")]
    NoUnit,
    /// A unit that is not in the table.
    #[error("there is no unit `{0}`")]
    Unit(String),
    /// The value is beyond what can be counted.
    #[error("too large")]
    TooLarge,
}

/// Reads a duration: a whole number and one of `ms`, `s`, `m`, `h`, `d`, `w`.
///
/// # Errors
/// [`UnitError`] when the text has another form, or means more than [`DURATION_MAX`].
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    let read = Duration::from_millis(measure(text, &TIME_UNITS)?);
    if read > DURATION_MAX { Err(UnitError::TooLarge) } else { Ok(read) }
}

/// Reads a size in bytes: a whole number and one of `B`, `KiB`, `MiB`, `GiB`, `TiB` (powers of 1024),
/// `KB`, `MB`, `GB`, `TB` (powers of 1000).
///
/// # Errors
/// [`UnitError`] when the text has another form, or means more than `u64::MAX` bytes.
pub fn bytes(text: &str) -> Result<u64, UnitError> {
    measure(text, &SIZE_UNITS)
}

fn measure(text: &str, units: &[(&str, u64)]) -> Result<u64, UnitError> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = (&text[..digits], text[digits..].trim_start());
    if number.is_empty() {
        return Err(UnitError::Form);
    }
    if unit.is_empty() {
        return Err(UnitError::NoUnit);
    }
    if !unit.chars().all(|c| c.is_ascii_alphabetic()) {
        return Err(UnitError::Form);
    }
    let (_, factor) = units
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(|| UnitError::Unit(unit.to_owned()))?;
    let number: u64 = number.parse().map_err(|_| UnitError::TooLarge)?;
    number.checked_mul(*factor).ok_or(UnitError::TooLarge)
}

/// Shows a duration in the largest unit, up to days, that leaves no remainder; parts of a millisecond
/// are dropped.
#[must_use]
pub fn show_duration(value: Duration) -> String {
    let millis = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    show(millis, TIME_UNITS.into_iter().filter(|(name, _)| *name != "w"))
}

/// Shows a size in the largest power of 1024 that leaves no remainder.
#[must_use]
pub fn show_bytes(value: u64) -> String {
    let is_binary = |name: &str| name.ends_with("iB") || name == "B";
    let binary = SIZE_UNITS.into_iter().filter(|(name, _)| is_binary(name));
    if value == 0 { "0B".to_owned() } else { show(value, binary) }
}

fn show(value: u64, mut units: impl Iterator<Item = (&'static str, u64)>) -> String {
    let fitting = units.find(|(_, factor)| value >= *factor && value.is_multiple_of(*factor));
    match fitting {
        Some((name, factor)) => format!("{}{name}", value / factor),
        None => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, millis) in [
            ("0s", 0),
            ("1ms", 1),
            ("250ms", 250),
            ("30s", 30_000),
            ("30 s", 30_000),
            (" 5m ", 300_000),
            ("1h", 3_600_000),
            ("7d", 604_800_000),
            ("2w", 1_209_600_000),
            ("36525d", 3_155_760_000_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text:?}");
        }
    }

    #[test]
    fn sizes_are_read() {
        for (text, size) in [
            ("0B", 0),
            ("1B", 1),
            ("256KiB", 262_144),
            ("256 KiB", 262_144),
            ("1KB", 1_000),
            ("1kB", 1_000),
            ("4MiB", 4_194_304),
            ("1GiB", 1_073_741_824),
            ("16777215TiB", 16_777_215 << 40),
        ] {
            assert_eq!(bytes(text), Ok(size), "{text:?}");
        }
    }

    #[test]
    fn what_is_not_a_measure_is_refused_with_the_reason() {
        for (text, error) in [
            ("", UnitError::Form),
            ("s", UnitError::Form),
            ("-1s", UnitError::Form),
            ("1.5h", UnitError::Form),
            ("1h30m", UnitError::Form),
            ("30", UnitError::NoUnit),
            ("30sec", UnitError::Unit("sec".into())),
            ("30S", UnitError::Unit("S".into())),
            ("36526d", UnitError::TooLarge),
            ("18446744073709551615w", UnitError::TooLarge),
            ("18446744073709551616ms", UnitError::TooLarge),
        ] {
            assert_eq!(duration(text), Err(error), "{text:?}");
        }
        assert_eq!(bytes("256"), Err(UnitError::NoUnit));
        assert_eq!(bytes("1kib"), Err(UnitError::Unit("kib".into())));
        assert_eq!(bytes("16777216TiB"), Err(UnitError::TooLarge));
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for millis in [0, 1, 999, 1_000, 1_500, 90_000, 3_600_000, 604_800_000, 604_800_001] {
            let value = Duration::from_millis(millis);
            assert_eq!(duration(&show_duration(value)), Ok(value), "{millis}");
        }
        for size in [0, 1, 1_000, 1_023, 1_024, 1_536, 1 << 20, (1 << 20) + 1, u64::MAX] {
            assert_eq!(bytes(&show_bytes(size)), Ok(size), "{size}");
        }
        assert_eq!(show_duration(Duration::from_secs(7 * 24 * 3600)), "7d");
        assert_eq!(show_bytes(1_000_000), "1000000B");
    }
}
