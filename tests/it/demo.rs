//! `muster demo`, as somebody meets it who has nothing but the binary.

use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

/// After this it has hung.
const PATIENCE: Duration = Duration::from_secs(300);

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    command.arg("demo").args(arguments).env_remove("MUSTER_CONFIG").env_remove("MUSTER_LOG");
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn demo(arguments: &[&str]) -> Output {
    tokio::time::timeout(PATIENCE, command(arguments).output()).await.expect("it hangs").unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// The story ends well, and its numbers agree with each other.
#[tokio::test(flavor = "multi_thread")]
async fn its_numbers_agree() {
    let output = demo(&["--users", "200", "--json"]).await;
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]), "{output:?}");
    let summary: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!((&summary["passed"], &summary["users"]), (&Value::Bool(true), &200.into()));
    assert_eq!(summary["in_scope"], summary["accounts"]);
    assert_eq!(summary["writes"], summary["applied"]);
    assert_eq!(summary["writes_of_the_full_sync"], 0);
    let outage = &summary["outage"];
    assert!(
        2 * number(&outage["unavailable"]) >= number(&outage["edits"]) && number(&outage["throttled"]) > 0,
        "{outage}"
    );
    // Everybody in scope was created once; beyond that: three titles, one leaver, and the edits of the outage.
    assert_eq!(number(&summary["writes"]), number(&summary["accounts"]) + 3 + 1 + number(&outage["edits"]));
    let runs = summary["runs"].as_array().unwrap();
    let applied = runs.iter().map(|run| number(&run["commands"]["applied"])).sum::<u64>();
    assert_eq!(applied, number(&summary["applied"]));
    assert_eq!(runs.iter().map(|run| number(&run["commands"]["dead"])).sum::<u64>(), 1);
    assert!(summary["checks"].as_array().unwrap().iter().all(|check| check["passed"] == true), "{summary:#}");
}

/// Where nobody watches there is one line for each step and each check, without control characters.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_sober_in_a_pipe() {
    let output = demo(&["--users", "20"]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]), "{text}");
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    for step in 1..=6 {
        assert!(text.lines().any(|line| line.starts_with(&format!("{step}. "))), "step {step} of\n{text}");
    }
    let (passed, failed) = (text.matches("\nok ").count(), text.matches("\nFAILED ").count());
    assert!(passed > 5 && failed == 0 && text.contains(&format!("All {passed} checks passed")), "{text}");
}

/// `--keep`: other commands work beside it, with the configuration and the variables that it names, until it is told to
/// stop; then its folder is gone.
#[tokio::test(flavor = "multi_thread")]
async fn what_it_keeps_can_be_used() {
    let mut child = command(&["--users", "20", "--keep", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("it says nothing").unwrap();
    let summary: Value = serde_json::from_str(&line.expect("it ended")).unwrap();
    let config = summary["kept"]["config"].as_str().unwrap();
    for arguments in [&["check"][..], &["status"], &["sync", "crm-directory", "--wait"]] {
        let mut other = Command::new(env!("CARGO_BIN_EXE_muster"));
        for (name, value) in summary["kept"]["environment"].as_object().unwrap() {
            other.env(name, value.as_str().unwrap());
        }
        let output = other.args(["--config", config]).args(arguments).stdin(Stdio::null()).output();
        let output = tokio::time::timeout(PATIENCE, output).await.expect("it hangs").unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }
    let id = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-s", "INT", &id]).status().unwrap().success());
    let status = tokio::time::timeout(PATIENCE, child.wait()).await.expect("it does not end").unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(!std::path::Path::new(config).exists(), "its folder stays behind");
}

/// Too few people for the story are refused before anything begins.
#[tokio::test(flavor = "multi_thread")]
async fn too_few_people_are_refused() {
    let output = demo(&["--users", "3"]).await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
