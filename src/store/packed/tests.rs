use proptest::prelude::*;

use super::*;
use crate::domain::guard::Risk;
use crate::domain::hold::{Ruling, Verdict, Why};
use crate::domain::link::Left;
use crate::domain::rules::Departure;
use crate::domain::{Code, Token};

fn versions() -> impl Strategy<Value = Version> {
    (proptest::option::of(0_i64..3), 0_i64..3, proptest::option::of("[a-z\"]{0,4}")).prop_map(|(m, r, tag)| Version {
        modified_at: m.map(Timestamp),
        read_at: Timestamp(r),
        tag: tag.map(String::into_boxed_str),
    })
}

fn paths() -> impl Strategy<Value = AttributePath> {
    prop_oneof![
        (0..SHORT.len()).prop_map(|place| SHORT[place].parse().unwrap()),
        "[a-z][a-z0-9.:]{0,8}".prop_map(|text| text.parse().unwrap())
    ]
}

fn values() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<String>().prop_map(Value::Text),
        proptest::collection::btree_set(any::<String>(), 0..3).prop_map(Value::Set),
        "[a-zA-Z0-9]{1,18}".prop_map(|id| Value::Reference { account: id.parse().unwrap() }),
    ]
}

fn stops() -> impl Strategy<Value = Stop> {
    (any::<bool>(), 0..=Risk::ALL.len(), 0_i64..3, proptest::option::of(any::<bool>())).prop_map(
        |(protected, risk, since, approved)| Stop {
            why: if protected { Why::Protected } else { Why::OverBudget },
            risk: Risk::ALL.get(risk).copied(),
            since: Timestamp(since),
            ruling: approved.map(|approved| Ruling {
                verdict: if approved { Verdict::Approved } else { Verdict::Rejected },
                by: "ada@host".to_owned(),
                at: Timestamp(8),
            }),
        },
    )
}

fn deferrals() -> impl Strategy<Value = Deferral> {
    (0_i64..3, "[a-z_]{1,9}").prop_map(|(since, code)| Deferral { since: Timestamp(since), code: Code::vendor(&code) })
}

fn sides() -> impl Strategy<Value = SideState> {
    let digests = prop_oneof![Just(u64::MAX), Just(0), any::<u64>()].prop_map(Digest);
    let intents = (any::<u64>(), paths(), digests.clone(), any::<u32>(), proptest::option::of(versions())).prop_map(
        |(token, path, digest, generation, conditioned_on)| Intent {
            begun_at: Timestamp(3),
            token: Token(token),
            writes: [(path.clone(), (digest, generation))].into(),
            texts: [(path, "Anna".into())].into(),
            conditioned_on,
            over_at: Timestamp(5),
            until: Timestamp(6),
        },
    );
    (
        proptest::option::of("[a-zA-Z0-9\"]{1,18}".prop_map(|id| id.parse().unwrap())),
        proptest::collection::btree_map(paths(), digests.clone(), 0..6),
        proptest::option::of(versions()),
        proptest::collection::vec(intents, 0..2),
        proptest::option::of(any::<u64>().prop_map(|token| Lease { token: Token(token), until: Timestamp(9) })),
        proptest::option::of(digests.prop_map(|pending| Burial { pending, code: "email_exists".to_owned() })),
        any::<bool>(),
        proptest::option::of((1_u8..3).prop_map(|proofs| Absence { proofs, last_at: Timestamp(7) })),
        any::<bool>(),
        proptest::option::of(last_write::tests::last_writes()),
        // A tuple of strategies has twelve places.
        (proptest::option::of(stops()), proptest::option::of(deferrals())),
        (
            any::<bool>(),
            proptest::option::of(partings()),
            proptest::collection::btree_map(paths(), proptest::option::of(values()), 0..3),
        ),
    )
        .prop_map(
            |(
                account,
                seen,
                seen_at,
                intents,
                lease,
                dead,
                out_of_scope,
                absence,
                partial,
                last_write,
                (stop, deferral),
                (protected, parting, before),
            )| {
                SideState {
                    account,
                    seen,
                    seen_at,
                    intents,
                    lease,
                    dead,
                    out_of_scope,
                    absence,
                    partial,
                    last_write,
                    stop,
                    protected,
                    parting: parting.map(Box::new),
                    deferral,
                    before,
                }
            },
        )
}

fn partings() -> impl Strategy<Value = Parting> {
    let how = prop_oneof![Just(Departure::Detach), Just(Departure::Remove), Just(Departure::Delete)];
    let why = prop_oneof![Just(Left::Inactive), Just(Left::Gone)];
    let over_at = proptest::option::of(any::<i64>().prop_map(Timestamp));
    ("[a-z0-9]{1,18}", how, why, any::<i64>(), any::<bool>(), over_at).prop_map(
        |(id, how, why, at, was_gone, over_at)| Parting {
            account: id.parse().unwrap(),
            how,
            why,
            at: Timestamp(at),
            run: "r1".parse().unwrap(),
            was_gone,
            over_at,
        },
    )
}

fn holds() -> impl Strategy<Value = Option<Hold>> {
    let base_lost = Just(Hold::BaseLost { other: Some(Value::from("other")) });
    proptest::option::of(prop_oneof![base_lost, stops().prop_map(Hold::Stopped)])
}

fn links() -> impl Strategy<Value = Link> {
    let registers =
        (proptest::option::of(values()), versions(), any::<bool>(), 1_u32..4, (0_u32..4, 0_u32..4), holds()).prop_map(
            |(value, at, b, generation, (a, applied_b), hold)| Register {
                value,
                at,
                by: if b { Side::B } else { Side::A },
                generation,
                applied: Sides { a, b: applied_b },
                hold,
            },
        );
    let registers = proptest::collection::btree_map(paths(), registers, 0..6);
    let pin = any::<bool>().prop_map(|b| Pin {
        side: if b { Side::B } else { Side::A },
        by: "ada@host".to_owned(),
        at: Timestamp(3),
    });
    let pins = proptest::collection::btree_map(paths(), pin, 0..2);
    let turn =
        any::<(bool, u64)>().prop_map(|(counts, digest)| Turn { at: Timestamp(4), replaced: Digest(digest), counts });
    let turns = proptest::collection::btree_map(paths(), proptest::collection::vec(turn, 1..3), 0..2);
    (any::<u64>(), any::<u64>(), sides(), sides(), registers, pins, turns).prop_map(
        |(id, epoch, a, b, registers, pins, turns)| Link {
            id: LinkId(id),
            revision: 7,
            epoch: Epoch(epoch),
            origin: Origin::Rebuilt,
            sides: Sides { a, b },
            registers,
            pins,
            turns,
            ambiguity: (id % 3 == 0).then(|| {
                Box::new(Ambiguity {
                    key: "emails".to_owned(),
                    candidates: vec!["b1".parse().unwrap()],
                    rivals: Vec::new(),
                })
            }),
        },
    )
}

proptest! {
    #[test]
    fn every_link_is_read_back(link in links()) {
        prop_assert_eq!(unpack(link.id, pack(&link, 7).as_bytes()), Ok(link));
    }
}

/// A link that version 0.1 stored, before it kept what a system said to the last write.
#[test]
fn a_link_without_a_last_write_is_still_read() {
    let stored = concat!(
        r#"4:["0000000000000007","f",[{"a":"ada","t":0},{"a":"b1","t":1,"d":{"p":9,"c":"email_exists"}}],"#,
        r#"[[1000,3000],[2000,4000,"W/1"]],[[8,"KAAAAAAAAAAUAAAAAAAAAA",0,1,"Captain"]]]"#
    );
    let link = unpack(LinkId(1), stored.as_bytes()).unwrap();
    assert_eq!((link.revision, &link.sides.b.last_write, link.registers.len()), (4, &None, 1));
    assert_eq!(pack(&link, 4), stored);
}

#[test]
fn what_cannot_be_read_is_an_error_without_values() {
    let stored = pack(&Link::new(LinkId(1), Epoch(2), Origin::FirstMatch, Side::A, "ada".parse().unwrap()), 3);
    for broken in [stored.replace("3:", "x:"), stored.replace('[', "{"), stored.replace(r#""f""#, r#""ada""#)] {
        let error = unpack(LinkId(1), broken.as_bytes()).unwrap_err();
        assert!(!error.to_string().contains("ada"), "{error}");
    }
}
