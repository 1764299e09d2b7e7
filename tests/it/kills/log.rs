//! SQLite's write-ahead log, as bytes: <https://sqlite.org/fileformat2.html#the_write_ahead_log>.

use std::collections::BTreeSet;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;

/// The part of a log that counts: whole commits of the present round, whose checksums are right.
pub struct Log<'b> {
    bytes: &'b [u8],
    pub page_bytes: usize,
    frames: Vec<Frame>,
}

/// One page in the log.
struct Frame {
    page: u32,
    /// Where its content begins.
    at: usize,
    ends_commit: bool,
}

impl<'b> Log<'b> {
    /// `None`: it is empty, or its header is not whole.
    pub fn read(bytes: &'b [u8]) -> Option<Self> {
        if bytes.len() < HEADER_BYTES {
            return None;
        }
        // SQLite sums in the order of the machine that made the file, and says so in the last bit of the magic number.
        let is_big_endian = match number(bytes, 0) {
            0x377f_0682 => false,
            0x377f_0683 => true,
            other => panic!("no write-ahead log: {other:x}"),
        };
        let (page_bytes, salts) = (number(bytes, 8) as usize, &bytes[16..24]);
        let mut sum = add((0, 0), &bytes[..24], is_big_endian);
        if sum != (number(bytes, 24), number(bytes, 28)) {
            return None;
        }
        let mut frames = Vec::new();
        for frame in bytes[HEADER_BYTES..].chunks_exact(FRAME_HEADER_BYTES + page_bytes) {
            sum = add(add(sum, &frame[..8], is_big_endian), &frame[FRAME_HEADER_BYTES..], is_big_endian);
            if &frame[8..16] != salts || sum != (number(frame, 16), number(frame, 20)) {
                break;
            }
            let at = HEADER_BYTES + frames.len() * (FRAME_HEADER_BYTES + page_bytes) + FRAME_HEADER_BYTES;
            frames.push(Frame { page: number(frame, 0), at, ends_commit: number(frame, 4) > 0 });
        }
        let whole = frames.iter().rposition(|frame| frame.ends_commit).map_or(0, |last| last + 1);
        frames.truncate(whole);
        Some(Self { bytes, page_bytes, frames })
    }

    /// Where the last commit ends.
    pub fn end(&self) -> usize {
        self.frames.last().map_or(HEADER_BYTES, |frame| frame.at + self.page_bytes)
    }

    /// Where the commit before the last ends.
    pub fn end_before_last(&self) -> usize {
        self.last().first().map_or(HEADER_BYTES, |frame| frame.at - FRAME_HEADER_BYTES)
    }

    /// The pages that commits up to this byte wrote.
    pub fn pages(&self, end: usize) -> BTreeSet<u32> {
        self.frames.iter().filter(|frame| frame.at < end).map(|frame| frame.page).collect()
    }

    /// Whether a page of the last commit is in the database already: a checkpoint put it there.
    pub fn last_is_in(&self, database: &[u8]) -> bool {
        self.last().iter().any(|frame| {
            let begin = (frame.page as usize - 1) * self.page_bytes;
            database.get(begin..begin + self.page_bytes) == self.bytes.get(frame.at..frame.at + self.page_bytes)
        })
    }

    /// The frames of the last commit.
    fn last(&self) -> &[Frame] {
        let before = self.frames.split_last().map_or(&[][..], |(_, before)| before);
        let begin = before.iter().rposition(|frame| frame.ends_commit).map_or(0, |last| last + 1);
        &self.frames[begin..]
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn add((mut first, mut second): (u32, u32), bytes: &[u8], is_big_endian: bool) -> (u32, u32) {
    let word = |bytes: &[u8]| {
        let bytes = bytes.try_into().unwrap();
        if is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    };
    for pair in bytes.chunks_exact(8) {
        first = first.wrapping_add(word(&pair[..4])).wrapping_add(second);
        second = second.wrapping_add(word(&pair[4..])).wrapping_add(first);
    }
    (first, second)
}
