//! Recordings whose values are not what docs/dump-format.md describes, because it was easier to record them so.
//! Each is recognised, and the output says what states it explicitly. Next to each is a mistake that looks the
//! same and still fails.

mod alter;
mod layouts;
mod llama_cpp;
mod names;
mod passes;
mod pickle;
mod positions;
mod precision;
#[path = "../program/mod.rs"]
mod program;
#[path = "../recorded/mod.rs"]
mod recorded;
mod run;
mod scores;
mod stream;
