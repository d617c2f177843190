//! The program, started on a free port.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::client;
use super::program::{home, rbees_in};

/// A server. It is killed when dropped.
pub struct Server {
    pub child: Child,
    pub port: u16,
    /// The line that it prints.
    pub line: String,
}

impl Server {
    /// Starts it with these arguments after `serve --port 0`, and waits until it serves.
    pub fn start(home: &TempDir, args: &[&str]) -> Self {
        let args = [&["serve", "--port", "0"], args].concat();
        let mut command = rbees_in(Path::new("/"), home, &args);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split_once("http://127.0.0.1:").unwrap_or_else(|| panic!("{line:?}")).1;
        let port = address.split(' ').next().unwrap().parse().unwrap();
        Self { child, port, line }
    }

    /// Starts it without checks.
    pub fn unchecked(args: &[&str]) -> Self {
        Self::start(&home(), &[&["--unchecked"], args].concat())
    }

    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// Waits until it ends; its exit code.
    pub fn ended(&mut self) -> Option<i32> {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(30) {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("the server does not end");
    }

    /// Waits until a metric has this value.
    pub fn wait_for(&self, metric: &str, value: u64) {
        let begin = Instant::now();
        while self.metric(metric) != value {
            assert!(begin.elapsed() < Duration::from_secs(20), "{metric} is {}", self.metric(metric));
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn metric(&self, metric: &str) -> u64 {
        let text = client::get(self.port, "/metrics").text();
        let line = text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {metric} in {text}")).parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
