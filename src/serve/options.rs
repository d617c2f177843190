//! How the server behaves, apart from the model.

use std::net::SocketAddr;
use std::time::Duration;

use super::key::Key;

/// How the server behaves.
#[derive(Clone, Debug)]
pub struct Options {
    pub address: SocketAddr,
    /// The key that clients must send, if they must.
    pub key: Option<Key>,
    /// Names that requests may give in `Host`, besides `localhost` and IP addresses.
    pub hosts: Vec<String>,
    /// The largest number of connections. Further ones wait until one of these is closed.
    pub connections: usize,
    /// The largest body, in bytes.
    pub body: usize,
    /// How long a request's header, its body, and a write may take, each.
    pub patience: Duration,
    /// How long a request may wait and run.
    pub deadline: Duration,
    /// Log a line for each request.
    pub log: Option<fn(&str)>,
    /// Log prompts too.
    pub log_prompts: Option<fn(&str)>,
    /// The commit that this program was built from.
    pub commit: &'static str,
}
