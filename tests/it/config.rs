//! Configuration files, read the way the programs read them.

// clippy.toml allows it in test functions, but does not see that all of this crate is a test.
#![allow(clippy::unwrap_used)]

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use muster::config::{
    BrokerConfig, Config, ConfigErrors, Conflict, ConnectionConfig, Create, Direction, Infrastructure, Schedule,
    StoreConfig,
};
use muster::domain::rules::{Departure, Drift, Flow, Leavers, OnExisting};
use muster::domain::{Side, Sides};
use muster::systems::salesforce::{SalesforceAuth, SalesforceConfig};
use muster::systems::scim::ScimConfig;
use secrecy::ExposeSecret;

const CANARY: &str = "CANARY";

fn environment() -> BTreeMap<String, String> {
    let servers = ["BROKER_PASSWORD", "STORE_PASSWORD", "ALERTS_TOKEN"];
    let systems = ["CRM_SECRET", "DIRECTORY_TOKEN", "CHAT_PASSWORD", "RESULTS_KEY", "VOLUNTEERS_KEY"];
    let named = |name: &str| (name.to_owned(), format!("{CANARY}/{name}"));
    servers.into_iter().chain(systems).map(named).collect()
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

/// What the file says of a system of this kind.
fn kind<'c, K: 'static>(config: &'c Config, name: &str) -> &'c K {
    let kind: &dyn Any = &*config.systems[&name.parse().unwrap()].kind;
    kind.downcast_ref().unwrap()
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
    assert_eq!(config.systems[&"directory".parse().unwrap()].kind.word(), "scim");
    let (broker, _) = servers(&config);
    assert_eq!(broker.url_with_password().expose_secret(), "amqp://muster:CANARY%2FBROKER_PASSWORD@localhost:5672/%2f");
}

/// The servers of a configuration that has them.
#[track_caller]
fn servers(config: &Config) -> (&BrokerConfig, &StoreConfig) {
    match &config.infrastructure {
        Infrastructure::Servers { broker, store } => (broker, store),
        Infrastructure::File { path } => panic!("the file {}", path.display()),
    }
}

/// R79: with no server named, one file takes their place. It lies in the folder of the configuration.
#[test]
fn without_servers_there_is_one_file() {
    let file = |text: &str, name: &str| {
        let config = Config::parse(text, name, &environment()).unwrap_or_else(|errors| panic!("{errors}"));
        config.infrastructure.file().map(Path::to_owned)
    };
    assert_eq!(file("", "muster.toml"), Some("muster.db".into()));
    assert_eq!(file("", "/etc/muster/muster.toml"), Some("/etc/muster/muster.db".into()));
    assert_eq!(file("file = \"a/links.db\"", "conf/muster.toml"), Some("conf/a/links.db".into()));
    assert_eq!(file("file = \"/var/lib/muster.db\"", "conf/muster.toml"), Some("/var/lib/muster.db".into()));
    assert_eq!(file("[broker]\nurl = \"amqp://h\"\n[store]\nurl = \"redis://h\"", "muster.toml"), None);
}

/// Broker and store come both or neither, and a file only without them.
#[test]
fn servers_come_both_or_neither() {
    const BROKER: &str = "[broker]\nurl = \"amqp://h\"\n";
    const STORE: &str = "[store]\nurl = \"redis://h\"\n";
    const FILE: &str = "file = \"x.db\"\n";
    let file_beside = |server: &str| format!("1: file: has no meaning beside [{server}]");
    for (text, expected) in [
        (BROKER.to_owned(), vec!["1: store: is missing beside [broker]".to_owned()]),
        (format!("\n\n{STORE}"), vec!["3: broker: is missing beside [store]".to_owned()]),
        (format!("{FILE}{BROKER}{STORE}"), vec![file_beside("broker")]),
        (format!("{FILE}{STORE}"), vec![file_beside("store"), "2: broker: is missing beside [store]".to_owned()]),
        (format!("{BROKER}[sotre]\nurl = \"redis://h\"\n"), vec!["3: sotre: is not a known key".to_owned()]),
        ("file = \"\"".to_owned(), vec!["1: file: \"\" is not a path".to_owned()]),
        ("file = 7".to_owned(), vec!["1: file: is a whole number".to_owned()]),
        (
            "broker = 7".to_owned(),
            vec!["1: broker: is a whole number".to_owned(), "1: store: is missing beside [broker]".to_owned()],
        ),
    ] {
        let errors = parse(&text).expect_err(&text);
        let found = errors.mistakes.iter().map(|mistake| {
            assert!(!mistake.remedy.is_empty());
            format!("{}: {}: {}", mistake.line.unwrap(), mistake.key, mistake.problem)
        });
        assert_eq!(found.collect::<Vec<_>>(), expected, "{text}");
    }
}

/// Every file of `examples/` is valid as it stands.
#[test]
fn the_examples_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut examples = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            Config::load(&path, &environment()).unwrap_or_else(|errors| panic!("{errors}"));
            examples += 1;
        }
    }
    assert!(examples >= 10);
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
    let crm: &SalesforceConfig = kind(&config, "crm");
    let SalesforceAuth::ClientCredentials { client_secret, .. } = &crm.auth else { panic!("auth") };
    assert_eq!(client_secret.expose_secret(), "CANARY/CRM_SECRET");
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
    let scim: &ScimConfig = kind(&config, "directory");
    let muster::systems::scim::ScimAuth::Bearer { token } = &scim.auth else { panic!("token") };
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
        drop(parse(&text).map_err(|errors| errors.to_string()));
    }

    /// Files that are nearly right reach further into the reader than noise does. Lines that hold a secret stay whole,
    /// since damage may turn one into a key or a word, and those are shown.
    #[test]
    fn no_damage_to_a_file_makes_the_reader_panic_or_tell_a_secret(
        at in 0.0..1.0_f64, length in 0_usize..40, noise in "[\\PC\\n\"'={}\\[\\]#.]{0,8}",
    ) {
        let text = broken();
        let start = (at * text.len() as f64) as usize;
        let end = (start + length).min(text.len());
        let damaged = format!("{}{noise}{}", &text[..start], &text[end..]);
        let report = parse(&damaged).map_err(|errors| format!("{errors} {errors:?} {}", errors.to_json()));
        let lines = text.split_inclusive('\n').scan(0, |offset, line| {
            let begin = *offset;
            *offset += line.len();
            Some((begin, line))
        });
        let whole = |(begin, line): (usize, &str)| {
            !line.contains(CANARY) || end < begin || start >= begin + line.len()
        };
        if let (true, Err(report)) = (lines.into_iter().all(whole), report) {
            proptest::prop_assert!(!report.contains(CANARY), "{report}\n{damaged}");
        }
    }
}

/// A configuration of two systems with this connection between them.
fn with_connection(connection: &str) -> String {
    format!(
        r#"
        [broker]
        url = "amqp://localhost"
        [store]
        url = "redis://localhost"
        [systems.crm]
        kind = "salesforce"
        url = "https://example.my.salesforce.com"
        auth = {{ flow = "client-credentials", client_id = "id", client_secret = {{ env = "CRM_SECRET" }} }}
        [systems.directory]
        kind = "scim"
        url = "http://127.0.0.1:8080/scim/v2"
        auth = "none"
        [connections.c]
        a = "crm"
        b = {{ system = "directory", object = "User" }}
        {connection}"#
    )
}

#[track_caller]
fn connection(text: &str) -> ConnectionConfig {
    let mut config = parse(&with_connection(text)).unwrap_or_else(|errors| panic!("{errors}"));
    config.connections.pop_first().unwrap().1
}

/// The problems found in the connection.
#[track_caller]
fn problems(text: &str) -> Vec<String> {
    let errors = parse(&with_connection(text)).expect_err("has a mistake");
    errors.mistakes.into_iter().map(|mistake| format!("{}: {}", mistake.key, mistake.problem)).collect()
}

/// R45, R64: with nothing said, nothing is created and nothing runs by itself; the careful choice everywhere else.
#[test]
fn defaults_are_the_careful_ones() {
    let connection = connection("direction = \"a_to_b\"");
    assert_eq!(connection.create, Create::Manual);
    assert_eq!(connection.creates(), Sides { a: false, b: false });
    assert_eq!(connection.schedule, Schedule::Manual);
    assert_eq!(connection.on_existing, OnExisting::Refuse);
    assert_eq!(connection.leavers, Leavers::Report);
    assert_eq!(connection.match_on, ["userName".parse::<muster::domain::AttributePath>().unwrap().into()]);
    assert_eq!(connection.attributes, None);
    assert_eq!(connection.attribute(&"title".parse().unwrap()).unwrap().drift, Drift::Keep);

    let config = parse(&with_connection("direction = \"a_to_b\"")).unwrap();
    assert_eq!((config.writer.lease.as_secs(), config.writer.request_timeout.as_secs()), (12, 8));
    assert_eq!(config.telemetry.listen.writer, Some("127.0.0.1:9466".parse().unwrap()));
    assert_eq!(config.telemetry.listen.run, Some("127.0.0.1:9467".parse().unwrap()));
    assert!(servers(&config).0.declare);
}

/// R25, R81: what a target cannot do to the partners of leavers is refused with what would be right, and so is what would
/// make two systems create each other's accounts for ever.
#[test]
fn leavers_are_what_the_target_can() {
    for (word, how) in [("detach", Departure::Detach), ("delete", Departure::Delete)] {
        let connection = connection(&format!("direction = \"a_to_b\"\nleavers = \"{word}\""));
        assert_eq!(connection.leavers, Leavers::Part(how));
    }
    for (direction, word, problem, remedy) in [
        ("a_to_b", "remove", "directory cannot remove accounts", "SCIM knows no roster"),
        ("b_to_a", "delete", "crm cannot delete accounts", "say \"deactivate\""),
        (
            "two_way\"\ndefault_system = \"crm",
            "delete",
            "cannot delete the partners of leavers both ways",
            "one direction",
        ),
    ] {
        let text = with_connection(&format!("direction = \"{direction}\"\nleavers = \"{word}\""));
        let errors = parse(&text).expect_err("has a mistake");
        let [mistake] = &errors.mistakes[..] else { panic!("{errors}") };
        assert_eq!(mistake.key, "connections.c.leavers");
        assert!(mistake.problem.starts_with(problem) && mistake.remedy.contains(remedy), "{errors}");
    }
}

/// R57: a two-way connection is refused without a default system, and takes either.
#[test]
fn two_way_needs_a_default_system() {
    assert_eq!(
        problems("direction = \"two_way\""),
        ["connections.c.default_system: a two-way connection needs a default system"]
    );
    for (more, expected) in [
        ("default_system = \"crm\"", (Side::A, Conflict::DefaultSystem)),
        ("default_system = \"directory\"", (Side::B, Conflict::DefaultSystem)),
        ("default_system = \"directory\"\nconflict = \"last_write\"", (Side::B, Conflict::LastWrite)),
    ] {
        let connection = connection(&format!("direction = \"two_way\"\n{more}"));
        let (default_side, conflict) = expected;
        assert_eq!(connection.direction, Direction::TwoWay { default_side, conflict }, "{more}");
    }
    assert_eq!(
        problems("direction = \"two_way\"\ndefault_system = \"hr\""),
        ["connections.c.default_system: \"hr\" is no end of this connection"]
    );
}

/// R65: every so often, or daily at a time of a zone. R64: a schedule can be switched off.
#[test]
fn schedules() {
    let daily = |zone: &str| Schedule::Daily {
        at: jiff::civil::time(2, 30, 0, 0),
        zone: jiff::tz::TimeZone::get(zone).unwrap(),
    };
    for (text, expected) in [
        ("\"manual\"", Schedule::Manual),
        ("{ every = \"15m\" }", Schedule::Every(Duration::from_secs(900))),
        ("{ every = \"1h30m\" }", Schedule::Every(Duration::from_secs(5400))),
        ("{ daily = \"02:30\", zone = \"Europe/Paris\" }", daily("Europe/Paris")),
        ("{ daily = \"02:30\", zone = \"UTC\" }", daily("UTC")),
    ] {
        let connection = connection(&format!("direction = \"b_to_a\"\nschedule = {text}"));
        assert_eq!(connection.schedule, expected, "{text}");
    }
    for (text, expected) in [
        ("schedule = { daily = \"02:30\" }", "schedule.zone: is missing beside daily"),
        ("schedule = { daily = \"2:30\", zone = \"UTC\" }", "schedule.daily: \"2:30\" is not a time of day"),
        ("schedule = { daily = \"24:00\", zone = \"UTC\" }", "schedule.daily: \"24:00\" is not a time of day"),
        ("schedule = { every = \"5m\", zone = \"UTC\" }", "schedule.zone: has no meaning beside every"),
        ("schedule = { every = \"5m\", daily = \"02:30\", zone = \"UTC\" }", "schedule.daily: comes beside every"),
        ("schedule = {}", "schedule: does not say when"),
        ("overdue_after = \"5m\"", "overdue_after: has no meaning without a schedule"),
    ] {
        assert_eq!(
            problems(&format!("direction = \"b_to_a\"\n{text}")),
            [format!("connections.c.{expected}")],
            "{text}"
        );
    }
    for wrong in ["\"live\"", "{ every = \"-15m\" }", "{ every = \"1ms\" }", "{ every = 15 }", "{}"] {
        problems(&format!("direction = \"b_to_a\"\nschedule = {wrong}"));
    }
}

/// R65: a misspelt zone is a mistake at load, with the likely one; machines without a list of zones know them all.
#[test]
fn a_misspelt_zone_is_suggested() {
    for (wrong, meant) in [
        ("Europe/Pariss", "did you mean \"Europe/Paris\"?"),
        ("europe/berlin ", "did you mean \"Europe/Berlin\"?"),
        ("New York", "did you mean \"America/New_York\"?"),
        ("Middle-earth/Shire", "a zone has the name"),
        ("+02:00", "a zone has the name"),
    ] {
        let text = format!("direction = \"b_to_a\"\nschedule = {{ daily = \"02:30\", zone = \"{wrong}\" }}");
        let errors = parse(&with_connection(&text)).expect_err("has a mistake");
        assert_eq!(errors.mistakes.len(), 1);
        assert_eq!(errors.mistakes[0].key, "connections.c.schedule.zone");
        assert!(errors.mistakes[0].remedy.starts_with(meant), "{wrong}: {}", errors.mistakes[0].remedy);
    }
    // What the program carries with it, whatever the machine has.
    let bundled = jiff::tz::TimeZoneDatabase::bundled();
    for zone in ["Europe/Paris", "America/New_York"] {
        assert!(bundled.get(zone).is_ok(), "{zone}");
    }
}

/// R70: how long nobody need worry follows from the schedule, or is said.
#[test]
fn a_connection_is_overdue_when_its_schedule_says_so() {
    for (text, expected) in [
        ("schedule = { every = \"1m\" }", 300),
        ("schedule = { every = \"30m\" }", 1800),
        ("schedule = { daily = \"02:30\", zone = \"UTC\" }", 3600),
        ("schedule = { every = \"30m\" }\noverdue_after = \"10s\"", 10),
    ] {
        let connection = connection(&format!("direction = \"b_to_a\"\n{text}"));
        assert_eq!(connection.overdue_after, Duration::from_secs(expected), "{text}");
    }
}

/// R5: the URL of a webhook and the value of its header are secrets, and no text shows them.
#[test]
fn alerts() {
    use secrecy::ExposeSecret;
    let environment = BTreeMap::from([
        ("HOOK".to_owned(), "https://hooks.example.com/services/T0/canary".to_owned()),
        ("TOKEN".to_owned(), "canary".to_owned()),
    ]);
    let parse = |text: &str| Config::parse(text, "muster.toml", &environment);
    let webhook = |text: &str| parse(text).unwrap().alerts.webhook.unwrap();
    assert!(parse("").unwrap().alerts.webhook.is_none());
    let plain = webhook("[alerts]\nwebhook = \"https://alerts.example.com/muster\"\n");
    assert_eq!(plain.url.expose_secret(), "https://alerts.example.com/muster");
    let secret = webhook(
        "[alerts]\nwebhook = { url = { env = \"HOOK\" }, header = \"X-Token\", value = { env = \"TOKEN\" } }\n",
    );
    assert_eq!(secret.url.expose_secret(), "https://hooks.example.com/services/T0/canary");
    assert_eq!(secret.header.as_ref().unwrap().0, "X-Token");
    assert!(!format!("{secret:?}").contains("canary"));
    webhook("[alerts]\nwebhook = \"http://127.0.0.1:9/\"\n");
    webhook("[alerts]\nwebhook = { url = \"http://alerts.internal/\", allow_http = true }\n");
    for (text, problem) in [
        ("webhook = \"http://alerts.example.com/\"", "http shows what it carries"),
        ("webhook = \"https://user:pw@alerts.example.com/\"", "the URL carries a credential"),
        ("webhook = { url = { env = \"TOKEN\" } }", "does not hold an https URL"),
        ("webhook = { url = \"https://a.example\", header = \"X-Token\" }", "is missing beside header"),
        ("webhook = { url = \"https://a.example\", header = \"X-Token\", value = \"canary\" }", "a secret must not"),
        (
            "mail = { server = \"https://a.example\", from = \"a@a.example\", to = [\"b@a.example\"] }",
            "is not the URL of a mail server",
        ),
        (
            "mail = { server = \"smtps://u:canary@a.example\", from = \"a@a.example\", to = [\"b@a.example\"] }",
            "the URL carries a credential",
        ),
        (
            "mail = { server = \"smtps://a.example\", from = \"nobody\", to = [\"b@a.example\"] }",
            "\"nobody\" is not a mail address",
        ),
        ("mail = { server = \"smtps://a.example\", from = \"a@a.example\", to = [] }", "is empty"),
        (
            "mail = { server = \"smtps://a.example\", from = \"a@a.example\", to = [\"b@a.example\"], user = \"a\" }",
            "is missing beside user",
        ),
    ] {
        let errors = parse(&format!("[alerts]\n{text}\n")).unwrap_err();
        assert!(errors.mistakes[0].problem.starts_with(problem), "{text}: {errors}");
        assert!(!errors.to_string().contains("canary"), "{errors}");
    }
}

#[test]
fn attributes_differ_from_their_connection_where_they_say_so() {
    let connection = connection(
        "direction = \"two_way\"\ndefault_system = \"crm\"\ncreate = \"automatic\"\n[connections.c.attributes]\n\
         userName = {}\n\
         emails = { owner = \"directory\" }\n\
         title = { direction = \"a_to_b\", drift = \"enforce\", a = \"native.Title\" }\n",
    );
    assert_eq!(connection.creates(), Sides { a: true, b: true });
    let attribute = |path: &str| connection.attribute(&path.parse().unwrap());
    assert_eq!(attribute("emails").unwrap().owner, Some(Side::B));
    let title = attribute("title").unwrap();
    assert_eq!((title.flow, title.drift), (Flow::Towards(Side::B), Drift::Enforce));
    assert_eq!((title.names.a.as_str(), title.names.b.as_str()), ("native.Title", "title"));
    assert_eq!(attribute("nickName"), None);
}

/// Refused values are tried again when the version changes, so it must change then and only then.
#[test]
fn the_version_follows_the_meaning_and_not_the_text() {
    let base = "direction = \"a_to_b\"";
    let version = |text: &str| connection(text).version;
    for same in [
        "direction = 'a_to_b' # a comment",
        "create = \"manual\"\ndirection = \"a_to_b\"",
        "direction = \"a_to_b\"\nmatch = [\"userName\"]\nschedule = \"manual\"",
    ] {
        assert_eq!(version(same), version(base), "{same}");
    }
    let spelt_out = parse(&with_connection(base).replace(r#"a = "crm""#, r#"a = { system = "crm", object = "User" }"#));
    assert_eq!(spelt_out.unwrap().connections.pop_first().unwrap().1.version, version(base));
    let others = [
        "direction = \"b_to_a\"",
        "direction = \"two_way\"\ndefault_system = \"crm\"",
        "direction = \"two_way\"\ndefault_system = \"directory\"",
        "direction = \"two_way\"\ndefault_system = \"crm\"\nconflict = \"last_write\"",
        "direction = \"a_to_b\"\ncreate = \"automatic\"",
        "direction = \"a_to_b\"\nschedule = { every = \"1m\" }",
        "direction = \"a_to_b\"\non_existing = \"link\"",
        "direction = \"a_to_b\"\nleavers = \"deactivate\"",
        "direction = \"a_to_b\"\nmatch = [\"emails\"]",
        "direction = \"a_to_b\"\nattributes = { userName = {} }",
        "direction = \"a_to_b\"\nattributes = { userName = { on = \"create\" } }",
        "direction = \"a_to_b\"\nattributes = { userName = { drift = \"enforce\" } }",
        "direction = \"a_to_b\"\nattributes = { userName = { a = \"emails\" } }",
    ];
    let versions: BTreeSet<_> = others.iter().map(|other| version(other)).chain([version(base)]).collect();
    assert_eq!(versions.len(), others.len() + 1, "each differs from all others");
    // Kept in links: the number itself must not change without need.
    assert_eq!(version(base), 16_050_037_354_993_059_588);
}

#[test]
fn the_fingerprint_leaves_secrets_out() {
    let text = with_connection("direction = \"a_to_b\"");
    let other_secret = BTreeMap::from([("CRM_SECRET".to_owned(), "renewed".to_owned())]);
    let (one, other) = (parse(&text).unwrap(), Config::parse(&text, "muster.toml", &other_secret).unwrap());
    assert_eq!(one.fingerprint, other.fingerprint);
    let moved = parse(&text.replace("redis://localhost", "redis://elsewhere")).unwrap();
    assert_ne!(one.fingerprint, moved.fingerprint);
    assert_ne!(parse("").unwrap().fingerprint, parse("file = \"other.db\"").unwrap().fingerprint);
}

#[test]
fn secrets_are_looked_for_where_the_file_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, "\n").unwrap();
    let path = path.display();
    for (reference, problem) in [
        ("{ env = \"NOT_SET\" }", "the environment variable NOT_SET is not set"),
        ("{ env = \"CANARY-in-the-wrong-place\" }", "is not the name of an environment variable"),
        ("{ file = \"/nowhere/at/all\" }", "the file cannot be read"),
        (&format!("{{ file = '{path}' }}"), "the secret is empty"),
        ("{}", "names no place of the secret"),
        ("{ env = \"CRM_SECRET\", file = \"x\" }", "names no place of the secret, or two"),
        ("7", "is a whole number"),
    ] {
        let text = with_connection("direction = \"a_to_b\"").replace("{ env = \"CRM_SECRET\" }", reference);
        let errors = parse(&text).unwrap_err();
        assert_eq!(errors.mistakes.len(), 1, "{errors}");
        assert!(errors.mistakes[0].problem.starts_with(problem), "{reference}: {errors}");
        assert_clean(&errors.to_string());
    }
}

#[test]
fn urls_lead_to_their_kind_of_server() {
    for (from, to) in [
        ("amqp://localhost", "http://localhost"),
        ("amqp://localhost", "amqp:localhost"),
        ("amqp://localhost", "localhost"),
        ("redis://localhost", "redis://localhost/users"),
        ("redis://localhost", "unix:///tmp/redis.sock"),
        ("http://127.0.0.1:8080", "http://10.0.0.1:8080"),
        ("https://example.my.salesforce.com", "https://example.my.salesforce.com?x=1"),
    ] {
        let errors = parse(&with_connection("direction = \"a_to_b\"").replace(from, to)).expect_err(to);
        assert_eq!(errors.mistakes.len(), 1, "{to}: {errors}");
        assert!(errors.mistakes[0].key.ends_with(".url"), "{to}: {errors}");
    }
}
