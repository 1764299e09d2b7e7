//! Rules of the house that a reader relies on, checked on the sources.

use std::collections::BTreeMap;
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

/// R80: the design card's packages are dependencies, and each is put to use.
#[test]
fn every_package_of_the_design_card_is_used() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let mut code = String::new();
    for folder in ["src", "tests/it"] {
        sources(&root.join(folder), &mut |path, text| {
            if path.file_name().is_none_or(|name| name != "house.rs") {
                code.extend(
                    text.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")),
                );
            }
        });
    }
    for package in
        "lapin tokio serde serde_json reqwest deadpool-redis redis backoff prometheus tracing testcontainers".split(' ')
    {
        assert!(manifest.lines().any(|line| line.starts_with(&format!("{package} = "))), "{package} is no dependency");
        assert!(code.contains(&format!("{}::", package.replace('-', "_"))), "nothing uses {package}");
    }
}

/// Rules that have no test, and need none: what is no goal.
const WITHOUT_A_TEST: [&str; 1] = ["R14"];

/// `docs/systems.md` has a row for each rule of the vendors' documents, and each test that a row names exists and names the
/// rule.
#[test]
fn the_page_of_systems_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut documented = BTreeMap::<String, Vec<String>>::new();
    for folder in ["src", "tests/it"] {
        sources(&root.join(folder), &mut |_, text| document(text, &mut documented));
    }
    let page = fs::read_to_string(root.join("docs/systems.md")).unwrap();
    let rules = (1..=60).chain([63, 64, 65, 66, 70, 81, 83]).map(|rule| format!("R{rule}"));
    let beyond = [10, 11, 12, 19, 20, 22, 23, 24].map(|rule| format!("B{rule}"));
    for rule in rules.chain(beyond).chain(["R54a".to_owned()]) {
        let row = page.lines().find(|line| line.starts_with(&format!("| {rule} |")));
        let row = row.unwrap_or_else(|| panic!("docs/systems.md has no row for {rule}"));
        let (_, shown_by) = row.trim_end_matches(" |").rsplit_once(" | ").unwrap();
        let tests: Vec<&str> = shown_by.split('`').skip(1).step_by(2).collect();
        assert_eq!(tests.is_empty(), WITHOUT_A_TEST.contains(&rule.as_str()), "{rule}: {shown_by}");
        for test in tests {
            let docs = documented.get(test).unwrap_or_else(|| panic!("{rule}: there is no {test}"));
            assert!(docs.iter().any(|doc| names(doc, &rule)), "{test} does not name {rule}");
        }
    }
}

/// Notes the doc comments of functions, and of scenarios that run in both modes, by their names.
fn document(text: &str, documented: &mut BTreeMap<String, Vec<String>>) {
    let mut doc = String::new();
    for line in text.lines().map(str::trim) {
        if let Some(said) = line.strip_prefix("///") {
            doc = format!("{doc} {said}");
        } else if !line.starts_with("#[") {
            let function = line.split_once("fn ").map(|(_, rest)| rest);
            let scenario = line.split_once(" = super::").map(|(name, _)| name);
            if let Some(name) = function.or(scenario).filter(|_| !doc.is_empty()) {
                let name = name.split(['(', '<']).next().unwrap_or_default().to_owned();
                documented.entry(name).or_default().push(std::mem::take(&mut doc));
            }
            doc.clear();
        }
    }
}

/// Whether a comment names a rule, by itself or in a range: `R33 to R36`.
fn names(doc: &str, rule: &str) -> bool {
    let words: Vec<&str> = doc.split([' ', ',', ':', '.', ';', '(', ')']).filter(|word| !word.is_empty()).collect();
    let number = |word: &str| word.strip_prefix(&rule[..1])?.parse::<u32>().ok();
    let within = |range: &[&str]| match (range, number(rule)) {
        ([first, "to", last], Some(rule)) => number(first) <= Some(rule) && Some(rule) <= number(last),
        _ => false,
    };
    words.contains(&rule) || words.windows(3).any(within)
}

/// R78, B9: every code that a letter can have is followed by a sentence that says what to do: beside the connector that
/// gives it, with what all connectors share, or with the stages. Found are the codes that are written out as such, or as
/// the first text of a call that refuses something; a vendor's own have the sentence of their class.
#[test]
fn every_code_has_a_remedy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let shared = read("systems/http/failure.rs") + &read("stages/remedy.rs");
    let mut texts = BTreeMap::<String, String>::new();
    for folder in ["systems", "stages", "domain"] {
        sources(&root.join(folder), &mut |path, text| {
            let mut parts = path.strip_prefix(&root).unwrap().components().skip(1);
            let first = parts.next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
            let is_tests = path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs");
            let connector = if folder == "systems" && root.join("systems").join(&first).join("errors.rs").exists() {
                first
            } else {
                String::new()
            };
            let text = if is_tests { "" } else { text.split("#[cfg(test)]").next().unwrap() };
            texts.entry(connector).or_default().push_str(text);
        });
    }
    assert_eq!(texts.len(), 6, "five connectors and what they share: {:?}", texts.keys());
    let mut found = 0;
    for (connector, text) in &texts {
        let own = if connector.is_empty() { String::new() } else { read(&format!("systems/{connector}/errors.rs")) };
        let advice: String = (shared.clone() + &own).split_whitespace().collect();
        for code in codes(text) {
            found += 1;
            let has = advice.contains(&format!("(\"{code}\","))
                || advice.contains(&format!("meaning(\"{}\",", code.to_uppercase()));
            assert!(has, "nothing says what to do about {code} of {connector:?}");
        }
    }
    assert!(found > 60, "{found} codes: they are written in another way by now");
}

/// The codes of failures in a source.
fn codes(text: &str) -> Vec<String> {
    let mut codes = Vec::new();
    for begins in ["Code::known(", "refuse(attribute, ", "told(", "refused(", "Err((", "permanent("] {
        for (at, _) in text.match_indices(begins) {
            let rest = &text[at + begins.len()..];
            let call = &rest[..rest.find([';', '}']).unwrap_or(rest.len())];
            let word =
                call.split('"').nth(1).filter(|_| begins != "Code::known(" || call.trim_start().starts_with('"'));
            let is_code = |word: &&str| word.contains('_') && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            codes.extend(word.filter(is_code).map(str::to_owned));
        }
    }
    codes
}

/// Every mutant can still be made: the lines that its patch takes away or leaves as they are, are in the sources as it has
/// them. `tests/mutants/run` applies them and shows what catches each.
#[test]
fn every_mutant_still_applies() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let patches: Vec<_> = fs::read_dir(root.join("tests/mutants"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "patch"))
        .collect();
    assert!(patches.len() >= 8, "{patches:?}");
    for path in patches {
        let patch = fs::read_to_string(&path).unwrap();
        let caught_by: Vec<_> = patch.lines().filter_map(|line| line.strip_prefix("Caught-By: ")).collect();
        let is_known = |by: &&str| matches!(*by, "model" | "simulation");
        assert!(!caught_by.is_empty() && caught_by.iter().all(is_known), "{}: {caught_by:?}", path.display());
        let mut source = String::new();
        for part in patch.split("\n@@ ") {
            // A hunk without its first line, which says where it is, or what comes before the first hunk of a file.
            let (_, lines) = part.split_once('\n').unwrap();
            let before = lines.lines().take_while(|line| !line.starts_with("diff --git "));
            let before: String = before
                .filter_map(|line| line.strip_prefix([' ', '-']))
                .fold(String::new(), |text, line| text + line + "\n");
            if !source.is_empty() {
                assert!(source.contains(&before), "{} no longer applies at\n{before}", path.display());
            }
            if let Some(file) = part.lines().find_map(|line| line.strip_prefix("+++ b/")) {
                source = fs::read_to_string(root.join(file)).unwrap();
            }
        }
    }
}
