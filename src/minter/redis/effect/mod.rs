//! What a catalogue entry permits at a Redis server, and the one place where a scope's parameters get into a key pattern. Each scope
//! becomes a selector of its own (Redis 7), so a user may do exactly what its scopes say, and never one scope's commands on
//! another's keys.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::commands::is_allowed;
use crate::domain::{CatalogueEntry, Name, Scope};
use crate::minter::settings::read_effect;
use crate::minter::{MintError, MintOrder};

/// The most commands, patterns or channels of an entry.
const MAX_ITEMS: usize = 256;
/// The longest pattern, in bytes.
const MAX_PATTERN: usize = 512;

/// What may be done with keys.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Access {
    Read,
    Write,
    ReadWrite,
}

impl Access {
    /// As ACL SETUSER takes it.
    const fn prefix(self) -> &'static str {
        match self {
            Self::Read => "%R~",
            Self::Write => "%W~",
            Self::ReadWrite => "~",
        }
    }
}

/// The native effect of a catalogue entry.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Effect {
    /// The commands.
    commands: BTreeSet<String>,
    /// The keys, and what may be done with them: texts with `{parameter}` in them, and perhaps `*` at the end.
    #[serde(default)]
    keys: BTreeMap<String, Access>,
    /// The channels, written likewise.
    #[serde(default)]
    channels: BTreeSet<String>,
}

/// The values of a scope's parameters, or only their names when the catalogue is checked.
enum Values<'a> {
    Given(&'a BTreeMap<Name, String>),
    Declared(&'a CatalogueEntry),
}

impl Effect {
    /// Read and check an entry's.
    pub(super) fn read(entry: &CatalogueEntry) -> Result<Self, MintError> {
        let effect: Self = read_effect(entry)?;
        let checked = effect.check(entry).and_then(|()| effect.selector(&Values::Declared(entry)));
        checked.map_err(|why| MintError::Misconfigured(format!("the effect of `{}`: {why}", entry.name)))?;
        Ok(effect)
    }

    fn check(&self, entry: &CatalogueEntry) -> Result<(), String> {
        if self.commands.is_empty() || (self.keys.is_empty() && self.channels.is_empty()) {
            return Err(
                "name `commands`, and the `keys` or `channels` they are for: nothing never means all".to_owned()
            );
        }
        if [self.commands.len(), self.keys.len(), self.channels.len()].into_iter().any(|many| many > MAX_ITEMS) {
            return Err(format!("`commands`, `keys` and `channels` have at most {MAX_ITEMS} items each"));
        }
        if let Some(command) = self.commands.iter().find(|command| !is_allowed(command)) {
            return Err(format!(
                "`{command}` is not a command whose keys Redis checks: name single commands in lower case, with `|` before a \
                subcommand; docs/backends/redis.md says which cannot be handed out"
            ));
        }
        let used = |name: &Name| self.patterns().any(|pattern| pattern.contains(&format!("{{{name}}}")));
        match entry.params.keys().find(|name| !used(name)) {
            Some(name) => {
                Err(format!("the parameter `{name}` narrows nothing: put `{{{name}}}` into a key or channel"))
            }
            None => Ok(()),
        }
    }

    fn patterns(&self) -> impl Iterator<Item = &String> {
        self.keys.keys().chain(&self.channels)
    }

    /// As ACL SETUSER takes it: one word in parentheses.
    fn selector(&self, values: &Values<'_>) -> Result<String, String> {
        let mut words = vec!["resetchannels".to_owned()];
        let put = |text: &String| put(text, values).map_err(|why| format!("`{text}`: {why}"));
        for (text, access) in &self.keys {
            words.push(format!("{}{}", access.prefix(), put(text)?));
        }
        for text in &self.channels {
            words.push(format!("&{}", put(text)?));
        }
        words.extend(self.commands.iter().map(|command| format!("+{command}")));
        Ok(format!("({})", words.join(" ")))
    }
}

/// What the scopes of an order permit, each in a selector of its own.
pub(super) fn selectors(order: &MintOrder<'_>) -> Result<BTreeSet<String>, MintError> {
    let selector = |(scope, entry): &(&Scope, &CatalogueEntry)| {
        let selector = Effect::read(entry)?.selector(&Values::Given(scope.params()));
        selector.map_err(|why| MintError::Unsupported(format!("`{scope}`: {why}")))
    };
    let selectors = order.scopes.iter().map(selector).collect::<Result<BTreeSet<_>, _>>()?;
    if selectors.is_empty() {
        return Err(MintError::Unsupported("no scopes".to_owned()));
    }
    Ok(selectors)
}

/// Put values in the places of their names. This is the only way by which anything of a request gets into a pattern, and it gets
/// there as itself: no value adds a wildcard, a further word, or another part of the key.
fn put(template: &str, values: &Values<'_>) -> Result<String, String> {
    let (mut rest, star) = template.strip_suffix('*').map_or((template, ""), |rest| (rest, "*"));
    if rest.is_empty() {
        return Err("all keys are too many: write what they begin with".to_owned());
    }
    if rest.contains('*') {
        return Err("a `*` stands at the end only".to_owned());
    }
    let mut pattern = String::new();
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or("a `{` without `}`")?;
        pattern.push_str(&escaped(before)?);
        let next = after.chars().next();
        if next == Some('{') || (next.is_none() && !star.is_empty()) {
            return Err(format!(
                "something must stand between `{{{name}}}` and what follows, or longer values match too"
            ));
        }
        match values {
            Values::Given(given) => {
                let found = given.iter().find(|(known, _)| known.as_str() == name);
                let (_, value) = found.ok_or_else(|| format!("there is no parameter `{name}`"))?;
                if value.is_empty() || next.is_some_and(|next| value.contains(next)) {
                    return Err(format!("the value of `{name}` is empty or has the character in it that ends it"));
                }
                pattern.push_str(&escaped(value)?);
            }
            Values::Declared(entry) if entry.params.keys().any(|declared| declared.as_str() == name) => {}
            Values::Declared(_) => return Err(format!("there is no parameter `{name}`")),
        }
        rest = after;
    }
    pattern.push_str(&escaped(rest)?);
    if pattern.len() > MAX_PATTERN {
        return Err(format!("longer than {MAX_PATTERN} bytes"));
    }
    Ok(pattern + star)
}

/// A text as a pattern that matches only itself (`stringmatchlen` in Redis' `util.c`). Redis splits a selector at white space and
/// takes quotes and parentheses for its own, and has no way to write them otherwise.
fn escaped(text: &str) -> Result<String, String> {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '*' | '?' | '[' | ']' | '\\' => pattern.extend(['\\', c]),
            '"' | '\'' | '(' | ')' | '{' | '}' => return Err(format!("a `{c}` cannot be told to Redis in a pattern")),
            '!'..='~' => pattern.push(c),
            _ => return Err("a pattern has visible ASCII characters only".to_owned()),
        }
    }
    Ok(pattern)
}

#[cfg(test)]
mod tests;
