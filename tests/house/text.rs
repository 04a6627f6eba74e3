//! Takes a Rust file apart into code, comments and string literals, so that the checks do not trip over a brace in a
//! string or a word in a comment. Not a parser: just enough of the language's lexical rules.

/// A string literal and where it stands.
pub(crate) struct Literal {
    /// Its line, from one.
    pub(crate) line: usize,
    /// Its text, escapes as written.
    pub(crate) text: String,
}

/// One Rust file.
pub(crate) struct Source {
    /// Its path, relative to the root.
    pub(crate) path: String,
    /// The file as it is.
    pub(crate) raw: String,
    /// The file with comments and the insides of literals blanked out; lines are where they were.
    pub(crate) code: String,
    /// Its string literals.
    pub(crate) literals: Vec<Literal>,
}

/// What the lexer stands in.
enum Inside {
    Code,
    LineComment,
    BlockComment(u32),
    Text { raw_hashes: Option<usize> },
}

impl Source {
    /// Take a file apart.
    pub(crate) fn new(path: String, raw: String) -> Self {
        let chars: Vec<char> = raw.chars().collect();
        let (mut code, mut literals) = (String::with_capacity(raw.len()), Vec::new());
        let (mut inside, mut at, mut line) = (Inside::Code, 0, 1);
        while at < chars.len() {
            let rest = &chars[at..];
            let mut taken = 1;
            match &mut inside {
                Inside::Code => {
                    let previous = at.checked_sub(1).map_or(' ', |before| chars[before]);
                    if rest.starts_with(&['/', '/']) {
                        inside = Inside::LineComment;
                    } else if rest.starts_with(&['/', '*']) {
                        inside = Inside::BlockComment(1);
                        taken = 2;
                    } else if let Some((length, raw_hashes)) = opens_text(rest, previous) {
                        inside = Inside::Text { raw_hashes };
                        literals.push(Literal { line, text: String::new() });
                        taken = length;
                    } else {
                        taken = char_literal(rest).unwrap_or(1);
                        let (kept, blanked) = if taken > 1 { (0, taken) } else { (1, 0) };
                        code.extend(rest.iter().take(kept).chain([' '; 12].iter().take(blanked)));
                        line += usize::from(rest[0] == '\n');
                        at += taken;
                        continue;
                    }
                }
                Inside::LineComment if rest[0] == '\n' => inside = Inside::Code,
                Inside::BlockComment(depth) if rest.starts_with(&['/', '*']) => (*depth, taken) = (*depth + 1, 2),
                Inside::BlockComment(depth) if rest.starts_with(&['*', '/']) => {
                    (*depth, taken) = (*depth - 1, 2);
                    if *depth == 0 {
                        inside = Inside::Code;
                    }
                }
                Inside::LineComment | Inside::BlockComment(_) => {}
                Inside::Text { raw_hashes } => {
                    let closes = closes_text(rest, *raw_hashes);
                    taken = closes.unwrap_or(if raw_hashes.is_none() && rest[0] == '\\' { 2 } else { 1 });
                    if closes.is_some() {
                        inside = Inside::Code;
                    } else if let Some(literal) = literals.last_mut() {
                        literal.text.extend(rest.iter().take(taken));
                    }
                }
            }
            for passed in rest.iter().take(taken) {
                code.push(if *passed == '\n' { '\n' } else { ' ' });
                line += usize::from(*passed == '\n');
            }
            at += taken;
        }
        Self { path, raw, code, literals }
    }

    /// The room the file belongs to: the first name below `src/`.
    pub(crate) fn room(&self) -> &str {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        below.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    /// The line of a place in the code, from one.
    pub(crate) fn line_at(&self, place: usize) -> usize {
        self.code[..place].matches('\n').count() + 1
    }
}

/// Whether a string literal begins here: how many characters open it, and how many hashes close it if it is raw.
fn opens_text(rest: &[char], previous: char) -> Option<(usize, Option<usize>)> {
    if rest[0] == '"' {
        return Some((1, None));
    }
    if rest[0] != 'r' || (is_word(previous) && previous != 'b') {
        return None;
    }
    let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
    (rest.get(1 + hashes) == Some(&'"')).then_some((2 + hashes, Some(hashes)))
}

/// Whether the string literal ends here: how many characters close it.
fn closes_text(rest: &[char], raw_hashes: Option<usize>) -> Option<usize> {
    let hashes = raw_hashes.unwrap_or(0);
    let closed = rest[0] == '"' && rest[1..].iter().take_while(|c| **c == '#').count() >= hashes;
    closed.then_some(1 + hashes)
}

/// The length of a character literal that begins here; a lifetime is none.
fn char_literal(rest: &[char]) -> Option<usize> {
    match rest {
        ['\'', '\\', _, tail @ ..] => tail.iter().take(9).position(|c| *c == '\'').map(|end| end + 4),
        ['\'', _, '\'', ..] => Some(3),
        _ => None,
    }
}

/// Whether a character can be part of a Rust name.
pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The places at which `word` stands in `code` as a whole name.
pub(crate) fn places_of(code: &str, word: &str) -> Vec<usize> {
    let whole = |place: &usize| {
        let before = code[..*place].chars().next_back().is_none_or(|c| !is_word(c));
        before && code[place + word.len()..].chars().next().is_none_or(|c| !is_word(c))
    };
    code.match_indices(word).map(|(place, _)| place).filter(whole).collect()
}

/// The name that `text` begins with, white space skipped; empty if none.
pub(crate) fn leading_name(text: &str) -> &str {
    let text = text.trim_start();
    let end = text.find(|c: char| !is_word(c)).unwrap_or(text.len());
    &text[..end]
}

#[test]
fn comments_and_literals_are_told_from_code() {
    let text = r##"fn f<'a>() { let s = "}{ // no"; let c = '"'; /* { /* } */ */ let r = r#"x"y"#; } // }"##;
    let source = Source::new("src/x.rs".into(), text.into());
    assert_eq!(source.code.matches('{').count(), 1);
    assert_eq!(source.code.matches('}').count(), 1);
    let literals: Vec<&str> = source.literals.iter().map(|literal| literal.text.as_str()).collect();
    assert_eq!(literals, ["}{ // no", "x\"y"]);
    assert_eq!(source.code.chars().count(), text.chars().count());
}
