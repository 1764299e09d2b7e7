use super::*;
use crate::domain::resolve::tests::vocabulary::{at, path, snapshot, to_b, two_way};
use crate::domain::rules::Occasion;

fn key(paths: &[&str]) -> MatchKey {
    MatchKey::new(paths.iter().map(|name| path(name)).collect()).unwrap()
}

/// Accounts named `<side><number>`, each with what it has of each key; `-` is nothing, `!` in front says that the account
/// may not be used.
fn candidates(side: &str, prints: &[&str], wishes: bool) -> Vec<Candidate> {
    let candidate = |(number, text): (usize, &&str)| {
        let active = !text.starts_with('!');
        let print = |word: &str| (word != "-").then(|| word.bytes().fold(0, |sum, byte| sum * 256 + u128::from(byte)));
        Candidate {
            account: format!("{side}{number}").parse().unwrap(),
            active,
            wishes: wishes && active,
            marked: false,
            prints: text.trim_start_matches('!').split(' ').map(print).collect(),
            whole: 0,
        }
    };
    prints.iter().enumerate().map(candidate).collect()
}

/// What becomes of accounts, as `a0=b1/0` for a pair by key 0, `a0,a1?b0/0` for what is ambiguous, then who is alone.
#[track_caller]
fn check(a: &[&str], b: &[&str], wish: (bool, bool), expected: &str) {
    let (a, b) = (candidates("a", a, wish.0), candidates("b", b, wish.1));
    let keys = a.iter().chain(&b).map(|candidate| candidate.prints.len()).max().unwrap_or_default();
    let joined = join(Sides { a: &a, b: &b }, keys);
    let list = |side: &str, places: &[usize]| {
        places.iter().map(|place| format!("{side}{place}")).collect::<Vec<_>>().join(",")
    };
    let mut told: Vec<String> =
        joined.pairs.iter().map(|pair| format!("a{}=b{}/{}", pair.places.a, pair.places.b, pair.key)).collect();
    let shared = |group: &Group| format!("{}?{}/{}", list("a", &group.places.a), list("b", &group.places.b), group.key);
    told.extend(joined.ambiguous.iter().map(shared));
    told.push(format!("{}|{}", list("a", &joined.alone.a), list("b", &joined.alone.b)));
    assert_eq!(told.join(" "), expected);
}

/// Keys are tried in order, and the first by which an account finds anybody decides.
#[test]
fn the_surest_key_decides() {
    let both = (true, true);
    check(&["x"], &["x"], both, "a0=b0/0 |");
    check(&["x", "y"], &["y", "z"], both, "a1=b0/0 a0|b1");
    check(&["- m", "x m"], &["x m", "- m"], both, "a1=b0/0 a0=b1/1 |");
    // Two of one side, or of both, have the value: nobody can tell, and a later key is not asked.
    check(&["x m", "x n"], &["x m"], both, "a0,a1?b0/0 |");
    check(&["x"], &["x", "x"], both, "a0?b0,b1/0 |");
    check(&["x", "x"], &["x", "x"], both, "a0,a1?b0,b1/0 |");
    // Two of one side that nobody on the other one has anything in common with are no question.
    check(&["x", "x"], &["y"], both, "a0,a1|b0");
    check(&["-"], &["-"], both, "a0|b0");
}

/// Who may not be used is taken only where nobody else has the value, and brings nobody a partner by itself.
#[test]
fn who_left_is_nobodys_rival() {
    let one_way = (true, false);
    check(&["x", "!x"], &["x"], one_way, "a0=b0/0 a1|");
    check(&["x"], &["!x", "x"], one_way, "a0=b1/0 |b0");
    check(&["x"], &["!x"], one_way, "a0=b0/0 |");
    check(&["x"], &["!x", "!x"], one_way, "a0?b0,b1/0 |");
    check(&["!x"], &["x"], one_way, "a0|b0");
    check(&["!x"], &["x"], (true, true), "a0=b0/0 |");
    check(&["!x"], &["!x"], (true, true), "a0|b0");
}

/// R13: letter case and space do not count in an e-mail address, whatever the two systems make of it.
#[test]
fn a_key_is_compared_as_people_would() {
    let rules = to_b(&["emails", "name", "number"]);
    let print = |names: &[&str], values: &[(&str, &str)]| {
        let seen = snapshot(Side::A, at(1.0, 3.0), values);
        key(names).print(&rules.inbound(Side::A, &seen), &rules)
    };
    let email = |text| print(&["emails"], &[("emails", text)]);
    assert_eq!(email("Ada@X.example "), email("ada@x.example"));
    assert_ne!(email("ada@x.example"), email("ada@y.example"));
    assert_eq!((email(" "), print(&["emails"], &[])), (None, None));
    let name = |text| print(&["name"], &[("name", text)]);
    assert_eq!(name("Ada "), name("Ada"));
    assert_ne!(name("ADA"), name("Ada"), "neither system says that case makes no difference");
    let both = |name, number| print(&["name", "number"], &[("name", name), ("number", number)]);
    assert_eq!(both("Ada", "1"), both("Ada", "1"));
    assert_ne!(both("Ada", "1"), both("Ada", "2"));
    assert_ne!(both("Ada1", "2"), both("Ada", "12"), "where one ends and the next begins counts");
    assert_eq!(print(&["name", "number"], &[("name", "Ada")]), None, "all of a key have to be there");
    assert_eq!(key(&["name", "number"]).to_string(), "name + number");
}

/// What becomes of differing values at a first match, and by which rule.
#[test]
fn differing_values_are_decided_by_the_rules() {
    let mut rules = two_way(Side::A, &["default", "owned", "filled", "same", "once"]);
    let rule = |rules: &mut Rules, name: &str, edit: &dyn Fn(&mut AttributeRule)| {
        edit(rules.attributes.get_mut(&path(name)).unwrap());
    };
    rule(&mut rules, "owned", &|rule| rule.policy = Policy::DefaultSystem(Side::B));
    rule(&mut rules, "once", &|rule| rule.occasion = Occasion::Create);
    let mut a = snapshot(Side::A, at(1.0, 9.0), &[("default", "1"), ("owned", "1"), ("same", "1"), ("once", "1")]);
    a.attributes.insert(path("filled"), None);
    let b = snapshot(
        Side::B,
        at(1.0, 9.0),
        &[("default", "2"), ("owned", "2"), ("filled", "2"), ("same", "1"), ("once", "2")],
    );
    let told = |rules: &Rules| {
        let found = differences(Sides { a: &a, b: &b }, rules, Timestamp(10_000));
        let told = found.iter().map(|difference| {
            let wins = difference.wins.map_or("-", Side::as_str);
            format!("{} {wins} {}", difference.path, difference.rule.as_str())
        });
        told.collect::<Vec<_>>()
    };
    assert_eq!(told(&rules), ["default a default_system", "filled b filled", "once - not_written", "owned b owner"]);
    let one_way = to_b(&["default", "same"]);
    assert_eq!(told(&one_way), ["default a one_way"]);
    let mut later = two_way(Side::A, &["default"]);
    rule(&mut later, "default", &|rule| rule.policy = Policy::LastWrite { default: Side::A, a_ahead_ms: 0 });
    assert_eq!(told(&later), ["default a last_write"]);
    let of = |side, seen: &Snapshot| whole(&rules.inbound(side, seen), &rules);
    assert_ne!(of(Side::A, &a), of(Side::B, &b));
    assert_eq!(of(Side::A, &a), of(Side::B, &a), "the same values are the same on either side");
}
