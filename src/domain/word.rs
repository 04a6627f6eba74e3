//! Closed vocabularies that travel as words: on the wire, in the store and in the audit. One macro, so that a word is
//! written once and an unknown word is an error everywhere.

/// A word that is not in a closed vocabulary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not a {what}")]
pub struct UnknownWord {
    /// The vocabulary's name.
    pub what: &'static str,
    /// What was found instead.
    pub word: String,
}

/// Declare an enum whose variants travel as words.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident as $what:literal { $($(#[$vmeta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl $name {
            /// Every variant, in declaration order.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The wire word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::domain::UnknownWord;
            fn from_str(word: &str) -> Result<Self, Self::Err> {
                match word {
                    $($word => Ok($name::$variant),)+
                    other => Err($crate::domain::UnknownWord { what: $what, word: other.to_owned() }),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                word.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use words;

words! {
    /// Why an authority or a credential ended.
    EndCause as "end cause" {
        /// The agent said the task is done.
        Completed = "completed",
        /// The agent gave the task up.
        Cancelled = "cancelled",
        /// Its time was up.
        Expired = "expired",
        /// A task opened with a heartbeat stopped sending it.
        HeartbeatMissed = "heartbeat_missed",
        /// Somebody with the right to do so ended it.
        Revoked = "revoked",
        /// The kill switch ended everything.
        KillSwitch = "kill_switch",
        /// A new policy bundle no longer permits it.
        PolicyChanged = "policy_changed",
        /// The agent went away before the secret was handed over.
        Undelivered = "undelivered",
        /// The mint did not complete.
        Aborted = "aborted",
        /// Nothing the task asked for was permitted.
        Denied = "denied",
        /// The yes it rests on is used up, past its time, or counts no longer.
        Unapproved = "unapproved",
        /// The database was restored: whether it had been ended since the backup is not known.
        Restored = "restored",
    }
}
