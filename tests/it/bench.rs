//! `muster bench`: a short run of it, so that it cannot rot. How fast anything is, is no matter of a test.

use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use super::rabbitmq::RabbitMq;
use super::redis_server::RedisServer;

/// After this it has hung.
const PATIENCE: Duration = Duration::from_secs(300);

async fn bench(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    command.args(["bench", "--quick"]).args(arguments).current_dir(folder.path());
    command.env_remove("MUSTER_CONFIG").env_remove("MUSTER_LOG").stdin(Stdio::null()).kill_on_drop(true);
    tokio::time::timeout(PATIENCE, command.output()).await.expect("it hangs").unwrap()
}

/// The one object that it prints, and every number in it.
fn report(output: &Output) -> (Value, Vec<(String, f64)>) {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("one object");
    let mut numbers = Vec::new();
    collect(&report, String::new(), &mut numbers);
    (report, numbers)
}

fn collect(value: &Value, path: String, numbers: &mut Vec<(String, f64)>) {
    match value {
        Value::Number(number) => numbers.push((path, number.as_f64().unwrap())),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, item)| collect(item, format!("{path}/{n}"), numbers))
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(name, item)| collect(item, format!("{path}/{name}"), numbers))
        }
        _ => {}
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// B27, R79: over servers and over a file, every figure is there and is one that can be.
#[tokio::test(flavor = "multi_thread")]
async fn every_figure_is_there() {
    let (broker, store) = (RabbitMq::shared().await, RedisServer::shared().await);
    let output = bench(&["--json", "--amqp", broker.url().as_str(), "--redis", &store.settings().url]).await;
    let (report, numbers) = report(&output);
    for (path, number) in &numbers {
        assert!(number.is_finite() && *number >= 0.0, "{path}: {number}");
    }

    let contenders = report["contenders"].as_array().unwrap();
    assert_eq!(contenders.len(), 9 + 5, "{report}");
    for contender in contenders {
        assert!(number(&contender["changes_per_second"]) > 0.0, "{contender}");
        assert!(number(&contender["cpu_seconds_per_1000"]["own"]) > 0.0, "{contender}");
        assert!(number(&contender["peak_bytes"]["own"]) > 1e6, "{contender}");
        assert_eq!(contender["rates"].as_array().unwrap().len(), 1, "{contender}");
    }
    let latencies = report["latencies"].as_array().unwrap();
    assert_eq!(latencies.len(), 2 * 3 * 2, "{report}");
    for latency in latencies {
        let (p50, p99) = (number(&latency["p50_ms"]), number(&latency["p99_ms"]));
        assert!(p50 > 0.0 && p99 >= p50, "{latency}");
    }
    let rosters = report["reconciles"].as_array().unwrap();
    assert_eq!(rosters.len(), 2);
    for roster in rosters {
        assert_eq!((&roster["load"]["read"], &roster["no_change"]["read"]), (&500.into(), &1000.into()));
        assert_eq!(roster["writes"], 0);
    }
    let bytes = number(&rosters[1]["bytes_a_link"]);
    assert!((300.0..5_000.0).contains(&bytes), "{bytes} bytes a link");
    for kind in ["read", "created", "updated"] {
        let calls = number(&report["salesforce_calls"][kind]["calls"]);
        assert!((0.1..100.0).contains(&calls), "{calls} calls for 1,000 {kind}");
    }
    let aims = report["aims"].as_array().unwrap();
    assert_eq!(aims.len(), 9, "{aims:?}");
    for aim in aims {
        let (wanted, reached) = (number(&aim["wanted"]), number(&aim["reached"]));
        let met = if aim["at_least"] == true { reached >= wanted } else { reached <= wanted };
        assert_eq!(aim["met"], met, "{aim}");
    }
}

/// B27: nothing but the binary is needed for the embedded mode, and what it measured is a page of Markdown on demand.
#[tokio::test(flavor = "multi_thread")]
async fn without_servers_the_embedded_mode_is_measured() {
    let output = bench(&["--markdown", "--users", "300"]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for row in
        ["| changes a second, embedded and durable | at least 5,000 |", "| embedded, nothing changed | 300 | 600 |"]
    {
        assert!(text.contains(row), "{row}\n{text}");
    }
    assert!(!text.contains("quorum"), "{text}");
}
