//! Where a read stands: which query it follows, how to begin it again if its cursor dies, and what it may conclude at
//! its end.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::client::is_locator;
use super::id::parse_id;
use super::soql;
use crate::domain::{AccountId, Code, Failure, FailureClass, Timestamp};

/// A transaction of Salesforce ends within ten minutes. So long before now no row can appear any more with an older
/// stamp, whatever the overlap.
const LONGEST_TRANSACTION: Duration = Duration::from_secs(15 * 60);

/// A stamp that is further ahead of Salesforce's own clock than this is no time to wait for.
const STAMP_FROM_THE_FUTURE: Duration = Duration::from_secs(5 * 60);

/// The grain of the modification stamp.
pub const GRAIN: Duration = Duration::from_secs(1);

/// One read between two of its pages. Its JSON is the text of [`ReadFrom::Position`](crate::systems::ReadFrom).
///
/// All rows come from one query, ordered by stamp and id. Rows that change meanwhile keep their place in it, and are
/// read again by the next incremental read, whose watermark is no later than the moment this one began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Rows stamped from here on are read; none for a complete read.
    since: Option<Timestamp>,
    /// When the first query of the read was sent.
    began_at: Timestamp,
    /// When the present query was sent. What its pages show is at least as new as this.
    pub asked_at: Timestamp,
    /// The rest of the present query.
    pub locator: Option<String>,
    /// The last row of which all before it in the order were surely read. A dead cursor is begun again behind it.
    after: Option<(Timestamp, AccountId)>,
    /// The latest stamp that was read.
    newest: Option<Timestamp>,
    /// The latest stamp that may come again with another change, because it was read within its grain.
    unsettled: Option<Timestamp>,
    /// Rows read so far.
    pub listed: u64,
    /// Rows that the first query said to have.
    pub total: u64,
    /// Whether all is from one query that never changed its count. Only such a read is a proof.
    pub unbroken: bool,
}

impl Position {
    /// A read of every row (`None`), or of the rows stamped from `since` on, before its first query.
    pub fn start(since: Option<Timestamp>) -> Self {
        let unknown = Timestamp(0);
        Self {
            since,
            began_at: unknown,
            asked_at: unknown,
            locator: None,
            after: None,
            newest: None,
            unsettled: None,
            listed: 0,
            total: 0,
            unbroken: true,
        }
    }

    /// A read that begins where an earlier one ended.
    pub fn from_watermark(watermark: &str) -> Result<Self, Failure> {
        soql::parse_time(watermark).map(|since| Self::start(Some(since))).ok_or_else(invalid)
    }

    /// A read that goes on.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let position: Self = serde_json::from_str(text).map_err(|_| invalid())?;
        let locator_fits = position.locator.as_deref().is_none_or(is_locator);
        let after_fits = position.after.as_ref().is_none_or(|(_, id)| parse_id(id.as_str()).is_some());
        if locator_fits && after_fits { Ok(position) } else { Err(invalid()) }
    }

    /// The text of it.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts are JSON")
    }

    /// Whether the read is of every row.
    pub fn is_complete(&self) -> bool {
        self.since.is_none()
    }

    /// Since when rows are read; `None`: since ever.
    pub fn since(&self) -> Option<Timestamp> {
        self.since
    }

    /// The query of what is left, from its beginning.
    pub fn query(&self, select: &str, object: &str) -> String {
        let condition = match (&self.after, self.since) {
            (Some((stamp, id)), _) => format!(" WHERE {}", soql::after(*stamp, id)),
            (None, Some(since)) => format!(" WHERE SystemModstamp >= {}", soql::time(since)),
            (None, None) => String::new(),
        };
        format!("SELECT {select} FROM {object}{condition} ORDER BY SystemModstamp, Id")
    }

    /// Notes that a query was sent, and what it said to have.
    pub fn asked(&mut self, sent_at: Timestamp, total: u64) {
        if self.listed == 0 && self.unbroken {
            (self.began_at, self.total) = (sent_at, total);
        }
        self.asked_at = sent_at;
    }

    /// Notes that the cursor died: what is left is asked for anew. Rows may then come twice, so the count proves nothing.
    pub fn break_off(&mut self) {
        self.locator = None;
        self.unbroken = false;
    }

    /// Notes a row of the present query, whose page was asked for at `page_sent_at`.
    pub fn passed(&mut self, row: Option<(Timestamp, AccountId)>, page_sent_at: Timestamp) {
        self.listed += 1;
        let Some((stamp, account)) = row else { return };
        self.newest = self.newest.max(Some(stamp));
        if stamp + GRAIN < self.asked_at {
            // Not changed since the query was sent, so this stamp is the row's place in the order.
            self.after = Some((stamp, account));
        } else if stamp <= page_sent_at + STAMP_FROM_THE_FUTURE {
            self.unsettled = self.unsettled.max(Some(stamp));
        }
    }

    /// Where the next incremental read begins: `overlap` before the latest row that was read, but not after the
    /// beginning of this read, since rows that changed later may have been passed already. In a quiet org it follows
    /// the clock, if that is known, so that a mass update is not read again and again.
    pub fn watermark(&self, overlap: Duration, clock_is_known: bool) -> Option<String> {
        let by_rows = self.newest.map(|newest| newest.min(self.began_at) - overlap);
        let by_clock = clock_is_known.then(|| self.began_at - overlap.max(LONGEST_TRANSACTION));
        [by_rows, by_clock, self.since].into_iter().flatten().max().map(soql::time)
    }

    /// How long after `now` the rows that may change under the same stamp cannot any more.
    pub fn unsettled_for(&self, now: Timestamp) -> Option<Duration> {
        // `settled` asks for more than the grain.
        self.unsettled.map(|stamp| (stamp + GRAIN + Duration::from_millis(1)).since(now))
    }
}

fn invalid() -> Failure {
    let code = Code::known("invalid_position");
    Failure::new(FailureClass::Permanent, code, "the saved place in the list is not one of a Salesforce read")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERLAP: Duration = Duration::from_secs(60);

    fn id(number: u32) -> AccountId {
        parse_id(&format!("005{number:012}")).unwrap()
    }

    fn seconds(time: i64) -> Timestamp {
        Timestamp(time * 1_000)
    }

    /// A complete read whose query was sent at 10,000 s and showed rows with these stamps.
    fn read_of(stamps: &[i64]) -> Position {
        let mut position = Position::start(None);
        position.asked(seconds(10_000), stamps.len() as u64);
        for (number, stamp) in (0..).zip(stamps) {
            position.passed(Some((seconds(*stamp), id(number))), seconds(10_000));
        }
        position
    }

    /// R82: a dead cursor is begun again behind the last row by stamp and id, so that equal stamps are not skipped.
    #[test]
    fn a_dead_cursor_is_begun_again_from_the_keyset() {
        let mut position = read_of(&[5_000, 5_000]);
        position.break_off();
        assert_eq!(
            position.query("Id", "User"),
            "SELECT Id FROM User WHERE (SystemModstamp = 1970-01-01T01:23:20Z AND Id > '005000000000001AAA') \
             OR SystemModstamp > 1970-01-01T01:23:20Z ORDER BY SystemModstamp, Id"
        );
        assert!(!position.unbroken);
    }

    /// R82: a row that changed while it was paged shows its new stamp, far behind its place in the order.
    #[test]
    fn a_row_that_changed_meanwhile_does_not_move_the_keyset() {
        let position = read_of(&[5_000, 10_004, 5_001, 10_005]);
        assert_eq!(position.after, Some((seconds(5_001), id(2))));
    }

    /// R82: the watermark overlaps, and rows changed during the read do not carry it past what the read has passed.
    #[test]
    fn the_watermark_never_passes_what_was_not_read() {
        for (stamps, since, known, expected) in [
            (&[9_990][..], None, true, Some(9_930)),
            (&[10_500], None, true, Some(9_940)),
            // A quiet org: the clock, less the longest transaction.
            (&[100], None, true, Some(9_100)),
            (&[], None, true, Some(9_100)),
            (&[100], None, false, Some(40)),
            (&[], None, false, None),
            (&[], Some(9_500), true, Some(9_500)),
            (&[9_510], Some(9_500), true, Some(9_500)),
        ] {
            let position = Position { since: since.map(seconds), ..read_of(stamps) };
            let watermark = position.watermark(OVERLAP, known);
            assert_eq!(watermark, expected.map(|time| soql::time(seconds(time))), "{stamps:?} {since:?} {known}");
        }
    }

    #[test]
    fn a_row_read_within_its_grain_is_read_again() {
        let now = seconds(10_000);
        assert_eq!(read_of(&[9_998]).unsettled_for(now), None);
        assert_eq!(read_of(&[10_000]).unsettled_for(now), Some(Duration::from_millis(1_001)));
        assert_eq!(read_of(&[9_999]).unsettled_for(now), Some(Duration::from_millis(1)));
        assert_eq!(read_of(&[99_999]).unsettled_for(now), None, "a stamp from the future is no time to wait for");
    }

    #[test]
    fn positions_survive_their_text_form() {
        let mut position = read_of(&[5_000]);
        position.locator = Some("01gD0000002HU6KIAW-2000".into());
        assert_eq!(Position::parse(&position.to_text()).unwrap(), position);
        position.locator = Some("../../oauth2/revoke".into());
        for bad in [position.to_text(), "{}".into(), "x".into()] {
            assert_eq!(Position::parse(&bad).unwrap_err().code.as_str(), "invalid_position");
        }
        assert!(Position::from_watermark("yesterday").is_err());
    }
}
