//! Text on its way to a person's eyes. What could deceive a reader is shown as the code point it is, a scope's text stays exactly
//! what it was though it looks different, and everything else is escaped: no text of an agent's becomes markup or a link.

use std::fmt::{self, Write as _};

use crate::domain::{Timestamp, forbidden_characters};

/// Most characters of an agent's text that an approver is shown.
pub(super) const MAX_CLAIM_CHARS: usize = 500;

/// HTML that was escaped already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shown(String);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl askama::filters::HtmlSafe for Shown {}

fn escape_into(out: &mut String, c: char) {
    match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '"' => out.push_str("&quot;"),
        '\'' => out.push_str("&#39;"),
        other => out.push(other),
    }
}

/// A text of somebody else's, for reading: controls, bidirectional and invisible characters become `\u{…}`.
pub(super) fn reveal(text: &str) -> Shown {
    let deceptive = forbidden_characters(text);
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if deceptive.contains(&c) {
            let _ = write!(out, "<span class=\"esc\">\\u{{{:x}}}</span>", u32::from(c));
        } else {
            escape_into(&mut out, c);
        }
    }
    Shown(out)
}

/// The same, cut to what an approver reads; and how many characters were left out.
pub(super) fn reveal_claim(text: &str) -> (Shown, usize) {
    let cut: String = text.chars().take(MAX_CLAIM_CHARS).collect();
    let left_out = text.chars().count().saturating_sub(MAX_CLAIM_CHARS);
    (reveal(&cut), left_out)
}

/// A scope or another name that means something to a machine. The text of the element is the name, letter for letter; what is not
/// ASCII is drawn as its code point by the style sheet, so that no letter passes for another.
pub(super) fn exact(text: &str) -> Shown {
    let mut out = String::with_capacity(text.len().saturating_add(16));
    out.push_str("<bdi class=\"exact\">");
    for c in text.chars() {
        if c.is_ascii() && !c.is_ascii_control() {
            escape_into(&mut out, c);
        } else {
            let _ = write!(out, "<span class=\"code\" data-u=\"{:x}\">", u32::from(c));
            escape_into(&mut out, c);
            out.push_str("</span>");
        }
    }
    out.push_str("</bdi>");
    Shown(out)
}

/// Whether a name has characters that could pass for others.
pub(super) fn has_foreign_letters(text: &str) -> bool {
    !text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

/// A life in words: `10 minutes`, `1 hour 30 minutes`, `45 seconds`.
pub(super) fn life(secs: u32) -> String {
    let part = |n: u32, unit: &str| match n {
        0 => None,
        1 => Some(format!("1 {unit}")),
        n => Some(format!("{n} {unit}s")),
    };
    let (hours, minutes, seconds) = (secs / 3600, secs / 60 % 60, secs % 60);
    let parts = [part(hours, "hour"), part(minutes, "minute"), part(seconds, "second")];
    let words: Vec<String> = parts.into_iter().flatten().collect();
    if words.is_empty() { "no time".to_owned() } else { words.join(" ") }
}

/// A point in time for people, in UTC: `21 Nov 2026, 12:15:00 UTC`.
pub(super) fn when(at: Timestamp) -> String {
    match jiff::Timestamp::from_millisecond(at.as_millis()) {
        Ok(stamp) => stamp.strftime("%-d %b %Y, %H:%M:%S UTC").to_string(),
        Err(_) => at.to_string(),
    }
}

/// `<time>`: the absolute time, and for scripts the point in time it is.
pub(super) fn moment(at: Timestamp) -> Shown {
    Shown(format!("<time datetime=\"{at}\">{}</time>", when(at)))
}

/// The same for a point that is counted down to.
pub(super) fn until(at: Timestamp) -> Shown {
    Shown(format!("<time datetime=\"{at}\" data-until=\"{}\">{}</time>", at.as_millis(), when(at)))
}

/// How many of something, with the noun in the right number.
pub(super) fn count(n: u64, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
}

/// `snake_case` or `camelCase` as words.
pub(super) fn words(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut before = ' ';
    for c in name.chars() {
        match c {
            '_' | '-' => out.push(' '),
            c if c.is_uppercase() && before.is_lowercase() => {
                out.push(' ');
                out.extend(c.to_lowercase());
            }
            c => out.push(c),
        }
        before = c;
    }
    out
}

/// One cell of a CSV file (RFC 4180 §2), always quoted. What a spreadsheet would take for a formula is given a quote that
/// makes it text.
pub(super) fn cell(text: &str) -> String {
    let dangerous = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let guard = if dangerous { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn con_08_what_nobody_can_see_is_shown_as_its_code_point() {
        let shown = reveal("read\u{202E}txt.exe\u{200B}\u{0007}").to_string();
        assert_eq!(
            shown,
            "read<span class=\"esc\">\\u{202e}</span>txt.exe<span class=\"esc\">\\u{200b}</span><span class=\"esc\">\\u{7}</span>"
        );
        assert_eq!(
            reveal("Grüße, 東京 👋\nline").to_string(),
            "Grüße, 東京 👋\nline",
            "what people write stays readable"
        );
    }

    #[test]
    fn con_08_a_scope_keeps_its_text_letter_for_letter_and_foreign_letters_are_marked() {
        let scope = "s3:releases:write(prefix=\u{440}\u{430}ypal\u{202E}/)";
        let html = exact(scope).to_string();
        let mut text = String::new();
        let mut inside = false;
        for c in html.chars() {
            match c {
                '<' => inside = true,
                '>' => inside = false,
                c if !inside => text.push(c),
                _ => {}
            }
        }
        assert_eq!(text, scope);
        for code in ["440", "430", "202e"] {
            assert!(html.contains(&format!("data-u=\"{code}\"")), "{html}");
        }
        assert!(has_foreign_letters(scope) && !has_foreign_letters("s3:releases:write(prefix=v1/)"));
    }

    #[test]
    fn con_02_markup_stays_text() {
        for text in ["<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "' onmouseover='x", "&lt;b&gt;"] {
            for shown in [reveal(text), exact(text), reveal_claim(text).0] {
                let html = shown.to_string().replace("<bdi class=\"exact\">", "").replace("</bdi>", "");
                assert!(!html.contains(['<', '>', '"', '\'']), "{html}");
            }
        }
    }

    #[test]
    fn con_12_a_cell_is_never_a_formula() {
        for (text, expected) in [
            ("=1+1", "\"'=1+1\""),
            ("+49", "\"'+49\""),
            ("-1", "\"'-1\""),
            ("@cmd", "\"'@cmd\""),
            ("\tx", "\"'\tx\""),
            ("\rx", "\"'\rx\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("plain, with a comma", "\"plain, with a comma\""),
        ] {
            assert_eq!(cell(text), expected);
        }
    }

    #[test]
    fn lives_and_counts_read_like_words() {
        assert_eq!(
            [life(600), life(1), life(5400), life(3661)],
            ["10 minutes", "1 second", "1 hour 30 minutes", "1 hour 1 minute 1 second"]
        );
        assert_eq!(
            (count(1, "lease", "leases"), count(0, "lease", "leases")),
            ("1 lease".to_owned(), "0 leases".to_owned())
        );
        assert_eq!(
            (words("session_policy"), words("DateLessThan")),
            ("session policy".to_owned(), "Date less than".to_owned())
        );
    }
}
