use super::{Rhythm, Timetable};
use jiff::Timestamp;
use proptest::prelude::*;
use types::{Kind, Millis};

fn cron(expression: &str, zone: &str) -> Timetable {
    let rhythm = Rhythm::Cron { expression: expression.to_owned(), zone: zone.to_owned() };
    Timetable { rhythm, start: None, end: None }
}

fn at(time: &str) -> Millis {
    Millis(time.parse::<Timestamp>().expect("a time").as_millisecond())
}

/// The next times after `after`, as they are in UTC.
fn next(timetable: &Timetable, after: &str, count: usize) -> Vec<String> {
    let (mut after, mut times) = (at(after), Vec::new());
    for _ in 0..count {
        let Some(due) = timetable.next_after(after, Millis(0)).expect("it is good") else { break };
        times.push(Timestamp::from_millisecond(due.0).expect("a time").to_string());
        after = due;
    }
    times
}

#[test]
fn fields_names_and_short_forms_are_understood() {
    let of = |expression| next(&cron(expression, "UTC"), "2026-03-13T10:07:30Z", 2).join(" ");
    assert_eq!(of("*/5 * * * *"), "2026-03-13T10:10:00Z 2026-03-13T10:15:00Z");
    assert_eq!(of("*/20 * * * * *"), "2026-03-13T10:07:40Z 2026-03-13T10:08:00Z");
    assert_eq!(of("0 9 * * MON-FRI"), "2026-03-16T09:00:00Z 2026-03-17T09:00:00Z");
    assert_eq!(of("0 0 13 * 5"), "2026-03-20T00:00:00Z 2026-03-27T00:00:00Z");
    assert_eq!(of("@hourly"), "2026-03-13T11:00:00Z 2026-03-13T12:00:00Z");
    assert_eq!(of("@weekly"), "2026-03-15T00:00:00Z 2026-03-22T00:00:00Z");
    assert_eq!(of("30 8 1 jan,jul *"), "2026-07-01T08:30:00Z 2027-01-01T08:30:00Z");
}

#[test]
fn months_end_where_they_do_and_years_leap() {
    let of = |expression| next(&cron(expression, "UTC"), "2027-01-30T12:00:00Z", 3).join(" ");
    assert_eq!(of("0 0 31 * *"), "2027-01-31T00:00:00Z 2027-03-31T00:00:00Z 2027-05-31T00:00:00Z");
    assert_eq!(of("0 0 L * *"), "2027-01-31T00:00:00Z 2027-02-28T00:00:00Z 2027-03-31T00:00:00Z");
    assert_eq!(of("0 0 29 2 *"), "2028-02-29T00:00:00Z 2032-02-29T00:00:00Z 2036-02-29T00:00:00Z");
    assert_eq!(
        of("0 0 * * FRI#L"),
        "2027-02-26T00:00:00Z 2027-03-26T00:00:00Z 2027-04-30T00:00:00Z"
    );
}

#[test]
fn a_time_of_day_that_a_clock_leaves_out_is_due_behind_the_gap() {
    // 2026-03-29: 02:00 becomes 03:00 in Berlin, at 01:00 UTC.
    let berlin = cron("30 2 * * *", "Europe/Berlin");
    let times = next(&berlin, "2026-03-27T12:00:00Z", 3);
    assert_eq!(times, ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
    let hourly = cron("0 * * * *", "Europe/Berlin");
    let times = next(&hourly, "2026-03-28T23:30:00Z", 3);
    assert_eq!(times, ["2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"]);
}

#[test]
fn a_time_of_day_that_a_clock_has_twice_is_due_once_and_what_is_hourly_goes_on() {
    // 2026-10-25: 03:00 becomes 02:00 in Berlin, at 01:00 UTC.
    let berlin = cron("30 2 * * *", "Europe/Berlin");
    let times = next(&berlin, "2026-10-24T12:00:00Z", 2);
    assert_eq!(times, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    let half_hourly = cron("*/30 * * * *", "Europe/Berlin");
    let times = next(&half_hourly, "2026-10-24T23:45:00Z", 6);
    let wanted = ["00:00", "00:30", "01:00", "01:30", "02:00", "02:30"];
    assert_eq!(times, wanted.map(|time| format!("2026-10-25T{time}:00Z")));
}

#[test]
fn an_interval_counts_from_its_start_whenever_it_is_asked() {
    let every = |ms, start, end| Timetable { rhythm: Rhythm::Every(Millis(ms)), start, end };
    let plain = every(1_500, None, None);
    assert_eq!(plain.next_after(Millis(100), Millis(100)), Ok(Some(Millis(1_600))));
    assert_eq!(plain.next_after(Millis(1_599), Millis(100)), Ok(Some(Millis(1_600))));
    assert_eq!(plain.next_after(Millis(1_600), Millis(100)), Ok(Some(Millis(3_100))));
    let later = every(1_000, Some(Millis(5_000)), Some(Millis(6_500)));
    assert_eq!(later.next_after(Millis(7), Millis(7)), Ok(Some(Millis(5_000))));
    assert_eq!(later.next_after(Millis(5_000), Millis(7)), Ok(Some(Millis(6_000))));
    assert_eq!(later.next_after(Millis(6_000), Millis(7)), Ok(None));
    assert_eq!(plain.next_after(Millis(i64::MAX), Millis(i64::MIN)), Ok(None));
}

#[test]
fn a_start_and_an_end_may_be_due_themselves() {
    let hourly = cron("@hourly", "UTC");
    let within = Timetable {
        start: Some(at("2026-05-01T00:00:00Z")),
        end: Some(at("2026-05-01T02:00:00Z")),
        ..hourly
    };
    let times = next(&within, "2026-01-01T00:00:00Z", 9);
    assert_eq!(times, ["2026-05-01T00:00:00Z", "2026-05-01T01:00:00Z", "2026-05-01T02:00:00Z"]);
}

#[test]
fn what_is_never_due_is_due_no_more_and_what_is_wrong_is_told() {
    assert_eq!(cron("0 0 30 2 *", "UTC").next_after(Millis(0), Millis(0)), Ok(None));
    let why = |expression: &str, zone: &str| {
        let error = cron(expression, zone).check().expect_err("it is wrong");
        assert_eq!(error.kind, Kind::Invalid);
        error.message
    };
    assert!(why("* * * *", "UTC").contains("'* * * *' is no cron expression"));
    assert!(why("61 * * * *", "UTC").contains("is no cron expression"));
    assert!(why("* * * * * * 2027", "UTC").contains("5 or 6 fields"));
    assert!(why("@often", "UTC").contains("is no cron expression"));
    assert!(why("* * * * *", "Europe/Atlantis").contains("no time zone 'Europe/Atlantis'"));
    let every = Timetable { rhythm: Rhythm::Every(Millis(999)), start: None, end: None };
    assert!(every.check().expect_err("too short").message.contains("at least 1000 ms"));
}

proptest! {
    #[test]
    fn whatever_is_given_neither_panics_nor_goes_back(
        expression in "[@0-9A-Za-z*/,#?+\u{e4} -]{0,40}",
        zone in prop_oneof![Just("UTC"), Just("Europe/Berlin"), Just("Australia/Lord_Howe"), Just("Pacific/Apia")],
        after in prop_oneof![any::<i64>(), 0..4_000_000_000_000i64],
    ) {
        let timetable = cron(&expression, zone);
        if let Ok(Some(due)) = timetable.next_after(Millis(after), Millis(0)) {
            prop_assert!(due > Millis(after));
        }
    }

    #[test]
    fn what_is_good_goes_forward_and_asks_the_same_again(
        fields in ("[0-5]?[0-9]|\\*|\\*/7", "[01]?[0-9]|\\*", "[1-9]|\\*|L", "[1-9]|\\*", "[0-6]|\\*"),
        after in 1_600_000_000_000..2_000_000_000_000i64,
    ) {
        let expression = format!("{} {} {} {} {}", fields.0, fields.1, fields.2, fields.3, fields.4);
        let timetable = cron(&expression, "America/New_York");
        let due = timetable.next_after(Millis(after), Millis(0)).expect("it is good");
        if let Some(due) = due {
            prop_assert!(due > Millis(after));
            prop_assert_eq!(timetable.next_after(Millis(due.0 - 1), Millis(0)), Ok(Some(due)));
        }
    }
}
