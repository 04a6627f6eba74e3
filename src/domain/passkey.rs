//! Passkeys: whose they are, what one signs when a person decides, and why an answer of one may not count. What is signed is
//! a statement in canonical JSON, so that the signature itself is evidence of who decided what.

use serde::Serialize;

use super::word::words;
use super::{ChallengeId, Digest, EventId, PasskeyId, PasskeyName, Person, RequestId, SessionId, Timestamp, Verdict};

words! {
    /// Whether a passkey can leave its device (WebAuthn Level 3 §6.1.3).
    Backup as "backup state" {
        /// It lives on one device only.
        SingleDevice = "single_device",
        /// It may be backed up, and is not.
        Eligible = "eligible",
        /// It is backed up: whoever holds the account it is synchronised with may hold it too.
        BackedUp = "backed_up",
    }
}

impl Backup {
    /// From the flags BE and BS; nothing where they contradict each other.
    #[must_use]
    pub const fn from_flags(eligible: bool, backed_up: bool) -> Option<Self> {
        match (eligible, backed_up) {
            (false, false) => Some(Self::SingleDevice),
            (true, false) => Some(Self::Eligible),
            (true, true) => Some(Self::BackedUp),
            (false, true) => None,
        }
    }

    /// Whether it may be backed up, which never changes.
    #[must_use]
    pub const fn is_eligible(self) -> bool {
        matches!(self, Self::Eligible | Self::BackedUp)
    }
}

/// A key pair of one person's, whose public half we hold: what it signs shows who decided, and what was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passkey {
    /// Its id.
    pub id: PasskeyId,
    /// Whose it is.
    pub person: Person,
    /// Its place among the person's passkeys; none once it has ended.
    pub slot: Option<u32>,
    /// The credential's id, in base64url.
    pub credential: String,
    /// The public key as a COSE key (RFC 9052 §7), in base64url.
    pub cose_key: String,
    /// How often it signed, as it says itself; 0 where it does not count.
    pub sign_count: u32,
    /// Whether it can leave its device.
    pub backup: Backup,
    /// The model of its authenticator as it says itself, not proven: 32 hexadecimal digits.
    pub aaguid: String,
    /// How a browser reaches it.
    pub transports: Vec<String>,
    /// What the person calls it.
    pub name: PasskeyName,
    /// The person as its authenticator knows them: random bytes in base64url, never a name.
    pub user_handle: String,
    /// The audit event of its registration.
    pub registered: EventId,
    /// That event's canonical form, byte for byte, so that evidence can show it without looking for it.
    pub registration: String,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it last signed something that counted.
    pub last_used_at: Option<Timestamp>,
    /// When it was removed.
    pub ended_at: Option<Timestamp>,
}

words! {
    /// What a challenge is for.
    ChallengeKind as "kind of challenge" {
        /// To register a passkey.
        Register = "register",
        /// To give a verdict.
        Verdict = "verdict",
    }
}

/// What a passkey is asked to sign, once and soon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasskeyChallenge {
    /// Its id.
    pub id: ChallengeId,
    /// Whom it was given to.
    pub person: Person,
    /// Its place among the person's open ones.
    pub slot: u32,
    /// What it is for.
    pub kind: ChallengeKind,
    /// In which session, if in one of ours.
    pub session: Option<SessionId>,
    /// Random bytes in base64url.
    pub nonce: String,
    /// What is stated, as canonical JSON; the bytes to sign are SHA-256 of the nonce's bytes and this.
    pub statement: String,
    /// What the person was shown, where something was: what the statement's digest is the digest of, and the native effect.
    pub shown: Option<Shown>,
    /// When it is of no use any more.
    pub expires_at: Timestamp,
}

/// What a person was shown when asked for a verdict, as the canonical JSON that was hashed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shown {
    /// The native effect: its digest is the `plan` of the request.
    pub effect: String,
    /// The request: its digest is the request digest.
    pub request: String,
}

/// What a passkey signs: one person's verdict on exactly what was shown.
///
/// Members are in canonical order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerdictStatement {
    /// A yes to less than was asked.
    pub narrow: Option<StatedNarrow>,
    /// Who decides.
    pub person: Person,
    /// Why, in the person's words.
    pub reason: Option<String>,
    /// Which request.
    pub request: RequestId,
    /// The digest of what was shown.
    pub request_digest: Digest,
    /// The version of this form: 1.
    pub v: u8,
    /// What is said.
    pub verdict: Verdict,
}

/// How a verdict is narrower than what was asked, as it is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatedNarrow {
    /// The scopes that are left out, in order.
    pub drop_scopes: Vec<String>,
    /// The longest life in seconds, if it is shortened.
    pub ttl_seconds: Option<u32>,
}

/// What whoever registers a passkey states. Members are in canonical order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistrationStatement {
    /// What the passkey shall be called.
    pub name: String,
    /// Whose it shall be.
    pub person: Person,
    /// The person as the authenticator shall know them.
    pub user_handle: String,
    /// The version of this form: 1.
    pub v: u8,
}

words! {
    /// Why a passkey's answer does not count, or a passkey cannot be had.
    PasskeyFault as "passkey fault" {
        /// It cannot be read, or is longer than anything we asked for.
        Malformed = "malformed",
        /// It answers another kind of question.
        WrongType = "wrong_type",
        /// It answers another challenge.
        OtherChallenge = "other_challenge",
        /// It was given to another web site.
        WrongOrigin = "wrong_origin",
        /// It was given inside a page of another site.
        CrossOrigin = "cross_origin",
        /// It is for another relying party.
        OtherRelyingParty = "other_relying_party",
        /// Nobody touched the authenticator.
        NotPresent = "not_present",
        /// The authenticator did not check who used it.
        NotVerified = "not_verified",
        /// What it says about being backed up contradicts itself, or what it said before.
        BackupChanged = "backup_changed",
        /// The key is of a kind or size that is not accepted.
        UnsupportedKey = "unsupported_key",
        /// It comes with an attestation nobody asked for.
        AttestationRefused = "attestation_refused",
        /// The signature is not of this key over these bytes.
        BadSignature = "bad_signature",
        /// The count of signatures did not grow, as if there were two of it.
        CountWentBack = "count_went_back",
        /// The credential is registered already.
        KnownCredential = "known_credential",
        /// No passkey of this person's has this credential.
        UnknownCredential = "unknown_credential",
        /// The challenge is unknown: used, too old, or another person's.
        UnknownChallenge = "unknown_challenge",
        /// The challenge was given in another session.
        OtherSession = "other_session",
        /// The challenge was for something else.
        OtherStatement = "other_statement",
        /// The person has no passkey.
        NoPasskey = "no_passkey",
        /// The person has as many passkeys, or open challenges, as anybody may.
        TooMany = "too_many",
        /// A passkey the person has must agree to another one.
        ConfirmationMissing = "confirmation_missing",
    }
}

impl PasskeyFault {
    /// The same in a sentence that says what to do.
    #[must_use]
    pub const fn said(self) -> &'static str {
        match self {
            Self::Malformed => "The passkey's answer cannot be read. Try again, or with another browser.",
            Self::WrongType | Self::OtherChallenge | Self::OtherStatement => {
                "The passkey signed something else than what you are sending now. Open the page again, and decide anew."
            }
            Self::WrongOrigin | Self::OtherRelyingParty => {
                "The passkey was used at another address than the broker's own. Open the broker's page itself; if you \
                 followed a link to get here, tell your operators."
            }
            Self::CrossOrigin => "The page was shown inside another site. Open it by itself.",
            Self::NotPresent | Self::NotVerified => {
                "The authenticator did not check that it is you. Set a PIN, fingerprint or face on it, and try again."
            }
            Self::BackupChanged => {
                "What the authenticator says about backing this passkey up contradicts itself. Remove the passkey, and \
                 register a new one."
            }
            Self::UnsupportedKey => "This authenticator's kind of key is not accepted (ES256, EdDSA or RS256 is).",
            Self::AttestationRefused => {
                "This authenticator sends a certificate that was not asked for. Use another one."
            }
            Self::BadSignature => "The signature is not this passkey's. Try again.",
            Self::CountWentBack => {
                "This passkey's count of signatures went back, as if there were a copy of it. Remove it and tell your \
                 operators."
            }
            Self::KnownCredential => "This passkey is registered already.",
            Self::UnknownCredential => "No passkey of yours made this signature. Use one that Settings lists.",
            Self::UnknownChallenge => "This question was answered already, or was left open too long. Try again.",
            Self::OtherSession => "This question was asked in another session of yours. Try again here.",
            Self::NoPasskey => "You have no passkey yet. Register one under Settings, then try again.",
            Self::TooMany => {
                "You have as many passkeys, or open questions to one, as there may be (10 and 20). Remove a passkey, or \
                 wait two minutes."
            }
            Self::ConfirmationMissing => "One of the passkeys you have must agree to another one. Try again, with it.",
        }
    }
}
