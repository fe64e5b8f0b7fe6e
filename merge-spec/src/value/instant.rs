//! Points in time, read from RFC 3339 and written in the one form that each has.
//!
//! Two texts can stand for one instant (`12:00Z`, `13:00+01:00`), and it is instants that are
//! equal or not when a value is overwritten (M14).

use std::fmt;

const SECONDS_OF_DAY: i64 = 86_400;

/// A point in time, to the nanosecond.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Instant {
    /// Whole seconds since 1970 began, rounded down.
    pub seconds: i64,
    /// Nanoseconds after those; less than a thousand million.
    pub nanos: u32,
}

impl Instant {
    /// Reads `YYYY-MM-DDTHH:MM:SS`, perhaps with a fraction of up to 9 digits, and `Z` or an
    /// offset `+HH:MM`. None for anything else; leap seconds do not exist.
    #[must_use]
    pub fn parse(text: &str) -> Option<Instant> {
        let (day, time) = text.split_once(['T', 't'])?;
        let (time, offset) = match time.find(['Z', 'z', '+', '-']) {
            Some(at) => time.split_at(at),
            None => return None,
        };
        let [year, month, day] = fixed(day, '-', [4, 2, 2])?;
        let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
        let [hour, minute, second] = fixed(time, ':', [2, 2, 2])?;
        let offset_seconds = match offset.split_at_checked(1)? {
            ("Z" | "z", "") => 0,
            (sign, by) => {
                let [hours, minutes] = fixed(by, ':', [2, 2])?;
                if hours > 23 || minutes > 59 {
                    return None;
                }
                let seconds = hours * 3_600 + minutes * 60;
                if sign == "-" { -seconds } else { seconds }
            }
        };
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days_of_month = match month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        if !(1..=days_of_month).contains(&day) || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        if fraction.is_empty() || fraction.len() > 9 {
            return None;
        }
        let nanos = u32::try_from(digits(&format!("{fraction:0<9}"))?).ok()?;
        let of_day = hour * 3_600 + minute * 60 + second;
        let seconds = days_since_1970(year, month, day) * SECONDS_OF_DAY + of_day - offset_seconds;
        Some(Instant { seconds, nanos })
    }
}

impl fmt::Display for Instant {
    /// Writes it in UTC, with as many digits of a fraction as it takes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = self.seconds.div_euclid(SECONDS_OF_DAY);
        let of_day = self.seconds.rem_euclid(SECONDS_OF_DAY);
        let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
        // The year that the day is in is the last one that begins no later. Years of 365 days are
        // too many by one in 1,461, so for four-digit years the guess is off by 6 at most.
        let guess = 1970 + days / 365;
        let year = (guess - 9..guess + 9)
            .rev()
            .find(|year| days_since_1970(*year, 1, 1) <= days)
            .unwrap_or(guess);
        let month = (1..=12)
            .rev()
            .find(|month| days_since_1970(year, *month, 1) <= days)
            .unwrap_or(1);
        let day = days - days_since_1970(year, month, 1) + 1;
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
        )?;
        if self.nanos > 0 {
            let fraction = format!("{:09}", self.nanos);
            write!(f, ".{}", fraction.trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

/// Days from the first of 1970 to a day, negative before it.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    // In years that begin in March, a leap day is the last day of its year; 153 days are in any
    // five months from March on.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = 365 * year + leap_days + (153 * month + 2) / 5 + day - 1;
    days - 719_468
}

/// Reads numbers of exactly so many digits, and nothing else.
fn fixed<const N: usize>(text: &str, between: char, lengths: [usize; N]) -> Option<[i64; N]> {
    let parts: Vec<&str> = text.split(between).collect();
    let mut numbers = [0; N];
    if parts.len() != N {
        return None;
    }
    for ((part, length), number) in parts.into_iter().zip(lengths).zip(&mut numbers) {
        if part.len() != length {
            return None;
        }
        *number = digits(part)?;
    }
    Some(numbers)
}

fn digits(text: &str) -> Option<i64> {
    let all = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_read_with_any_offset_and_written_in_utc() {
        for (text, seconds, nanos, written) in [
            ("1970-01-01T00:00:00Z", 0, 0, "1970-01-01T00:00:00Z"),
            (
                "2024-02-29T12:00:00Z",
                1_709_208_000,
                0,
                "2024-02-29T12:00:00Z",
            ),
            (
                "2024-03-01t00:30:00.5+01:00",
                1_709_249_400,
                500_000_000,
                "2024-02-29T23:30:00.5Z",
            ),
            (
                "1969-12-31T23:59:59.000000001Z",
                -1,
                1,
                "1969-12-31T23:59:59.000000001Z",
            ),
            (
                "0000-01-01T00:00:00Z",
                -62_167_219_200,
                0,
                "0000-01-01T00:00:00Z",
            ),
            (
                "9999-12-31T23:59:59-00:00",
                253_402_300_799,
                0,
                "9999-12-31T23:59:59Z",
            ),
            (
                "2000-12-31T23:59:59Z",
                978_307_199,
                0,
                "2000-12-31T23:59:59Z",
            ),
            (
                "1900-03-01T00:00:00Z",
                -2_203_891_200,
                0,
                "1900-03-01T00:00:00Z",
            ),
        ] {
            let instant = Instant::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((instant.seconds, instant.nanos), (seconds, nanos), "{text}");
            assert_eq!(instant.to_string(), written);
        }
    }

    #[test]
    fn every_day_is_written_as_it_was_read() {
        let mut days = 0;
        for (year, month) in (1890..2110).flat_map(|year| (1..=12).map(move |month| (year, month)))
        {
            for day in 1..=31 {
                let text = format!("{year:04}-{month:02}-{day:02}T01:02:03Z");
                if let Some(instant) = Instant::parse(&text) {
                    assert_eq!(instant.to_string(), text);
                    days += 1;
                }
            }
        }
        assert_eq!(days, 220 * 365 + 53, "1892 to 2108 without 1900 and 2100");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2024-02-29",
            "2024-02-29T12:00:00",
            "2023-02-29T12:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:00:60Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00+1:00",
            "2024-01-01T00:00:00+24:00",
            "24-01-01T00:00:00Z",
            "2024-01-01T00:00:00.0000000001Z",
            "2024-01-01T+0:00:00Z",
        ] {
            assert_eq!(Instant::parse(text), None, "{text}");
        }
    }
}
