//! The HTTP API as a program meets it: the real `muster console` beside `muster run`, over one file, with the sandbox in the
//! place of both systems.

use muster::config::Role;
use muster::console::api;
use muster::sandbox::{Sandbox, SandboxSettings, System};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::installed::{Served, Server};
use super::processes::{CONNECTION, active_users, connection, directory};

/// R78: who may do what. Each endpoint is asked by nobody, by a stranger, and by each role; who may not is told so before
/// anything of the request is looked at.
#[tokio::test]
async fn each_role_may_do_what_it_may_and_no_more() {
    let served = Served::start(3, "").await;
    let endpoints = api::table();
    assert!(endpoints.len() > 25, "{}", endpoints.len());
    for (method, path, needed) in endpoints {
        let path = path.replace("{id}", "nothing");
        let method: Method = method.parse().unwrap();
        let ask = async |token: Option<&str>| {
            let mut request = served.http.request(method.clone(), served.url(&format!("/api/v1{path}")));
            if method == Method::POST {
                // What no act understands: that shows who gets past the roles, and nothing is done.
                request = request.json(&json!({ "no such field": true }));
            }
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            let answer = request.send().await.unwrap();
            let status = answer.status();
            let told: Value = answer.json().await.unwrap_or_else(|error| panic!("{path}: {error}"));
            if !status.is_success() {
                for field in ["code", "message", "next"] {
                    assert!(told[field].as_str().is_some_and(|text| !text.is_empty()), "{path}: {told}");
                }
            }
            status
        };
        assert_eq!(ask(None).await, StatusCode::UNAUTHORIZED, "{path} without a token");
        assert_eq!(ask(Some("muster_guess")).await, StatusCode::UNAUTHORIZED, "{path} by a stranger");
        for role in Role::ALL {
            let status = ask(Some(served.token(role.as_str()))).await;
            assert_eq!(status == StatusCode::FORBIDDEN, role < needed, "{method} {path} by {role}: {status}");
            assert!(!status.is_server_error() && status != StatusCode::UNAUTHORIZED, "{path} by {role}: {status}");
        }
    }
    assert_eq!(served.get("viewer", "/me").await, json!({ "name": "viewer", "role": "viewer" }));
}

/// R78, B8, B9: from the causes over the list to a letter, a preview of it, a retry with a canary, and a healed account; each
/// by the API alone.
#[tokio::test]
async fn a_letter_is_found_previewed_sent_again_and_healed() {
    let mut served = Served::start(6, "").await;
    served.backlog("Admiral").await;
    let people = active_users(&served.admin).len();
    let groups = served.get("viewer", "/letters/groups").await;
    let group = &groups["items"][0];
    assert_eq!((&group["code"], &group["letters"]), (&json!("forbidden"), &json!(people)), "{groups}");
    assert!(group["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{groups}");

    // Page by page, everybody once.
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = served.get("viewer", &format!("/letters?code=forbidden&limit=2&after={after}")).await;
        seen.extend(page["letters"].as_array().unwrap().iter().map(|it| it["letter"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        after = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
    }
    let mut once = seen.clone();
    once.sort();
    once.dedup();
    assert_eq!((seen.len(), once.len()), (people, people), "{seen:?}");
    assert_eq!(served.get("viewer", "/letters?class=transient").await["letters"], json!([]));

    let path = seen[0].replace('/', "%2F");
    let letter = served.get("operator", &format!("/letters/{path}?live=true")).await;
    assert_eq!(letter["letter"], seen[0], "{letter}");
    assert!(letter.to_string().contains("Admiral") && letter["attempts"][0]["status"] == 403, "{letter}");
    assert_eq!(letter["now"]["outcome"], "applied");
    let preview = served.post("operator", "/letters/preview", &json!({ "all": true })).await;
    assert_eq!(preview["outcomes"], json!({ "applied": people }), "{preview}");

    let retry = json!({ "filter": { "code": "forbidden" }, "canary": 1, "rate": 100 });
    let begun = served.post("operator", "/letters/retry", &retry).await;
    let id = begun["retry"].as_str().unwrap_or_else(|| panic!("{begun}"));
    let done = loop {
        let retry = served.get("viewer", &format!("/retries/{id}")).await;
        if retry["phase"] == "done" && retry["in_flight"] == 0 {
            break retry;
        }
        assert!(retry["phase"] != "stopped", "{retry}");
    };
    assert_eq!((&done["sent"], &done["outcomes"]["applied"]), (&json!(people), &json!(people)), "{done}");
    assert_eq!(done["by"], "operator", "the person is named, not the process");
    let audit = served.get("admin", "/audit").await;
    let noted = audit["items"].as_array().unwrap().iter().find(|it| it["verb"] == "dead.retry").unwrap().clone();
    assert_eq!(
        (&noted["by"], &noted["door"], &noted["counts"]["sent"]),
        (&json!("operator"), &json!("api"), &json!(people))
    );
    assert_eq!(served.get("viewer", "/letters").await["letters"], json!([]));
    let titles: Vec<_> = served.copies().into_iter().map(|copy| copy["title"].clone()).collect();
    assert_eq!(titles, vec![json!("Admiral"); people]);
}

/// R5, R78: who only looks sees of values what kind they are, whatever is asked; who acts sees them.
#[tokio::test]
async fn values_are_masked_for_viewers() {
    let mut served = Served::start(3, "").await;
    served.backlog("Quartermaster").await;
    let users = active_users(&served.admin);
    let letter = served.get("viewer", "/letters").await["letters"][0]["letter"].as_str().unwrap().replace('/', "%2F");
    let account = format!("crm:{}", users[0]["Id"].as_str().unwrap());
    // Somebody whom the directory does not know yet, and nobody links.
    let name = users[0]["LastName"].as_str().unwrap();
    for path in [
        format!("/letters/{letter}?live=true"),
        format!("/accounts/explain?account={account}"),
        "/held".to_owned(),
        "/conflicts".to_owned(),
    ] {
        let masked = served.get("viewer", &path).await.to_string();
        let open = served.get("operator", &path).await.to_string();
        assert!(!masked.contains("Quartermaster") && !masked.contains(name), "{path}: {masked}");
        if path.contains("letters") || path.contains("explain") {
            assert!(open.contains("Quartermaster"), "{path}: {open}");
        }
    }
    let all = json!({ "all": true });
    assert!(!served.post("viewer", "/letters/preview", &all).await.to_string().contains("Quartermaster"));
    assert!(served.post("operator", "/letters/preview", &all).await.to_string().contains("Quartermaster"));
}

/// R78: an act that the configuration names waits for another person. Who asked cannot approve it, also not with a token of a
/// higher role; approved, it is done, and names both; refused, it is not.
#[tokio::test]
async fn an_act_waits_for_a_second_person() {
    let mut served = Served::start(3, "two_person = [\"discard\", \"pause\"]\n").await;
    served.backlog("Boatswain").await;
    let people = active_users(&served.admin).len();
    let discard = json!({ "all": true, "reason": "accepted", "text": "they may differ" });
    let (status, waits) = served.ask(Method::POST, "operator", "/letters/discard", Some(&discard)).await;
    assert_eq!((status, &waits["state"]), (StatusCode::ACCEPTED, &json!("waits")), "{waits}");
    let approve = format!("/approvals/{}/approve", waits["approval"].as_str().unwrap());
    assert_eq!(served.get("viewer", "/letters").await["letters"].as_array().unwrap().len(), people, "nothing was done");

    let code = async |token: &str, path: &str| served.ask(Method::POST, token, path, None).await.1["code"].clone();
    assert_eq!(code("operator", &approve).await, "forbidden");
    assert_eq!(code("operator-as-approver", &approve).await, "same_person");
    let listed = served.get("viewer", "/approvals").await;
    assert_eq!(
        (&listed["items"][0]["state"], &listed["items"][0]["by"]),
        (&json!("waiting"), &json!("operator")),
        "{listed}"
    );

    let (status, done) = served.ask(Method::POST, "approver", &approve, None).await;
    assert_eq!((status, &done["state"]), (StatusCode::OK, &json!("done")), "{done}");
    assert_eq!(served.get("viewer", "/letters").await["letters"], json!([]));
    assert_eq!(code("admin", &approve).await, "decided");
    let listed = served.get("viewer", "/approvals").await;
    assert_eq!(
        (&listed["items"][0]["state"], &listed["items"][0]["decided_by"]),
        (&json!("approved"), &json!("approver"))
    );

    // Another act, refused; and one that cannot be understood does not wait at all.
    let (_, waits) = served.ask(Method::POST, "operator", "/pause", Some(&json!({ "connection": CONNECTION }))).await;
    let reject = format!("/approvals/{}/reject", waits["approval"].as_str().unwrap());
    assert_eq!(served.ask(Method::POST, "approver", &reject, None).await.0, StatusCode::OK);
    assert_eq!(served.get("viewer", "/status").await["pauses"], json!([]));
    let (status, told) = served.ask(Method::POST, "operator", "/pause", Some(&json!({ "connection": "nobody" }))).await;
    assert_eq!((status, &told["code"]), (StatusCode::BAD_REQUEST, &json!("bad_request")), "{told}");
    // What the configuration does not name needs nobody else.
    let (status, synced) =
        served.ask(Method::POST, "operator", "/sync", Some(&json!({ "connection": CONNECTION }))).await;
    assert_eq!((status, &synced["state"]), (StatusCode::OK, &json!("done")), "{synced}");
}

/// B11, R78: what is let pass is what was shown: not what a colleague refused, and no value that came since, also where a
/// second person lets it pass later.
#[tokio::test]
async fn what_passes_is_what_was_shown() {
    let crm = Sandbox::start(SandboxSettings::default()).await.unwrap();
    let other = Sandbox::start(SandboxSettings::default()).await.unwrap();
    crm.admin().seed(System::Scim, 4, 7).unwrap();
    let both = directory(&crm.scim_url()).replace("systems.directory", "systems.crm") + &directory(&other.scim_url());
    let mapped = format!(
        "budgets = {{ email_change = \"1/1h\" }}\n[connections.{CONNECTION}.attributes]\nuserName = {{}}\nemails = {{}}\n"
    );
    let copies = other.admin();
    copies.set_clock(System::Scim, 10_000);
    let served = Served::over(crm, &(both + &connection(&mapped)), "two_person = [\"approve_held\"]\n").await;
    let later = |minutes: i64| [&served.admin, &copies].map(|it| it.set_clock(System::Scim, 10_000 + minutes * 60_000));
    let address = |id: &str, at: &str| {
        let fields = json!({ "emails": [{ "value": at, "type": "work", "primary": true }] });
        served.admin.edit(System::Scim, id, &fields).unwrap();
    };
    let is_there = |at: &str| copies.accounts(System::Scim).iter().any(|copy| copy["emails"].to_string().contains(at));
    later(1);
    for (number, person) in served.admin.accounts(System::Scim).iter().enumerate() {
        address(person["id"].as_str().unwrap(), &format!("new{number}@held.example"));
    }
    later(2);
    served.muster.sync(&["--full"]).await;
    let held = served.get("operator", "/held").await["held"].as_array().unwrap().clone();
    assert_eq!(held.len(), 3, "{held:?}");
    let text = |row: usize, field: &str| held[row][field].as_str().unwrap().to_owned();
    let value = |row: usize| held[row]["value"]["value"].as_str().unwrap().to_owned();

    // A colleague refuses the first.
    served.post("operator", "/held/reject", &json!({ "writes": [text(0, "write")] })).await;
    for meant in [json!({ "writes": [text(0, "write")] }), json!({ "accounts": [text(0, "account")] })] {
        let (status, told) = served.ask(Method::POST, "operator", "/held/approve", Some(&meant)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "a refusal stands: {told}");
    }
    let refused = served.get("operator", "/held?rejected=true").await["held"].as_array().unwrap().clone();
    assert!(refused.iter().any(|it| it["write"] == text(0, "write") && it["state"] == "rejected"), "{refused:?}");

    // The two others wait for a second person; the value of one changes before that.
    let (_, waits) =
        served.ask(Method::POST, "operator", "/held/approve", Some(&json!({ "connection": CONNECTION }))).await;
    let approval = waits["approval"].as_str().unwrap_or_else(|| panic!("{waits}"));
    let changed = served.admin.accounts(System::Scim);
    let changed = changed.iter().find(|it| it["emails"].to_string().contains(&value(1))).unwrap();
    later(3);
    address(changed["id"].as_str().unwrap(), "unseen@held.example");
    later(4);
    served.muster.sync(&["--full"]).await;
    let (_, done) = served.ask(Method::POST, "approver", &format!("/approvals/{approval}/approve"), None).await;
    assert_eq!((&done["state"], &done["text"].as_str().unwrap()[..12]), (&json!("partly"), "1 held write"), "{done}");
    served.muster.sync(&["--full"]).await;
    assert!(is_there(&value(2)), "what was shown and is so still is written");
    assert!(!is_there(&value(0)) && !is_there(&value(1)) && !is_there("unseen@"), "and nothing else");
    let left = served.get("operator", "/held").await["held"].as_array().unwrap().clone();
    assert_eq!((left.len(), &left[0]["value"]["value"]), (1, &json!("unseen@held.example")), "{left:?}");
    assert_ne!(left[0]["write"], text(1, "write"), "another value is another write");
}

/// R63, R78: pausing stops writes until somebody resumes, and the overview says who paused.
#[tokio::test]
async fn pausing_and_resuming_is_seen_in_the_status() {
    let served = Served::start(2, "").await;
    let of = json!({ "connection": CONNECTION });
    served.post("operator", "/pause", &of).await;
    let status = served.get("viewer", "/status").await;
    assert_eq!(
        (&status["pauses"][0]["by"], &status["connections"][0]["state"]),
        (&json!("operator"), &json!("paused"))
    );
    served.post("operator", "/resume", &of).await;
    assert_eq!(served.get("viewer", "/status").await["pauses"], json!([]));
    let run = served.post("operator", "/sync", &json!({ "connection": CONNECTION, "full": true })).await;
    let run = run["run"].as_str().unwrap();
    loop {
        let runs = served.get("viewer", "/runs").await;
        let runs = runs["items"].as_array().unwrap().clone();
        if runs.iter().any(|it| it["run"] == run && it["state"] == "over" && it["by"] == "operator") {
            break;
        }
    }
    let connections = served.get("viewer", "/connections").await;
    assert!(connections["items"][0]["last_good_run"].is_string(), "{connections}");
}

/// R51, R52: who is on one side only, and linking by a file: told first, then done, and twice is as good as once.
#[tokio::test]
async fn pairs_are_previewed_and_linked() {
    let served = Served::start(2, "").await;
    let user = served.stranger().await;
    let missing = served.get("operator", &format!("/links/missing?connection={CONNECTION}")).await;
    let is_there = |id: &str| missing["accounts"].as_array().unwrap().iter().any(|it| it["account"] == id);
    assert!(is_there(&user.0) && is_there(&user.1), "{missing}");
    let before = missing["count"].as_u64().unwrap();
    let csv = format!("crm,directory\n{},{}\nnonsense!,{}\n", user.0, user.1, user.1);
    let ask = json!({ "connection": CONNECTION, "csv": csv });
    let told = served.post("operator", "/links/import/preview", &ask).await;
    assert_eq!((&told["counts"]["would_link"], &told["counts"]["refused"]), (&json!(1), &json!(1)), "{told}");
    let done = served.post("operator", "/links/import", &ask).await;
    assert_eq!((&done["state"], done["items"].as_array().unwrap().len()), (&json!("partly"), 1), "{done}");
    let missing = served.get("operator", &format!("/links/missing?connection={CONNECTION}")).await;
    assert_eq!(missing["count"], before - 2, "{missing}");
    let again = served.post("operator", "/links/import/preview", &ask).await;
    assert_eq!(again["counts"]["already_linked"], 1, "{again}");
}

/// R78: a browser that another page leads acts for nobody; what is too long, of another kind or for nobody is told so as JSON,
/// and every answer carries the headers that keep pages apart.
#[tokio::test]
async fn requests_that_must_not_be_served_are_refused() {
    let served = Served::start(1, "").await;
    let post = |path: &str| served.http.post(served.url(path)).bearer_auth(served.token("admin"));
    for (name, value) in [("origin", "https://elsewhere.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")]
    {
        let answer = post("/api/v1/pause").header(name, value).json(&json!({})).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{name}: {value}");
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], "cross_origin");
    }
    let long = json!({ "connection": CONNECTION, "csv": "x".repeat(5 << 20) });
    let answer = post("/api/v1/links/import").json(&long).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let answer = post("/api/v1/pause").header("content-type", "text/plain").body("{}").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let answer = post("/api/v1/nothing").send().await.unwrap();
    assert_eq!(
        (answer.status(), answer.json::<Value>().await.unwrap()["code"].clone()),
        (StatusCode::NOT_FOUND, json!("no_such_path"))
    );
    let answer = post("/api/v1/status").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    for path in ["/sign-in", "/api/v1/status", "/assets/console.css", "/nothing"] {
        let answer = served.http.get(served.url(path)).send().await.unwrap();
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert!(header("content-security-policy").starts_with("default-src 'self'"), "{path}");
        assert_eq!(header("x-frame-options"), "DENY", "{path}");
        assert_eq!(header("referrer-policy"), "same-origin", "{path}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
    }
    assert_eq!(served.get("viewer", "/status").await["pauses"], json!([]), "none of them did anything");
}

/// R78: whoever has no token keeps nobody else from being served, however slowly they send, and does not keep a connection for
/// ever.
#[tokio::test]
async fn slow_strangers_keep_nobody_out() {
    let served = Served::start(1, "").await;
    let address = served.url("").trim_start_matches("http://").to_owned();
    let mut strangers = Vec::new();
    for begin in [
        "POST /api/v1/pause HTTP/1.1\r\nhost: x\r\ncontent-length: 5000000\r\n\r\nx",
        "POST /sign-in HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\norigin: http://x\r\n\
         content-length: 1000\r\n\r\nx",
        "GET /sign-in HTTP/1.1\r\nhost: x\r\nx-endless: ",
    ] {
        for _ in 0..70 {
            let mut stranger = TcpStream::connect(&address).await.unwrap();
            stranger.write_all(begin.as_bytes()).await.unwrap();
            strangers.push(stranger);
        }
    }
    // One of them was looked at when it is answered; the others of its kind before it.
    let mut answer = [0; 12];
    strangers[69].read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    assert_eq!(served.get("viewer", "/status").await["pauses"], json!([]));
    for mut stranger in strangers {
        // Until the console has closed it; one that was closed with something unread is reset.
        drop(stranger.read_to_end(&mut Vec::new()).await);
    }
}

/// R78: without tokens nobody but this machine is served, whether the configuration or the command line says so; and this
/// machine gets a token of its own.
#[tokio::test]
async fn the_network_is_not_served_without_tokens() {
    let mut served = Served::start(1, "").await;
    served.configure("").await;
    let refused = served.muster.muster(&["console", "--listen", "0.0.0.0:0"]).await;
    assert!(refused.status == 2 && refused.stderr.contains("is not loopback"), "{refused:?}");
    served.configure("[api]\nlisten = \"0.0.0.0:0\"\n").await;
    let refused = served.muster.muster(&["check", "--offline"]).await;
    assert!(refused.status == 2 && refused.stderr.contains("api.listen"), "{refused:?}");
    served.configure("[api]\nlisten = \"127.0.0.1:0\"\n").await;
    let own = Server::start(&served.muster).await;
    let token = own.token.clone().expect("a token was made");
    let me = served.http.get(format!("{}/api/v1/me", own.url)).bearer_auth(token).send().await.unwrap();
    let me: Value = me.json().await.unwrap();
    assert!(me["role"] == "admin" && me["name"].as_str().unwrap().starts_with("ada@"), "{me}");
}

/// R78: `muster token new` shows a token once, with the line that lets its holder in; the line has no token in it.
#[tokio::test]
async fn a_new_token_comes_with_its_line() {
    let mut served = Served::start(1, "").await;
    let made =
        served.muster.muster(&["token", "new", "--role", "viewer", "--name", "a.turing@example.com", "--json"]).await;
    let made: Value = serde_json::from_str(&made.stdout).unwrap_or_else(|_| panic!("{made:?}"));
    let (token, line) = (made["token"].as_str().unwrap(), made["line"].as_str().unwrap());
    assert!(!line.contains(token) && line.contains("sha256:"), "{line}");
    served.configure(&format!("[api]\nlisten = \"127.0.0.1:0\"\n[api.tokens]\n{line}\n")).await;
    let server = Server::start(&served.muster).await;
    assert_eq!(server.token, None, "nobody is let in beside those who have a token");
    let me = served.http.get(format!("{}/api/v1/me", server.url)).bearer_auth(token).send().await.unwrap();
    assert_eq!(me.json::<Value>().await.unwrap(), json!({ "name": "a.turing@example.com", "role": "viewer" }));
    for wrong in ["root", ""] {
        assert_eq!(served.muster.muster(&["token", "new", "--role", wrong, "--name", "x"]).await.status, 2);
    }
    assert_eq!(served.muster.muster(&["token", "new", "--role", "viewer", "--name", "a b"]).await.status, 2);
}

/// The description in the documents is the one that the program gives. Write it with
/// `muster openapi > docs/openapi.json`.
#[test]
fn the_committed_description_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    let committed: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(committed, api::openapi(), "docs/openapi.json is not current");
}
