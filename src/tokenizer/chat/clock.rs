//! The time for templates that write today's date.

use std::time::{SystemTime, UNIX_EPOCH};

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

const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// The time now in UTC, formatted like Python's `datetime.now().strftime`.
pub(super) fn strftime_now(format: &str) -> Result<String, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    strftime(format, now)
}

/// Formats a time, in seconds since 1970 and UTC, like Python's `strftime`. Supports the directives that are
/// used for dates and times; `-` after the percent sign leaves out leading zeros.
fn strftime(format: &str, seconds: u64) -> Result<String, String> {
    let days = seconds / 86_400;
    let (year, month, day) = civil(days);
    let (month_name, day_name) = (MONTHS[month as usize - 1], DAYS[(days % 7) as usize]);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let (plain, directive) = match chars.next() {
            Some('-') => (true, chars.next()),
            directive => (false, directive),
        };
        let two = |number: u64| if plain { number.to_string() } else { format!("{number:02}") };
        out += &match directive {
            Some('Y') => year.to_string(),
            Some('y') => two(year % 100),
            Some('m') => two(month),
            Some('d') => two(day),
            Some('e') if !plain => format!("{day:2}"),
            Some('B') => month_name.to_owned(),
            Some('b') => month_name[..3].to_owned(),
            Some('A') => day_name.to_owned(),
            Some('a') => day_name[..3].to_owned(),
            Some('H') => two(hour),
            Some('I') => two((hour + 11) % 12 + 1),
            Some('p') => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            Some('M') => two(minute),
            Some('S') => two(second),
            Some('F') => format!("{year}-{month:02}-{day:02}"),
            Some('T') => format!("{hour:02}:{minute:02}:{second:02}"),
            Some('%') => "%".to_owned(),
            other => return Err(format!("strftime_now: `%{}` is not supported", other.unwrap_or(' '))),
        };
    }
    Ok(out)
}

/// Converts days since 1970-01-01 to year, month and day of the Gregorian calendar.
fn civil(days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut year, mut left) = (1970, days);
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    (year, month, left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_formatted_like_in_python() {
        // From Python: datetime.fromtimestamp(n, timezone.utc).strftime(...)
        for (seconds, text) in [
            (0, "01 Jan 1970 00:00:00"),
            (951_782_399, "28 Feb 2000 23:59:59"),
            (951_782_400, "29 Feb 2000 00:00:00"),
            (1_735_689_599, "31 Dec 2024 23:59:59"),
            (4_107_542_400, "01 Mar 2100 00:00:00"),
        ] {
            assert_eq!(strftime("%d %b %Y %H:%M:%S", seconds).unwrap(), text);
        }
        assert_eq!(strftime("%B %m 100%%", 0).unwrap(), "January 01 100%");
        assert_eq!(
            strftime("%A %a %-d %y %I %p %F %T", 951_782_399).unwrap(),
            "Monday Mon 28 00 11 PM 2000-02-28 23:59:59"
        );
    }

    #[test]
    fn an_unknown_directive_is_an_error() {
        assert_eq!(strftime("%Q", 0).unwrap_err(), "strftime_now: `%Q` is not supported");
        assert_eq!(strftime("%", 0).unwrap_err(), "strftime_now: `% ` is not supported");
    }
}
