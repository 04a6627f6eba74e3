//! Texts of a catalogue with `{parameter}` in them, and how values get into their places. What a value may be in a place, and what
//! a text may be when all of it is known, each kind says for itself.

use std::collections::BTreeMap;

use crate::domain::{CatalogueEntry, Name};

/// The values of a scope's parameters, or only their names when the catalogue is checked.
pub(super) enum Values<'a> {
    /// As a scope gives them.
    Given(&'a BTreeMap<Name, String>),
    /// As an entry declares them.
    Declared(&'a CatalogueEntry),
}

/// A text with the values in the places of their names, and whether all of it is known. `admit` is asked of each value, with the
/// text before it and its parameter's name.
pub(super) fn fill(
    template: &str,
    values: &Values<'_>,
    admit: impl Fn(&str, &str, &str) -> Result<(), String>,
) -> Result<(String, bool), String> {
    let (mut text, mut rest, mut known) = (String::new(), template, true);
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or("a `{` without `}`")?;
        text.push_str(plain(before)?);
        match values {
            Values::Given(given) => {
                let found = given.iter().find(|(known, _)| known.as_str() == name);
                let (_, value) = found.ok_or_else(|| format!("there is no parameter `{name}`"))?;
                admit(&text, name, value)?;
                text.push_str(value);
            }
            Values::Declared(entry) if entry.params.keys().any(|declared| declared.as_str() == name) => known = false,
            Values::Declared(_) => return Err(format!("there is no parameter `{name}`")),
        }
        rest = after;
    }
    text.push_str(plain(rest)?);
    Ok((text, known))
}

fn plain(text: &str) -> Result<&str, String> {
    if text.contains('}') { Err("a `}` without `{`".to_owned()) } else { Ok(text) }
}
