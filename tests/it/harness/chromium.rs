//! A real Chromium, driven by its own WebDriver. Left out, with the reason printed, when it is not installed.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::{left_out, ports};

/// The key under which WebDriver names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// How long a page may take to be there, and how often it is looked at meanwhile.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(50);

/// One browser window.
pub struct Chromium {
    driver: Child,
    port: u16,
    session: String,
}

impl Chromium {
    /// Starts one. `None`, with the reason printed, when there is none at hand.
    ///
    /// # Panics
    /// When there is none although `SYMBOLON_TEST_REQUIRE` lists `browser`.
    pub async fn start() -> Option<Self> {
        let at_hand = ["chromedriver", "chromium"].into_iter().find(|program| !in_path(program));
        if let Some(missing) = at_hand {
            let required = std::env::var("SYMBOLON_TEST_REQUIRE").unwrap_or_default();
            let required = required.split(',').any(|name| name.trim() == "browser");
            assert!(!required, "a browser is required here, but `{missing}` is not in PATH");
            left_out(&format!("tests in a browser: `{missing}` is not in PATH (Debian: apt-get install chromium-driver)"));
            return None;
        }
        let port = ports::free();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver starts");
        let mut chromium = Self { driver, port, session: String::new() };
        let arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage"];
        let wanted = json!({
            "acceptInsecureCerts": true,
            "goog:chromeOptions": { "binary": path_of("chromium"), "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let wanted = json!({ "capabilities": { "alwaysMatch": wanted } });
        for _ in 0..600 {
            match chromium.ask("POST", "/session", &wanted).await {
                Ok(answer) => {
                    chromium.session = answer["sessionId"].as_str().expect("a session").to_owned();
                    return Some(chromium);
                }
                // It is still starting.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
                Err(error) => panic!("chromedriver starts no browser: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("chromedriver does not answer");
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> std::io::Result<Value> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost:{}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n",
            self.port
        );
        socket.write_all(format!("{head}{body}").as_bytes()).await?;
        let answer = tokio::time::timeout(Duration::from_secs(60), read_answer(&mut socket)).await??;
        let answer: Value = serde_json::from_slice(&answer).map_err(std::io::Error::other)?;
        match answer["value"].get("error") {
            Some(error) => Err(std::io::Error::other(format!("{method} {path}: {error}: {}", answer["value"]["message"]))),
            None => Ok(answer["value"].clone()),
        }
    }

    #[track_caller]
    fn command(&self, method: &str, path: &str, body: Value) -> impl Future<Output = Value> + '_ {
        let (method, path) = (method.to_owned(), format!("/session/{}{path}", self.session));
        let place = std::panic::Location::caller();
        async move {
            match self.ask(&method, &path, &body).await {
                Ok(value) => value,
                Err(error) => panic!("from {place}: {error}"),
            }
        }
    }

    /// Opens an address and waits until it is there.
    pub async fn open(&self, url: &str) {
        self.command("POST", "/url", json!({ "url": url })).await;
    }

    /// Waits until the browser is at this address.
    #[track_caller]
    pub fn arrives(&self, url: &str) -> impl Future<Output = ()> + '_ {
        let (url, place) = (url.to_owned(), std::panic::Location::caller());
        async move {
            let started = Instant::now();
            loop {
                let at = self.ask("GET", &format!("/session/{}/url", self.session), &Value::Null).await;
                match at {
                    Ok(at) if at == url => return,
                    other => assert!(started.elapsed() < PATIENCE, "from {place}: at {other:?} and not at {url}"),
                }
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    /// Waits until a person reads all of this. A page that is just being replaced has no text yet.
    #[track_caller]
    pub fn reads<'a>(&'a self, wanted: &'a [&str]) -> impl Future<Output = ()> + 'a {
        let place = std::panic::Location::caller();
        async move {
            let started = Instant::now();
            loop {
                let text = self.try_text().await;
                match &text {
                    Ok(text) if wanted.iter().all(|words| text.contains(words)) => return,
                    other => assert!(started.elapsed() < PATIENCE, "from {place}: {other:?} and not {wanted:?}"),
                }
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    async fn try_text(&self) -> std::io::Result<String> {
        let session = format!("/session/{}/element", self.session);
        let body = self.ask("POST", &session, &json!({ "using": "css selector", "value": "body" })).await?;
        let text =
            self.ask("GET", &format!("{session}/{}/text", body[ELEMENT].as_str().unwrap_or_default()), &Value::Null).await?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    async fn find(&self, selector: &str) -> String {
        let found = self.command("POST", "/element", json!({ "using": "css selector", "value": selector })).await;
        found[ELEMENT].as_str().expect("an element").to_owned()
    }

    /// What assistive technology calls an element.
    pub async fn label(&self, selector: &str) -> String {
        let element = self.find(selector).await;
        let label = self.command("GET", &format!("/element/{element}/computedlabel"), Value::Null).await;
        label.as_str().unwrap_or_default().to_owned()
    }

    /// What a person reads in an element.
    pub async fn text(&self, selector: &str) -> String {
        let element = self.find(selector).await;
        let text = self.command("GET", &format!("/element/{element}/text"), Value::Null).await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Presses keys, wherever the focus is: a person without a mouse. `\u{e004}` is Tab, `\u{e007}` Enter.
    pub async fn press(&self, keys: &str) {
        let press = |key: char| [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })];
        let keys: Vec<Value> = keys.chars().flat_map(press).collect();
        self.command("POST", "/actions", json!({ "actions": [{ "type": "key", "id": "keys", "actions": keys }] })).await;
    }

    /// Clicks.
    pub async fn click(&self, selector: &str) {
        let element = self.find(selector).await;
        self.command("POST", &format!("/element/{element}/click"), json!({})).await;
    }

    /// Shows pages as on this screen.
    pub async fn screen(&self, width: u32, height: u32, phone: bool, dark: bool) {
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone });
        for (name, parameters) in
            [("Emulation.setEmulatedMedia", json!({ "features": features })), ("Emulation.setDeviceMetricsOverride", metrics)]
        {
            self.command("POST", "/goog/cdp/execute", json!({ "cmd": name, "params": parameters })).await;
        }
    }

    /// Whether the page is wider than its window, so that one has to scroll sideways.
    pub async fn is_too_wide(&self) -> bool {
        let script = "return document.documentElement.scrollWidth > document.documentElement.clientWidth";
        let wide = self.command("POST", "/execute/sync", json!({ "script": script, "args": [] })).await;
        wide == Value::Bool(true)
    }

    /// Takes a picture, into `target/tmp/screenshots/NAME.png`.
    pub async fn picture(&self, name: &str) -> PathBuf {
        let picture = self.command("GET", "/screenshot", Value::Null).await;
        let bytes = base64::engine::general_purpose::STANDARD.decode(picture.as_str().unwrap_or_default()).expect("a picture");
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
        std::fs::create_dir_all(&dir).expect("a directory");
        let path = dir.join(format!("{name}.png"));
        std::fs::write(&path, bytes).expect("written");
        path
    }

    async fn devtools(&self, name: &str, parameters: Value) -> Value {
        self.command("POST", "/goog/cdp/execute", json!({ "cmd": name, "params": parameters })).await
    }

    /// Gives the browser an authenticator that keeps passkeys, whose person is there and, if `verified`, verified.
    pub async fn authenticator(&self, verified: bool) -> String {
        self.devtools("WebAuthn.enable", json!({ "enableUI": false })).await;
        let options = json!({
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": true,
            "hasUserVerification": true,
            "isUserVerified": verified,
            "automaticPresenceSimulation": true,
        });
        let added = self.devtools("WebAuthn.addVirtualAuthenticator", json!({ "options": options })).await;
        added["authenticatorId"].as_str().expect("an id").to_owned()
    }

    /// Whether the authenticator's person is verified from now on.
    pub async fn set_verified(&self, authenticator: &str, verified: bool) {
        let parameters = json!({ "authenticatorId": authenticator, "isUserVerified": verified });
        self.devtools("WebAuthn.setUserVerified", parameters).await;
    }

    /// Waits until the browser is led to an address that begins so, whether anybody serves it or not; gives it whole.
    #[track_caller]
    pub fn arrives_below<'a>(&'a self, start: &'a str) -> impl Future<Output = String> + 'a {
        let place = std::panic::Location::caller();
        async move {
            let started = Instant::now();
            loop {
                let at = self.ask("GET", &format!("/session/{}/url", self.session), &Value::Null).await;
                match at.as_ref().ok().and_then(Value::as_str) {
                    Some(at) if at.starts_with(start) => return at.to_owned(),
                    _ => assert!(started.elapsed() < PATIENCE, "from {place}: at {at:?} and not below {start}"),
                }
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    /// What the browser has complained about since it was asked last: policies broken, files not found.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.command("POST", "/se/log", json!({ "type": "browser" })).await;
        let lines = log.as_array().into_iter().flatten();
        lines.filter_map(|line| line["message"].as_str().map(str::to_owned)).collect()
    }

    /// Closes the window and ends the browser.
    pub async fn quit(mut self) {
        let _ = self.ask("DELETE", &format!("/session/{}", self.session), &Value::Null).await;
        let _ = self.driver.kill().await;
    }
}

/// The body of an answer. The driver keeps its connections open, whatever it is told.
async fn read_answer(socket: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    loop {
        if let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).unwrap_or_default().trim();
            let length: usize = length.parse().map_err(std::io::Error::other)?;
            if answer.len() >= end + 4 + length {
                return Ok(answer.split_off(end + 4));
            }
        }
        if socket.read_buf(&mut answer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn path_of(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file())
}

fn in_path(program: &str) -> bool {
    path_of(program).is_some()
}
