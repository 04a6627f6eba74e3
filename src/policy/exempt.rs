//! Turning approvals into policy: the text of a policy that waits for people, changed so that it no longer waits for one agent, some
//! scopes and a life that people have allowed again and again. What is proposed is a file of the bundle and a diff of it, for a person
//! to read, test and put under version control; nothing is changed here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::Bundle;
use crate::domain::{AgentId, EntryName, Name, Ttl};

/// Lines around a change in a diff.
const CONTEXT_LINES: usize = 3;

/// What a policy shall no longer wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exemption {
    /// Whose requests.
    pub agent: AgentId,
    /// For which entries, each with the values of its parameters that were allowed.
    pub scopes: BTreeMap<EntryName, BTreeMap<Name, BTreeSet<String>>>,
    /// For how long at most.
    pub max_ttl: Ttl,
}

/// A bundle with such a change, and the change.
#[derive(Debug)]
pub struct Exempted {
    /// The bundle as it would be.
    pub bundle: Bundle,
    /// The changed policies, each as its whole text.
    pub policies: Vec<String>,
    /// What changes, file by file, as a unified diff.
    pub diff: String,
}

impl Exemption {
    /// The clause that a policy gets.
    fn clause(&self) -> String {
        let scopes: Vec<String> = self.scopes.iter().map(|(entry, params)| scope_clause(entry, params)).collect();
        let scopes = if scopes.len() == 1 { scopes.join("") } else { format!("({})", scopes.join(" || ")) };
        format!(
            "unless {{ principal == Hallpass::Agent::{} && {scopes} && context.ttl_seconds <= {} }}",
            quoted(self.agent.as_str()),
            self.max_ttl.as_secs()
        )
    }
}

fn scope_clause(entry: &EntryName, params: &BTreeMap<Name, BTreeSet<String>>) -> String {
    let mut out = format!("resource == Hallpass::Scope::{}", quoted(&entry.to_string()));
    for (name, values) in params {
        let (name, values) = (quoted(name.as_str()), values.iter().map(|value| quoted(value)).collect::<Vec<_>>());
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            " && context.request.params.hasTag({name}) && [{}].contains(context.request.params.getTag({name}))",
            values.join(", ")
        );
    }
    if params.is_empty() { out } else { format!("({out})") }
}

/// A text as Cedar writes it, whose escapes are Rust's.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_debug())
}

impl Bundle {
    /// This bundle with these of its policies changed so that they do not wait for what is exempted. `None` when a policy is not
    /// there or does not wait for people, or when the changed bundle does not load.
    #[must_use]
    pub fn exempting<'p>(&self, policies: impl IntoIterator<Item = &'p str>, what: &Exemption) -> Option<Exempted> {
        let mut files = self.files().clone();
        let mut texts = Vec::new();
        let clause = what.clause();
        for id in policies {
            let id = cedar_policy::PolicyId::new(id);
            let info = self.engine.policies.info(&id).filter(|info| info.approval.is_some())?;
            let policy = self.engine.policies.all.iter().find(|policy| *policy.id() == id)?;
            let source = policy.to_cedar()?;
            let changed = format!("{}\n{clause};", source.trim_end().trim_end_matches(';').trim_end());
            let text = files.get_mut(&info.file)?;
            let from = line_start(text, info.line)?;
            // The file has changed above this policy if another of it was changed before; it is found further down then.
            let at = from.saturating_add(text.get(from..)?.find(&source)?);
            let after = at.saturating_add(source.len());
            *text = format!("{}{changed}{}", text.get(..at)?, text.get(after..)?);
            texts.push(changed);
        }
        let diff = self.files().iter().filter_map(|(path, before)| diff(path, before, files.get(path)?)).collect();
        // Its tests may expect that somebody is asked; they are for the person who makes the change to look at.
        let bundle = Self::from_files(files).ok()?;
        Some(Exempted { bundle, policies: texts, diff })
    }
}

/// Where a line begins, counted from one.
fn line_start(text: &str, line: usize) -> Option<usize> {
    let ends = text.match_indices('\n').map(|(at, _)| at.saturating_add(1));
    std::iter::once(0).chain(ends).nth(line.checked_sub(1)?)
}

/// A unified diff of one file in one hunk; none when nothing differs.
fn diff(path: &str, before: &str, after: &str) -> Option<String> {
    if before == after {
        return None;
    }
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let shorter = old.len().min(new.len());
    let head = old.iter().zip(&new).take_while(|(one, two)| one == two).count();
    let rest = shorter.saturating_sub(head);
    let tail = old.iter().rev().zip(new.iter().rev()).take(rest).take_while(|(one, two)| one == two).count();
    let from = head.saturating_sub(CONTEXT_LINES);
    let until = |lines: &[&str]| lines.len().saturating_sub(tail.saturating_sub(CONTEXT_LINES));
    let (old_until, new_until) = (until(&old), until(&new));
    let mut out = format!(
        "--- a/{path}\n+++ b/{path}\n@@ -{},{} +{},{} @@\n",
        from.saturating_add(1),
        old_until.saturating_sub(from),
        from.saturating_add(1),
        new_until.saturating_sub(from)
    );
    let mut write = |mark: char, lines: &[&str]| {
        for line in lines {
            let _ = writeln!(out, "{mark}{line}");
        }
    };
    write(' ', old.get(from..head).unwrap_or_default());
    write('-', old.get(head..old.len().saturating_sub(tail)).unwrap_or_default());
    write('+', new.get(head..new.len().saturating_sub(tail)).unwrap_or_default());
    write(' ', old.get(old.len().saturating_sub(tail)..old_until).unwrap_or_default());
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::diff;

    #[test]
    fn a_diff_shows_what_changes_and_three_lines_around_it() {
        let before = "1\n2\n3\n4\n5;\n6\n7\n8\n9\n";
        let after = "1\n2\n3\n4\n5\nunless;\n6\n7\n8\n9\n";
        let expected = "--- a/p.cedar\n+++ b/p.cedar\n@@ -2,7 +2,8 @@\n 2\n 3\n 4\n-5;\n+5\n+unless;\n 6\n 7\n 8\n";
        assert_eq!(diff("p.cedar", before, after).as_deref(), Some(expected));
        assert_eq!(diff("p.cedar", before, before), None);
        let at_end = diff("p", "a;\n", "a\nb;\n");
        assert_eq!(at_end.as_deref(), Some("--- a/p\n+++ b/p\n@@ -1,1 +1,2 @@\n-a;\n+a\n+b;\n"));
    }
}
