//! References without Python: a case whose values the project's own oracle computes, and whose noise comes from the
//! oracle's rounded arithmetics.
//!
//! Such a case is weaker than one captured from PyTorch: the same program reads the weights of both sides, and the same
//! authors wrote them. Its provenance says so, and what agrees with it is reported as `OWN`, not as `PASS`. The values
//! and the noise agree with PyTorch's on every model that has both (`tests/own_oracle.rs`).

mod lane;
mod layered;
mod noise;
mod quantized;
mod request;
mod setup;
mod stacked;
mod tokens;
mod values;

pub use layered::Layered;
pub use request::OwnCase;
pub use tokens::Tokens;
