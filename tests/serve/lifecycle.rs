//! The server starts only with a model that passed, survives its clients, and ends when it is asked to.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rstest::rstest;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::client::{Answer, connect, get, post};
use super::program::{home, ran, rbees, stderr, stdout, wrong_theta};
use super::server::Server;

const TEXT: &str = "/v1/completions";

/// A request for a stream of 900 tokens: the ids that end a text are excluded.
fn endless() -> Value {
    let ends = json!({ "0": -100, "2": -100 });
    json!({ "prompt": "In the beginning", "max_tokens": 900, "stream": true, "logit_bias": ends })
}

/// A long stream. It has begun when its first event has arrived.
fn long_stream(server: &Server) -> Answer {
    let mut answer = post(server.port, TEXT, &endless());
    assert_eq!(answer.status, 200);
    answer.chunk().expect("an event");
    answer
}

#[test]
fn a_model_with_another_theta_is_refused_before_a_port_is_opened() {
    let (folder, home) = (home(), home());
    let model = folder.path().join("broken");
    wrong_theta(&model);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (port_text, model) = (port.to_string(), model.to_str().unwrap());
    let args = ["serve", "--model", model, "--references", "tiny-llama", "--port", &port_text];
    let mut child = rbees(&home, &args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while child.try_wait().unwrap().is_none() {
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "the port is open");
        thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    let text = stderr(&output);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), ""), "{text}");
    assert!(
        text.contains("first wrong in the forward pass: model.layers.0.self_attn.q_rope (01B rope)"),
        "{text}"
    );
    assert!(text.contains("suspect    rope-theta: you used θ = 10000"), "{text}");
    assert!(text.contains("\nrefused: checkpoint"), "{text}");
}

#[test]
fn a_model_that_passed_shows_its_verdict_and_is_not_judged_twice() {
    let home = home();
    let server = Server::start(&home, &[]);
    assert!(server.line.ends_with("(checks: passed)\n"), "{}", server.line);
    let health = get(server.port, "/health");
    assert_eq!((health.status, health.header("x-rbees-verdict")), (200, Some("passed")));
    let health = health.json();
    assert_eq!((&health["ready"], &health["verdict"]), (&json!(true), &json!("passed")));
    let report = get(server.port, "/v1/verdict").text();
    assert_eq!(health["verdict_sha256"], format!("{:x}", Sha256::digest(&report)));
    let report: Value = serde_json::from_str(&report).unwrap();
    let schema = include_str!("../../docs/report.schema.json");
    jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap().validate(&report).unwrap();
    assert_eq!((&report["summary"]["passed"], &report["run"]["paths"]), (&json!(12), &json!(["plain"])));
    drop(server);
    let begin = Instant::now();
    let again = Server::start(&home, &[]);
    assert_eq!(get(again.port, "/health").json()["verdict_sha256"], health["verdict_sha256"]);
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[test]
fn an_unchecked_model_says_so_everywhere() {
    let server = Server::unchecked(&[]);
    assert!(server.line.ends_with("(checks: unchecked)\n"), "{}", server.line);
    let health = get(server.port, "/health").json();
    assert_eq!((&health["verdict"], &health["verdict_sha256"]), (&json!("unchecked"), &Value::Null));
    assert_eq!(get(server.port, "/v1/models").json()["data"][0]["verdict"], "unchecked");
    let missing = get(server.port, "/nothing");
    assert_eq!((missing.status, missing.header("x-rbees-verdict")), (404, Some("unchecked")));
    assert_eq!(get(server.port, "/v1/verdict").status, 404);
}

#[rstest]
#[case::no_key(&["--host", "0.0.0.0"], "other machines could use the server without a key", "--api-key-file")]
#[case::no_file(&["--api-key-file", "/nowhere/key"], "/nowhere/key", "one key of at least 16 characters")]
#[case::no_place(&["--max-batch", "0"], "--max-batch", "")]
#[case::step(&["--max-batch", "8", "--step-tokens", "8"], "no room for a prompt", "more tokens in a step")]
fn arguments_that_cannot_be_used_are_errors(#[case] args: &[&str], #[case] what: &str, #[case] hint: &str) {
    let output = ran(&[&["serve", "--unchecked", "--port", "0"], args].concat());
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("error: ") && lines[0].contains(what), "{text}");
    assert!(lines[1].starts_with("hint: ") && lines[1].contains(hint), "{text}");
}

#[test]
fn a_port_that_is_taken_is_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = ran(&["serve", "--unchecked", "--port", &port]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains(&format!("--port {port}: ")), "{}", stderr(&output));
}

#[test]
fn a_client_that_leaves_frees_its_place() {
    let server = Server::unchecked(&["--max-batch", "1", "--max-queue", "1"]);
    let stream = long_stream(&server);
    assert_eq!(server.metric("rbees_sequences_running"), 1);
    drop(stream);
    server.wait_for("rbees_sequences_running", 0);
    server.wait_for("rbees_clients_gone_total", 1);
    assert!(server.metric("rbees_tokens_generated_total") < 900);
    // A client that waits for a whole answer may leave, too.
    let mut body = endless();
    body["stream"] = json!(false);
    let body = body.to_string();
    let mut waiting = connect(server.port);
    let head = format!(
        "POST {TEXT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    waiting.write_all((head + &body).as_bytes()).unwrap();
    server.wait_for("rbees_sequences_running", 1);
    drop(waiting);
    server.wait_for("rbees_sequences_running", 0);
    server.wait_for("rbees_clients_gone_total", 2);
}

#[test]
fn a_full_queue_is_429_and_has_room_again_later() {
    let server = Server::unchecked(&["--max-batch", "1", "--max-queue", "1"]);
    let mut open = vec![long_stream(&server)];
    let body = endless();
    let refused = loop {
        let answer = post(server.port, TEXT, &body);
        if answer.status != 200 {
            break answer;
        }
        open.push(answer);
        assert!(open.len() < 5, "nothing is refused");
    };
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
    assert_eq!(refused.json()["error"]["code"], "queue_full");
    drop(open);
    server.wait_for("rbees_sequences_running", 0);
    // All choices of a request are accepted, or none.
    let several = post(server.port, TEXT, &json!({ "prompt": "a", "n": 4, "max_tokens": 900 }));
    assert_eq!(several.status, 429);
    server.wait_for("rbees_sequences_running", 0);
    server.wait_for("rbees_sequences_waiting", 0);
    assert_eq!(post(server.port, TEXT, &json!({ "prompt": "a", "max_tokens": 2 })).status, 200);
}

#[test]
fn a_deadline_ends_the_text() {
    let server = Server::unchecked(&["--deadline", "1", "--max-batch", "2"]);
    let mut body = endless();
    (body["stream"], body["n"]) = (json!(false), json!(16));
    let begin = Instant::now();
    let answer = post(server.port, TEXT, &body).json();
    let choices = answer["choices"].as_array().unwrap();
    let late = choices.iter().filter(|choice| choice["limit"] == "deadline").count();
    assert!(late > 0 && choices.iter().all(|choice| choice["finish_reason"] == "length"), "{late}");
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}

#[rstest]
fn a_signal_ends_the_server_after_the_last_answer(#[values("-TERM", "-INT")] signal: &str) {
    let mut server = Server::unchecked(&[]);
    let mut stream = long_stream(&server);
    // This one sends nothing, and must not delay the end.
    let idle = connect(server.port);
    server.signal(signal);
    let mut text = Vec::new();
    while let Some(chunk) = stream.chunk() {
        text.extend(chunk);
    }
    assert!(String::from_utf8(text).unwrap().ends_with("data: [DONE]\n\n"));
    assert_eq!(server.ended(), Some(0));
    assert!(std::net::TcpStream::connect(("127.0.0.1", server.port)).is_err());
    drop(idle);
}

#[test]
fn slow_clients_are_disconnected() {
    let server = Server::unchecked(&["--patience", "1", "--max-connections", "4"]);
    let begin = Instant::now();
    let mut half_a_head = connect(server.port);
    half_a_head.write_all(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n").unwrap();
    let mut half_a_body = connect(server.port);
    let head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    half_a_body.write_all(head.as_bytes()).unwrap();
    let idle: Vec<_> = (0..2).map(|_| connect(server.port)).collect();
    // All places are taken; this request waits until one is free.
    assert_eq!(get(server.port, "/health").status, 200);
    assert_eq!(Answer::read(half_a_body).status, 408);
    for mut stream in idle.into_iter().chain([half_a_head]) {
        // The connection ends, with an error of the request or without a word.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}

#[test]
fn the_version_has_details() {
    let output = ran(&["--version", "-v"]);
    let text = stdout(&output);
    let names: Vec<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, ["rbees-check", "commit", "candle", "processor", "references", "references"]);
    assert!(text.contains(rbees_check::bench::CANDLE) && text.contains(std::env::consts::ARCH), "{text}");
    assert_eq!(output.status.code(), Some(0));
}
