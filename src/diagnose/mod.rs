//! Finds the mistake that made a site fail. It recomputes the operations that produce the site once per known
//! deviation, and names a mistake if the result equals the port's tensor within the site's budget. Wrong
//! numbers (an ε, a θ) are solved for.
//!
//! A mistake that only looks similar is not named: a tensor that no deviation reproduces is unexplained.

mod attention;
mod attention_solve;
pub mod config;
mod cut;
mod decide;
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

use decide::Hypotheses;

use crate::Result;
use crate::probe::Kind;

/// Tries every deviation of the operation that produces a failed site. If several operations are between the
/// known tensors and the site, it then tries the usual deviations of all of them; and last, what the catalogue
/// does not contain.
///
/// In f32 the first search that explains the site decides. In half precision the budgets are so wide that several
/// deviations may explain it, so all searches are made before one is named.
///
/// # Errors
/// A weight cannot be read.
pub fn diagnose(e: &Evidence<'_>) -> Result<Diagnosis> {
    let logits = e.context.site.kind == Kind::Logits;
    let shifted = || logits.then(|| logits::other_row(e)).flatten();
    if let Some(named) = overflow::named(e).or_else(|| unwritten::named(e)).or_else(shifted) {
        return Ok(named.into());
    }
    let alone = e.alone()?.map(|alone| logits::part(&alone)).transpose()?;
    let whole = logits::part(e)?;
    let mut tried = Hypotheses::default();
    for search in searches(alone.is_some()) {
        let found = search(&whole, alone.as_ref().unwrap_or(&whole))?;
        tried.extend(found);
        if e.context.dtype == DType::F32 {
            let found = tried.decide(&whole);
            if !found.named.is_empty() {
                return Ok(found);
            }
        }
    }
    let found = tried.decide(&whole);
    if found.named.is_empty()
        && logits
        && let Some(named) = logits::unrelated(e)
    {
        return Ok(named.into());
    }
    Ok(found)
}

/// Hypotheses about a site, from the evidence about all unrecorded operations before it, and about its own
/// operation alone.
type Search = fn(&Evidence<'_>, &Evidence<'_>) -> Result<Hypotheses>;

/// The searches, in their order. What is outside the catalogue is first looked for in all operations: a wrong result of
/// an earlier one is also a wrong input of the last one. If that is the only unknown one, some searches would repeat
/// others.
fn searches(several: bool) -> Vec<Search> {
    if several {
        vec![
            |whole, alone| but_for_rivals(whole, own_operation(alone)?),
            |whole, _| but_for_rivals(whole, span::diagnose(whole)?),
            |whole, _| identify::identify(whole),
            |_, alone| identify::identify(alone),
        ]
    } else {
        vec![|whole, _| own_operation(whole), |whole, _| identify::identify(whole)]
    }
}

/// Removes a hypothesis where a mistake outside the catalogue explains the site as well.
fn but_for_rivals(e: &Evidence<'_>, found: Hypotheses) -> Result<Hypotheses> {
    if found.explains("norm-eps") && span::scaled_embedding_fits(e)? {
        return Ok(found.without("norm-eps"));
    }
    Ok(found)
}

/// Tries every deviation of one operation.
fn own_operation(e: &Evidence<'_>) -> Result<Hypotheses> {
    match e.context.site.kind {
        Kind::InputNorm | Kind::PostNorm | Kind::FfnNorm | Kind::FfnPostNorm | Kind::FinalNorm => {
            norm::diagnose(e)
        }
        Kind::QNorm | Kind::KNorm => norm::diagnose(e),
        Kind::QRope | Kind::KRope => rope::diagnose(e),
        Kind::Scores | Kind::Probs | Kind::Context => attention::diagnose(e),
        Kind::QProj | Kind::KProj | Kind::VProj | Kind::OProj => linear::diagnose(e),
        Kind::Gate | Kind::Up | Kind::Down | Kind::Logits => linear::diagnose(e),
        Kind::Act => ffn::diagnose(e),
        // A lookup, two sums and a softcap: the catalogue contains no mistake for these operations.
        Kind::Embed | Kind::PostNormInput | Kind::FfnNormInput | Kind::Block | Kind::CappedLogits => {
            Ok(Hypotheses::default())
        }
    }
}
