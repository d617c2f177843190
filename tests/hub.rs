//! `--model hf:owner/name`, against a small local server that answers like the hub.

mod program;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use program::{home, rbees_in, stderr, stdout};
use rstest::rstest;
use tempfile::TempDir;

const SHA: &str = "1111111111111111111111111111111111111111";
const OTHER_SHA: &str = "2222222222222222222222222222222222222222";

/// What the server does wrong.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// It closes the connection in the middle of weights.
    CutOff,
    /// It states another length than it sends.
    WrongLength,
}

/// A hub on this machine with the repository `owner/tiny`.
struct Hub {
    endpoint: String,
    /// The paths that were asked for.
    asked: Arc<Mutex<Vec<String>>>,
    fault: Arc<Mutex<Fault>>,
}

impl Hub {
    fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (asked, fault) = (Arc::new(Mutex::new(vec![])), Arc::new(Mutex::new(fault)));
        let (log, how) = (asked.clone(), fault.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = answer(stream.unwrap(), &log, *how.lock().unwrap());
            }
        });
        Self { endpoint, asked, fault }
    }

    /// Runs the program with this hub and a cache in `cache`.
    fn run(&self, cache: &TempDir, args: &[&str], env: &[(&str, &str)]) -> (i32, String, String) {
        let mut command = rbees_in(Path::new("/"), &home(), args);
        for name in ["HF_TOKEN", "HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env_remove(name);
        }
        command.env("HF_ENDPOINT", &self.endpoint).env("HF_HOME", cache.path()).envs(env.iter().copied());
        let output = command.output().unwrap();
        (output.status.code().unwrap(), stdout(&output), stderr(&output))
    }
}

/// The files of the repository, by name.
fn files() -> BTreeMap<&'static str, Vec<u8>> {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-llama");
    let of_folder = [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    let mut files: BTreeMap<_, _> =
        of_folder.map(|name| (name, fs::read(fixture.join(name)).unwrap())).into();
    files.insert("tiny.Q4_0.gguf", fs::read(fixture.join("gguf/tiny-llama-q4_0.gguf")).unwrap());
    files.insert("../evil.safetensors", b"outside".to_vec());
    files
}

fn answer(mut stream: TcpStream, log: &Mutex<Vec<String>>, fault: Fault) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or(Ok(String::new()))?;
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let headers: Vec<String> = lines.map_while(|line| line.ok().filter(|line| !line.is_empty())).collect();
    let header = |name: &str| {
        let named = headers
            .iter()
            .find_map(|line| line.split_once(':').filter(|(key, _)| key.eq_ignore_ascii_case(name)));
        named.map(|(_, value)| value.trim().to_owned())
    };
    log.lock().unwrap().push(path.clone());
    if path.contains("/gated") && header("authorization").as_deref() != Some("Bearer secret") {
        return write!(stream, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let path = path.replace("/gated", "/tiny");
    let commit = |revision: &str| match revision {
        "main" | SHA => Some(SHA),
        "v1" | OTHER_SHA => Some(OTHER_SHA),
        _ => None,
    };
    let files = files();
    if let Some(revision) = path.strip_prefix("/api/models/owner/tiny/revision/").and_then(commit) {
        let siblings: Vec<_> = files.keys().map(|name| serde_json::json!({ "rfilename": name })).collect();
        let body = serde_json::json!({ "sha": revision, "siblings": siblings }).to_string();
        return write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
    }
    let resolved = path.strip_prefix("/owner/tiny/resolve/").and_then(|rest| rest.split_once('/'));
    let found = resolved.and_then(|(revision, name)| Some((commit(revision)?, name, files.get(name)?)));
    let Some((commit, name, bytes)) = found else {
        return write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let range = header("range").unwrap_or_default();
    let (start, end) = range.trim_start_matches("bytes=").split_once('-').unwrap_or(("0", ""));
    let (start, end) = (start.parse().unwrap_or(0), end.parse().map_or(bytes.len(), |end: usize| end + 1));
    let part = &bytes[start.min(bytes.len())..end.min(bytes.len())];
    let weights = name.ends_with(".safetensors") || name.ends_with(".gguf");
    let total = bytes.len() + if weights && fault == Fault::WrongLength { 10 } else { 0 };
    write!(
        stream,
        "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {start}-{}/{total}\r\n\
         ETag: \"{}-{}\"\r\nX-Repo-Commit: {commit}\r\nConnection: close\r\n\r\n",
        part.len(),
        start + part.len().saturating_sub(1),
        name.replace('/', "-"),
        bytes.len(),
    )?;
    let cut = weights && fault == Fault::CutOff && part.len() > 1;
    stream.write_all(if cut { &part[..part.len() / 2] } else { part })
}

const JUDGE: [&str; 5] = ["run", "1B", "2", "--references", "tiny-llama"];
const OWN: [&str; 6] = ["run", "1", "--reference", "oracle", "--prompt", "Hello"];

#[rstest]
#[case::a_directory("hf:owner/tiny", &JUDGE, "checkpoints: 2 passed, 0 failed, 0 skipped\n")]
#[case::a_file("hf:owner/tiny:tiny.Q4_0.gguf", &OWN, "checkpoints: 0 passed, 0 failed, 0 skipped, 1 own\n")]
fn a_model_is_downloaded_once_judged_and_then_found_in_the_cache(
    #[case] name: &str,
    #[case] args: &[&str],
    #[case] last: &str,
) {
    let (hub, cache) = (Hub::start(Fault::None), home());
    let args = [args, &["--model", name]].concat();
    let (code, text, problem) = hub.run(&cache, &args, &[]);
    assert!(code == 0 && text.starts_with(name) && text.ends_with(last), "{text}{problem}");
    let downloads = || hub.asked.lock().unwrap().iter().filter(|path| path.contains("/resolve/")).count();
    let first = downloads();
    let (code, ..) = hub.run(&cache, &args, &[]);
    assert_eq!((code, downloads()), (0, first));
    assert!(hub.asked.lock().unwrap().iter().all(|path| !path.contains("evil") && !path.contains(".bin")));
    // Nothing is asked for.
    let asked = hub.asked.lock().unwrap().len();
    let (code, text, problem) = hub.run(&cache, &args, &[("HF_HUB_OFFLINE", "1")]);
    assert!(code == 0 && text.ends_with(last), "{text}{problem}");
    assert_eq!(hub.asked.lock().unwrap().len(), asked);
}

#[test]
fn a_revision_is_used_for_every_file() {
    let (hub, cache) = (Hub::start(Fault::None), home());
    let (code, _, problem) = hub.run(&cache, &[&JUDGE[..], &["--model", "hf:owner/tiny@v1"]].concat(), &[]);
    assert_eq!(code, 0, "{problem}");
    let asked = hub.asked.lock().unwrap();
    assert_eq!(asked[0], "/api/models/owner/tiny/revision/v1");
    assert!(asked.len() > 5 && asked[1..].iter().all(|path| path.contains(OTHER_SHA)), "{asked:?}");
}

#[rstest]
#[case::no_repository(
    "hf:owner/nothing",
    "hf:owner/nothing: the hub has no such repository, revision or file"
)]
#[case::no_revision("hf:owner/tiny@v9", "hf:owner/tiny@v9: the hub has no such repository, revision or file")]
#[case::no_file(
    "hf:owner/tiny:x.gguf",
    "hf:owner/tiny:x.gguf: the hub has no such repository, revision or file"
)]
#[case::gated("hf:owner/gated", "hf:owner/gated: the hub does not allow access (401)")]
#[case::no_name("hf:tiny", "`hf:tiny` does not name a model on the hub")]
fn a_model_that_cannot_be_had_is_one_line_and_a_hint(#[case] name: &str, #[case] what: &str) {
    let (hub, cache) = (Hub::start(Fault::None), home());
    let (code, text, problem) = hub.run(&cache, &["run", "1", "--model", name], &[]);
    assert_eq!((code, text.as_str()), (2, ""));
    assert!(problem.starts_with(&format!("error: {what}\nhint: ")), "{problem}");
    assert_eq!(problem.lines().count(), 2, "{problem}");
}

#[test]
fn a_gated_model_is_downloaded_with_a_token() {
    let (hub, cache) = (Hub::start(Fault::None), home());
    let args = [&JUDGE[..], &["--model", "hf:owner/gated"]].concat();
    let (code, _, problem) = hub.run(&cache, &args, &[("HF_TOKEN", "wrong")]);
    assert!(code == 2 && problem.contains("(401)") && !problem.contains("wrong"), "{problem}");
    let (code, _, problem) = hub.run(&cache, &args, &[("HF_TOKEN", "secret")]);
    assert_eq!(code, 0, "{problem}");
}

#[rstest]
#[case::cut_off(Fault::CutOff)]
#[case::wrong_length(Fault::WrongLength)]
fn a_damaged_download_is_refused_and_the_next_one_succeeds(
    #[case] fault: Fault,
    #[values("hf:owner/tiny", "hf:owner/tiny:tiny.Q4_0.gguf")] name: &str,
) {
    let (hub, cache) = (Hub::start(fault), home());
    let args = [&OWN[..], &["--model", name]].concat();
    let (code, text, problem) = hub.run(&cache, &args, &[]);
    assert_eq!((code, text.as_str()), (2, ""), "{problem}");
    assert!(
        problem.contains("the download stopped: ") || problem.contains(" bytes, but the hub says "),
        "{problem}"
    );
    *hub.fault.lock().unwrap() = Fault::None;
    let (code, _, problem) = hub.run(&cache, &args, &[]);
    assert_eq!(code, 0, "{problem}");
}

#[test]
fn a_hub_that_cannot_be_reached_is_named_by_what_to_check() {
    let (hub, cache) = (Hub::start(Fault::None), home());
    let nowhere = [("HF_ENDPOINT", "http://127.0.0.1:9")];
    let (code, _, problem) = hub.run(&cache, &["run", "1", "--model", "hf:owner/tiny"], &nowhere);
    assert!(code == 2 && problem.contains("the hub cannot be reached"), "{problem}");
    let (code, _, problem) =
        hub.run(&cache, &["run", "1", "--model", "hf:owner/tiny"], &[("HF_HUB_OFFLINE", "1")]);
    assert!(code == 2 && problem.contains("it is not in the cache, and HF_HUB_OFFLINE is set"), "{problem}");
}
