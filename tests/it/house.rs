//! Rules of the house that a reader relies on, checked on the sources.

use std::fs;
use std::path::Path;

/// Calls `look` with each Rust file below `folder`.
fn sources(folder: &Path, look: &mut impl FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, look);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            look(&path, &fs::read_to_string(&path).unwrap());
        }
    }
}

fn refuse(folder: &str, words: &[&str]) {
    let mut found = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    sources(&root, &mut |path, text| {
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if let Some(word) = words.iter().find(|word| code.contains(**word)) {
                found.push(format!("{}:{}: {word}", path.display(), number + 1));
            }
        }
    });
    assert!(found.is_empty(), "{found:#?}");
}

/// The pure core knows no edge, no clock, no environment and no task.
#[test]
fn the_domain_imports_nothing_of_the_edges() {
    let edges = ["broker", "config", "ops", "sandbox", "stages", "store", "systems", "telemetry"];
    let edges: Vec<String> = edges.iter().map(|edge| format!("crate::{edge}")).collect();
    let mut words: Vec<&str> = edges.iter().map(String::as_str).collect();
    words.extend(["tokio", "lapin", "redis::", "reqwest", "std::env", "SystemTime", "Instant", "async ", "fastrand"]);
    refuse("src/domain", &words);
}

/// The sandbox is an imitation by other hands: it shares no code with what is tested against it.
#[test]
fn the_sandbox_knows_nothing_of_the_rest() {
    let rest = ["broker", "config", "domain", "ops", "stages", "store", "systems", "telemetry"];
    let rest: Vec<String> = rest.iter().map(|part| format!("crate::{part}")).collect();
    refuse("src/sandbox", &rest.iter().map(String::as_str).collect::<Vec<_>>());
}
