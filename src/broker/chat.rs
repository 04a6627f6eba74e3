//! A no from a chat. The chat vouches for which account pressed the button, the bundle's register for which person that is, and what
//! issuers last said for the groups the person is in; then it is a verdict like any other. There is no yes from a chat.

use super::{Broker, BrokerError, Caller, OperatorCaller, SignIn};
use crate::api::VerdictAsk;
use crate::domain::{Name, Operator, Person};
use crate::notify::{Channel, ChatAction, ChatRefusal, SignedCall};
use crate::sys::sha256;

/// For how long a signature is remembered, in milliseconds: longer than it is accepted.
const REMEMBER_MILLIS: i64 = 10 * 60 * 1000;

/// A call that says it is from a chat.
#[derive(Debug, Clone)]
pub struct ChatCall {
    /// The signature as sent.
    pub signature: String,
    /// The time as sent.
    pub timestamp: String,
    /// The body, byte for byte.
    pub body: Vec<u8>,
}

impl Broker {
    /// Take a call of a channel's chat: a no is acted on, and whoever pressed the button is told what came of it. The future that is
    /// returned tells them; nobody waits for it.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`] for a channel that takes no calls, [`BrokerError::IdentityRefused`] for one that is not signed,
    /// [`BrokerError::Invalid`] for one that is about nothing of ours, or that came before.
    pub async fn take_chat_call(
        &self,
        channel: &str,
        call: ChatCall,
    ) -> Result<impl Future<Output = ()> + Send + use<>, BrokerError> {
        let name: Option<Name> = channel.parse().ok();
        let channel = name.and_then(|name| self.channels.find(&name)).ok_or(BrokerError::NotFound("channel"))?.clone();
        let now = self.clock.now();
        let signed = SignedCall { signature: &call.signature, timestamp: &call.timestamp, body: &call.body, now };
        let action = match channel.sender.chat_action(&signed) {
            None => return Err(BrokerError::NotFound("channel")),
            Some(Err(ChatRefusal::NotSigned)) => return Err(BrokerError::IdentityRefused),
            Some(Err(refusal @ ChatRefusal::NotOurs)) => return Err(BrokerError::Invalid(refusal.to_string())),
            Some(Ok(action)) => action,
        };
        let key = sha256(format!("chat:{}:{}", channel.name, call.signature));
        if !self.store.take_once(key, now, now.plus_millis(REMEMBER_MILLIS)).await? {
            return Err(BrokerError::Invalid("this call was made before".to_owned()));
        }
        let told = match &action.deny {
            None => None,
            Some((request, digest)) => Some(self.deny_from_chat(&channel, &action, request, digest).await),
        };
        Ok(async move {
            let Some(text) = told else { return };
            if let Err(error) = channel.sender.whisper(&action, &text).await {
                tracing::warn!(channel = %channel.name, %error, "whoever denied from a chat was not told what came of it");
            }
        })
    }

    /// Deny, and say what came of it.
    async fn deny_from_chat(&self, channel: &Channel, action: &ChatAction, request: &str, digest: &str) -> String {
        let (issuer, subject) = (&action.issuer, &action.subject);
        let Some(person) = self.policy.current().person_with_identity(issuer, subject) else {
            return format!(
                "Not done: nobody in the register of people has the identity {subject} of {issuer}. Open the request instead."
            );
        };
        match self.try_deny(channel, action, person, request, digest).await {
            Ok(state) if state == "denied" => "Done: you denied it. The agent is told.".to_owned(),
            Ok(state) => format!("Not done: it is {state}."),
            Err(BrokerError::ApprovalStale | BrokerError::ApprovalMismatch) => {
                "Not done: the request is not what this message shows any more. Open it and read it again.".to_owned()
            }
            Err(error) if is_ours(&error) => {
                tracing::warn!(channel = %channel.name, %error, "a no from a chat could not be recorded");
                "Not done: something went wrong in the broker. Open the request and try there.".to_owned()
            }
            Err(error) => format!("Not done: {error}."),
        }
    }

    async fn try_deny(
        &self,
        channel: &Channel,
        action: &ChatAction,
        person: Person,
        request: &str,
        digest: &str,
    ) -> Result<String, BrokerError> {
        let mut known = self.store.list_known_person(&person).await?;
        known.retain(|known| known.seen_at >= self.seen_since());
        let Some(latest) = known.iter().max_by_key(|known| known.seen_at) else {
            return Err(BrokerError::Forbidden(
                "deny from a chat before you have signed in once: nobody has said which groups you are in".to_owned(),
            ));
        };
        let operator = Operator {
            person,
            issuer: action.issuer.clone(),
            subject: action.subject.clone(),
            email: latest.email.clone(),
            groups: known.iter().flat_map(|known| known.groups.clone()).collect(),
        };
        let caller = OperatorCaller { operator, expires_at: self.clock.now(), sign_in: SignIn::default() };
        self.admit(&Caller::Operator(caller.clone()))?;
        let ask = VerdictAsk {
            verdict: "deny".to_owned(),
            request_digest: digest.to_owned(),
            narrow: None,
            reason: Some(format!("Denied in the chat of channel {}", channel.name)),
            assertion: None,
        };
        Ok(Box::pin(self.decide_request_once(&caller, request, ask, None)).await?.state)
    }
}

/// Whether what went wrong is the broker's affair, and no word of it whoever pressed a button should read.
const fn is_ours(error: &BrokerError) -> bool {
    matches!(
        error,
        BrokerError::Store(_)
            | BrokerError::Internal(_)
            | BrokerError::Keys(_)
            | BrokerError::Mint(_)
            | BrokerError::Changed
    )
}
