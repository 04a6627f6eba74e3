//! Time saturates instead of wrapping, rounds down, and reads back what it writes.

use proptest::prelude::*;

use super::{Timestamp, Ttl};

#[test]
fn a_point_is_written_as_rfc_3339_in_utc_and_reads_back() {
    for (millis, text) in [
        (0, "1970-01-01T00:00:00Z"),
        (1_790_000_000_000, "2026-09-21T14:13:20Z"),
        (1_790_000_000_120, "2026-09-21T14:13:20.12Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
    ] {
        assert_eq!(Timestamp::from_millis(millis).to_string(), text);
        assert_eq!(text.parse::<Timestamp>().unwrap(), Timestamp::from_millis(millis));
    }
    assert_eq!("2026-09-21T16:13:20+02:00".parse::<Timestamp>().unwrap(), Timestamp::from_secs(1_790_000_000));
    for wrong in ["", "now", "2026-09-21", "2026-09-21T14:13:20", "2026-02-30T00:00:00Z", "1790000000"] {
        assert!(wrong.parse::<Timestamp>().is_err(), "{wrong}");
    }
}

#[test]
fn no_arithmetic_wraps() {
    let (first, last) = (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));
    let day = Ttl::from_secs(86_400).unwrap();
    assert_eq!(last.plus(day), last);
    assert_eq!(last.plus_millis(1), last);
    assert_eq!(first.plus_millis(-1), first);
    assert_eq!(Timestamp::from_secs(i64::MAX), last);
    assert_eq!(last.millis_since(first), i64::MAX);
    assert_eq!(first.millis_since(last), i64::MIN);
    // Too far for a calendar, and still the truth.
    assert_eq!(last.to_string(), "9223372036854775807ms");
}

#[test]
fn seconds_are_rounded_down_before_and_after_the_epoch() {
    for (millis, secs) in [(1999, 1), (1000, 1), (999, 0), (0, 0), (-1, -1), (-1000, -1), (-1001, -2)] {
        assert_eq!(Timestamp::from_millis(millis).as_secs(), secs);
    }
}

#[test]
fn a_life_is_one_second_to_a_day() {
    for secs in [1, 600, 86_400] {
        assert_eq!(i64::from(Ttl::from_secs(secs).unwrap().as_secs()), secs);
        assert_eq!(serde_json::from_str::<Ttl>(&secs.to_string()).unwrap(), Ttl::from_secs(secs).unwrap());
    }
    for secs in [0, -1, 86_401, i64::MAX, i64::MIN, 1 << 32, (1 << 32) + 600] {
        assert!(Ttl::from_secs(secs).is_err(), "{secs}");
        assert!(serde_json::from_str::<Ttl>(&secs.to_string()).is_err(), "{secs}");
    }
    for text in ["1.5", "\"600\"", "null", "1e300", "18446744073709551616"] {
        assert!(serde_json::from_str::<Ttl>(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn every_point_a_calendar_can_write_reads_back(millis in -62_000_000_000_000_i64..250_000_000_000_000) {
        let point = Timestamp::from_millis(millis);
        prop_assert_eq!(point.to_string().parse::<Timestamp>().unwrap(), point);
        prop_assert_eq!(serde_json::from_str::<Timestamp>(&serde_json::to_string(&point).unwrap()).unwrap(), point);
    }

    #[test]
    fn a_later_point_is_later_by_exactly_the_life(millis in 0_i64..1 << 50, secs in 1_i64..=86_400) {
        let start = Timestamp::from_millis(millis);
        prop_assert_eq!(start.plus(Ttl::from_secs(secs).unwrap()).millis_since(start), secs * 1000);
    }
}
