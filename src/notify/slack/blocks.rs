//! The messages. Every text that an agent could have a part in is `plain_text`, which Slack neither formats nor links, with Slack's
//! control characters escaped besides; the one text that Slack does format, the line for notifications, holds none.

use serde_json::{Map, Value, json};

use super::super::Content;
use super::super::text::slack as escape;
use crate::domain::NoticeKind;

/// What Slack allows in a section, and in a field of one, in characters; escapes make a character five.
const MAX_SECTION: usize = 550;
const MAX_FIELD: usize = 380;
/// The most scopes that are shown one by one; the page behind the link shows all.
const MAX_SCOPES: usize = 20;
/// What the buttons are called when Slack calls back.
pub(super) const DENY: &str = "hallpass_deny";
const OPEN: &str = "hallpass_open";

fn plain(text: &str) -> Value {
    json!({ "emoji": false, "text": text, "type": "plain_text" })
}

fn section(text: &str, max_chars: usize) -> Value {
    json!({ "text": plain(&escape(text, max_chars)), "type": "section" })
}

/// The message for a notice, without its channel.
pub(super) fn message(content: &Content, can_deny: bool) -> Map<String, Value> {
    let mut blocks = vec![section(&content.headline(), MAX_SECTION), section(&content.sentence, MAX_SECTION)];
    blocks.extend(content.scopes.iter().take(MAX_SCOPES).map(|scope| section(&format!("• {scope}"), MAX_SECTION)));
    if let Some(more) = content.scopes.len().checked_sub(MAX_SCOPES).filter(|more| *more > 0) {
        blocks.push(section(&format!("and {more} more: open the request to see them all"), MAX_SECTION));
    }
    let facts = content.facts();
    let fields = facts.iter().map(|(label, text)| plain(&escape(&format!("{label}: {text}"), MAX_FIELD)));
    blocks.push(json!({ "fields": fields.collect::<Vec<_>>(), "type": "section" }));
    blocks.extend(buttons(content, can_deny));
    let members = [
        ("blocks", json!(blocks)),
        ("link_names", json!(false)),
        ("parse", json!("none")),
        ("text", json!(escape(&content.headline(), MAX_SECTION))),
        ("unfurl_links", json!(false)),
        ("unfurl_media", json!(false)),
    ];
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A link, and Deny while there is something to deny. What is settled has nothing to press.
fn buttons(content: &Content, can_deny: bool) -> Option<Value> {
    let open = json!({ "action_id": OPEN, "text": plain("Open"), "type": "button", "url": content.link });
    let deny = json!({
        "action_id": DENY,
        "confirm": {
            "confirm": plain("Deny"),
            "deny": plain("Leave it"),
            "style": "danger",
            "text": plain("One no ends the request. The agent is told."),
            "title": plain("Deny this request?"),
        },
        "style": "danger",
        "text": plain("Deny"),
        "type": "button",
        "value": json!({ "digest": content.digest, "request": content.request }).to_string(),
    });
    let elements = match content.event {
        NoticeKind::Awaited if can_deny => vec![open, deny],
        NoticeKind::Awaited | NoticeKind::BreakGlass | NoticeKind::ReviewDue => vec![open],
        NoticeKind::Resolved => return None,
    };
    Some(json!({ "elements": elements, "type": "actions" }))
}

#[cfg(test)]
mod tests {
    use super::super::super::content::tests::content;
    use super::*;

    /// Every text of a message with the type of its block element; `mrkdwn` is what Slack formats.
    fn texts(value: &Value, found: &mut Vec<(String, String)>) {
        match value {
            Value::Object(members) => {
                if let (Some(Value::String(kind)), Some(Value::String(text))) =
                    (members.get("type"), members.get("text"))
                {
                    found.push((kind.clone(), text.clone()));
                }
                members.values().for_each(|member| texts(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn what_an_agent_chose_mentions_nobody_formats_nothing_and_links_nowhere() {
        for event in NoticeKind::ALL {
            let message = message(&content(*event), true);
            let mut found = Vec::new();
            texts(&message["blocks"], &mut found);
            assert!(found.len() > 5);
            assert!(found.iter().all(|(kind, text)| kind == "plain_text" && !text.contains(['<', '>'])), "{found:?}");
            let own = message["text"].as_str().unwrap();
            assert!(own.contains("release-bot") && !own.contains("channel") && !own.contains("evil"), "{own}");
            assert_eq!((&message["parse"], &message["link_names"]), (&json!("none"), &json!(false)));
        }
    }

    #[test]
    fn only_what_waits_can_be_denied_and_what_is_settled_has_no_buttons() {
        let actions = |event, can_deny| {
            let message = message(&content(event), can_deny);
            let blocks = message["blocks"].as_array().unwrap().clone();
            let found = blocks.into_iter().find(|block| block["type"] == "actions");
            found.map(|block| block["elements"].as_array().unwrap().iter().map(|e| e["action_id"].clone()).collect())
        };
        assert_eq!(actions(NoticeKind::Awaited, true), Some(vec![json!(OPEN), json!(DENY)]));
        assert_eq!(actions(NoticeKind::Awaited, false), Some(vec![json!(OPEN)]));
        assert_eq!(actions(NoticeKind::ReviewDue, true), Some(vec![json!(OPEN)]));
        assert_eq!(actions(NoticeKind::Resolved, true), None);
    }

    #[test]
    fn the_longest_request_fits_into_what_slack_allows() {
        let long = |chars: usize| "<".repeat(chars);
        let mut content = content(NoticeKind::Awaited);
        content.scopes = vec![long(4_000); 50];
        content.sentence = long(20_000);
        content.reasons = vec![long(9_000)];
        content.not_for = vec![long(900); 3];
        let message = message(&content, true);
        let blocks = message["blocks"].as_array().unwrap();
        assert!(blocks.len() <= 50, "{}", blocks.len());
        for block in blocks {
            let mut found = Vec::new();
            texts(block, &mut found);
            let limit = if block["fields"].is_array() { 2_000 } else { 3_000 };
            assert!(found.iter().all(|(_, text)| text.chars().count() <= limit));
        }
        assert!(blocks.iter().any(|block| block["text"]["text"] == "and 30 more: open the request to see them all"));
    }

    #[test]
    fn the_message_is_as_it_was_agreed() {
        let golden = include_str!("../../../tests/it/notify/golden/slack.json");
        let shown = serde_json::to_string_pretty(&message(&content(NoticeKind::Awaited), true)).unwrap();
        assert_eq!(shown.trim(), golden.trim(), "\n{shown}");
    }
}
