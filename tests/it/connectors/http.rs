//! What happens on the wire: refused, silent and cut connections, deadlines, and answers that are none.

use std::time::Duration;

use muster::domain::{Failure, FailureClass, Value};
use muster::systems::{Action, ReadFrom, System, Write, Written};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use super::{Reply, Server, listen, scim, soon};

/// What a raw server does once it has read a request.
#[derive(Debug, Clone, Copy)]
enum Then {
    /// Never answers.
    Silent,
    /// Sends this and closes the connection.
    Sends(&'static str),
}

async fn raw(then: Then) -> (Url, AbortOnDropHandle<()>) {
    let listener = listen().await;
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let task = tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            match then {
                Then::Silent => open.push(stream),
                Then::Sends(text) => stream.write_all(text.as_bytes()).await.unwrap(),
            }
        }
    });
    (url, AbortOnDropHandle::new(task))
}

async fn failure_of_create(url: &Url, deadline: Instant) -> Failure {
    let values = [("userName".parse().unwrap(), Some(Value::from("ada@x.example")))].into();
    let write = Write::new(Action::Create { partner: "005000000000001AAA".parse().unwrap() }, values);
    match scim(url).write(&[write], deadline).await.pop().unwrap() {
        Written::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_refused_connection_leaves_no_doubt() {
    let listener = listen().await;
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let failure = failure_of_create(&url, soon()).await;
    assert_eq!((failure.class, failure.code.as_str()), (FailureClass::Transient, "unreachable"));
    assert!(!failure.in_doubt);
}

/// B23: a create whose answer is lost may have been carried out.
#[tokio::test]
async fn a_lost_answer_leaves_a_write_in_doubt() {
    let cut = "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{\"id\":";
    for (then, wait, code) in [
        (Then::Silent, Duration::from_millis(300), "timeout"),
        (Then::Sends(""), Duration::from_secs(20), "connection_cut"),
        (Then::Sends(cut), Duration::from_secs(20), "connection_cut"),
    ] {
        let (url, _server) = raw(then).await;
        let failure = failure_of_create(&url, Instant::now() + wait).await;
        assert_eq!((failure.class, failure.code.as_str()), (FailureClass::Transient, code), "{then:?}");
        assert!(failure.in_doubt, "{then:?}");
    }
}

#[tokio::test]
async fn nothing_is_sent_after_the_deadline() {
    let server = Server::start(|_| Reply::empty(500)).await;
    let failure = failure_of_create(&server.url, Instant::now()).await;
    assert_eq!((failure.code.as_str(), failure.in_doubt), ("not_sent", false));
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn answers_are_classified_and_never_quoted() {
    use FailureClass::{Permanent, Throttled, Transient, Unauthorised};
    let secret = serde_json::json!({"detail": "ada@x.example is odd", "scimType": "invalidValue"});
    for (reply, class, code, in_doubt) in [
        (Reply::json(500, &secret), Transient, "server_error", true),
        (Reply::html(502), Transient, "server_error", true),
        (Reply::html(404), Transient, "html_answer", false),
        (Reply::html(200), Transient, "html_answer", true),
        (Reply::json(201, "{\"id\": \"1"), Transient, "unreadable_answer", true),
        (Reply::json(401, &secret), Unauthorised, "unauthorised", false),
        (Reply::json(403, "{}"), Unauthorised, "forbidden", false),
        (Reply::json(429, &secret).with("retry-after", "7"), Throttled, "throttled", false),
        (Reply::json(503, "").with("retry-after", "7"), Throttled, "throttled", true),
        (Reply::json(413, ""), Permanent, "request_too_large", false),
        (Reply::json(400, &secret), Permanent, "invalid_value", false),
        (Reply::empty(307).with("location", "https://elsewhere.example"), Permanent, "redirected", false),
    ] {
        let status = reply.status;
        let reply = reply.with("x-request-id", "req-1");
        let server = Server::start(move |_| reply.clone()).await;
        let failure = failure_of_create(&server.url, soon()).await;
        assert_eq!((failure.class, failure.code.as_str(), failure.in_doubt), (class, code, in_doubt), "{status}");
        assert_eq!((failure.status, failure.request_id.as_deref()), (Some(status), Some("req-1")));
        assert_eq!(failure.retry_after, (class == Throttled).then_some(Duration::from_secs(7)), "{status}");
        let text = format!("{failure} {failure:?}");
        assert!(!text.contains("ada@x.example") && !text.contains("hush-hush"), "{text}");
        assert_eq!(server.asked().len(), 1, "a write is not repeated by the connector");
    }
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/Users" => Reply::json(200, format!("{{\"Resources\":[\"{}\"]}}", "x".repeat(33 * 1024 * 1024))),
        _ => Reply::empty(404),
    });
    let server = server.await;
    let failure = scim(&server.url).read(&ReadFrom::Start).await.unwrap_err();
    assert_eq!((failure.class, failure.code.as_str()), (FailureClass::Permanent, "answer_too_large"));
}

#[tokio::test]
async fn calls_are_counted_by_operation_and_status() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/Users" => Reply::json(200, r#"{"totalResults":0}"#),
        _ => Reply::empty(404),
    })
    .await;
    let scim = scim(&server.url);
    for _ in 0..2 {
        scim.read(&ReadFrom::Start).await.unwrap();
    }
    assert_eq!(scim.report().calls, [("list", 200, 2), ("service_provider_config", 404, 1)]);
    assert_eq!(scim.report().calls, []);
}

#[tokio::test]
async fn the_clock_follows_the_date_header() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/Users" => Reply::json(200, r#"{"totalResults":0}"#).with("date", "Sat, 21 Nov 2037 10:15:30 GMT"),
        _ => Reply::empty(404).with("date", "Sat, 21 Nov 2037 10:15:30 GMT"),
    })
    .await;
    let scim = scim(&server.url);
    scim.read(&ReadFrom::Start).await.unwrap();
    assert!(scim.clock().to_string().starts_with("2037-11-21T10:15:3"), "{}", scim.clock());
}
