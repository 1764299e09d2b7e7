//! The clock of one imitated system: the machine's, moved by an offset, so that a test can stage a system that is ahead,
//! behind, or jumps.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;

/// One system's idea of the time: it stamps records with it and sends it in `Date`.
#[derive(Debug, Default)]
pub struct Clock {
    offset_ms: AtomicI64,
}

impl Clock {
    /// Milliseconds since 1970 by this clock.
    pub fn now_ms(&self) -> i64 {
        Timestamp::now().as_millisecond() + self.offset_ms.load(Ordering::Relaxed)
    }

    /// Whole seconds since 1970 by this clock.
    pub fn now_seconds(&self) -> i64 {
        self.now_ms().div_euclid(1000)
    }

    /// Puts the clock this far ahead of the machine's (behind it, if negative).
    pub fn set_offset_ms(&self, offset_ms: i64) {
        self.offset_ms.store(offset_ms, Ordering::Relaxed);
    }
}

/// `2026-11-21T10:15:30.123Z`.
pub fn iso_ms(ms: i64) -> String {
    format!("{:.3}", at(ms))
}

/// `Sat, 21 Nov 2026 10:15:30 GMT`, the form of HTTP headers.
pub fn http_date(ms: i64) -> String {
    jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&at(ms))
        .expect("years of the sandbox have four digits")
}

/// Seconds since 1970 of an HTTP date; `None` if it is none.
pub fn parse_http_date(text: &str) -> Option<i64> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok().map(|at| at.as_second())
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(if ms < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_the_forms_of_json_and_of_http() {
        assert_eq!(iso_ms(1_763_716_530_007), "2025-11-21T09:15:30.007Z");
        assert_eq!(http_date(1_763_716_530_007), "Fri, 21 Nov 2025 09:15:30 GMT");
        assert_eq!(parse_http_date("Fri, 21 Nov 2025 09:15:30 GMT"), Some(1_763_716_530));
        assert_eq!(parse_http_date("yesterday"), None);
    }

    #[test]
    fn an_offset_moves_the_clock() {
        let clock = Clock::default();
        let before = clock.now_ms();
        clock.set_offset_ms(600_000);
        assert!(clock.now_ms() >= before + 600_000);
    }
}
