//! Chromium without a screen, driven over WebDriver (<https://www.w3.org/TR/webdriver2/>) by its own driver program.

use std::path::PathBuf;
use std::process::Stdio;

use reqwest::Client;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// The keys that a person without a mouse uses.
pub const TAB: &str = "\u{E004}";
pub const ENTER: &str = "\u{E007}";

/// How long the driver waits for an element to appear.
const PATIENCE_MS: u32 = 60_000;

/// A browser with one window.
pub struct Browser {
    http: Client,
    session: String,
    _profile: tempfile::TempDir,
    driver: Child,
    _said: Lines<BufReader<ChildStdout>>,
}

impl Browser {
    /// Opens one; the driver, and with it the browser, ends with this.
    pub async fn open() -> Self {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut driver = command.spawn().expect("`chromedriver` is installed: tests/run brings it");
        let mut said = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = loop {
            let line = said.next_line().await.unwrap().expect("the driver starts");
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                break port.trim_end_matches('.').to_owned();
            }
        };
        let profile = tempfile::tempdir().unwrap();
        let arguments = [
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--window-size=1280,900".to_owned(),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
            "timeouts": { "implicit": PATIENCE_MS },
        } } });
        let http = Client::new();
        let driver_url = format!("http://127.0.0.1:{port}");
        let made: Value =
            http.post(format!("{driver_url}/session")).json(&wanted).send().await.unwrap().json().await.unwrap();
        let id = made["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("{made}"));
        Self { session: format!("{driver_url}/session/{id}"), http, _profile: profile, driver, _said: said }
    }

    async fn command(&self, path: &str, body: Value) -> Value {
        let answer = self.http.post(format!("{}{path}", self.session)).json(&body).send().await.unwrap();
        let mut answer: Value = answer.json().await.unwrap();
        assert!(answer["value"]["error"].is_null(), "{path} {body}: {answer}");
        answer["value"].take()
    }

    /// Goes to a page.
    pub async fn go(&self, url: &str) {
        self.command("/url", json!({ "url": url })).await;
    }

    /// The element, once it is there.
    async fn find(&self, xpath: &str) -> String {
        let found = self.command("/element", json!({ "using": "xpath", "value": xpath })).await;
        let element = found.as_object().and_then(|found| found.values().next()).and_then(Value::as_str);
        element.unwrap_or_else(|| panic!("{xpath}: {found}")).to_owned()
    }

    /// Waits until there is such an element.
    pub async fn sees(&self, xpath: &str) {
        self.find(xpath).await;
    }

    /// Waits until the page shows this text.
    pub async fn reads(&self, text: &str) {
        assert!(!text.contains('\''), "XPath has no way to escape it");
        self.find(&format!("//body//*[contains(normalize-space(.), '{text}')]")).await;
    }

    /// Clicks on it.
    pub async fn click(&self, xpath: &str) {
        let element = self.find(xpath).await;
        self.command(&format!("/element/{element}/click"), json!({})).await;
    }

    /// Presses the button, or follows the link, of this name.
    pub async fn press(&self, name: &str) {
        self.click(&format!("//*[self::button or self::a][normalize-space(.) = {name:?} or @aria-label = {name:?}]"))
            .await;
    }

    /// Types into it.
    pub async fn write(&self, xpath: &str, text: &str) {
        let element = self.find(xpath).await;
        self.command(&format!("/element/{element}/clear"), json!({})).await;
        self.command(&format!("/element/{element}/value"), json!({ "text": text })).await;
    }

    /// Types at the keyboard, wherever the focus is.
    pub async fn keys(&self, text: &str) {
        let strokes: Vec<_> = text
            .chars()
            .flat_map(|key| [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })])
            .collect();
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": strokes });
        self.command("/actions", json!({ "actions": [keyboard] })).await;
    }

    /// What a script in the page gives.
    pub async fn script(&self, script: &str) -> Value {
        self.command("/execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// The path of the page.
    pub async fn path(&self) -> String {
        self.script("return location.pathname").await.as_str().unwrap().to_owned()
    }

    /// The window as wide as this, and the colours that its owner prefers.
    pub async fn look(&self, width: u32, scheme: &str) {
        let metrics = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        let set = "Emulation.setDeviceMetricsOverride";
        self.command("/goog/cdp/execute", json!({ "cmd": set, "params": metrics })).await;
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.command("/goog/cdp/execute", json!({ "cmd": "Emulation.setEmulatedMedia", "params": media })).await;
    }

    /// What the console of the browser complained about since the last time: faults of scripts, broken policies, answers
    /// that were failures.
    pub async fn complaints(&self) -> Vec<String> {
        let entries = self.command("/se/log", json!({ "type": "browser" })).await;
        let entries = entries.as_array().unwrap().iter();
        entries.filter(|it| it["level"] != "INFO" && it["level"] != "DEBUG").map(ToString::to_string).collect()
    }

    /// Keeps a picture of the page, where the variable MUSTER_TEST_PICTURES names a folder.
    pub async fn picture(&self, name: &str) {
        let Some(folder) = std::env::var_os("MUSTER_TEST_PICTURES").map(PathBuf::from) else { return };
        let height = self.script("return document.documentElement.scrollHeight").await;
        let width = self.script("return innerWidth").await;
        let clip = json!({ "x": 0, "y": 0, "width": width, "height": height, "scale": 1 });
        let params = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let taken =
            self.command("/goog/cdp/execute", json!({ "cmd": "Page.captureScreenshot", "params": params })).await;
        let bytes = muster::stages::from_base64(taken["data"].as_str().unwrap()).unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), bytes).unwrap();
    }

    /// Closes the browser.
    pub async fn close(mut self) {
        // Without it the browser would outlive its driver.
        self.http.delete(&self.session).send().await.unwrap();
        self.driver.kill().await.unwrap();
    }
}
