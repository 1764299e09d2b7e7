use jiff::civil::time;
use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

fn daily(hour: i8, minute: i8, zone: &str) -> Schedule {
    Schedule::Daily { at: time(hour, minute, 0, 0), zone: TimeZone::get(zone).unwrap() }
}

fn slots(schedule: &Schedule, from: &str, until: &str) -> Vec<String> {
    let until = at(until);
    let all = std::iter::successors(schedule.next(at(from)), |slot| schedule.next(*slot));
    all.take_while(|slot| *slot <= until).map(|slot| slot.to_string()).collect()
}

/// R65, B24: once a day on the days when clocks change, the time that does not exist and the one that comes twice included.
#[test]
fn a_daily_slot_comes_once_on_both_changes_of_clocks() {
    let paris = daily(2, 30, "Europe/Paris");
    // 02:00 becomes 03:00: the gap ends at 01:00 UTC.
    let spring = slots(&paris, "2026-03-28T00:00:00Z", "2026-03-30T23:00:00Z");
    assert_eq!(spring, ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
    // 03:00 becomes 02:00: 02:30 is 00:30 UTC, and an hour later again.
    let autumn = slots(&paris, "2026-10-23T23:00:00Z", "2026-10-26T23:00:00Z");
    assert_eq!(autumn, ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    let new_york = daily(2, 30, "America/New_York");
    let spring = slots(&new_york, "2026-03-07T00:00:00Z", "2026-03-09T23:00:00Z");
    assert_eq!(spring, ["2026-03-07T07:30:00Z", "2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"]);
    let twice = daily(1, 30, "America/New_York");
    let autumn = slots(&twice, "2026-10-31T00:00:00Z", "2026-11-02T23:00:00Z");
    assert_eq!(autumn, ["2026-10-31T05:30:00Z", "2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"]);
}

/// Beyond the changes that tables list, rules go on.
#[test]
fn a_gap_of_years_to_come_ends_where_the_rule_says() {
    let spring = slots(&daily(2, 30, "Europe/Paris"), "2051-03-25T12:00:00Z", "2051-03-26T12:00:00Z");
    assert_eq!(spring, ["2051-03-26T01:00:00Z"]);
}

/// Midnight that does not exist, half an hour that clocks move, a day that a country left out.
#[test]
fn unusual_zones_have_a_slot_a_day() {
    let beirut = slots(&daily(0, 0, "Asia/Beirut"), "2025-03-28T23:00:00Z", "2025-03-30T20:00:00Z");
    assert_eq!(beirut, ["2025-03-29T22:00:00Z"]);
    let howe = slots(&daily(2, 15, "Australia/Lord_Howe"), "2025-10-04T00:00:00Z", "2025-10-05T12:00:00Z");
    assert_eq!(howe, ["2025-10-04T15:30:00Z"]);
    // Samoa had no 30 December 2011: its slot is the beginning of the 31st.
    let apia = slots(&daily(9, 0, "Pacific/Apia"), "2011-12-29T00:00:00Z", "2011-12-31T00:00:00Z");
    assert_eq!(apia, ["2011-12-29T19:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T19:00:00Z"]);
}

/// B24: of three slots that nobody served, one run makes up.
#[test]
fn missed_slots_are_served_once() {
    let paris = daily(2, 30, "Europe/Paris");
    let served = at("2026-11-18T01:30:00Z");
    let due = |now| paris.due(served, at(now));
    assert_eq!(due("2026-11-19T01:29:59Z"), None);
    assert_eq!(due("2026-11-19T01:30:00Z"), Some(Slot { at: at("2026-11-19T01:30:00Z"), missed: 0 }));
    assert_eq!(due("2026-11-21T09:00:00Z"), Some(Slot { at: at("2026-11-21T01:30:00Z"), missed: 2 }));
    let every = Schedule::Every(Duration::from_secs(900));
    let due = |now| every.due(served, at(now));
    assert_eq!(due("2026-11-18T01:44:59Z"), None);
    assert_eq!(due("2026-11-18T02:16:00Z"), Some(Slot { at: at("2026-11-18T02:15:00Z"), missed: 2 }));
    assert_eq!(Schedule::Manual.due(Timestamp(0), served), None);
}

/// R64: switched on, or changed, a schedule misses nothing of the time before.
#[test]
fn a_new_schedule_misses_nothing_of_the_past() {
    let (now, long_ago) = (at("2026-11-21T09:00:00Z"), at("2026-09-01T00:00:00Z"));
    let (paris, every) = (daily(2, 30, "Europe/Paris"), Schedule::Every(Duration::from_secs(900)));
    let stored = |schedule: &Schedule| Timetable { rule: schedule.to_string(), since: long_ago, served: long_ago };
    for before in [None, Some(stored(&Schedule::Manual)), Some(stored(&daily(2, 30, "Europe/Berlin")))] {
        let renewed = |schedule| Timetable::renewed(schedule, before.as_ref(), now).unwrap();
        assert_eq!(paris.due(renewed(&paris).served, now), None, "after {before:?}");
        let due = every.due(renewed(&every).served, now);
        assert_eq!(due, Some(Slot { at: now, missed: 0 }), "after {before:?}");
    }
    assert_eq!(Timetable::renewed(&paris, Some(&stored(&paris)), now), None);
    assert_eq!(Timetable::renewed(&Schedule::Manual, Some(&stored(&Schedule::Manual)), now), None);
    // A store whose clock ran ahead, and was set right.
    let ahead = Timetable { served: now + 5 * LONGEST_DAY, ..stored(&paris) };
    assert_eq!(Timetable::renewed(&paris, Some(&ahead), now).unwrap().served, now);
}

#[test]
fn schedules_are_shown_as_they_are_written() {
    for (schedule, shown) in [
        (Schedule::Manual, "manual"),
        (Schedule::Every(Duration::from_secs(5_400)), "every 1h30m"),
        (daily(2, 5, "europe/paris"), "daily 02:05 Europe/Paris"),
    ] {
        assert_eq!(schedule.to_string(), shown);
    }
}

const ZONES: [&str; 5] = ["Europe/Paris", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "UTC"];

fn schedules() -> impl Strategy<Value = Schedule> {
    let daily = (0..24_i8, 0..60_i8, prop::sample::select(&ZONES[..])).prop_map(|(h, m, zone)| daily(h, m, zone));
    let every = (1..100_000_u64).prop_map(|seconds| Schedule::Every(Duration::from_secs(seconds)));
    prop_oneof![daily, every]
}

/// 2015 to 2045.
fn moments() -> impl Strategy<Value = Timestamp> {
    (1_420_070_400_000_i64..2_366_841_600_000).prop_map(Timestamp)
}

proptest! {
    /// B24: whoever looks, and whenever, each slot is served once: by a look after it and before the next.
    #[test]
    fn no_slot_is_missed_or_doubled(
        schedule in schedules(),
        start in moments(),
        pauses in prop::collection::vec(0..200_000_000_u64, 1..20),
    ) {
        let (mut served, mut now, mut counted) = (start, start, 0_u64);
        for pause in &pauses {
            now = now + Duration::from_millis(*pause);
            if let Some(slot) = schedule.due(served, now) {
                prop_assert!(served < slot.at && slot.at <= now);
                prop_assert!(schedule.next(slot.at).unwrap() > now, "the latest");
                counted += 1 + u64::from(slot.missed);
                served = slot.at;
            }
            prop_assert_eq!(schedule.due(served, now), None, "once");
        }
        let all = std::iter::successors(schedule.next(start), |slot| schedule.next(*slot)).take_while(|slot| *slot <= now);
        // Enough to count, few enough to go through.
        prop_assert_eq!(all.take(100_000).count() as u64, counted.min(100_000));
    }

    /// R65: one slot on every date of the calendar, whatever clocks do.
    #[test]
    fn a_year_has_a_slot_a_day(
        hour in 0..24_i8, minute in 0..60_i8, zone in prop::sample::select(&ZONES[..]), year in 2015..2045_i16,
    ) {
        let schedule = daily(hour, minute, zone);
        let begin = jiff::civil::date(year, 1, 1);
        let zone = TimeZone::get(zone).unwrap();
        let midnight = |date: Date| Timestamp(date.to_zoned(zone.clone()).unwrap().timestamp().as_millisecond());
        let (from, until) = (midnight(begin), midnight(jiff::civil::date(year + 1, 1, 1)));
        let before = Timestamp(from.0 - 1);
        let slots: Vec<_> = std::iter::successors(schedule.next(before), |slot| schedule.next(*slot))
            .take_while(|slot| *slot < until)
            .collect();
        prop_assert_eq!(slots.len(), if begin.in_leap_year() { 366 } else { 365 });
        for pair in slots.windows(2) {
            let hours = pair[1].since(pair[0]).as_secs_f64() / 3600.0;
            prop_assert!((22.9..=25.1).contains(&hours), "{} {}", pair[0], pair[1]);
        }
    }
}
