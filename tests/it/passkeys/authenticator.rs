//! A foreign authenticator with its browser, and a second relying party: `tests/foreign/passkey.py`, spoken to line by line.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::support::foreign::{HINT, folder, python};

/// Where people find the broker of a harness.
pub(super) const ORIGIN: &str = "https://hallpass.test";
pub(super) const RP_ID: &str = "hallpass.test";
/// The flags (WebAuthn Level 3 §6.1).
pub(super) const UP: u8 = 1;
pub(super) const UV: u8 = 4;
pub(super) const BE: u8 = 8;
pub(super) const BS: u8 = 16;

/// The program, until this is dropped; each has keys of its own.
pub(super) struct Authenticator {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Authenticator {
    pub(super) fn start() -> Self {
        let mut child = Command::new(python())
            .arg(folder().join("passkey.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect(HINT);
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    /// Say something, and hear what it answers, be it an error.
    pub(super) fn ask(&mut self, case: &Value) -> Value {
        writeln!(self.input.as_mut().unwrap(), "{case}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("passkey.py said `{line}`; {HINT}"))
    }

    /// Make a credential, changed from what an honest one would be by `change`.
    pub(super) fn create(&mut self, options: &Value, change: &Value) -> Value {
        let mut case = json!({ "do": "create", "options": options, "origin": ORIGIN, "alg": -7 });
        merge(&mut case, change);
        let made = self.ask(&case);
        assert!(made.get("error").is_none(), "{made}");
        made
    }

    /// Sign, changed likewise.
    pub(super) fn get(&mut self, options: &Value, change: &Value) -> Value {
        let mut case = json!({ "do": "get", "options": options, "origin": ORIGIN });
        merge(&mut case, change);
        let signed = self.ask(&case);
        assert!(signed.get("error").is_none(), "{signed}");
        signed
    }
}

impl Drop for Authenticator {
    fn drop(&mut self) {
        drop(self.input.take());
        drop(self.child.wait());
    }
}

fn merge(case: &mut Value, change: &Value) {
    for (name, value) in change.as_object().unwrap() {
        case[name] = value.clone();
    }
}

pub(super) fn bytes(value: &Value, member: &str) -> Vec<u8> {
    data_encoding::BASE64URL_NOPAD.decode(value[member].as_str().unwrap().as_bytes()).unwrap()
}

pub(super) fn b64(bytes: &[u8]) -> String {
    data_encoding::BASE64URL_NOPAD.encode(bytes)
}
