//! How often the API may be called: sliding windows, counted where the calls arrive.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

/// At most `calls` in any stretch of `within_ms`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    calls: usize,
    within_ms: u64,
}

/// The windows that the vendor publishes.
const PUBLISHED: [Limit; 2] = [Limit { calls: 15, within_ms: 1_000 }, Limit { calls: 200, within_ms: 60_000 }];

/// See the module.
pub struct Windows {
    limits: Vec<Window>,
    /// When calls arrived that were let in, oldest first.
    arrivals: VecDeque<Instant>,
}

struct Window {
    limit: Limit,
    /// Most calls that it ever held.
    peak: usize,
    /// Calls beyond it.
    refused: u64,
}

impl Default for Windows {
    fn default() -> Self {
        Self::of(PUBLISHED.to_vec())
    }
}

impl Windows {
    pub fn of(limits: Vec<Limit>) -> Self {
        let limits = limits.into_iter().map(|limit| Window { limit, peak: 0, refused: 0 }).collect();
        Self { limits, arrivals: VecDeque::new() }
    }

    /// Lets a call in; or says how long until there is room for it.
    pub fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        let longest = self.limits.iter().map(|window| window.limit.within_ms).max().unwrap_or_default();
        while self.arrivals.front().is_some_and(|at| now - *at >= Duration::from_millis(longest)) {
            self.arrivals.pop_front();
        }
        let mut wait = None;
        for window in &mut self.limits {
            let within = Duration::from_millis(window.limit.within_ms);
            let first = self.arrivals.partition_point(|at| now - *at >= within);
            if self.arrivals.len() - first >= window.limit.calls {
                window.refused += 1;
                let leaves = self.arrivals.len().checked_sub(window.limit.calls).and_then(|at| self.arrivals.get(at));
                let room = leaves.map_or(within, |at| within - (now - *at));
                wait = wait.max(Some(room));
            }
        }
        if let Some(wait) = wait {
            return Err(wait);
        }
        self.arrivals.push_back(now);
        for window in &mut self.limits {
            let within = Duration::from_millis(window.limit.within_ms);
            let first = self.arrivals.partition_point(|at| now - *at >= within);
            window.peak = window.peak.max(self.arrivals.len() - first);
        }
        Ok(())
    }

    /// Each window: what it allows, the most it ever held, and how many calls were beyond it.
    pub fn shown(&self) -> Vec<Value> {
        let show = |window: &Window| {
            let Window { limit: Limit { calls, within_ms }, peak, refused } = window;
            json!({"id": within_ms.to_string(), "calls": calls, "within_ms": within_ms, "peak": peak, "refused": refused})
        };
        self.limits.iter().map(show).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_slides_and_says_when_it_has_room() {
        let limit = |calls, within_ms| Limit { calls, within_ms };
        let mut windows = Windows::of(vec![limit(2, 1_000), limit(3, 10_000)]);
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        for (ms, expected) in [
            (0, Ok(())),
            (900, Ok(())),
            (950, Err(Duration::from_millis(50))),
            (1_000, Ok(())),
            (2_500, Err(Duration::from_millis(7_500))),
            (10_000, Ok(())),
        ] {
            assert_eq!(windows.admit(at(ms)), expected, "{ms}");
        }
        let shown = windows.shown();
        assert_eq!((&shown[0]["peak"], &shown[0]["refused"]), (&json!(2), &json!(1)));
        assert_eq!((&shown[1]["peak"], &shown[1]["refused"]), (&json!(3), &json!(1)));
    }
}
