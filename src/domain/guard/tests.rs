use super::*;

fn budget(share_percent: u8, at_least: u64, seconds: u64) -> Budget {
    Budget { share_percent, at_least, window: Duration::from_secs(seconds) }
}

#[test]
fn budgets_are_shares_or_numbers_over_a_window() {
    for (text, expected) in [
        ("2%/1h", Some(budget(2, 5, 3600))),
        (" 50 / 30m ", Some(budget(0, 50, 1800))),
        ("0%/1d", Some(budget(0, 0, 86_400))),
        ("0/45s", Some(budget(0, 0, 45))),
        ("100%/1h", Some(budget(100, 5, 3600))),
        ("101%/1h", None),
        ("2%", None),
        ("2%/h", None),
        ("2%/0h", None),
        ("-2/1h", None),
        ("+2/1h", None),
        ("two/1h", None),
        ("2%/1é", None),
        ("/1h", None),
        ("1/99999999999999999999d", None),
        ("", None),
    ] {
        assert_eq!(text.parse().ok(), expected, "{text}");
    }
}

/// B10: the budget grows with the roster, and a small roster is not stuck.
#[test]
fn limits_follow_the_population() {
    for (text, population, limit) in [
        ("2%/1h", 0, 5),
        ("2%/1h", 100, 5),
        ("2%/1h", 1_000, 20),
        ("2%/1h", 1_049, 20),
        ("50/1h", 1_000_000, 50),
        ("0%/1h", 1_000, 0),
        ("100%/1h", u64::MAX, u64::MAX),
    ] {
        assert_eq!(text.parse::<Budget>().unwrap().limit(population), limit, "{text} of {population}");
    }
}

/// B11: what is over the budget waits; the rest passes.
#[test]
fn only_what_is_over_the_budget_is_held() {
    for (spent, wanted, limit, passes) in
        [(0, 3, 5, 3), (0, 8, 5, 5), (4, 3, 5, 1), (5, 1, 5, 0), (9, 1, 5, 0), (0, 0, 0, 0)]
    {
        assert_eq!(decide(spent, wanted, limit), passes, "{spent} spent, {wanted} wanted of {limit}");
    }
}

/// A budget is shown as it can be written.
#[test]
fn budgets_are_shown_as_they_are_written() {
    for text in ["2%/1h", "50/30m", "0/1d", "3/45s", "100%/90m"] {
        assert_eq!(text.parse::<Budget>().unwrap().to_string(), text);
    }
    assert_eq!(Budget::default().to_string(), "2%/1h");
}

/// B10: everything that does harm in bulk has a budget unless it is taken away; creations have none unless it is given.
#[test]
fn budgets_are_on_by_default() {
    let budgets = Budgets::default();
    for risk in Risk::ALL {
        assert_eq!(budgets.of(risk).is_some(), risk != Risk::Create, "{risk}");
        assert_eq!(Budgets::off().of(risk), None, "{risk}");
    }
}

use crate::domain::attribute::Value;
use crate::domain::hold::{Hold, Ruling, Stop, Verdict, Why};
use crate::domain::id::Side::{A, B};
use crate::domain::link::Link;
use crate::domain::pending::pending;
use crate::domain::resolve::tests::vocabulary::{Play, account, at, path, to_b};
use crate::domain::time::Timestamp;

/// Two accounts in step; then `a` changes these.
fn edited(values: &[(&str, &str)]) -> Play {
    let names = ["active", "emails", "groups", "native.group", "roles", "title", "userName"];
    let before: Vec<_> = names.iter().map(|name| (*name, "old")).collect();
    let mut play = Play::in_sync(to_b(&names), &before);
    play.see(A, at(30.0, 35.0), values);
    play
}

fn exposed(play: &Play) -> Vec<(Risk, String)> {
    let wanted = pending(&play.link, B, &play.rules).unwrap();
    let names = |exposure: &Exposure| exposure.paths.iter().map(|path| path.as_str()).collect::<Vec<_>>().join(" ");
    exposures(&play.link, B, &wanted, &play.rules).iter().map(|exposure| (exposure.risk, names(exposure))).collect()
}

fn leaver() -> Play {
    let mut play = edited(&[("title", "Captain")]);
    let register = play.link.registers.get_mut(&path("title")).unwrap().clone();
    let off = Some(Value::Bool(false));
    play.link.registers.insert(path("active"), crate::domain::link::Register { value: off, ..register });
    play
}

/// R28, R39, B10: each kind of harm is read off the values, under the names of the side written.
#[test]
fn risks_are_read_off_the_values() {
    for (values, expected) in [
        (&[("title", "Captain")][..], vec![]),
        (&[("emails", "ada@x.example")], vec![(Risk::EmailChange, "emails")]),
        (
            &[("userName", "-"), ("title", "-")],
            vec![(Risk::EmailChange, "userName"), (Risk::MassClear, "title userName")],
        ),
        (
            &[("roles", "admin"), ("groups", "staff"), ("native.group", "7")],
            vec![(Risk::RoleElevation, "groups native.group roles")],
        ),
    ] {
        let expected: Vec<_> = expected.into_iter().map(|(risk, names)| (risk, names.to_owned())).collect();
        assert_eq!(exposed(&edited(values)), expected, "{values:?}");
    }
    assert_eq!(exposed(&leaver()), [(Risk::Deactivate, "active".to_owned())]);
    let mut renamed = edited(&[("title", "ada")]);
    renamed.rules.attributes.get_mut(&path("title")).unwrap().names[B] = path("userName");
    assert_eq!(exposed(&renamed), [(Risk::EmailChange, "title".to_owned())]);
    let mut alone = edited(&[("emails", "ada@x.example")]);
    alone.link.sides.b = Default::default();
    assert_eq!(exposed(&alone), [(Risk::Create, String::new())]);
}

/// Where a write carries everything, only what changes is counted.
#[test]
fn what_is_there_already_does_no_harm() {
    let mut play = edited(&[("title", "Captain")]);
    play.rules.whole[B] = true;
    assert_eq!(pending(&play.link, B, &play.rules).unwrap().values.len(), 7);
    assert_eq!(exposed(&play), []);
}

fn approve(link: &mut Link, name: &str) {
    let ruling = Ruling { verdict: Verdict::Approved, by: "ada@host".to_owned(), at: Timestamp(0) };
    let stop = Stop { ruling: Some(ruling), ..Stop::new(Why::OverBudget, Risk::EmailChange, Timestamp(0)) };
    link.registers.get_mut(&path(name)).unwrap().hold = Some(Hold::Stopped(stop));
}

/// What a person let pass is not asked about again, unless the account is protected.
#[test]
fn protection_stands_above_approval() {
    let mut play = edited(&[("emails", "ada@x.example")]);
    approve(&mut play.link, "emails");
    assert_eq!(exposed(&play), []);
    play.rules.protected.accounts[A].insert(account(A));
    assert!(is_protected(&play.link, &play.rules));
    assert_eq!(exposed(&play), [(Risk::EmailChange, "emails".to_owned())]);
}

/// Accounts are protected by their ids, by a condition, and by what they are called today, however it is written.
#[test]
fn accounts_are_protected_by_id_and_by_name() {
    type Protect = fn(&mut Play);
    let ways: [(&str, Protect, bool); 6] = [
        ("nobody", |_| {}, false),
        ("id of b", |play| play.rules.protected.accounts[B] = [account(B)].into(), true),
        ("id of the other side", |play| play.rules.protected.accounts[A] = [account(B)].into(), false),
        ("what b is called", |play| play.rules.protected.names.push("old".to_owned()), true),
        ("what a is called", |play| play.rules.protected.names.push("ada@x.example".to_owned()), true),
        ("a condition", |play| play.link.sides.a.protected = true, true),
    ];
    for (way, protect, expected) in ways {
        let mut play = edited(&[("emails", "ada@x.example")]);
        protect(&mut play);
        assert_eq!(is_protected(&play.link, &play.rules), expected, "{way}");
    }
}

/// B10: the same write is the same act however often it is tried, and another value another one.
#[test]
fn an_act_is_one_value_of_one_account() {
    let act = |play: &Play| {
        let wanted = pending(&play.link, B, &play.rules).unwrap();
        exposures(&play.link, B, &wanted, &play.rules)[0].act(&play.link, &wanted)
    };
    let mut play = edited(&[("emails", "ada@x.example")]);
    let first = act(&play);
    play.see(A, at(40.0, 45.0), &[("emails", "ada@x.example"), ("title", "Captain")]);
    assert_eq!(act(&play), first, "another attribute");
    play.see(A, at(50.0, 55.0), &[("emails", "ada@y.example")]);
    assert_ne!(act(&play), first);
}
