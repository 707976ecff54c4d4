//! Moments as tables write them.

/// Microseconds of a moment: of a date and a time of day since 1970, whose offset from UTC is
/// passed over since only differences matter; or of plain seconds.
pub(super) fn micros(text: &str) -> Option<u64> {
    match text.split_once([' ', 'T']) {
        Some((date, time)) => Some(days(date)? * DAY_US + of_day(time)?),
        None => seconds(text),
    }
}

const DAY_US: u64 = 86_400_000_000;

/// Seconds with a fraction, below a million years.
fn seconds(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 12 || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let micros = format!("{fraction:0<6}").get(..6)?.parse::<u64>().ok()?;
    Some(whole.parse::<u64>().ok()? * 1_000_000 + micros)
}

/// Microseconds since midnight.
fn of_day(time: &str) -> Option<u64> {
    let time = time.trim_end_matches('Z').split(['+', '-']).next()?;
    let mut parts = time.splitn(3, ':');
    let (hour, minute) = (number(parts.next()?, 0..=23)?, number(parts.next()?, 0..=59)?);
    let second = seconds(parts.next()?).filter(|&second| second < 61_000_000)?;
    Some((hour * 60 + minute) * 60_000_000 + second)
}

/// Days since 1970 of a date of the Gregorian calendar (Howard Hinnant, "chrono-Compatible
/// Low-Level Date Algorithms").
fn days(date: &str) -> Option<u64> {
    let mut parts = date.splitn(3, '-');
    let year = number(parts.next()?, 1970..=9999)?;
    let month = number(parts.next()?, 1..=12)?;
    let day = number(parts.next()?, 1..=31)?;
    // The year begins in March, so that the day that some have is its last.
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year;
    days.checked_sub(719_468)
}

fn number(text: &str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
    text.parse().ok().filter(|number| range.contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_to_the_microsecond() {
        assert_eq!(micros("1970-01-01 00:00:00"), Some(0));
        assert_eq!(micros("1970-01-02T00:00:01.5Z"), Some(DAY_US + 1_500_000));
        assert_eq!(micros("2023-11-16 18:17:03.9799600"), Some(1_700_158_623_979_960));
        assert_eq!(micros("2024-02-29 00:00:00.009930+00:00"), Some(1_709_164_800_009_930));
        assert_eq!(micros("12.25"), Some(12_250_000));
    }

    #[test]
    fn what_is_no_moment_is_none() {
        let wrong = [
            "",
            "x",
            "-1",
            "1e9",
            "2023-13-01 00:00:00",
            "2023-01-01 25:00:00",
            "9".repeat(40).as_str(),
        ]
        .map(micros);
        assert_eq!(wrong, [None; 7]);
    }
}
