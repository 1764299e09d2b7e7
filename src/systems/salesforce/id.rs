//! Salesforce ids: 15 characters in reports, 18 in the API, and equal (R48).

use crate::domain::AccountId;

const SUFFIX_ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";

/// The 18-character form of an id of either form; `None` if the text is no id, or its suffix does not fit.
///
/// The suffix tells which of the first 15 characters are capitals, so an id whose letter case was lost on the way
/// (some spreadsheets do that) is refused and not silently another one.
pub fn parse_id(text: &str) -> Option<AccountId> {
    let text = text.trim();
    if !matches!(text.len(), 15 | 18) || !text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let (id, given) = text.split_at(15);
    let suffix = suffix(id.as_bytes());
    if !given.is_empty() && !given.eq_ignore_ascii_case(&suffix) {
        return None;
    }
    format!("{id}{suffix}").parse().ok()
}

/// Three characters, one for each five of the id: bit `i` is set if character `i` is a capital.
fn suffix(id: &[u8]) -> String {
    id.chunks(5)
        .map(|group| {
            let capitals = group.iter().enumerate().filter(|(_, byte)| byte.is_ascii_uppercase());
            let bits = capitals.fold(0, |bits, (place, _)| bits | 1 << place);
            char::from(SUFFIX_ALPHABET[bits])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R48: the 15- and the 18-character form are accepted and equal.
    #[test]
    fn both_forms_are_one_id() {
        for (short, long) in [
            ("005RM000001iKYt", "005RM000001iKYtYAM"),
            ("001R0000005hDFY", "001R0000005hDFYIA2"),
            ("005xx000001SwiU", "005xx000001SwiUAAS"),
            ("005000000000001", "005000000000001AAA"),
        ] {
            assert_eq!(parse_id(short).unwrap().as_str(), long);
            assert_eq!(parse_id(long), parse_id(short), "{long}");
        }
    }

    /// R48: `00e` and `00E` differ only in case, so an id with a suffix that does not fit is none.
    #[test]
    fn what_is_no_id_is_refused() {
        for bad in
            ["", "005RM000001iKY", "005RM000001iKYtYA", "005rm000001ikytYAM", "005RM000001iKYtYAX", "005RM000001iKY'"]
        {
            assert_eq!(parse_id(bad), None, "{bad}");
        }
    }
}
