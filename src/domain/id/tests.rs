//! Ids sort by creation, read back, and never pass for one another.

use proptest::prelude::*;

use super::{AgentId, DecisionId, EventId, LeaseId, TaskId};
use crate::domain::Timestamp;

#[test]
fn an_id_has_the_pinned_text() {
    let id = TaskId::new(Timestamp::from_millis(1_790_000_000_000), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(id.to_string(), "tsk_01m3250v00000g40r40m30e209");
    let zero = LeaseId::new(Timestamp::from_millis(0), [0; 10]);
    assert_eq!(zero.to_string(), "lse_00000000000000000000000000");
    let last = EventId::new(Timestamp::from_millis(0xffff_ffff_ffff), [0xff; 10]);
    assert_eq!(last.to_string(), "evt_7zzzzzzzzzzzzzzzzzzzzzzzzz");
}

#[test]
fn what_is_not_the_id_is_refused_with_what_was_expected() {
    let good = TaskId::new(Timestamp::from_millis(1), [1; 10]).to_string();
    let long = format!("{good}0");
    let short = good.strip_suffix(|_: char| true).unwrap();
    let upper = good.to_uppercase();
    let too_big = good.replace("tsk_0", "tsk_8");
    let no_letter = good.replace("tsk_00", "tsk_0u");
    for wrong in ["", "tsk_", "task", &long, short, &upper, &too_big, &no_letter, &good.replace("tsk", "lse")] {
        let error = wrong.parse::<TaskId>().expect_err(wrong);
        assert_eq!((error.what, error.prefix), ("task", "tsk"));
    }
    assert!(good.replace("tsk", "dec").parse::<DecisionId>().is_ok());
    assert_eq!("x".repeat(1000).parse::<TaskId>().unwrap_err().found.len(), 64);
}

#[test]
fn an_agents_id_obeys_the_grammar_of_names() {
    for good in ["release-bot", "a", "0.a_b-c", &"a".repeat(63)] {
        assert_eq!(good.parse::<AgentId>().unwrap().as_str(), good);
    }
    for wrong in ["", "Release", "-a", "a b", "a*", "a/b", "é", &"a".repeat(64)] {
        assert!(wrong.parse::<AgentId>().is_err(), "{wrong}");
    }
}

proptest! {
    #[test]
    fn every_id_reads_back_and_has_one_text(millis in 0_i64..1 << 48, random: [u8; 10]) {
        let id = LeaseId::new(Timestamp::from_millis(millis), random);
        let text = id.to_string();
        prop_assert_eq!(text.len(), 30);
        prop_assert_eq!(text.parse::<LeaseId>().unwrap(), id);
        let json = serde_json::to_string(&id).unwrap();
        prop_assert_eq!(serde_json::from_str::<LeaseId>(&json).unwrap(), id);
    }

    #[test]
    fn ids_and_their_texts_sort_by_creation(early in 0_i64..1 << 47, later in 1_i64..1 << 40, a: [u8; 10], b: [u8; 10]) {
        let (one, two) = (
            LeaseId::new(Timestamp::from_millis(early), a),
            LeaseId::new(Timestamp::from_millis(early + later), b),
        );
        prop_assert!(one < two && one.to_string() < two.to_string());
    }

    #[test]
    fn no_text_makes_the_parser_panic(text: String) {
        let _ = text.parse::<TaskId>();
        let _ = format!("tsk_{text}").parse::<TaskId>();
    }
}
