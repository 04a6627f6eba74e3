//! What is answered to Git, and to whom nothing is.

use super::super::samples::credential;
use super::*;
use crate::api::Credential;
use proptest::prelude::*;

fn token(values: &[(&str, &str)]) -> Credential {
    let mut all = vec![
        ("token", "ghs_x"),
        ("username", "x-access-token"),
        ("git_url", "https://github.com"),
        ("repositories", "acme/gadget acme/widget"),
    ];
    all.retain(|(member, _)| !values.iter().any(|(other, _)| other == member));
    all.extend(values);
    credential("github", "gh:widget:read", &all)
}

fn server(url: &str) -> Option<Server> {
    Server::of(&Url::parse(url).unwrap())
}

fn answered(credential: &Credential, input: &str) -> Result<Option<String>, Failure> {
    let wanted =
        Wanted::read(input.as_bytes())?.filter(|wanted| Some(&wanted.server) == server("https://github.com").as_ref());
    let Some(wanted) = wanted else { return Ok(None) };
    formatted(credential, &wanted.server, &wanted)
}

const ANSWER: &str = "username=x-access-token\npassword=ghs_x\npassword_expiry_utc=1800000000";

#[test]
fn git_gets_a_user_a_password_and_its_end() {
    for more in [
        "",
        "path=acme/widget.git\n",
        "path=ACME/Widget\n",
        "path=acme/gadget.git/info/lfs\n",
        "username=x-access-token\n",
        "capability[]=authtype\ncapability[]=state\nwwwauth[]=Basic realm=\"GitHub\"\nunheard=of\n\nprotocol=ftp\n",
    ] {
        let input = format!("protocol=https\nhost=github.com\n{more}");
        assert_eq!(answered(&token(&[]), &input).unwrap().as_deref(), Some(ANSWER), "{more}");
    }
    assert!(answered(&token(&[]), "protocol=https\nhost=GitHub.com:443\n").unwrap().is_some(), "the same server");
}

#[test]
fn nothing_is_said_for_another_server_or_repository() {
    for input in [
        "",
        "\n",
        "protocol=https\n",
        "host=github.com\n",
        "protocol=http\nhost=github.com\n",
        "protocol=ssh\nhost=github.com\n",
        "protocol=https\nhost=github.com.evil.example\n",
        "protocol=https\nhost=evil.example\n",
        "protocol=https\nhost=github.com:8443\n",
        "protocol=https\nhost=github.com/evil.example\n",
        "protocol=https\nhost=github.com@evil.example\n",
        "protocol=https\nhost=evil.example#github.com\n",
        "protocol=https\nhost=github.com\npath=acme/other.git\n",
        "protocol=https\nhost=github.com\npath=acme/widget/../other\n",
        "protocol=https\nhost=github.com\npath=acme\n",
        "protocol=https\nhost=github.com\npath=acme/widget.git/more\n",
        "protocol=https\nhost=github.com\npath=acme/widget.wiki.git\n",
    ] {
        assert_eq!(answered(&token(&[]), input).unwrap(), None, "{input}");
    }
    assert!(answered(&token(&[("repositories", "")]), "protocol=https\nhost=github.com\npath=/\n").unwrap().is_none());
}

#[test]
fn what_git_would_not_ask_is_refused() {
    let long = format!("protocol=https\nhost={}\n", "h".repeat(MAX_VALUE_BYTES + 1));
    let longer = "a=b\n".repeat(MAX_INPUT_BYTES);
    for input in
        ["protocol\n", "host=a\nhost=b\n", "protocol=https\nhost=a\r\n", "protocol=https\nhost=a\0\n", &long, &longer]
    {
        assert_eq!(Wanted::read(input.as_bytes()).unwrap_err().exit, Exit::Usage);
    }
    assert!(Wanted::read(b"host=\xff\n").is_err());
}

#[test]
fn a_credential_does_not_leave_for_a_server_it_is_not_for() {
    let ours = "protocol=https\nhost=github.com\n";
    for values in [
        ("git_url", "https://git.acme.example"),
        ("git_url", "http://github.com"),
        ("git_url", "github.com"),
        ("token", "ghs_x\nhost=evil.example"),
        ("token", "ghs_x\r"),
        ("token", ""),
    ] {
        let failure = answered(&token(&[values]), ours).unwrap_err();
        assert!(!failure.to_string().contains("ghs_x"), "{failure}");
    }
    assert!(answered(&token(&[]), "protocol=https\nhost=github.com\nusername=octocat\n").is_err());
    let other = credential("sandbox", "sandbox:releases:read", &[("token", "S")]);
    assert_eq!(answered(&other, ours).unwrap_err().exit, Exit::Usage);
}

#[test]
fn passwords_travel_in_the_clear_on_this_machine_only() {
    assert!(server("https://git.acme.example").is_some() && server("http://127.0.0.1:8080").is_some());
    for refused in ["http://git.acme.example", "ssh://github.com", "file:///tmp"] {
        assert_eq!(server(refused), None, "{refused}");
    }
}

proptest! {
    /// Whatever Git is made to ask, the answer is three lines or none.
    #[test]
    fn an_answer_has_no_line_of_somebody_elses(
        lines in prop::collection::vec(("(protocol|host|path|username|x)", "[ -~\\n\\r]{0,12}|https|github.com|acme/widget"), 0..6),
    ) {
        let input: String = lines.iter().flat_map(|(key, value)| [key, "=", value, "\n"]).collect();
        if let Ok(Some(text)) = answered(&token(&[]), &input) {
            prop_assert_eq!(text.as_str(), ANSWER);
            prop_assert!(input.contains("host=github.com"));
        }
    }
}
