//! Finds the mistake that made a site fail. It recomputes the operations that produce the site once per known
//! deviation, and names a mistake if the result equals the port's tensor within the site's budget. Wrong
//! numbers (an ε, a θ) are solved for.
//!
//! A mistake that only looks similar is not named: a tensor that no deviation reproduces is unexplained.

mod attention;
mod attention_solve;
pub mod config;
mod cut;
pub mod decoding;
mod deviated;
mod deviation;
mod diagnosis;
mod evidence;
mod ffn;
mod fit;
mod identify;
mod key;
mod linear;
mod logits;
mod masks;
mod matrices;
mod narrowed;
mod norm;
mod overflow;
mod rope;
mod rope_scaling;
mod rope_solve;
mod rounding;
mod rows_elsewhere;
mod run;
mod search;
mod span;
mod support;
pub mod tensors;
pub mod tokens;
mod unwritten;
mod usual;

pub use cut::PortTensors;
pub use diagnosis::{Alternative, Changed, Details, Diagnosis, Named, NamedNumber, Part, RunnerUp};
pub use evidence::{Evidence, ReferenceRow, SiteContext};
pub use key::key_in;
pub use rounding::round;

use candle_core::DType;

use crate::Result;
use crate::probe::Kind;

/// Tries every deviation of the operation that produces a failed site. If several operations are between the
/// known tensors and the site, it then tries the usual deviations of all of them.
///
/// # Errors
/// A weight cannot be read.
pub fn diagnose(e: &Evidence<'_>) -> Result<Diagnosis> {
    if let Some(named) = overflow::named(e).or_else(|| unwritten::named(e)) {
        return Ok(named.into());
    }
    let Some(alone) = e.alone()? else { return identified(e, own_operation(e)?) };
    let own = but_for_rivals(e, own_operation(&alone)?)?;
    if !own.named.is_empty() {
        return Ok(own);
    }
    let spanned = but_for_rivals(e, span::diagnose(e)?)?;
    if spanned.named.is_empty() {
        // All unrecorded operations together, then the last of them alone, of which more can be solved for.
        let found = if e.context.site.kind == Kind::Logits {
            identify::identify(&logits::part(e)?)?
        } else {
            identify::identify(e)?
        };
        let found = if found.named.is_empty() { identified(&alone, found)? } else { found };
        if !found.named.is_empty() {
            return Ok(found);
        }
    }
    let nearest = |a: &RunnerUp, b: &RunnerUp| a.residual.total_cmp(&b.residual);
    let others = own.runner_up.into_iter().chain(spanned.runner_up);
    let unnamed = |next: &RunnerUp| spanned.named.iter().all(|named| named.mistake != next.mistake);
    let runner_up = others.filter(unnamed).min_by(nearest);
    Ok(Diagnosis { runner_up, ..spanned })
}

/// Where the catalogue contains no explanation, what the operation's inputs and its result show.
fn identified(e: &Evidence<'_>, catalogued: Diagnosis) -> Result<Diagnosis> {
    // In half precision, a large ε and a weight of ones imitate a norm that is left out.
    let imitation = e.context.dtype != DType::F32 && catalogued.named.iter().any(|n| n.mistake == "norm-eps");
    if !(catalogued.named.is_empty() || imitation) {
        return Ok(catalogued);
    }
    let logits = e.context.site.kind == Kind::Logits;
    let found = if logits { identify::identify(&logits::part(e)?)? } else { identify::identify(e)? };
    if !found.named.is_empty() {
        return Ok(found);
    }
    let unrelated = if logits { logits::unrelated(e) } else { None };
    Ok(unrelated.map_or(catalogued, Diagnosis::from))
}

/// Removes a name where a mistake outside the catalogue explains the site as well.
fn but_for_rivals(e: &Evidence<'_>, mut found: Diagnosis) -> Result<Diagnosis> {
    if found.named.iter().any(|named| named.mistake == "norm-eps") && span::scaled_embedding_fits(e)? {
        found.named.clear();
    }
    Ok(found)
}

/// Tries every deviation of one operation.
fn own_operation(e: &Evidence<'_>) -> Result<Diagnosis> {
    match e.context.site.kind {
        Kind::InputNorm | Kind::PostNorm | Kind::FfnNorm | Kind::FfnPostNorm | Kind::FinalNorm => {
            norm::diagnose(e)
        }
        Kind::QNorm | Kind::KNorm => norm::diagnose(e),
        Kind::QRope | Kind::KRope => rope::diagnose(e),
        Kind::Scores | Kind::Probs | Kind::Context => attention::diagnose(e),
        Kind::QProj | Kind::KProj | Kind::VProj | Kind::OProj => linear::diagnose(e),
        Kind::Gate | Kind::Up | Kind::Down => linear::diagnose(e),
        Kind::Logits => logits::diagnose(e),
        Kind::Act => ffn::diagnose(e),
        // A lookup, two sums and a softcap: the catalogue contains no mistake for these operations.
        Kind::Embed | Kind::PostNormInput | Kind::FfnNormInput | Kind::Block | Kind::CappedLogits => {
            Ok(Diagnosis::default())
        }
    }
}
