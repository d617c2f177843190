//! `serve`: drives the real program over loopback.
#![cfg(unix)]

mod answers;
mod client;
mod lifecycle;
mod page;
#[path = "../program/mod.rs"]
mod program;
mod refusals;
mod server;
