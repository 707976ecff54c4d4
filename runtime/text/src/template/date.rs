//! Today's date, in the words a template asks for.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::{Error, ErrorKind};

/// `datetime.now().strftime(format)`, in UTC.
pub(super) fn now(format: &str) -> Result<String, Error> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    strftime(format, since.as_secs())
}

/// Formats seconds since 1970 as C's `strftime` does in the C locale.
fn strftime(format: &str, seconds: u64) -> Result<String, Error> {
    let moment = Moment::new(seconds);
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(char) = chars.next() {
        if char != '%' {
            out.push(char);
            continue;
        }
        let mut directive = chars.next();
        let padded = directive != Some('-');
        if !padded {
            directive = chars.next();
        }
        moment.write(&mut out, directive, padded)?;
    }
    Ok(out)
}

/// A second, in UTC.
struct Moment {
    year: u64,
    /// From 0.
    month: usize,
    /// From 1.
    day: u64,
    /// From 0, Sunday.
    weekday: usize,
    /// From 1.
    day_of_year: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Moment {
    fn new(seconds: u64) -> Self {
        let days = seconds / 86_400;
        let (mut year, mut left) = (1970 + days / 146_097 * 400, days % 146_097);
        while left >= 365 + u64::from(is_leap(year)) {
            left -= 365 + u64::from(is_leap(year));
            year += 1;
        }
        let day_of_year = left + 1;
        let mut month = 0;
        while left >= days_in(month, year) {
            left -= days_in(month, year);
            month += 1;
        }
        Self {
            year,
            month,
            day: left + 1,
            weekday: ((days + 4) % 7) as usize,
            day_of_year,
            hour: seconds % 86_400 / 3_600,
            minute: seconds % 3_600 / 60,
            second: seconds % 60,
        }
    }

    fn write(&self, out: &mut String, directive: Option<char>, padded: bool) -> Result<(), Error> {
        let hour12 = (self.hour + 11) % 12 + 1;
        let half = if self.hour < 12 { "AM" } else { "PM" };
        let number = |out: &mut String, number: u64, width: usize| match padded {
            true => write!(out, "{number:0width$}"),
            false => write!(out, "{number}"),
        };
        let written = match directive {
            Some('%') => out.write_char('%'),
            Some('A') => out.write_str(WEEKDAYS[self.weekday]),
            Some('a') => out.write_str(&WEEKDAYS[self.weekday][..3]),
            Some('B') => out.write_str(MONTHS[self.month]),
            Some('b') => out.write_str(&MONTHS[self.month][..3]),
            Some('d') => number(out, self.day, 2),
            Some('H') => number(out, self.hour, 2),
            Some('I') => number(out, hour12, 2),
            Some('j') => number(out, self.day_of_year, 3),
            Some('M') => number(out, self.minute, 2),
            Some('m') => number(out, self.month as u64 + 1, 2),
            Some('p') => out.write_str(half),
            Some('S') => number(out, self.second, 2),
            Some('Y') => number(out, self.year, 4),
            Some('y') => number(out, self.year % 100, 2),
            Some('F') => write!(out, "{:04}-{:02}-{:02}", self.year, self.month + 1, self.day),
            Some('T') => write!(out, "{:02}:{:02}:{:02}", self.hour, self.minute, self.second),
            other => {
                let shown = other.map_or_else(String::new, String::from);
                let reason = format!("strftime_now does not know %{shown}");
                return Err(Error::new(ErrorKind::InvalidOperation, reason));
            }
        };
        written.map_err(Error::from)
    }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_in(month: usize, year: u64) -> u64 {
    const DAYS: [u64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    DAYS[month] + u64::from(month == 1 && is_leap(year))
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const WEEKDAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

#[cfg(test)]
mod tests {
    use super::strftime;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let check = |seconds, format, expected| {
            assert_eq!(strftime(format, seconds).unwrap(), expected);
        };
        check(0, "%a %d %b %Y %H:%M:%S %j", "Thu 01 Jan 1970 00:00:00 001");
        check(951_782_400, "%A, %-d %B %y (%j)", "Tuesday, 29 February 00 (060)");
        check(1_732_449_599, "%F %I:%M %p 100%%", "2024-11-24 11:59 AM 100%");
        check(4_107_542_399, "%F %T", "2100-02-28 23:59:59");
        check(4_107_542_400, "%F", "2100-03-01");
    }

    #[test]
    fn an_unknown_directive_is_named() {
        assert!(strftime("%Q", 0).unwrap_err().to_string().contains("%Q"));
        assert!(strftime("%", 0).is_err());
    }
}
