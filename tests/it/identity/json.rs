//! `JSONTestSuite` against the strict parser.

use data_encoding::BASE64;
use hallpass::sys::{JsonError, check_strict};
use serde_json::Value;

#[test]
fn json_test_suites_files_are_judged_as_they_should_be() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/json-parsing/test_parsing.json");
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(cases.len(), 316);
    let mut duplicates = 0;
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let answer = check_strict(&BASE64.decode(case["b64"].as_str().unwrap().as_bytes()).unwrap(), 64);
        match case["expect"].as_str().unwrap() {
            // The suite allows duplicate members; we do not.
            "accept" if answer == Err(JsonError::DuplicateMember) => {
                assert!(name.contains("duplicated_key"), "{name}");
                duplicates += 1;
            }
            "accept" => assert_eq!(answer, Ok(()), "{name}"),
            "reject" => assert!(answer.is_err(), "{name}"),
            // The grammar leaves these open; that they did not panic is what counts.
            expect => assert_eq!(expect, "either", "{name}"),
        }
    }
    assert_eq!(duplicates, 2);
}
