use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::domain::mapping::{Conversion, Flaw, Step};
use crate::expression::Computed;

fn end(kind: ValueKind, comparison: Comparison) -> AttributeSchema {
    let path = "title".parse().unwrap();
    AttributeSchema { path, kind, max_chars: None, required: false, writable: true, comparison }
}

fn pair(to_b: &str, to_a: &str) -> Mapping {
    let formula = |text: &str, side| Conversion(vec![Step::Formula(Arc::new(Computed::parse(text, side).unwrap()))]);
    Mapping::both_ways(formula(to_b, Side::A), formula(to_a, Side::B))
}

fn table(entries: &BTreeMap<String, String>) -> Mapping {
    let turned = entries.iter().map(|(one, other)| (other.clone(), one.clone())).collect();
    let way = |entries| Conversion(vec![Step::Dictionary(entries)]);
    Mapping::both_ways(way(entries.clone()), way(turned))
}

fn checked(mapping: &Mapping, comparison: Comparison, known: &[&str]) -> Result<(), String> {
    let end = end(ValueKind::Text, comparison);
    let known: Vec<String> = known.iter().map(|text| (*text).to_owned()).collect();
    check(mapping, Sides { a: &end, b: &end }, &known)
}

const EXACT: Comparison = Comparison { fold_case: false, trim: false, empty_is_clear: false };
const FOLDED: Comparison = Comparison { fold_case: true, trim: true, empty_is_clear: true };

/// R87, B26: what comes back as another value is refused, with the value.
#[test]
fn a_value_that_comes_back_as_another_one_is_refused() {
    for (to_b, to_a, comparison, lost) in [
        ("a.title.upper()", "b.title.lower()", EXACT, Some("\"A\" on side a becomes \"A\"")),
        ("a.title.upperAscii()", "b.title.lowerAscii()", FOLDED, None),
        ("a.title.trim()", "b.title", EXACT, Some("\" \" on side a")),
        ("a.title.trim()", "b.title", Comparison { trim: true, ..EXACT }, None),
        ("'corp-' + a.title", "b.title.substring(5)", EXACT, None),
        ("a.title.substring(5)", "'corp-' + b.title", EXACT, None),
        ("'corp-' + a.title", "b.title.substring(4)", EXACT, Some("comes back as \"-")),
        ("a.title.substring(0, 1)", "b.title", EXACT, Some("on side a becomes")),
        ("a.title.split(' ')[0]", "b.title", EXACT, Some("on side a becomes")),
        ("a.title == 'Boss' ? 'M' : 'W'", "{'M': 'Boss', 'W': 'Worker'}[b.title]", EXACT, Some("\"Worker\"")),
        ("a.title", "b.title == '' ? null : b.title", EXACT, Some("no value")),
        ("a.title", "b.title == '' ? null : b.title", FOLDED, None),
        ("a.title", "'x'", EXACT, Some("comes back as \"x\"")),
    ] {
        let checked = checked(&pair(to_b, to_a), comparison, &["corp-", "Boss"]);
        match lost {
            None => assert_eq!(checked, Ok(()), "{to_b} | {to_a}"),
            Some(lost) => {
                let why = checked.expect_err(to_b);
                assert!(why.contains(lost) && why.contains("direction a_to_b or b_to_a"), "{to_b}: {why}");
            }
        }
    }
}

/// R87: what was not tried when the configuration was read is found when it comes: such a value does not flow.
#[test]
fn a_value_that_would_not_come_back_does_not_enter() {
    let mapping = pair("'corp-' + a.title", "b.title.substring(5)");
    let comparison = Sides { a: EXACT, b: EXACT };
    let enter = |side, text: &str| mapping.enter(side, &[Some(text.into())], &comparison).map_err(|flaw| flaw.code);
    assert_eq!(enter(Side::A, "ada"), Ok(Some("corp-ada".into())));
    assert_eq!(enter(Side::B, "corp-ada"), Ok(Some("corp-ada".into())));
    assert_eq!(enter(Side::B, "hello-ada"), Err(Flaw::NOT_REVERSIBLE));
    assert_eq!(enter(Side::B, "ada"), Err(Flaw::FAILED));
    assert_eq!(mapping.leave(Side::A, &Some("corp-ada".into()), &comparison), Ok(Some("ada".into())));
    assert_eq!(mapping.leave(Side::B, &Some("corp-ada".into()), &comparison), Ok(Some("corp-ada".into())));
    let leave = |text: &str| mapping.leave(Side::A, &Some(text.into()), &comparison).map_err(|flaw| flaw.code);
    assert_eq!(leave("dept-ada"), Err(Flaw::NOT_REVERSIBLE), "it entered under another mapping");
    assert_eq!(mapping.enter(Side::A, &[None], &comparison), Ok(None), "no value is no value");
}

proptest! {
    // Each case tries some hundred values.
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// R87: a table that calls each value differently comes back, whatever is in it.
    #[test]
    fn a_table_with_a_name_for_each_value_passes(names in proptest::collection::btree_set(".{1,12}", 2..20)) {
        let names: Vec<String> = names.into_iter().collect();
        let (ones, others) = names.split_at(names.len() / 2);
        let entries: BTreeMap<_, _> = ones.iter().cloned().zip(others.iter().cloned()).collect();
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        prop_assert_eq!(checked(&table(&entries), EXACT, &known), Ok(()));
    }

    /// R87: a table that calls two values the same fails, whatever they are.
    #[test]
    fn a_table_with_one_name_for_two_values_fails(names in proptest::collection::btree_set("[a-z]{1,12}", 3..8)) {
        let names: BTreeSet<String> = names;
        let mut entries: BTreeMap<_, _> = names.iter().map(|name| (name.clone(), name.to_uppercase())).collect();
        let taken = entries.values().next().unwrap().clone();
        *entries.values_mut().last().unwrap() = taken;
        let known: Vec<&str> = entries.keys().map(String::as_str).collect();
        prop_assert!(checked(&table(&entries), EXACT, &known).is_err());
    }

    /// R87: a prefix that one side adds and the other takes off comes back; taking off more or less does not.
    #[test]
    fn a_prefix_comes_back_if_it_is_taken_off_whole(prefix in "[a-z]{1,8}", off in 0_usize..10) {
        let mapping = pair(&format!("'{prefix}' + a.title"), &format!("b.title.substring({off})"));
        prop_assert_eq!(checked(&mapping, EXACT, &[&prefix]).is_ok(), off == prefix.len());
    }
}
