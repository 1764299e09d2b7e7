//! Attributes that are made of others: what a snapshot that shows a part of them means, and one that shows what nothing can
//! be made of.

use std::sync::Arc;

use super::vocabulary::{Play, at, path, rules, to_b, two_way};
use crate::domain::guard::is_protected;
use crate::domain::id::Side::{A, B};
use crate::domain::mapping::{Conversion, Flaw, Formula, Mapping, Step};
use crate::domain::resolve::Resolution;
use crate::domain::rules::{Flow, Policy, Rules};
use crate::domain::{AttributePath, ChangeOutcome, Value};

/// `first` and `last` in one text; a `last` of `?` can be made into nothing.
#[derive(Debug)]
struct Full([AttributePath; 2]);

impl Formula for Full {
    fn text(&self) -> &str {
        "first + last"
    }

    fn reads(&self) -> &[AttributePath] {
        &self.0
    }

    fn compute(&self, inputs: &[Option<Value>]) -> Result<Option<Value>, Flaw> {
        let texts = inputs.iter().flatten().filter_map(Value::as_text).collect::<Vec<_>>();
        if texts.contains(&"?") {
            return Err(Flaw { code: Flaw::FAILED, what: "fails".to_owned(), at: None });
        }
        Ok((!texts.is_empty()).then(|| Value::from(texts.join(" ").as_str())))
    }
}

/// `name` of side b is made of `first` and `last` of side a, and `x` flows as it is.
fn made() -> Rules {
    let mut rules = to_b(&["name", "x"]);
    let formula = Arc::new(Full([path("first"), path("last")]));
    let mapping = Mapping::one_way(A, Conversion(vec![Step::Formula(formula)]));
    rules.attributes.get_mut(&path("name")).unwrap().mapping = mapping;
    rules
}

fn linked() -> Play {
    let mut play = Play::of(made());
    play.see(A, at(10.0, 20.0), &[("first", "Ada"), ("last", "Byron"), ("x", "0")]);
    play.see(B, at(10.0, 20.0), &[("name", "Ada Byron"), ("x", "0")]);
    assert_eq!(play.behind(B), "");
    play
}

fn outcome(resolution: &Resolution) -> (ChangeOutcome, bool) {
    (resolution.outcome, resolution.reread)
}

#[test]
fn a_value_follows_all_that_it_is_made_of() {
    let mut play = linked();
    play.see(A, at(100.0, 160.0), &[("first", "Ada"), ("last", "Lovelace"), ("x", "0")]);
    assert_eq!(play.behind(B), "name=Ada Lovelace");
    let going = play.begin(B);
    assert_eq!(play.finish(&going, at(170.0, 170.0), &[("name", "Ada Lovelace"), ("x", "0")]), ("done", None));
    assert_eq!(play.behind(B), "");
    play.see(A, at(200.0, 260.0), &[("first", "-"), ("last", "-"), ("x", "0")]);
    assert_eq!(play.behind(B), "name=-", "what is made of nothing is a clear");
}

/// B21: an expression of which not all inputs were seen is unknown, never a clear; what was seen says that something changed,
/// so the account is read again, once.
#[test]
fn a_part_of_what_a_value_is_made_of_says_nothing_but_look_again() {
    let mut play = linked();
    let torn = play.see(A, at(100.0, 160.0), &[("last", "Lovelace")]);
    assert_eq!((outcome(&torn), play.behind(B)), ((ChangeOutcome::Unchanged, true), String::new()));
    let torn = play.see(A, at(101.0, 161.0), &[("last", "Lovelace")]);
    assert_eq!(outcome(&torn), (ChangeOutcome::Unchanged, false), "asking has not helped, or is under way");
    let other = linked().see(A, at(100.0, 160.0), &[("x", "1")]);
    assert_eq!(outcome(&other), (ChangeOutcome::Accepted, false), "it is made of nothing that changed");
    play.see(A, at(101.0, 170.0), &[("first", "Ada"), ("last", "Lovelace"), ("x", "0")]);
    assert_eq!(play.behind(B), "name=Ada Lovelace");
}

#[test]
fn a_value_that_cannot_be_made_stops_nothing_else() {
    let mut play = linked();
    let flawed = play.see(A, at(100.0, 160.0), &[("first", "Ada"), ("last", "?"), ("x", "1")]);
    assert_eq!(flawed.flaws.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), ["name"]);
    assert_eq!((flawed.outcome, play.behind(B).as_str()), (ChangeOutcome::Accepted, "x=1"));
    assert_eq!(play.value("name"), "Ada Byron", "the last value that could be made stays");
}

/// R87: where it flows both ways, nothing is written over a value that has no form on the other side.
#[test]
fn what_cannot_be_told_is_not_written_over() {
    let mut rules = two_way(A, &["x", "y"]);
    let same = |name: &str| (name.to_owned(), name.to_owned());
    let way = || Conversion(vec![Step::Dictionary([same("0"), same("1")].into())]);
    rules.attributes.get_mut(&path("x")).unwrap().mapping = Mapping::both_ways(Conversion::default(), way());
    let mut play = Play::in_sync(rules, &[("x", "0"), ("y", "0")]);
    let flawed = play.see(B, at(100.0, 160.0), &[("x", "9"), ("y", "0")]);
    assert_eq!((flawed.outcome, flawed.flaws.len()), (ChangeOutcome::Unchanged, 1));
    play.see(A, at(110.0, 170.0), &[("x", "1"), ("y", "1")]);
    assert_eq!(play.behind(B), "y=1", "x waits until what b holds can be told");
    play.see(B, at(120.0, 180.0), &[("x", "0"), ("y", "0")]);
    assert_eq!(play.behind(B), "x=1 y=1", "side a wins, as ever between two that differ");
}

/// B1: what a value that could not be told is changed to is an edit, also back to what it was, and also a clear.
#[test]
fn what_follows_a_value_that_cannot_be_told_is_an_edit() {
    let mut rules = two_way(A, &["x"]);
    let same = |name: &str| (name.to_owned(), name.to_owned());
    let way = || Conversion(vec![Step::Dictionary([same("0"), same("1")].into())]);
    rules.attributes.get_mut(&path("x")).unwrap().mapping = Mapping::both_ways(Conversion::default(), way());
    for (corrected, register) in [("1", "1"), ("-", "-")] {
        let mut play = Play::in_sync(rules.clone(), &[("x", "0")]);
        assert_eq!(play.see(B, at(100.0, 160.0), &[("x", "9")]).flaws.len(), 1);
        assert!(!play.link.sides.b.tells_all(&rules), "its letter stays open");
        assert_eq!(play.see(B, at(110.0, 170.0), &[("x", corrected)]).outcome, ChangeOutcome::Accepted);
        assert_eq!((play.value("x").as_str(), play.behind(A)), (register, format!("x={corrected}")));
        assert!(play.link.sides.b.tells_all(&rules));
    }
}

/// A sight that shows a value which cannot be told shows the attribute: a write of it that is over is over.
#[test]
fn a_value_that_cannot_be_told_was_read() {
    let mut rules = two_way(A, &["x"]);
    let same = |name: &str| (name.to_owned(), name.to_owned());
    let way = || Conversion(vec![Step::Dictionary([same("0"), same("1")].into())]);
    rules.attributes.get_mut(&path("x")).unwrap().mapping = Mapping::both_ways(Conversion::default(), way());
    let mut play = Play::in_sync(rules, &[("x", "0")]);
    play.see(A, at(100.0, 160.0), &[("x", "1")]);
    let going = play.begin(B);
    let answered = play.finish(&going, at(170.0, 170.0), &[("x", "9")]);
    assert_eq!(answered, ("done", None));
    assert!(!play.link.sides.b.tells_all(&play.rules) && !play.link.sides.b.partial);
    play.see(A, at(200.0, 260.0), &[("x", "0")]);
    assert_eq!(play.behind(B), "", "what b holds instead is not written over");
}

/// What the side makes of a text is told by its own form of it, whatever the link's form looks like.
#[test]
fn a_text_that_is_cut_short_in_the_form_of_its_side_is_no_edit() {
    let mut rules = two_way(A, &["x"]);
    let way = |from: &str, to: &str| {
        let entries = [(from.to_owned(), to.to_owned()), ("Lovelace, Ad".to_owned(), "Ad Lovelace".to_owned())];
        entries.into()
    };
    let to_b = Conversion(vec![Step::Dictionary(way("Lovelace, Ada", "Ada Lovelace"))]);
    let to_a = Conversion(vec![Step::Dictionary(
        [("Ada Lovelace", "Lovelace, Ada"), ("Ad Lovelace", "Lovelace, Ad")]
            .map(|(b, a)| (b.to_owned(), a.to_owned()))
            .into(),
    )]);
    rules.attributes.get_mut(&path("x")).unwrap().mapping = Mapping::both_ways(to_b, to_a);
    for answered in [true, false] {
        let mut play = Play::in_sync(rules.clone(), &[("x", "-")]);
        play.see(B, at(100.0, 160.0), &[("x", "Ada Lovelace")]);
        let going = play.begin(A);
        if answered {
            assert_eq!(play.finish(&going, at(170.0, 170.0), &[("x", "Lovelace, Ad")]), ("done", None));
        }
        play.see(A, at(170.0, 180.0), &[("x", "Lovelace, Ad")]);
        assert_eq!((play.value("x").as_str(), play.behind(B).as_str()), ("Ada Lovelace", ""), "{answered}");
    }
}

/// An answer that shows an edit of what other values are made of is a change with all that they are made of.
#[test]
fn an_answer_tells_all_that_a_changed_value_is_made_of() {
    let mut rules = rules(Flow::Both, Policy::DefaultSystem(A), &["x"]);
    let mut name = made().attributes.remove(&path("name")).unwrap();
    name.names.a = path("unused");
    rules.attributes.insert(path("name"), name);
    let mut play = Play::of(rules);
    play.see(A, at(10.0, 20.0), &[("first", "Ada"), ("last", "Byron"), ("x", "0")]);
    play.see(B, at(10.0, 20.0), &[("name", "Ada Byron"), ("x", "0")]);
    play.see(B, at(100.0, 160.0), &[("name", "Ada Byron"), ("x", "1")]);
    let going = play.begin(A);
    let (done, rest) = play.finish(&going, at(170.0, 170.0), &[("first", "Ada"), ("last", "King"), ("x", "1")]);
    let rest = rest.unwrap();
    assert_eq!(
        (done, rest.attributes.keys().map(AttributePath::as_str).collect::<Vec<_>>()),
        ("done", vec!["first", "last"])
    );
    play.see(A, at(171.0, 180.0), &[("first", "Ada"), ("last", "King"), ("x", "1")]);
    assert_eq!(play.behind(B), "name=Ada King");
}

/// Accounts are protected by what either side calls them, also where the two call them differently.
#[test]
fn a_name_protects_in_the_words_of_either_side() {
    let mut rules = to_b(&["userName"]);
    let table = Step::Dictionary([("ada".to_owned(), "corp-ada".to_owned())].into());
    rules.attributes.get_mut(&path("userName")).unwrap().mapping = Mapping::one_way(A, Conversion(vec![table]));
    let mut play = Play::of(rules);
    play.see(A, at(10.0, 20.0), &[("userName", "ada")]);
    play.see(B, at(10.0, 20.0), &[("userName", "corp-ada")]);
    for (name, protected) in [("ada", true), ("corp-ada", true), ("eve", false)] {
        play.rules.protected.names = vec![name.to_owned()];
        assert_eq!(is_protected(&play.link, &play.rules), protected, "{name}");
    }
}
