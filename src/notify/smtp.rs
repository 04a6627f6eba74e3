//! E-mail: one message for each recipient, in plain text and a little HTML, and an answer to it when the request is settled. Headers
//! hold nothing but words of ours, registered names and ids. TLS is by ring; without it mail goes to this machine only.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, Tls, TlsParametersBuilder};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use serde::Deserialize;

use super::text::{html, visible};
use super::{ChannelSettings, Content, FollowUp, Letter, Misconfigured, Readers, SendError, Sender, SenderDeps};
use crate::domain::NoticeKind;
use crate::sys::{ExposeSecret as _, SecretRef, is_loopback, read_ca_file};

/// How long connecting may take, and how long all of a conversation: after connecting the library waits for ever.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(12);
/// The longest line of text, in characters.
const MAX_LINE: usize = 600;
/// The longest piece of what the server says that goes into an error, in characters.
const MAX_SAID: usize = 200;

/// How a connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Protection {
    /// By STARTTLS, which must succeed (RFC 3207); port 587.
    Starttls,
    /// From the first byte (RFC 8314); port 465.
    Implicit,
    /// Not at all: to this machine only; port 25.
    None,
}

/// The keys of a mail server.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The mail server's name.
    server: String,
    /// Its port; 587, 465 or 25 when absent, as `tls` says.
    port: Option<u16>,
    /// `starttls` (when absent), `implicit`, or `none` for a server on this machine.
    #[serde(default = "starttls")]
    tls: Protection,
    /// The user to sign in as, if the server wants one.
    user: Option<String>,
    /// Where the user's password is.
    password: Option<SecretRef>,
    /// The sender, e.g. `Hallpass <hallpass@acme.example>`.
    from: String,
    /// Addresses by group, besides the people who are known to be in it.
    #[serde(default)]
    to: BTreeMap<String, Vec<String>>,
    /// Certificate authorities to trust besides the machine's, PEM.
    ca_file: Option<PathBuf>,
}

const fn starttls() -> Protection {
    Protection::Starttls
}

struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: BTreeMap<String, Vec<String>>,
}

pub(super) fn build(settings: &ChannelSettings, deps: &SenderDeps) -> Result<Arc<dyn Sender>, Misconfigured> {
    let own: Settings = settings.read()?;
    let from: Mailbox =
        own.from.parse().map_err(|_| settings.refuse("`from` is not like `Hallpass <hallpass@acme.example>`"))?;
    for address in own.to.values().flatten() {
        if address.parse::<Address>().is_err() {
            return Err(settings.refuse(format_args!("`to`: `{}` is not an address", visible(address, MAX_SAID))));
        }
    }
    let (tls, port) = match own.tls {
        Protection::Starttls => (Tls::Required(tls(&own, settings, deps)?), 587),
        Protection::Implicit => (Tls::Wrapper(tls(&own, settings, deps)?), 465),
        Protection::None if is_loopback(&own.server) && own.password.is_none() => (Tls::None, 25),
        Protection::None => {
            return Err(settings.refuse("`tls = \"none\"` is for a server on this machine, without a password"));
        }
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&own.server)
        .port(own.port.unwrap_or(port))
        .tls(tls)
        .timeout(Some(CONNECT_TIMEOUT))
        .hello_name(ClientId::Domain(from.email.domain().to_owned()));
    builder = match (own.user, own.password) {
        (Some(user), Some(password)) => {
            let password = password.below(&deps.folder).read();
            let password = password.map_err(|why| settings.refuse(format_args!("`password`: {why}")))?;
            builder
                .credentials(Credentials::new(user, password.expose_secret().to_owned()))
                .authentication(vec![Mechanism::Plain, Mechanism::Login])
        }
        (None, None) => builder,
        _ => return Err(settings.refuse("`user` and `password` go together")),
    };
    Ok(Arc::new(Smtp { transport: builder.build(), from, to: own.to }))
}

fn tls(
    own: &Settings,
    settings: &ChannelSettings,
    deps: &SenderDeps,
) -> Result<lettre::transport::smtp::client::TlsParameters, Misconfigured> {
    let mut builder = TlsParametersBuilder::new(own.server.clone());
    if let Some(file) = &own.ca_file {
        let pem = read_ca_file(&deps.folder.join(file)).map_err(|why| settings.refuse(why))?;
        let authorities = Certificate::from_pem(&pem).map_err(|error| settings.refuse(error))?;
        builder = builder.add_root_certificate(authorities);
    }
    builder.build().map_err(|error| settings.refuse(error))
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
fn refused(error: lettre::transport::smtp::Error) -> SendError {
    SendError::new(visible(&error.to_string(), MAX_SAID))
}

#[async_trait]
impl Sender for Smtp {
    fn readers(&self) -> Readers<'_> {
        Readers::People(&self.to)
    }

    fn follow_up(&self) -> FollowUp {
        FollowUp::Reply
    }

    async fn send(&self, letter: &Letter<'_>) -> Result<Option<String>, SendError> {
        let message = compose(&self.from, letter).map_err(SendError::new)?;
        let sent = tokio::time::timeout(TIMEOUT, self.transport.send(message)).await;
        sent.map_err(|_| SendError::new("no answer in time"))?.map_err(refused)?;
        Ok(None)
    }

    async fn check(&self) -> Result<String, String> {
        let Ok(reached) = tokio::time::timeout(TIMEOUT, self.transport.test_connection()).await else {
            return Err("the server does not answer in time".to_owned());
        };
        match reached {
            Ok(true) => Ok("the server is reached and lets us in".to_owned()),
            Ok(false) => Err("the server is reached and does not answer as one".to_owned()),
            Err(error) => Err(visible(&error.to_string(), MAX_SAID)),
        }
    }
}

/// The subject: a follow-up keeps that of the mail it answers, so that readers show the two as one conversation.
fn subject(content: &Content, is_reply: bool) -> String {
    let text = if is_reply {
        format!("Re: Hallpass: {} asks for access ({})", content.agent, content.request)
    } else {
        format!("Hallpass: {} ({})", content.headline(), content.request)
    };
    visible(&text, 180)
}

fn compose(from: &Mailbox, letter: &Letter<'_>) -> Result<Message, String> {
    let domain = from.email.domain();
    let to: Address = letter.recipient.parse().map_err(|_| "the recipient is not an address".to_owned())?;
    let secs = u64::try_from(letter.created_at.as_secs()).unwrap_or(0);
    let mut builder = Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to))
        .subject(subject(letter.content, letter.before.is_some()))
        .date(SystemTime::UNIX_EPOCH + Duration::from_secs(secs))
        // The same at each attempt, so that whoever gets it twice can tell.
        .message_id(Some(format!("<{}@{domain}>", letter.id)))
        // RFC 3834 §5: nobody's holiday note shall answer.
        .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned()));
    if let Some((before, _)) = letter.before {
        let before = format!("<{before}@{domain}>");
        builder = builder.in_reply_to(before.clone()).references(before);
    }
    let part = |kind, text| SinglePart::builder().header(kind).body(text);
    let parts = MultiPart::alternative()
        .singlepart(part(ContentType::TEXT_PLAIN, plain(letter.content)))
        .singlepart(part(ContentType::TEXT_HTML, pretty(letter.content)));
    builder.multipart(parts).map_err(|error| error.to_string())
}

const FOOT: &str = "Nothing can be decided by answering this mail.";

fn plain(content: &Content) -> String {
    let line = |text: &str| visible(text, MAX_LINE);
    let mut lines =
        vec![format!("{}.", line(&content.headline())), String::new(), line(&content.sentence), String::new()];
    lines.extend(content.scopes.iter().map(|scope| format!("  - {}", line(scope))));
    lines.push(String::new());
    lines.extend(content.facts().iter().map(|(label, text)| format!("{label}: {}", line(text))));
    if content.event == NoticeKind::Awaited && !content.unusual.is_empty() {
        lines.push("Unusual:".to_owned());
        lines.extend(content.unusual.iter().map(|text| format!("  - {}", line(text))));
    }
    lines.extend([String::new(), content.link.clone(), String::new(), FOOT.to_owned(), String::new()]);
    lines.join("\n")
}

fn pretty(content: &Content) -> String {
    let text = |text: &str| html(text, MAX_LINE);
    let items = |list: &[String]| {
        list.iter().map(|item| format!("<li><code>{}</code></li>", text(item))).collect::<Vec<_>>().concat()
    };
    let facts = content.facts();
    let facts = facts.iter().map(|(label, fact)| format!("<tr><td>{label}</td><td>{}</td></tr>", text(fact)));
    let unusual = if content.event == NoticeKind::Awaited && !content.unusual.is_empty() {
        format!("<p>Unusual:</p><ul>{}</ul>", items(&content.unusual))
    } else {
        String::new()
    };
    format!(
        "<!DOCTYPE html><html lang=\"en\"><body><p><strong>{}</strong></p><p>{}</p><ul>{}</ul><table>{}</table>{unusual}\
         <p><a href=\"{link}\">{link}</a></p><p>{FOOT}</p></body></html>\n",
        text(&content.headline()),
        text(&content.sentence),
        items(&content.scopes),
        facts.collect::<Vec<_>>().concat(),
        link = text(&content.link),
    )
}

#[cfg(test)]
mod tests {
    use super::super::content::tests::content;
    use super::*;
    use crate::domain::{NoticeId, Timestamp};

    fn letter<'a>(content: &'a Content, recipient: &'a str, before: Option<NoticeId>) -> Letter<'a> {
        let created_at = Timestamp::from_secs(1_800_000_000);
        let id = NoticeId::new(created_at, [7; 10]);
        Letter { id, recipient, content, created_at, now: created_at, before: before.map(|before| (before, None)) }
    }

    fn from() -> Mailbox {
        "Hallpass <hallpass@acme.example>".parse().unwrap()
    }

    #[test]
    fn no_text_of_a_notice_can_add_a_header_or_a_recipient() {
        let mut nasty = content(NoticeKind::Awaited);
        for text in [&mut nasty.agent, &mut nasty.request, &mut nasty.sentence, &mut nasty.link] {
            text.push_str("\r\nBcc: eve@evil.example\r\n\r\n<script>");
        }
        let message = compose(&from(), &letter(&nasty, "jonas@acme.example", None)).unwrap();
        let bytes = String::from_utf8(message.formatted()).unwrap();
        let (headers, _) = bytes.split_once("\r\n\r\n").unwrap();
        let names: Vec<&str> = headers
            .lines()
            .filter(|l| !l.starts_with([' ', '\t']))
            .filter_map(|l| l.split_once(':'))
            .map(|h| h.0)
            .collect();
        assert!(!names.iter().any(|name| name.eq_ignore_ascii_case("bcc")), "{headers}");
        assert_eq!(message.envelope().to().len(), 1);
        for recipient in ["a@b.example, c@d.example", "a@b.example\r\nBcc: c@d.example", "Ann <a@b.example>", ""] {
            assert!(compose(&from(), &letter(&nasty, recipient, None)).is_err(), "{recipient:?}");
        }
    }

    #[test]
    fn an_answer_names_the_mail_it_answers() {
        let (ask, outcome) = (content(NoticeKind::Awaited), content(NoticeKind::Resolved));
        let before = NoticeId::new(Timestamp::from_secs(1_800_000_000), [1; 10]);
        let first = compose(&from(), &letter(&ask, "jonas@acme.example", None)).unwrap();
        let second = compose(&from(), &letter(&outcome, "jonas@acme.example", Some(before))).unwrap();
        let second = String::from_utf8(second.formatted()).unwrap();
        assert!(second.contains(&format!("In-Reply-To: <{before}@acme.example>\r\n")), "{second}");
        assert!(second.contains(&format!("References: <{before}@acme.example>\r\n")), "{second}");
        let again = compose(&from(), &letter(&ask, "jonas@acme.example", None)).unwrap();
        let id = |message: &Message| message.headers().get_raw("Message-ID").map(str::to_owned);
        assert_eq!(id(&first), id(&again), "the same at each attempt");
        let line = |text: &str| text.lines().find(|l| l.starts_with("Subject: ")).unwrap().to_owned();
        assert!(line(&second).starts_with("Subject: Re: Hallpass: release-bot asks for access"), "{second}");
    }

    #[test]
    fn the_texts_are_as_they_were_agreed() {
        let shown =
            format!("{}\n----\n{}", plain(&content(NoticeKind::Awaited)), pretty(&content(NoticeKind::Awaited)));
        let golden = include_str!("../../tests/it/notify/golden/mail.txt");
        assert_eq!(shown.trim(), golden.trim(), "\n{shown}");
        assert!(!pretty(&content(NoticeKind::Awaited)).contains("<https"));
    }
}
