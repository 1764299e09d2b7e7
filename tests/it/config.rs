//! Configuration files, read the way the programs read them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use muster::config::{Config, ConfigErrors, Create, Direction, Schedule, SystemKind};
use muster::domain::Side;
use muster::domain::rules::{Flow, Leavers};
use secrecy::ExposeSecret;

const CANARY: &str = "CANARY";

fn environment() -> BTreeMap<String, String> {
    ["BROKER_PASSWORD", "STORE_PASSWORD", "CRM_SECRET", "DIRECTORY_TOKEN"]
        .map(|name| (name.to_owned(), format!("{CANARY}/{name}")))
        .into()
}

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse(text, "muster.toml", &environment())
}

fn example() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/crm-directory.toml")).unwrap()
}

fn broken() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/config/broken.toml")).unwrap()
}

#[test]
fn the_example_is_valid() {
    let config = parse(&example()).unwrap_or_else(|errors| panic!("{errors}"));
    let connection = &config.connections[&"crm-directory".parse().unwrap()];
    assert_eq!(connection.direction, Direction::AToB);
    assert_eq!(connection.create, Create::Automatic);
    assert_eq!(connection.schedule, Schedule::Every(Duration::from_secs(15 * 60)));
    assert_eq!(connection.leavers, Leavers::Deactivate);
    assert_eq!(connection.attribute(&"emails".parse().unwrap()).unwrap().flow, Flow::Towards(Side::B));
    assert_eq!(connection.attribute(&"phoneNumbers".parse().unwrap()), None);
    assert_eq!(config.systems[&"directory".parse().unwrap()].kind.as_str(), "scim");
    let broker = &config.infrastructure.broker;
    assert_eq!(broker.url_with_password().expose_secret(), "amqp://muster:CANARY%2FBROKER_PASSWORD@localhost:5672/%2f");
}

/// The report is a page that people read, so its whole text is kept.
#[test]
fn every_mistake_is_reported_at_once() {
    let errors = parse(&broken()).unwrap_err();
    insta::assert_snapshot!("broken_toml", errors.to_string());
    insta::assert_json_snapshot!("broken_json", errors.to_json());
}

/// R5, R21: a secret is in no text that the configuration gives out.
#[test]
fn no_secret_is_printed() {
    let config = parse(&example()).unwrap();
    let SystemKind::Salesforce(crm) = &config.systems[&"crm".parse().unwrap()].kind else { panic!("crm") };
    assert_eq!(crm.auth.client_secret.expose_secret(), "CANARY/CRM_SECRET");
    assert_clean(&format!("{config:?} {config:#?}"));

    let errors = parse(&broken()).unwrap_err();
    assert_clean(&format!("{errors} {errors:?} {}", errors.to_json()));
}

/// Also where the file is no TOML, and nobody can tell what is a key and what a value.
#[test]
fn no_secret_is_printed_of_a_file_that_is_no_toml() {
    for broken in [
        "client_secret = \"CANARY",
        "client_secret = CANARY",
        "client_secret = \"CANARY\" CANARY",
        "client_secret = \"abc\nCANARY\"",
        "client_secret = \"abc\ncanary\"",
        "client_secret = '''abc\nCANARY",
        "client_secret \"CANARY\"",
        "client_secret = \"CANARY\"\nclient_secret = \"CANARY\"",
        "auth = { client_secret = \"CANARY\" client_id = CANARY }",
        "auth = { client_secret = \"CANARY\", \n broken",
        "auth = [\"CANARY\", \"CANARY",
        "url = \"amqp://u:CANARY@h\" # CANARY\n= CANARY",
        "\"\"\"CANARY\"\"\"",
    ] {
        let errors = parse(&format!("[broker]\n{broken}\n[store]\nurl = 7\n")).unwrap_err();
        let text = format!("{errors} {errors:?} {}", errors.to_json());
        assert!(!text.to_lowercase().contains("canary"), "{broken}\n{text}");
    }
}

#[track_caller]
fn assert_clean(text: &str) {
    assert!(!text.contains(CANARY), "{text}");
}

#[test]
fn a_syntax_error_does_not_hide_other_mistakes() {
    let errors = parse("[broker]\nurl = 7\n[store]\nurl = redis\n[writer]\nlease = \"1ms\"\n").unwrap_err();
    insta::assert_snapshot!("syntax", errors.to_string());
}

#[test]
fn a_file_that_is_not_there_is_a_mistake_too() {
    let errors = Config::load(Path::new("nowhere/muster.toml"), &environment()).unwrap_err();
    assert!(errors.to_string().starts_with("nowhere/muster.toml: the file cannot be read"), "{errors}");
}

#[test]
fn relative_paths_begin_at_the_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "CANARY/file\n").unwrap();
    let text = example().replace("{ env = \"DIRECTORY_TOKEN\" }", "{ file = \"token\" }");
    let path = folder.path().join("muster.toml");
    std::fs::write(&path, text).unwrap();
    let config = Config::load(&path, &environment()).unwrap_or_else(|errors| panic!("{errors}"));
    let SystemKind::Scim(scim) = &config.systems[&"directory".parse().unwrap()].kind else { panic!("scim") };
    let muster::config::ScimAuth::Bearer { token } = &scim.auth else { panic!("token") };
    assert_eq!(token.expose_secret(), "CANARY/file");
}

/// The committed schema is the one that the reader describes. To write it again:
/// `MUSTER_WRITE_SCHEMA=1 cargo test --test it config::the_committed_schema_is_current`, or `muster config-schema`.
#[test]
fn the_committed_schema_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/config.schema.json");
    let current = format!("{:#}\n", muster::config::schema());
    if std::env::var_os("MUSTER_WRITE_SCHEMA").is_some() {
        std::fs::write(&path, &current).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == current,
        "docs/config.schema.json is out of date; write it again with `muster config-schema > docs/config.schema.json`"
    );
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,400}") {
        let _ = parse(&text).map_err(|errors| errors.to_string()).map(drop);
    }

    /// Files that are nearly right reach further into the reader than noise does.
    #[test]
    fn no_damage_to_a_file_makes_the_reader_panic_or_tell_a_secret(
        at in 0.0..1.0_f64, length in 0_usize..40, noise in "[\\PC\\n\"'={}\\[\\]#.]{0,8}",
    ) {
        let text = broken();
        let offsets: Vec<_> = text.char_indices().map(|(offset, _)| offset).collect();
        let start = offsets[(at * offsets.len() as f64) as usize];
        let end = (start..=text.len()).filter(|end| text.is_char_boundary(*end)).nth(length).unwrap_or(text.len());
        let damaged = format!("{}{noise}{}", &text[..start], &text[end..]);
        if let Err(errors) = parse(&damaged) {
            let report = format!("{errors} {errors:?} {}", errors.to_json());
            // Damage may turn a secret into a key, and keys are shown.
            let as_key = report.contains("CANARY") && errors.mistakes.iter().any(|mistake| mistake.key.contains("CANARY"));
            proptest::prop_assert!(!report.contains("CANARY") || as_key, "{report}\n{damaged}");
        }
    }
}
