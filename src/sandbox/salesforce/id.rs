//! Record ids: 15 characters that tell capital from small letters, and a suffix of three for those who cannot.

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const SUFFIX: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
/// The "instance" part of the ids of this org, after the key prefix.
const POD: &str = "RM";

/// The 18-character id of a record. Ids of one object sort as their serial numbers do.
pub(super) fn id18(prefix: &str, serial: u64) -> String {
    let mut digits = [b'0'; 10];
    let mut rest = serial;
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    long_form(&format!("{prefix}{POD}{}", std::str::from_utf8(&digits).expect("digits are ASCII")))
}

/// The 18-character form of an id of 15.
pub(super) fn long_form(id15: &str) -> String {
    format!("{id15}{}", suffix(id15.as_bytes()))
}

/// Key prefix and serial number of an id of this org, in either form; `None` if it is none.
pub(super) fn parse(id: &str) -> Option<(&str, u64)> {
    if !id.is_ascii() || !matches!(id.len(), 15 | 18) || &id[3..5] != POD {
        return None;
    }
    if id.len() == 18 && id[15..] != suffix(&id.as_bytes()[..15]) {
        return None;
    }
    let mut serial = 0u64;
    for byte in id.bytes().skip(5).take(10) {
        let digit = DIGITS.iter().position(|digit| *digit == byte)?;
        serial = serial.checked_mul(62)?.checked_add(digit as u64)?;
    }
    Some((&id[..3], serial))
}

/// Whether text has the form of a record id, of this org or another.
pub(super) fn looks_like_id(text: &str) -> bool {
    matches!(text.len(), 15 | 18) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// One letter for each five characters: which of them are capital letters.
fn suffix(id15: &[u8]) -> String {
    id15.chunks(5)
        .map(|group| {
            let capitals = group.iter().enumerate().filter(|(_, byte)| byte.is_ascii_uppercase());
            SUFFIX[capitals.map(|(place, _)| 1 << place).sum::<usize>()] as char
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_those_of_the_vendor() {
        for (id15, expected) in [
            ("005RM000001iKYt", "YAM"),
            ("001R0000005hDFY", "IA2"),
            ("005xx000001SwiU", "AAS"),
            ("005000000000001", "AAA"),
        ] {
            assert_eq!(suffix(id15.as_bytes()), expected, "{id15}");
        }
    }

    #[test]
    fn both_forms_of_an_id_are_read_and_others_are_not() {
        let id = id18("005", 1_234_567);
        assert_eq!(parse(&id), Some(("005", 1_234_567)));
        assert_eq!(parse(&id[..15]), Some(("005", 1_234_567)));
        for wrong in ["", "005RM", "005RM000000000é", &format!("{}AAB", &id[..15]), &id.to_lowercase()] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn ids_sort_as_their_serials() {
        let ids: Vec<_> = [1, 9, 10, 35, 36, 61, 62, 4000, 1_000_000].map(|serial| id18("005", serial)).into();
        assert!(ids.is_sorted(), "{ids:?}");
    }
}
