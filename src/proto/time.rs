//! Times as RFC 3339 in UTC: `2026-03-01T12:00:00.000000000Z`.
//!
//! Always nine digits of fraction, so texts sort as the times do. Only the years 0 to 9999 have
//! such a text; other times are moved to the nearest end.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::ProtoError;
use super::quote::excerpt;
use crate::tree::Time;

const DAY_SECS: i64 = 86_400;
/// Days from 0000-01-01 to 1970-01-01 in the Gregorian calendar.
const EPOCH_DAYS: i64 = 719_528;
/// Days in the 10,000 years that have a text.
const DAYS_MAX: i64 = 3_652_425;

/// A point in time with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Timestamp(Time);

impl Timestamp {
    /// The time, or the nearest that has a text.
    pub fn new(time: Time) -> Timestamp {
        let first = -EPOCH_DAYS * DAY_SECS;
        let last = first + DAYS_MAX * DAY_SECS - 1;
        let sec = time.sec.clamp(first, last);
        Timestamp(Time {
            sec,
            nsec: time.nsec.min(999_999_999),
        })
    }

    /// The time as the rest of the program has it.
    pub fn time(self) -> Time {
        self.0
    }
}

/// Days before the first day of `year`: a leap day every 4 years, but not every 100, but every 400.
fn days_before_year(year: i64) -> i64 {
    let past = year - 1;
    let leaps = past.div_euclid(4) - past.div_euclid(100) + past.div_euclid(400);
    // The year 0 is itself a leap year, and `past` is -1 for it.
    365 * year + leaps + 1
}

fn month_days(year: i64, month: u32) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = self.0.sec.div_euclid(DAY_SECS) + EPOCH_DAYS;
        let secs = self.0.sec.rem_euclid(DAY_SECS);
        // 146,097 days in 400 years: the estimate is off by one year at most.
        let mut year = days * 400 / 146_097;
        while days_before_year(year + 1) <= days {
            year += 1;
        }
        while days_before_year(year) > days {
            year -= 1;
        }
        let mut day = days - days_before_year(year);
        let mut month = 1;
        while day >= month_days(year, month) {
            day -= month_days(year, month);
            month += 1;
        }
        let (hour, minute, second) = (secs / 3600, secs / 60 % 60, secs % 60);
        let day = day + 1;
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:09}Z",
            self.0.nsec
        )
    }
}

impl FromStr for Timestamp {
    type Err = ProtoError;

    /// Reads what `Display` writes; the fraction may be shorter or missing.
    fn from_str(text: &str) -> Result<Timestamp, ProtoError> {
        parse(text.as_bytes()).ok_or_else(|| ProtoError::Time {
            text: excerpt(text.as_bytes()),
        })
    }
}

fn parse(text: &[u8]) -> Option<Timestamp> {
    let (date, fraction) = text.strip_suffix(b"Z")?.split_at_checked(19)?;
    for (at, separator) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')] {
        if date[at] != separator {
            return None;
        }
    }
    let year = digits(&date[0..4])?;
    let month = u32::try_from(digits(&date[5..7])?)
        .ok()
        .filter(|m| (1..=12).contains(m))?;
    let day = digits(&date[8..10])?;
    let (hour, minute, second) = (
        digits(&date[11..13])?,
        digits(&date[14..16])?,
        digits(&date[17..19])?,
    );
    if !(1..=month_days(year, month)).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let months: i64 = (1..month).map(|m| month_days(year, m)).sum();
    let days = days_before_year(year) + months + day - 1 - EPOCH_DAYS;
    let sec = days * DAY_SECS + hour * 3600 + minute * 60 + second;
    Some(Timestamp(Time {
        sec,
        nsec: nanoseconds(fraction)?,
    }))
}

/// `.5` is 500,000,000; nothing at all is 0.
fn nanoseconds(fraction: &[u8]) -> Option<u32> {
    if fraction.is_empty() {
        return Some(0);
    }
    let given = fraction.strip_prefix(b".")?;
    if given.is_empty() || given.len() > 9 {
        return None;
    }
    let scale = 10_i64.pow(9 - given.len() as u32);
    u32::try_from(digits(given)? * scale).ok()
}

/// Decimal digits and nothing else; at most nine of them are ever passed.
fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |value, digit| match digit {
        b'0'..=b'9' => Some(value * 10 + i64::from(digit - b'0')),
        _ => None,
    })
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(sec: i64, nsec: u32, expect: &str) {
        let time = Timestamp::new(Time { sec, nsec });
        assert_eq!(time.to_string(), expect);
        assert_eq!(expect.parse(), Ok(time));
    }

    #[test]
    fn known_times() {
        check(0, 0, "1970-01-01T00:00:00.000000000Z");
        check(951_782_400, 0, "2000-02-29T00:00:00.000000000Z");
        check(1_772_323_200, 5, "2026-03-01T00:00:00.000000005Z");
        check(4_107_542_399, 0, "2100-02-28T23:59:59.000000000Z");
        check(4_107_542_400, 0, "2100-03-01T00:00:00.000000000Z");
        check(-1, 999_999_999, "1969-12-31T23:59:59.999999999Z");
        check(-62_167_219_200, 0, "0000-01-01T00:00:00.000000000Z");
        check(253_402_300_799, 0, "9999-12-31T23:59:59.000000000Z");
    }

    #[test]
    fn times_without_a_text_are_moved_to_the_end() {
        let late = Timestamp::new(Time {
            sec: i64::MAX,
            nsec: u32::MAX,
        });
        assert_eq!(late.to_string(), "9999-12-31T23:59:59.999999999Z");
        let early = Timestamp::new(Time {
            sec: i64::MIN,
            nsec: 0,
        });
        assert_eq!(early.to_string(), "0000-01-01T00:00:00.000000000Z");
    }

    #[test]
    fn short_fractions_are_read() {
        let half: Timestamp = "1970-01-01T00:00:00.5Z".parse().unwrap();
        assert_eq!(
            half.time(),
            Time {
                sec: 0,
                nsec: 500_000_000
            }
        );
        assert_eq!("1970-01-01T00:00:00Z".parse(), Ok(Timestamp::default()));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "Z",
            "1970-01-01",
            "1970-01-01T00:00:00",
            "1970-13-01T00:00:00Z",
            "1970-00-01T00:00:00Z",
            "1970-02-29T00:00:00Z",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T00:00:00.1234567890Z",
            "1970-01-01T00:00:00+01:00",
            "1970/01/01T00:00:00Z",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn times_are_reversible(sec: i64, nsec: u32) {
            let time = Timestamp::new(Time { sec, nsec });
            prop_assert_eq!(time.to_string().parse(), Ok(time));
        }

        #[test]
        fn texts_sort_as_times(a in -62_167_219_200i64..253_402_300_799, b: u32) {
            let (x, y) = (Time { sec: a, nsec: 1 }, Time { sec: a + 1, nsec: b % 1000 });
            let (x, y) = (Timestamp::new(x), Timestamp::new(y));
            prop_assert!(x.to_string() < y.to_string());
        }

        #[test]
        fn nothing_panics(text: String) {
            let _ = text.parse::<Timestamp>();
        }
    }
}
