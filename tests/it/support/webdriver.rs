//! A real Chromium, driven through ChromeDriver (WebDriver, W3C Recommendation): pages are opened, read, typed into and clicked as a
//! person would, with and without JavaScript, on a phone's screen and on a desk's.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use data_encoding::BASE64;
use hallpass::sys::{Clock as _, SteadyClock};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::foreign;
use super::loopback::Wire;
use super::ports::free_ports;

/// Longest wait for anything a page shall show, in milliseconds.
const PATIENCE_MILLIS: i64 = 20_000;
/// Longest that one command may take.
const LONGEST: Duration = Duration::from_mins(1);
/// The member that names an element (WebDriver §12.1).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// A phone's screen and a desk's, in CSS pixels.
pub(crate) const PHONE: (u32, u32) = (390, 844);
pub(crate) const DESK: (u32, u32) = (1280, 900);

/// A browser with a profile of its own, closed with the test.
pub(crate) struct Browser {
    driver: Child,
    wire: Mutex<Wire>,
    session: String,
    profile: tempfile::TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // ChromeDriver takes its browsers along when it is asked to end.
        if let Some(pid) = rustix::process::Pid::from_raw(i32::try_from(self.driver.id()).unwrap()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.driver.wait();
    }
}

fn hint(program: &str) -> String {
    format!("{program} is missing; `make tools` installs what this test needs")
}

impl Browser {
    pub(crate) async fn start((width, height): (u32, u32), javascript: bool) -> Self {
        let port = free_ports(1);
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|_| panic!("{}", hint("chromedriver")));
        let address: SocketAddr = (Ipv4Addr::LOCALHOST, port).into();
        let profile = tempfile::Builder::new().prefix("chromium-").tempdir().unwrap();
        let connecting = async {
            let mut tries = tokio::time::interval(Duration::from_millis(20));
            loop {
                tries.tick().await;
                if let Ok(wire) = Wire::connect(address).await {
                    return wire;
                }
            }
        };
        let wire = tokio::time::timeout(Duration::from_millis(PATIENCE_MILLIS.unsigned_abs()), connecting)
            .await
            .expect("ChromeDriver does not listen");
        let mut browser = Self { driver, wire: Mutex::new(wire), session: String::new(), profile };
        let options = json!({
            "args": [
                "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-background-networking",
                "--no-first-run", "--force-prefers-reduced-motion", "--force-device-scale-factor=1", "--lang=en-US", format!("--window-size={width},{height}"),
                format!("--user-data-dir={}", browser.profile.path().display()),
            ],
        });
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" },
            "webauthn:virtualAuthenticators": true,
        } } });
        let made = browser.command("POST", "", &wanted).await;
        browser.session = format!("/{}", made["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {made}")));
        // A window cannot be that narrow; a screen can.
        let screen = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        let screen = json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": screen });
        browser.command("POST", "/goog/cdp/execute", &screen).await;
        if !javascript {
            let off = json!({ "cmd": "Emulation.setScriptExecutionDisabled", "params": { "value": true } });
            browser.command("POST", "/goog/cdp/execute", &off).await;
        }
        browser
    }

    /// A command that may fail; what it says.
    async fn try_command(&self, method: &str, path: &str, body: &Value) -> Result<Value, Value> {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        // ChromeDriver answers nobody who does not call it by a name of this machine.
        let sent = format!(
            "{method} /session{}{path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.session,
            body.len()
        );
        let mut wire = self.wire.lock().await;
        let answer = tokio::time::timeout(LONGEST, wire.send(sent.as_bytes())).await;
        let answer = answer.unwrap_or_else(|_| panic!("{method} {path}: no answer")).expect("ChromeDriver answers");
        let said: Value = answer.json();
        if answer.status == 200 { Ok(said["value"].clone()) } else { Err(said["value"].clone()) }
    }

    async fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        self.try_command(method, path, body).await.unwrap_or_else(|error| {
            panic!("{method} {path}: {} {}", error["error"], error["message"].as_str().unwrap_or_default())
        })
    }

    /// Open a page, and wait until it is loaded.
    pub(crate) async fn open(&self, url: &str) {
        self.command("POST", "/url", &json!({ "url": url })).await;
    }

    /// Where it is.
    pub(crate) async fn url(&self) -> String {
        self.command("GET", "/url", &Value::Null).await.as_str().unwrap().to_owned()
    }

    async fn find(&self, css: &str) -> Option<String> {
        let found =
            self.try_command("POST", "/element", &json!({ "using": "css selector", "value": css })).await.ok()?;
        Some(found[ELEMENT].as_str().unwrap().to_owned())
    }

    /// How many there are of this.
    pub(crate) async fn count(&self, css: &str) -> usize {
        let all = self.command("POST", "/elements", &json!({ "using": "css selector", "value": css })).await;
        all.as_array().unwrap().len()
    }

    /// Wait until something is so; the page as it is when it does not become so.
    pub(crate) async fn until(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        let clock = SteadyClock::default();
        let (from, mut tries) = (clock.now(), tokio::time::interval(Duration::from_millis(50)));
        // No command is given up half-way: its answer would be taken for the next one's.
        while !is_so().await {
            let patient = clock.now().millis_since(from) <= PATIENCE_MILLIS;
            assert!(patient, "{what}, at {}:\n{}", self.url().await, self.text("body").await);
            tries.tick().await;
        }
    }

    /// The element, as soon as it is there.
    async fn element(&self, css: &str) -> String {
        self.until(&format!("no `{css}`"), async || self.find(css).await.is_some()).await;
        self.find(css).await.unwrap()
    }

    /// What a person can read of it.
    pub(crate) async fn text(&self, css: &str) -> String {
        let Some(element) = self.find(css).await else { return String::new() };
        let said = self.try_command("GET", &format!("/element/{element}/text"), &Value::Null).await;
        said.ok().and_then(|text| text.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// Wait until a person can read this there.
    pub(crate) async fn says(&self, css: &str, text: &str) {
        self.until(&format!("`{css}` does not say `{text}`"), async || self.text(css).await.contains(text)).await;
    }

    /// Click it once it is there, as a person does: scrolled to, and not covered by anything.
    pub(crate) async fn click(&self, css: &str) {
        let element = self.element(css).await;
        let scroll = "arguments[0].scrollIntoView({ block: 'center', behavior: 'instant' })";
        let body = json!({ "script": scroll, "args": [{ ELEMENT: element }] });
        self.command("POST", "/execute/sync", &body).await;
        self.command("POST", &format!("/element/{element}/click"), &json!({})).await;
    }

    /// Type into it.
    pub(crate) async fn type_into(&self, css: &str, text: &str) {
        let element = self.element(css).await;
        self.command("POST", &format!("/element/{element}/clear"), &json!({})).await;
        self.command("POST", &format!("/element/{element}/value"), &json!({ "text": text })).await;
    }

    /// Press keys where the focus is.
    pub(crate) async fn press(&self, keys: &[&str]) {
        let each = |key: &&str| [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })];
        let actions: Vec<Value> = keys.iter().flat_map(each).collect();
        let body = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] });
        self.command("POST", "/actions", &body).await;
    }

    /// The value of a property of it.
    pub(crate) async fn property(&self, css: &str, name: &str) -> Value {
        let element = self.element(css).await;
        self.command("GET", &format!("/element/{element}/property/{name}"), &Value::Null).await
    }

    /// Run a script in the page and take what it returns; a promise is waited for.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.command("POST", "/execute/sync", &json!({ "script": script, "args": [] })).await
    }

    /// The cookies of the page's site.
    pub(crate) async fn cookies(&self) -> Vec<Value> {
        self.command("GET", "/cookie", &Value::Null).await.as_array().unwrap().clone()
    }

    /// A virtual authenticator that holds passkeys and finds its user present and verified (WebAuthn Level 3 §11.3).
    pub(crate) async fn add_authenticator(&self) -> String {
        let wanted = json!({
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": true, "hasUserVerification": true,
            "isUserConsenting": true, "isUserVerified": true,
        });
        self.command("POST", "/webauthn/authenticator", &wanted).await.as_str().unwrap().to_owned()
    }

    /// Whether that authenticator finds its user verified from now on.
    pub(crate) async fn verify_user(&self, authenticator: &str, verified: bool) {
        let path = format!("/webauthn/authenticator/{authenticator}/uv");
        self.command("POST", &path, &json!({ "isUserVerified": verified })).await;
    }

    /// What the page's scripts and policies complained about since it was last asked.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let said = self.command("POST", "/se/log", &json!({ "type": "browser" })).await;
        let of = |entry: &Value| entry["message"].as_str().unwrap_or_default().to_owned();
        said.as_array().unwrap().iter().filter(|entry| entry["level"] == "SEVERE").map(of).collect()
    }

    /// Keep a picture of what can be seen, as build output.
    pub(crate) async fn picture(&self, name: &str) {
        let picture = self.command("GET", "/screenshot", &Value::Null).await;
        let folder = pictures();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(
            folder.join(format!("{name}.png")),
            BASE64.decode(picture.as_str().unwrap().as_bytes()).unwrap(),
        )
        .unwrap();
    }

    /// What axe finds wrong with the page, each as one line; every rule of WCAG 2.2 A and AA and of best practice.
    pub(crate) async fn violations(&self) -> Vec<String> {
        let axe = std::fs::read_to_string(foreign::folder().join("node_modules/axe-core/axe.min.js"))
            .unwrap_or_else(|_| panic!("{}", hint("axe-core")));
        let script = format!(
            "{axe}; return axe.run(document, {{ resultTypes: ['violations'] }}).then((found) => found.violations.map((one) => \
             one.id + ': ' + one.help + ': ' + one.nodes.map((node) => node.target.join(' ')).join(', ')))"
        );
        let found = self.run(&script).await;
        found.as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect()
    }

    /// Whether the page is no wider than the screen.
    pub(crate) async fn fits(&self) -> bool {
        self.run("return document.documentElement.scrollWidth <= document.documentElement.clientWidth").await
            == json!(true)
    }
}

/// Where the pictures go.
fn pictures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pictures")
}
