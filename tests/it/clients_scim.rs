//! The sandbox's SCIM service in the eyes of a tester that nobody here wrote: `scim2-tester` (PyPI).

use std::ffi::OsString;

use muster::sandbox::{DEFAULT_SCIM_TOKEN, Dialect, Quirk, Sandbox, SandboxSettings};
use serde_json::Value;
use tokio::process::Command;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/scim_tester.py");

/// What the tester says of a service with these habits.
async fn verdict_on(dialect: Dialect) -> Value {
    let settings = SandboxSettings { dialect, users: 3, ..SandboxSettings::default() };
    let sandbox = Sandbox::start(settings).await.unwrap();
    let python = std::env::var_os("MUSTER_TEST_PYTHON").unwrap_or(OsString::from("python3"));
    let run = Command::new(python).args([SCRIPT, &sandbox.scim_url(), DEFAULT_SCIM_TOKEN]).output().await.unwrap();
    let (output, errors) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    let last = output.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|_| {
        panic!(
            "this test needs scim2-tester: run tests/run, which installs it, or install tests/servers/requirements.txt \
             with pip and name that Python in MUSTER_TEST_PYTHON. The script said:\n{output}\n{errors}"
        )
    })
}

/// R75, B25: a strict tester finds no fault in the sandbox as it is by default: its schemas, its answers and errors, what
/// its PATCH does to every attribute. That it looks at all is shown by services with a habit each that it objects to.
#[tokio::test(flavor = "multi_thread")]
async fn a_strict_tester_finds_no_fault_in_the_default_dialect() {
    let verdict = verdict_on(Dialect::new()).await;
    assert_eq!(verdict["faults"], Value::Array(Vec::new()));
    assert!(verdict["counts"]["SUCCESS"].as_u64().unwrap() > 100, "{verdict}");
    assert_eq!(verdict["counts"]["SUCCESS"], verdict["checks"], "nothing was skipped");
    for habit in [Quirk::ExternalIdDropped, Quirk::NoDiscovery] {
        let verdict = verdict_on([habit].into()).await;
        assert_ne!(verdict["faults"], Value::Array(Vec::new()), "{habit:?}");
    }
}
