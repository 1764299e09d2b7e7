//! How writes are worded: the ways in which servers differ, and which of them a server takes. Each way is tried at most
//! once: a request that was refused did nothing, so the next way may be tried at once.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

/// One wording of writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Style {
    /// `Replace` for `replace`.
    pub capitals: bool,
    /// An entry of a list is changed by giving the list whole, without a filter in the path.
    pub whole_lists: bool,
    /// `"True"` for `true`.
    pub text_booleans: bool,
}

/// What of a wording one write shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Uses {
    /// It has operations.
    pub operations: bool,
    /// One of them has a path with a filter, or would have.
    pub entries: bool,
    /// It has a boolean.
    pub booleans: bool,
}

impl Uses {
    /// What a body shows that is worded in the plain style.
    pub fn of(body: &Json) -> Self {
        let operations = body.get("Operations").and_then(Json::as_array);
        let has_filter = |operation: &Json| operation["path"].as_str().is_some_and(|path| path.contains('['));
        let entries = operations.is_some_and(|operations| operations.iter().any(has_filter));
        Self { operations: operations.is_some(), entries, booleans: has_boolean(body) }
    }
}

/// Which wordings a server takes, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Styles {
    preferred: Style,
    /// The parts of `preferred` that a server has carried out.
    proven: Uses,
    refused: BTreeSet<(Style, Uses)>,
    /// How far into a write the server read that it refused last.
    depth: u8,
}

impl Styles {
    /// The wordings to try for a write, in this order: never none, and only one as soon as it is known.
    pub fn candidates(&self, uses: Uses) -> Vec<Style> {
        let flips = |open: bool| if open { &[false, true][..] } else { &[false][..] };
        let mut candidates = Vec::new();
        for &booleans in flips(uses.booleans && !self.proven.booleans) {
            for &entries in flips(uses.entries && !self.proven.entries) {
                for &operations in flips(uses.operations && !self.proven.operations) {
                    let style = Style {
                        capitals: self.preferred.capitals ^ operations,
                        whole_lists: self.preferred.whole_lists ^ entries,
                        text_booleans: self.preferred.text_booleans ^ booleans,
                    };
                    candidates.push((u8::from(booleans) + u8::from(entries) + u8::from(operations), style));
                }
            }
        }
        candidates.sort_by_key(|(flipped, _)| *flipped);
        candidates.retain(|(_, style)| !self.refused.contains(&(*style, uses)));
        if candidates.is_empty() {
            // All were refused: then it is the value that the server objects to.
            candidates.push((0, self.preferred));
        }
        candidates.into_iter().map(|(_, style)| style).collect()
    }

    /// Notes that a write was carried out.
    pub fn understood(&mut self, style: Style, uses: Uses) {
        if uses.operations {
            self.preferred.capitals = style.capitals;
        }
        if uses.entries {
            self.preferred.whole_lists = style.whole_lists;
        }
        if uses.booleans {
            self.preferred.text_booleans = style.text_booleans;
        }
        self.proven.operations |= uses.operations;
        self.proven.entries |= uses.entries;
        self.proven.booleans |= uses.booleans;
    }

    /// Notes that a write was refused for its form. `depth` says how far the server had read: a wording with which it
    /// got as far as the value is nearer to what it wants than one whose syntax it did not know.
    pub fn misunderstood(&mut self, style: Style, uses: Uses, depth: u8) {
        let first = self.refused.is_empty();
        self.refused.insert((style, uses));
        if first || depth > self.depth {
            self.depth = depth;
            let Style { capitals, whole_lists, text_booleans } = self.preferred;
            self.preferred = Style {
                capitals: if self.proven.operations { capitals } else { style.capitals },
                whole_lists: if self.proven.entries { whole_lists } else { style.whole_lists },
                text_booleans: if self.proven.booleans { text_booleans } else { style.text_booleans },
            };
        }
    }

    /// Notes that the server itself writes booleans as texts.
    pub fn prefer_text_booleans(&mut self) {
        if !self.proven.booleans {
            self.preferred.text_booleans = true;
        }
    }

    /// The wording for what is not tried out.
    pub fn preferred(&self) -> Style {
        self.preferred
    }
}

impl Style {
    /// Words a body in this style: the operations of a PATCH, and booleans.
    pub fn word(self, body: &mut Json) {
        if self.capitals {
            for operation in body.get_mut("Operations").and_then(Json::as_array_mut).into_iter().flatten() {
                if let Some(Json::String(op)) = operation.get_mut("op")
                    && let Some(first) = op.get_mut(..1)
                {
                    first.make_ascii_uppercase();
                }
            }
        }
        word_booleans(self.text_booleans, body);
    }
}

/// Of a whole resource that came with texts, those are turned back that are known to be booleans.
fn word_booleans(as_text: bool, body: &mut Json) {
    match body {
        Json::Bool(flag) if as_text => *body = json!(if *flag { "True" } else { "False" }),
        Json::Array(items) => items.iter_mut().for_each(|item| word_booleans(as_text, item)),
        Json::Object(members) => {
            for (name, value) in members {
                let known = name.eq_ignore_ascii_case("active") || name.eq_ignore_ascii_case("primary");
                match value.as_str().map(str::to_ascii_lowercase).as_deref() {
                    Some("true") if known && !as_text => *value = json!(true),
                    Some("false") if known && !as_text => *value = json!(false),
                    _ => word_booleans(as_text, value),
                }
            }
        }
        _ => {}
    }
}

fn has_boolean(value: &Json) -> bool {
    match value {
        Json::Bool(_) => true,
        Json::Array(items) => items.iter().any(has_boolean),
        Json::Object(members) => members.values().any(has_boolean),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Uses = Uses { operations: true, entries: true, booleans: true };
    const PLAIN: Style = Style { capitals: false, whole_lists: false, text_booleans: false };

    /// Whatever a server demands is found, each way tried once, and known from then on.
    #[test]
    fn every_demand_is_met_after_at_most_eight_tries() {
        for bits in 0..8_u8 {
            let demanded = Style { capitals: bits & 1 > 0, whole_lists: bits & 2 > 0, text_booleans: bits & 4 > 0 };
            let mut styles = Styles::default();
            let mut tries = 0;
            for style in styles.candidates(ALL) {
                tries += 1;
                if style == demanded {
                    styles.understood(style, ALL);
                    break;
                }
                styles.misunderstood(style, ALL, 0);
            }
            assert!(tries <= 8);
            assert_eq!(styles.candidates(ALL), [demanded]);
        }
    }

    #[test]
    fn a_value_that_is_refused_in_every_wording_is_tried_in_one_the_next_time() {
        let mut styles = Styles::default();
        let uses = Uses { operations: true, ..Uses::default() };
        for style in styles.candidates(uses) {
            styles.misunderstood(style, uses, 0);
        }
        assert_eq!(styles.candidates(uses), [PLAIN]);
    }

    #[test]
    fn the_wording_that_was_read_furthest_is_kept() {
        let mut styles = Styles::default();
        let uses = Uses { operations: true, ..Uses::default() };
        styles.misunderstood(PLAIN, uses, 0);
        let capitals = Style { capitals: true, ..PLAIN };
        // The operation was known then, and the value was bad.
        styles.misunderstood(capitals, uses, 2);
        assert_eq!(styles.candidates(uses), [capitals]);
    }

    #[test]
    fn only_what_a_write_shows_is_varied() {
        let styles = Styles::default();
        assert_eq!(styles.candidates(Uses::default()), [PLAIN]);
        assert_eq!(styles.candidates(Uses { booleans: true, ..Uses::default() }).len(), 2);
        let mut styles = styles;
        styles.understood(PLAIN, Uses { operations: true, ..Uses::default() });
        assert_eq!(styles.candidates(ALL).len(), 4);
    }

    #[test]
    fn a_body_is_worded() {
        let plain = json!({"Operations": [{"op": "replace", "path": "active", "value": true}]});
        let mut body = plain.clone();
        Style { capitals: true, whole_lists: false, text_booleans: true }.word(&mut body);
        assert_eq!(body, json!({"Operations": [{"op": "Replace", "path": "active", "value": "True"}]}));
        let mut whole = json!({"active": "False", "title": "True", "emails": [{"value": "a", "primary": "true"}]});
        PLAIN.word(&mut whole);
        assert_eq!(whole, json!({"active": false, "title": "True", "emails": [{"value": "a", "primary": true}]}));
        assert_eq!(Uses::of(&plain), Uses { entries: false, ..ALL });
        assert_eq!(Uses::of(&json!({"Operations": [{"path": "emails[type pr]"}]})), Uses { booleans: false, ..ALL });
        assert_eq!(Uses::of(&whole), Uses { booleans: true, ..Uses::default() });
    }
}
