//! The HTTP door, in process where no port is needed.

mod answers;
mod listener;
mod surface;

use crate::support::harness::PUBLIC_URL;
use crate::support::wire::Answer;

fn assert_problem(answer: &Answer, code: &str) {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{}", answer.text);
    let problem = answer.json();
    assert_eq!(problem["code"], code, "{}", answer.text);
    assert_eq!(problem["type"], format!("{PUBLIC_URL}/problems/{code}"));
    assert_eq!(problem["status"], answer.status);
    assert_eq!(problem["request_id"].as_str(), answer.header("x-request-id"));
    for word in ["SELECT", "sqlite", "/root", "/work", "src/", "panicked", "backtrace"] {
        assert!(!answer.text.contains(word), "{}", answer.text);
    }
}
