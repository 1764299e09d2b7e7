use proptest::prelude::*;

use super::*;

const POLICY: fn() -> Policy = Policy::default;

fn at(seconds: i64) -> Timestamp {
    Timestamp(1_000_000 + seconds * 1_000)
}

fn symptom(class: FailureClass, status: Option<u16>) -> Symptom {
    Symptom { class, code: Code::known("server_error"), status }
}

fn told(well: u32, failed: u32, status: Option<u16>) -> Report {
    let unanswered = if status.is_none() { failed } else { 0 };
    let symptom = (failed > 0).then(|| symptom(FailureClass::Transient, status));
    Report { counts: Counts { well, failed, unanswered }, symptom, ..Report::default() }
}

fn unauthorised() -> Report {
    Report { symptom: Some(symptom(FailureClass::Unauthorised, Some(401))), ..told(0, 1, Some(401)) }
}

fn after(reports: &[(i64, Report)]) -> Circuit {
    reports.iter().fold(Circuit::default(), |circuit, (seconds, report)| circuit.after(report, at(*seconds), &POLICY()))
}

fn why(circuit: &Circuit) -> Option<Why> {
    circuit.open.as_ref().map(|open| open.why)
}

/// Open since second 0 for this reason.
fn open(why: Why) -> Circuit {
    let circuit = match why {
        Why::Unauthorised => after(&[(0, unauthorised())]),
        Why::Failing => after(&[(0, told(0, 10, Some(500)))]),
        Why::Unanswered => after(&[(0, told(0, 3, None))]),
    };
    assert_eq!(circuit.open.as_ref().map(|open| open.why), Some(why));
    circuit
}

fn probed(circuit: &Circuit, seconds: i64, result: Report) -> Circuit {
    let token = Token(7);
    let taken = circuit.take_probe(token, at(seconds), Duration::from_secs(12)).expect("a probe is due");
    taken.after(&Report { probe: Some(token), ..result }, at(seconds), &POLICY())
}

#[test]
fn many_failures_of_a_minute_open_it_and_few_do_not() {
    for (reports, expected) in [
        (vec![(0, told(6, 4, Some(500)))], Some(Why::Failing)),
        (vec![(0, told(7, 4, Some(500)))], None),
        (vec![(0, told(0, 9, Some(500)))], None),
        (vec![(0, told(0, 5, Some(500))), (30, told(0, 5, Some(500)))], Some(Why::Failing)),
        (vec![(0, told(0, 5, Some(500))), (61, told(0, 5, Some(500)))], None),
        (vec![(0, told(0, 5, Some(500))), (30, told(9, 0, None)), (40, told(0, 1, Some(500)))], Some(Why::Failing)),
        (vec![(0, told(0, 5, Some(500))), (30, told(10, 0, None)), (40, told(0, 1, Some(500)))], None),
    ] {
        assert_eq!(why(&after(&reports)), expected, "{reports:?}");
    }
}

#[test]
fn nothing_but_time_outs_in_a_row_open_it() {
    for (reports, expected) in [
        (vec![(0, told(0, 2, None))], None),
        (vec![(0, told(0, 2, None)), (40, told(0, 1, None))], Some(Why::Unanswered)),
        (vec![(0, told(0, 2, None)), (61, told(0, 1, None))], None),
        (vec![(0, told(50, 1, None)), (5, told(0, 3, None))], Some(Why::Unanswered)),
        (vec![(0, told(50, 1, None)), (5, told(0, 2, None)), (6, told(1, 0, None)), (7, told(0, 2, None))], None),
        (vec![(0, told(50, 9, None))], None),
        (vec![(0, told(1, 2, None)), (5, told(0, 2, Some(500))), (6, told(0, 2, None))], None),
    ] {
        assert_eq!(why(&after(&reports)), expected, "{reports:?}");
    }
}

#[test]
fn a_refused_credential_opens_it_at_once() {
    assert_eq!(why(&after(&[(0, told(50, 0, None)), (1, unauthorised())])), Some(Why::Unauthorised));
    let failing = open(Why::Failing).after(&unauthorised(), at(1), &POLICY());
    assert_eq!(why(&failing), Some(Why::Unauthorised), "what a person has to mend comes first");
    assert_eq!(failing.open.map(|open| (open.since, open.probe_at)), Some((at(0), at(31))));
}

/// An outage makes no letter, however few commands there are.
#[test]
fn the_last_attempt_of_a_lone_command_opens_it() {
    let last = |report: Report| Report { is_last: true, ..report };
    assert_eq!(why(&after(&[(0, last(told(0, 1, Some(500))))])), Some(Why::Failing));
    let others_go_well = after(&[(0, told(2, 0, None)), (1, last(told(0, 1, Some(500))))]);
    assert_eq!(why(&others_go_well), None);
    assert!(!others_go_well.spares(8, 8, &POLICY()), "it is the account");
}

#[test]
fn a_command_is_spared_while_others_fail_as_well() {
    let ill = after(&[(0, told(3, 2, Some(500)))]);
    assert_eq!(why(&ill), None);
    for (attempt, spared) in [(8, true), (15, true), (16, false)] {
        assert_eq!(ill.spares(attempt, 8, &POLICY()), spared, "attempt {attempt}");
    }
    assert!(open(Why::Unanswered).spares(100, 8, &POLICY()), "nobody is given up while nobody is called");
    assert!(!Circuit::default().spares(8, 8, &POLICY()));
}

#[test]
fn one_probe_at_a_time_ever_more_seldom() {
    let mut circuit = open(Why::Failing);
    let mut seconds = 0;
    for wait in [5, 10, 20, 40, 60, 60] {
        assert!(matches!(circuit.admission(at(seconds + wait - 1)), Admission::Wait(_)));
        seconds += wait;
        assert_eq!(circuit.admission(at(seconds)), Admission::Probe, "after {wait} s");
        let taken = circuit.take_probe(Token(1), at(seconds), Duration::from_secs(12)).unwrap();
        assert_eq!(taken.take_probe(Token(2), at(seconds), Duration::from_secs(12)), None, "another is under way");
        circuit = probed(&circuit, seconds, told(0, 1, Some(503)));
    }
    assert_eq!(circuit.open.as_ref().map(|open| (open.probes, open.since)), Some((6, at(0))));
    assert_eq!(why(&probed(&circuit, seconds + 60, told(1, 0, None))), None);
}

/// A writer killed in the middle of a probe.
#[test]
fn a_probe_that_nobody_tells_of_is_made_again() {
    let taken = open(Why::Unanswered).take_probe(Token(1), at(5), Duration::from_secs(12)).unwrap();
    assert!(matches!(taken.admission(at(16)), Admission::Wait(_)));
    assert_eq!(taken.admission(at(17)), Admission::Probe);
    let again = taken.take_probe(Token(2), at(17), Duration::from_secs(12)).unwrap();
    let late = Report { probe: Some(Token(1)), ..told(0, 1, None) };
    assert_eq!(again.after(&late, at(18), &POLICY()).open.unwrap().probe.unwrap().token, Token(2), "too late");
}

#[test]
fn what_was_under_way_when_it_opened_does_not_close_it() {
    let circuit = open(Why::Failing);
    assert_eq!(circuit.after(&told(20, 0, None), at(1), &POLICY()), circuit);
}

#[test]
fn after_it_closed_it_takes_as_much_as_ever_to_open_it() {
    let closed = probed(&open(Why::Failing), 5, told(1, 0, None));
    assert_eq!(why(&closed.after(&told(0, 8, Some(500)), at(6), &POLICY())), None);
    assert_eq!(why(&closed.after(&told(0, 9, Some(500)), at(6), &POLICY())), Some(Why::Failing));
    assert_eq!(why(&open(Why::Unauthorised).closed(at(1))), None, "a person says so");
}

#[test]
fn whoever_has_nothing_else_to_do_leaves_the_probe_to_work_that_waits() {
    for (why, seconds) in [(Why::Unauthorised, 30), (Why::Failing, 45), (Why::Unanswered, 45)] {
        let circuit = open(why);
        assert!(!circuit.is_probe_overdue(at(seconds - 1), &POLICY()), "{why:?}");
        assert!(circuit.is_probe_overdue(at(seconds), &POLICY()), "{why:?}");
    }
}

#[test]
fn only_what_speaks_against_the_system_counts() {
    let failure = |class, code, status| Failure { status, ..Failure::new(class, Code::known(code), "it went wrong") };
    for (class, code, status, expected) in [
        (FailureClass::Permanent, "email_exists", Some(409), "well"),
        (FailureClass::Busy, "logged_in", None, "well"),
        (FailureClass::Throttled, "throttled", Some(429), "nothing"),
        (FailureClass::Transient, "precondition_failed", Some(412), "well"),
        (FailureClass::Transient, "not_sent", None, "nothing"),
        (FailureClass::Transient, "server_error", Some(500), "ill"),
        (FailureClass::Transient, "timeout", Some(408), "ill"),
        (FailureClass::Transient, "html_answer", Some(200), "ill"),
        (FailureClass::Transient, "timeout", None, "ill"),
        (FailureClass::Unauthorised, "unauthorised", Some(401), "ill"),
    ] {
        let fared = match Fared::from(&failure(class, code, status)) {
            Fared::Well => "well",
            Fared::Nothing => "nothing",
            Fared::Ill(_) => "ill",
        };
        assert_eq!(fared, expected, "{class} {code} {status:?}");
    }
}

#[test]
fn a_report_names_the_refused_credential_before_all_else() {
    let mut report = Report::default();
    for (class, status) in
        [(FailureClass::Transient, None), (FailureClass::Unauthorised, Some(401)), (FailureClass::Transient, Some(500))]
    {
        report.add(&Fared::Ill(symptom(class, status)));
    }
    report.add(&Fared::Well);
    report.add(&Fared::Nothing);
    assert_eq!(report.counts, Counts { well: 1, failed: 3, unanswered: 1 });
    assert_eq!(report.symptom.map(|symptom| symptom.class), Some(FailureClass::Unauthorised));
}

fn reports() -> impl Strategy<Value = Vec<(u8, u8, u8, u8)>> {
    prop::collection::vec((0..4_u8, 0..5_u8, 0..5_u8, 0..20_u8), 1..60)
}

proptest! {
    /// Whatever is told in whatever order: what is kept stays small, an open circuit lets one probe pass at a time and always
    /// lets one pass at last, what goes well never opens one, and each change has a revision of its own.
    #[test]
    fn laws(reports in reports()) {
        let policy = POLICY();
        let (mut circuit, mut now) = (Circuit::default(), at(0));
        for (kind, well, failed, seconds) in reports {
            now = now + Duration::from_secs(u64::from(seconds));
            let before = circuit.clone();
            let (well, failed) = (u32::from(well), u32::from(failed));
            let report = match kind {
                0 => told(well, failed, Some(500)),
                1 => told(well, failed, None),
                2 => unauthorised(),
                _ => told(well, 0, None),
            };
            let token = Token(u64::from(seconds));
            circuit = match circuit.take_probe(token, now, Duration::from_secs(12)) {
                Some(taken) => {
                    prop_assert_eq!(taken.take_probe(Token(99), now, Duration::from_secs(12)), None);
                    let after = taken.after(&Report { probe: Some(token), ..report.clone() }, now, &policy);
                    prop_assert_eq!(after.open.is_none(), report.counts.failed == 0 && report.counts.well > 0);
                    after
                }
                None => circuit.after(&report, now, &policy),
            };
            prop_assert!(circuit.revision >= before.revision);
            prop_assert!(circuit == before || circuit.revision > before.revision);
            prop_assert!(circuit.slices.len() <= SLICES as usize + 1);
            if before.open.is_none() && report.symptom.is_none() {
                prop_assert!(circuit.open.is_none());
            }
            if let Admission::Wait(wait) = circuit.admission(now) {
                prop_assert!(wait >= WAITS.0 && wait <= WAITS.1);
            }
            let later = now + policy.waits_unauthorised.1.max(policy.left_to_work);
            prop_assert!(!matches!(circuit.admission(later), Admission::Wait(_)));
        }
    }
}
