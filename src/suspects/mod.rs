//! Which mistake was it? A suspect is an operation of the [oracle](crate::oracle) under one known
//! porting mistake. It is named when it gives, within the site's budget, the very tensor that the
//! port gave; a number that is wrong is solved for.
//!
//! Nothing is named that merely looks alike: what no suspect reproduces is unexplained.

mod attend;
mod attention;
mod attention_solve;
pub mod config;
pub mod decoding;
mod diagnosis;
mod evidence;
mod ffn;
mod fit;
mod linear;
mod linear_choice;
mod logits;
mod masks;
mod misread;
mod norm;
mod overflow;
mod rope;
mod rope_solve;
mod rows_elsewhere;
mod search;
mod soft;
pub mod tensors;
pub mod tokens;

pub use diagnosis::{Diagnosis, Named, RunnerUp};
pub use evidence::{Evidence, Red, Stored, Wanted, key_in, round};
pub use fit::{Estimate, Expected, Fit, fit};
pub use search::{Theory, decide};
pub use soft::HalfSoftmax;

use crate::Result;
use crate::probe::Kind;

/// Tries every suspect of the operation behind a red site.
///
/// # Errors
/// A weight that cannot be read.
pub fn diagnose(e: &Evidence<'_>) -> Result<Diagnosis> {
    if let Some(named) = overflow::named(e) {
        return Ok(Diagnosis { named: vec![named], runner_up: None });
    }
    match e.red.site.kind {
        Kind::InputNorm | Kind::PostNorm | Kind::FinalNorm => norm::diagnose(e),
        Kind::QRope | Kind::KRope => rope::diagnose(e),
        Kind::Scores | Kind::Probs | Kind::Context => attention::diagnose(e),
        Kind::QProj | Kind::KProj | Kind::VProj | Kind::OProj => linear::diagnose(e),
        Kind::Gate | Kind::Up | Kind::Down => linear::diagnose(e),
        Kind::Logits => logits::diagnose(e),
        Kind::Act => ffn::diagnose(e),
        // A lookup and two sums: no mistake of the catalogue is made in them.
        Kind::Embed | Kind::PostNormInput | Kind::Block => Ok(Diagnosis::default()),
    }
}
