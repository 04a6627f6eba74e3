//! Text on its way to other people's renderers. Whatever could not be seen, or would change how the rest is shown, is written out by
//! code point; then each renderer's own escapes.

use crate::domain::forbidden_characters;

/// The text with every character that a reader cannot see, or that changes how text is shown, written as `\u{…}`; line breaks and
/// tabs become spaces. At most `max_chars` characters of it.
pub(super) fn visible(text: &str, max_chars: usize) -> String {
    let hidden = forbidden_characters(text);
    let mut shown = String::with_capacity(text.len());
    for c in text.chars().take(max_chars) {
        match c {
            '\n' | '\t' => shown.push(' '),
            c if hidden.contains(&c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    if text.chars().nth(max_chars).is_some() {
        shown.push('…');
    }
    shown
}

/// Text as Slack wants it: `&`, `<` and `>` are its control characters (docs.slack.dev, "Formatting message text"), by which alone
/// anybody can be mentioned or anything linked.
pub(super) fn slack(text: &str, max_chars: usize) -> String {
    visible(text, max_chars).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Text inside HTML, also inside an attribute in double quotes.
pub(super) fn html(text: &str, max_chars: usize) -> String {
    let escaped = visible(text, max_chars).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    escaped.replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_hidden_stays_hidden_and_nothing_controls_a_renderer() {
        assert_eq!(visible("a\nb\t\u{202e}c\r\u{0}", 100), "a b \\u{202e}c\\u{d}\\u{0}");
        assert_eq!(visible("abcdef", 3), "abc…");
        assert_eq!(slack("<!channel> & <@U1>", 100), "&lt;!channel&gt; &amp; &lt;@U1&gt;");
        assert_eq!(html("<a href=\"x\" onclick='y'>", 100), "&lt;a href=&quot;x&quot; onclick=&#39;y&#39;&gt;");
    }
}
