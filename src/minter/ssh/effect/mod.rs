//! What a catalogue entry lets a certificate do, and the one place where a scope's parameters get into it. A value stands in a
//! principal, an address, or one word of a command; where it would mean anything else there, the scope cannot be expressed.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::domain::CatalogueEntry;
use crate::minter::settings::read_effect;
use crate::minter::template::{Values, fill};
use crate::minter::{MintError, MintOrder};
use crate::sys::canonical_json;

/// The most principals, addresses, or words of a command.
const MAX_ITEMS: usize = 64;
/// The longest principal, address, or word, in bytes.
const MAX_TEXT: usize = 256;

/// What a session may do besides running its command; OpenSSH allows none of it unless the certificate says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Extension {
    #[serde(rename = "permit-X11-forwarding")]
    X11Forwarding,
    #[serde(rename = "permit-agent-forwarding")]
    AgentForwarding,
    #[serde(rename = "permit-port-forwarding")]
    PortForwarding,
    #[serde(rename = "permit-pty")]
    Pty,
    #[serde(rename = "permit-user-rc")]
    UserRc,
}

impl Extension {
    /// Its name in a certificate.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::X11Forwarding => "permit-X11-forwarding",
            Self::AgentForwarding => "permit-agent-forwarding",
            Self::PortForwarding => "permit-port-forwarding",
            Self::Pty => "permit-pty",
            Self::UserRc => "permit-user-rc",
        }
    }

    /// For people.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::X11Forwarding => "forward X11",
            Self::AgentForwarding => "forward an SSH agent",
            Self::PortForwarding => "forward ports, that is, reach what the host reaches",
            Self::Pty => "have a terminal",
            Self::UserRc => "run the account's ~/.ssh/rc",
        }
    }
}

/// The native effect of a catalogue entry: texts with `{parameter}` in them.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Effect {
    /// The accounts or roles, each exact.
    #[serde(skip_serializing)]
    principals: Vec<String>,
    /// The command and its arguments; whatever the client asks for, this runs.
    #[serde(default)]
    force_command: Option<Vec<String>>,
    /// The addresses or networks it may be used from.
    #[serde(default)]
    source_address: Option<Vec<String>>,
    /// What else a session may do.
    #[serde(default)]
    extensions: BTreeSet<Extension>,
}

/// What a certificate lets its holder do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Permits {
    /// The accounts or roles, never empty.
    pub(super) principals: BTreeSet<String>,
    /// What runs, as the account's shell reads it; anything the client asks for when absent.
    pub(super) force_command: Option<String>,
    /// From where, separated by commas; from anywhere when absent.
    pub(super) source_address: Option<String>,
    /// What else a session may do.
    pub(super) extensions: BTreeSet<Extension>,
}

/// Where a parameter's value gets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Principal,
    Word,
    Address,
}

impl Effect {
    /// Read and check an entry's.
    pub(super) fn read(entry: &CatalogueEntry) -> Result<Self, MintError> {
        let effect: Self = read_effect(entry)?;
        let checked = effect.fill(&Values::Declared(entry));
        checked.map_err(|why| MintError::Misconfigured(format!("the effect of `{}`: {why}", entry.name)))?;
        Ok(effect)
    }

    /// What scopes must have in common to share a certificate: everything but the principals, of which it may have several.
    pub(super) fn bucket(&self) -> Result<String, MintError> {
        canonical_json(self).map_err(|error| MintError::Misconfigured(format!("no canonical form: {error}")))
    }

    fn fill(&self, values: &Values<'_>) -> Result<Permits, String> {
        let all = |what: &str, texts: &[String], place: Place| {
            if texts.is_empty() || texts.len() > MAX_ITEMS {
                // Empty never means all: OpenSSH before 10.3 takes a certificate without principals for one of everybody.
                return Err(format!("`{what}` has 1 to {MAX_ITEMS} items; leave out what is not wanted"));
            }
            let put = |text: &String| put(text, values, place).map_err(|why| format!("`{what}`, `{text}`: {why}"));
            texts.iter().map(put).collect::<Result<Vec<_>, _>>()
        };
        let command = self.force_command.as_deref().map(|words| all("force_command", words, Place::Word));
        let addresses = self.source_address.as_deref().map(|list| all("source_address", list, Place::Address));
        Ok(Permits {
            principals: all("principals", &self.principals, Place::Principal)?.into_iter().collect(),
            force_command: command.transpose()?.map(|words| words.join(" ")),
            source_address: addresses.transpose()?.map(|list| list.join(",")),
            extensions: self.extensions.clone(),
        })
    }
}

/// What the scopes of an order permit together. They share everything but their principals, so that one certificate permits what
/// one for each of them would, and no more.
pub(super) fn permits(order: &MintOrder<'_>) -> Result<Permits, MintError> {
    let mut together: Option<Permits> = None;
    for (scope, entry) in &order.scopes {
        let filled = Effect::read(entry)?.fill(&Values::Given(scope.params()));
        let own = filled.map_err(|why| MintError::Unsupported(format!("`{scope}`: {why}")))?;
        let Some(all) = &mut together else {
            together = Some(own);
            continue;
        };
        let Permits { principals, .. } = own.clone();
        if (Permits { principals: all.principals.clone(), ..own }) != *all {
            let why = "a certificate has one command, one list of addresses and one set of extensions; ask for these scopes \
                in requests of their own";
            return Err(MintError::Unsupported(why.to_owned()));
        }
        all.principals.extend(principals);
        if all.principals.len() > MAX_ITEMS {
            return Err(MintError::Unsupported(format!("more than {MAX_ITEMS} principals")));
        }
    }
    together.ok_or_else(|| MintError::Unsupported("no scopes".to_owned()))
}

/// Put values in the places of their names. This is the only way by which anything of a request gets into a certificate.
fn put(template: &str, values: &Values<'_>, place: Place) -> Result<String, String> {
    let (text, known) = fill(template, values, |before, name, value| {
        if before.is_empty() && value.starts_with('-') {
            return Err(format!("the value of `{name}` would be taken for an option"));
        }
        if place == Place::Address && value.parse::<IpAddr>().is_err() {
            return Err(format!("the value of `{name}` is not one IP address"));
        }
        Ok(())
    })?;
    // What is made of names alone is looked at when it has its values.
    if known { fit(text, place) } else { Ok(text) }
}

/// The text as it stands in the certificate, if it means there what it says.
fn fit(text: String, place: Place) -> Result<String, String> {
    if text.is_empty() || text.len() > MAX_TEXT {
        return Err(format!("not 1 to {MAX_TEXT} bytes"));
    }
    match place {
        Place::Principal => {
            let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
            let rest = |b: u8| b.is_ascii_alphanumeric() || b"._@:/+-".contains(&b);
            if first && text.bytes().all(rest) {
                Ok(text)
            } else {
                Err("a principal has letters, digits and `._@:/+-`, and begins with a letter, a digit or `_`"
                    .to_owned())
            }
        }
        Place::Word => word(&text),
        Place::Address => address(&text),
    }
}

/// One word of a command as every shell reads it: the account's own one runs it, and quotes mean the same to all of them only
/// around characters that none treats otherwise there.
fn word(text: &str) -> Result<String, String> {
    if !text.bytes().all(|b| matches!(b, b' '..=b'~') && !b"'\\!".contains(&b)) {
        return Err("a word has visible ASCII characters and spaces, but no `'`, `\\` or `!`".to_owned());
    }
    let bare = |b: u8| b.is_ascii_alphanumeric() || b"._/@:+,-".contains(&b);
    Ok(if text.bytes().all(bare) { text.to_owned() } else { format!("'{text}'") })
}

/// An address or a network; OpenSSH refuses a certificate that names a network with bits of a host in it.
fn address(text: &str) -> Result<String, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    let network: IpNet = text.parse().map_err(|_| "not an IP address or network".to_owned())?;
    if network.trunc() == network {
        Ok(network.to_string())
    } else {
        Err(format!("has bits beyond its prefix; is {} meant?", network.trunc()))
    }
}

#[cfg(test)]
mod tests;
