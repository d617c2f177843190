//! Runs a model through checkpoints and returns verdicts.

mod all_judged;
mod convention;
mod decoding;
mod diagnosis_inputs;
mod drive;
mod explain;
mod facts;
mod gate;
mod greedy;
mod judged_rows;
mod lacks;
mod laws;
mod left_over;
mod noise;
mod own;
mod pieces;
mod prefills;
mod recorded;
pub(crate) mod rows;
mod sampling;
mod served;
mod set_aside;
mod shared_mistakes;
mod sharing;
mod single;
mod sites;
mod stream;
mod subject;
mod substitute;
mod tokens;
mod units;
mod unjudged;
mod unrepeatable;
mod verdict;
mod vocabulary;
mod watch;
mod window;

pub use crate::port::{LlamaPort, Port, Traits};
pub use all_judged::all_judged;
pub use drive::{Company, Drive, Pieces};
pub use gate::{Gate, GeneratingPath};
pub(crate) use judged_rows::input as case_input;
pub(crate) use single::single;
pub(crate) use sites::judge_sites;
pub use stream::{Stream, Streamed};
pub use subject::{ModelFacts, Subject, Unread};
pub(crate) use substitute::substitute_reference;
pub use units::{Shard, UnitFindings, merged};
pub use unjudged::laws_alone;
pub use verdict::{Finding, Outcome, Status, Verdict};

use self::lacks::{OF_GREEDY, OF_SAMPLING, OF_TEXTS, OF_WEIGHTS};
use self::prefills::Prefills;
use self::subject::side_by_side;
use self::units::{Unit, in_order};
use crate::Result;
use crate::checkpoints::{Checkpoint, How};

/// Runs the whole of `checkpoint`.
///
/// # Errors
/// Only if the harness itself cannot continue; an error of the port becomes a verdict.
pub fn run(subject: &mut Subject<'_>, checkpoint: &'static Checkpoint) -> Result<Outcome> {
    let mut prefills = Prefills::run(subject, &[checkpoint], None)?;
    judge_checkpoint(subject, checkpoint, &mut prefills)
}

/// Runs several checkpoints in order, whatever the others show.
///
/// # Errors
/// Those of [`run`].
pub fn run_each(subject: &mut Subject<'_>, checkpoints: &[&'static Checkpoint]) -> Result<Vec<Outcome>> {
    let mut prefills = Prefills::run(subject, checkpoints, None)?;
    checkpoints.iter().map(|checkpoint| judge_checkpoint(subject, checkpoint, &mut prefills)).collect()
}

/// Runs several checkpoints in order. `done` sees each outcome as it ends, and may mark failures as expected.
/// The generation checkpoint runs only if all others passed: the text of a port that fails unexpectedly
/// proves nothing.
///
/// # Errors
/// Those of [`run`], and the first that `done` returns.
pub fn run_all(
    subject: &mut Subject<'_>,
    checkpoints: &[&'static Checkpoint],
    done: impl FnMut(&mut Outcome) -> Result<()>,
) -> Result<Vec<Outcome>> {
    let mut prefills = Prefills::run(subject, checkpoints, None)?;
    in_order(checkpoints, |checkpoint| judge_checkpoint(subject, checkpoint, &mut prefills), done)
}

/// Judges one part of what [`run_all`] judges. [`merged`] makes the outcomes from the units of all parts.
///
/// # Errors
/// Those of [`run`], and if there are more parts than units.
pub fn run_part(
    subject: &mut Subject<'_>,
    checkpoints: &[&'static Checkpoint],
    shard: Shard,
) -> Result<Vec<UnitFindings>> {
    shard.check(subject.cases.len())?;
    let mut prefills = Prefills::run(subject, checkpoints, Some(shard))?;
    let mut units = Vec::new();
    for &checkpoint in checkpoints {
        units.extend(judge_units(subject, checkpoint, &mut prefills, Some(shard))?);
    }
    Ok(units)
}

fn judge_checkpoint(
    subject: &mut Subject<'_>,
    checkpoint: &'static Checkpoint,
    prefills: &mut Prefills,
) -> Result<Outcome> {
    let units = judge_units(subject, checkpoint, prefills, None)?;
    Ok(units::outcome(checkpoint, units, subject.feed))
}

/// The units of `checkpoint`, or those of its units that belong to `shard`.
fn judge_units(
    subject: &mut Subject<'_>,
    checkpoint: &'static Checkpoint,
    prefills: &mut Prefills,
    shard: Option<Shard>,
) -> Result<Vec<UnitFindings>> {
    let cases = subject.cases.len();
    let takes = |unit: Unit| shard.is_none_or(|shard| shard.takes(unit, cases));
    let unit = UnitFindings::new(checkpoint, 0);
    let mut units = prefills.take(checkpoint);
    match &checkpoint.how {
        How::Weights if takes(Unit::Weights) => units.push(match &subject.model {
            None => UnitFindings { skipped: Some(subject.lacks(OF_WEIGHTS)), ..unit },
            Some(model) => {
                let mut findings = facts::judge_facts(&subject.config, subject.weights, &model.facts)?;
                if let Some(facts) = &model.facts.tokenizer {
                    findings.extend(vocabulary::judge_vocabulary(&subject.tokenizer, facts)?);
                }
                UnitFindings { notes: subject.weights.unread_notes(), ..unit.with(findings) }
            }
        }),
        How::Tokens(..) if takes(Unit::Texts) => units.push(texts(subject, unit)),
        How::Laws(factor) => units.extend(judge_laws(subject, checkpoint, factor.times, &takes)?),
        How::Sampling if takes(Unit::Sampling) => units.push(match &subject.model {
            None => UnitFindings { skipped: Some(subject.lacks(OF_SAMPLING)), ..unit },
            Some(model) => unit.with(sampling::judge_sampling(&model.sampling)?),
        }),
        How::Greedy(rule) if takes(Unit::Greedy) => {
            let eos = subject.config.eos_token_ids.clone();
            match &subject.model {
                None => units.push(UnitFindings { skipped: Some(subject.lacks(OF_GREEDY)), ..unit }),
                Some(model) => {
                    let ends = greedy::Ends { ours: &eos, theirs: &model.facts.config.eos_token_ids };
                    let of_port = |port: &mut Box<dyn Port>| {
                        greedy::judge_greedy(&mut **port, &model.greedy, &ends, rule)
                    };
                    let judged = side_by_side(&mut subject.ports, of_port)?.into_iter().enumerate();
                    units.extend(judged.map(|(place, (findings, notes))| UnitFindings {
                        notes,
                        ..UnitFindings::new(checkpoint, place).with(findings)
                    }));
                }
            }
        }
        How::Weights | How::Tokens(..) | How::Sites(..) | How::Sampling | How::Greedy(_) => {}
    }
    Ok(units)
}

/// Judges the texts of checkpoint 00B.
fn texts(subject: &Subject<'_>, unit: UnitFindings) -> UnitFindings {
    let tokenizer = subject.tokenizer.as_ref();
    let skipped = tokenizer.err().map(|unread| unread.why.clone());
    let why_not = match (&subject.model, tokenizer) {
        (Some(model), Ok(tokenizer)) => {
            let bos = model.facts.config.bos_token_id;
            return unit.with(tokens::judge_tokens(tokenizer, &model.tokens, bos));
        }
        (None, _) => subject.lacks(OF_TEXTS),
        (Some(_), Err(unread)) => unread.why.clone(),
    };
    UnitFindings { notes: vec![format!("texts are not judged: {why_not}")], skipped, ..unit }
}

/// Judges the cache laws of checkpoint 04: one unit for each path and case, and one for each path's context.
fn judge_laws(
    subject: &mut Subject<'_>,
    checkpoint: &'static Checkpoint,
    factor: f64,
    takes: &(dyn Fn(Unit) -> bool + Sync),
) -> Result<Vec<UnitFindings>> {
    let weights = subject.right_weights();
    let cases = &subject.cases;
    // What a scheduler does wrong shows in any text.
    let shared = sharing::case_of(cases);
    let of_port = |port: &mut Box<dyn Port>| -> Result<Vec<UnitFindings>> {
        let mut units = Vec::new();
        for (n, case) in cases.iter().enumerate().filter(|(n, _)| takes(Unit::Laws(*n))) {
            let mut findings = laws::judge_laws(&mut **port, case, factor, &weights, shared == Some(n))?;
            findings.iter_mut().for_each(|finding| finding.own = case.is_own());
            units.push(UnitFindings::new(checkpoint, n).with(findings));
        }
        if takes(Unit::ContextEnds) {
            let notes = sharing::not_judged(&**port, shared).into_iter().collect();
            let unit = UnitFindings::new(checkpoint, cases.len()).with(vec![laws::context_ends(&mut **port)]);
            units.push(UnitFindings { notes, ..unit });
        }
        Ok(units)
    };
    let by_port = side_by_side(&mut subject.ports, of_port)?.into_iter().enumerate();
    let all = by_port.flat_map(|(port, units)| units.into_iter().map(move |unit| (port, unit)));
    let place = |port: usize, n: usize| port * (cases.len() + 1) + n;
    Ok(all.map(|(port, unit)| UnitFindings { place: place(port, unit.place), ..unit }).collect())
}

#[cfg(test)]
mod tests;
