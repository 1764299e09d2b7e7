use aws_lc_rs::digest::{SHA256, digest};
use proptest::prelude::*;

use super::super::{About, Door, Outcome, Verb, Why};
use super::*;
use crate::domain::Timestamp;

const CHAIN: ChainId = ChainId(0xab);

fn chain(length: u64) -> Vec<Line> {
    let mut last = End::before_all(CHAIN);
    let mut lines = Vec::new();
    for number in 1..=length {
        let entry = Entry {
            chain: CHAIN,
            number,
            at: Timestamp(1_700_000_000_000 + i64::try_from(number).unwrap()),
            act: number - (number + 1) % 2,
            by: "ada@desk".to_owned(),
            door: Door::Cli,
            verb: Verb::Pause,
            about: (number % 2 == 1).then(About::default),
            why: Why::default(),
            outcome: if number % 2 == 1 { Outcome::Begun } else { Outcome::Done },
            counts: [("letters".to_owned(), number)].into(),
        };
        let (line, hash) = Line::seal(&entry, &last.hash);
        assert_eq!(line.entry(), Some(entry));
        last = End { chain: CHAIN, number, hash };
        assert_eq!(line.place(), Some(last.clone()));
        lines.push(line);
    }
    lines
}

fn follow(anchor: Option<End>, lines: &[Line]) -> Result<Option<End>, Flaw> {
    let mut follower = Follower::new(anchor);
    for line in lines {
        follower.follow(line)?;
    }
    Ok(follower.last().cloned())
}

/// The bytes that are hashed are those that the documentation names: computed here by hand.
#[test]
fn the_hash_is_over_the_bytes_that_are_documented() {
    let lines = chain(2);
    let text = lines[0].as_str();
    let entry = &text[HEAD.len() + 64 + NECK.len()..text.len() - 1];
    let bytes = format!("{}\n{entry}", "0".repeat(64));
    let hash: String = digest(&SHA256, bytes.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(text, format!("{{\"hash\":\"{hash}\",\"entry\":{entry}}}"));
    assert!(serde_json::from_str::<serde_json::Value>(text).is_ok());
    let text = lines[1].as_str();
    let entry = &text[HEAD.len() + 64 + NECK.len()..text.len() - 1];
    let second = digest(&SHA256, format!("{hash}\n{entry}").as_bytes());
    let second: String = second.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(text.contains(&second));
}

#[test]
fn a_chain_that_nobody_touched_is_followed_to_its_end() {
    let lines = chain(9);
    assert_eq!(follow(None, &lines), Ok(lines[8].place()));
    assert_eq!(follow(None, &[]), Ok(None));
}

/// After its beginning was forgotten, an anchor stands for it.
#[test]
fn a_chain_is_followed_from_an_anchor() {
    let lines = chain(9);
    assert_eq!(follow(lines[3].place(), &lines[4..]), Ok(lines[8].place()));
    assert_eq!(follow(lines[2].place(), &lines[4..]), Err(Flaw::Gap { expected: 4, found: 5 }));
    let other = End { hash: Hash::of_nothing(), ..lines[3].place().unwrap() };
    assert_eq!(follow(Some(other), &lines[4..]), Err(Flaw::Changed { number: 5 }));
    let elsewhere = End { chain: ChainId(1), ..lines[3].place().unwrap() };
    assert_eq!(follow(Some(elsewhere), &lines[4..]), Err(Flaw::OtherChain { number: 5, chain: CHAIN }));
}

/// Whoever writes a new hash to a changed entry has to write all that follow, and meets the end that somebody kept.
#[test]
fn an_entry_with_a_new_hash_is_betrayed_by_the_next_one() {
    let mut lines = chain(5);
    let mut entry = lines[2].entry().unwrap();
    entry.by = "bob@desk".to_owned();
    let before = lines[1].place().unwrap();
    lines[2] = Line::seal(&entry, &before.hash).0;
    assert_eq!(follow(None, &lines), Err(Flaw::Changed { number: 4 }));
}

#[test]
fn an_end_is_read_as_it_is_written() {
    let end = chain(1)[0].place().unwrap();
    assert_eq!(end.to_string().parse(), Ok(end.clone()));
    for none in ["", "ab:1:cd", "00000000000000ab:x:y", &end.to_string()[..60], &end.to_string().to_uppercase()] {
        assert_eq!(none.parse::<End>(), Err(NotHex), "{none}");
    }
}

proptest! {
    /// Any byte that is changed is found, at its entry.
    #[test]
    fn a_changed_byte_is_found(length in 1_u64..12, at in any::<prop::sample::Index>(), byte in any::<prop::sample::Index>(), to in 32_u8..127) {
        let mut lines = chain(length);
        let at = at.index(lines.len());
        let mut bytes = lines[at].0.clone().into_bytes();
        let byte = byte.index(bytes.len());
        prop_assume!(bytes[byte] != to);
        bytes[byte] = to;
        lines[at] = Line::found(String::from_utf8(bytes).unwrap());
        let flaw = follow(None, &lines).unwrap_err();
        let number = match flaw {
            Flaw::Unreadable { after } => after + 1,
            Flaw::Gap { expected, .. } => expected,
            Flaw::OtherChain { number, .. } | Flaw::Changed { number } => number,
            other => panic!("{other}"),
        };
        // A first entry of another chain begins that chain: then its hash betrays it, or the next one's chain.
        prop_assert_eq!(number, at as u64 + 1);
    }

    /// An entry that is taken out is found, unless it is the last one: of that only the store's end, the copies and an end
    /// that somebody kept know.
    #[test]
    fn a_removed_entry_is_found(length in 2_u64..12, at in any::<prop::sample::Index>()) {
        let mut lines = chain(length);
        let at = at.index(lines.len() - 1);
        lines.remove(at);
        prop_assert_eq!(follow(None, &lines), Err(Flaw::Gap { expected: at as u64 + 1, found: at as u64 + 2 }));
    }

    /// Entries in another order are found.
    #[test]
    fn another_order_is_found(lines in Just(chain(9)).prop_shuffle()) {
        prop_assume!(lines != chain(9));
        prop_assert!(follow(None, &lines).is_err());
    }

    /// An entry that is put in twice, or that of another chain, is found.
    #[test]
    fn an_added_entry_is_found(length in 1_u64..12, from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>()) {
        let mut lines = chain(length);
        let added = lines[from.index(lines.len())].clone();
        let to = to.index(lines.len() + 1);
        lines.insert(to, added);
        prop_assert!(follow(None, &lines).is_err());
    }
}
