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
mod laws;
mod left_over;
mod noise;
mod pieces;
mod prefills;
mod recorded;
pub(crate) mod rows;
mod sampling;
mod set_aside;
mod single;
mod sites;
mod subject;
mod substitute;
mod tokens;
mod unjudged;
mod unrepeatable;
mod verdict;
mod vocabulary;
mod watch;
mod window;

pub use crate::port::{LlamaPort, Port, Traits};
pub use all_judged::all_judged;
pub use drive::{Drive, Pieces};
pub use gate::{Gate, GeneratingPath};
pub(crate) use judged_rows::input as case_input;
pub(crate) use single::single;
pub(crate) use sites::judge_sites;
pub use subject::{ModelFacts, Subject};
pub(crate) use substitute::substitute_reference;
pub use unjudged::laws_alone;
pub use verdict::{Finding, Outcome, Status, Verdict};

use self::prefills::Prefills;
use self::set_aside::{of_one_layer, set_aside};
use self::subject::side_by_side;
use crate::Result;
use crate::checkpoints::{Checkpoint, How};

/// Runs the whole of `checkpoint`.
///
/// # Errors
/// Only if the harness itself cannot continue; an error of the port becomes a verdict.
pub fn run(subject: &mut Subject<'_>, checkpoint: &'static Checkpoint) -> Result<Outcome> {
    let mut prefills = Prefills::run(subject, &[checkpoint])?;
    judge_checkpoint(subject, checkpoint, &mut prefills)
}

/// Runs several checkpoints in order, whatever the others show.
///
/// # Errors
/// Those of [`run`].
pub fn run_each(subject: &mut Subject<'_>, checkpoints: &[&'static Checkpoint]) -> Result<Vec<Outcome>> {
    let mut prefills = Prefills::run(subject, checkpoints)?;
    checkpoints.iter().map(|checkpoint| judge_checkpoint(subject, checkpoint, &mut prefills)).collect()
}

fn judge_checkpoint(
    subject: &mut Subject<'_>,
    checkpoint: &'static Checkpoint,
    prefills: &mut Prefills,
) -> Result<Outcome> {
    let mut outcome = Outcome { checkpoint, findings: vec![], skipped: None, notes: vec![] };
    match &checkpoint.how {
        How::Weights => {
            if let Some(model) = facts(subject, &mut outcome) {
                outcome.findings = facts::judge_facts(&subject.config, subject.weights, &model.facts)?;
                outcome.notes.extend(subject.weights.unread_notes());
                // If the tokenizer cannot be read, 00B is skipped with the reason.
                if let (Ok(tokenizer), Some(facts)) = (&subject.tokenizer, &model.facts.tokenizer) {
                    outcome.findings.extend(vocabulary::judge_vocabulary(tokenizer, facts)?);
                }
            }
        }
        How::Tokens(..) => {
            let tokenizer = subject.tokenizer.as_ref();
            match (&subject.model, tokenizer) {
                (Some(model), Ok(tokenizer)) => {
                    let bos = model.facts.config.bos_token_id;
                    outcome.findings = tokens::judge_tokens(tokenizer, &model.tokens, bos);
                }
                (None, _) => outcome.notes.push(format!("texts are not judged: {NO_FACTS}")),
                (Some(_), Err(why)) => outcome.notes.push(format!("texts are not judged: {why}")),
            }
            prefills.fill(&mut outcome, subject.feed);
            // Wrong embedding rows are a failure, whatever the tokenizer.
            if let (Err(why), Status::Passed | Status::NotJudged) = (tokenizer, outcome.status()) {
                outcome.skipped = Some(why.clone());
            }
        }
        How::Sites(..) => prefills.fill(&mut outcome, subject.feed),
        How::Laws(factor) => {
            let weights = subject.right_weights();
            let cases = &subject.cases;
            let of_port = |port: &mut Box<dyn Port>| -> Result<Vec<Finding>> {
                let mut findings = Vec::new();
                for case in cases {
                    findings.extend(laws::judge_laws(&mut **port, case, factor.times, &weights)?);
                }
                findings.push(laws::context_ends(&mut **port));
                Ok(findings)
            };
            let findings = side_by_side(&mut subject.ports, of_port)?;
            outcome.findings = findings.into_iter().flatten().collect();
            set_aside(&mut outcome, "the rest of its layer was judged", of_one_layer);
        }
        How::Sampling => {
            if let Some(model) = facts(subject, &mut outcome) {
                outcome.findings = sampling::judge_sampling(&model.sampling)?;
            }
        }
        How::Greedy(rule) => {
            let eos = subject.config.eos_token_ids.clone();
            match &subject.model {
                None => outcome.skipped = Some(NO_FACTS.into()),
                Some(model) => {
                    let ends = greedy::Ends { ours: &eos, theirs: &model.facts.config.eos_token_ids };
                    let of_port = |port: &mut Box<dyn Port>| {
                        greedy::judge_greedy(&mut **port, &model.greedy, &ends, rule)
                    };
                    for (findings, notes) in side_by_side(&mut subject.ports, of_port)? {
                        outcome.findings.extend(findings);
                        outcome.notes.extend(notes);
                    }
                }
            }
        }
    }
    outcome.note_unexplained();
    Ok(outcome)
}

const NO_FACTS: &str = "these references contain only cases, no facts about the model as a whole";

/// The model's facts. Without them the checkpoint is marked as skipped.
fn facts<'a>(subject: &'a Subject<'_>, outcome: &mut Outcome) -> Option<&'a ModelFacts> {
    if subject.model.is_none() {
        outcome.skipped = Some(NO_FACTS.into());
    }
    subject.model.as_ref()
}

/// Runs several checkpoints in order. `done` sees each outcome as it ends, and may mark failures as expected.
/// The generation checkpoint runs only if all others passed: the text of a port that fails unexpectedly
/// proves nothing.
pub fn run_all(
    subject: &mut Subject<'_>,
    checkpoints: &[&'static Checkpoint],
    mut done: impl FnMut(&mut Outcome),
) -> Result<Vec<Outcome>> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    let mut prefills = Prefills::run(subject, checkpoints)?;
    for &checkpoint in checkpoints {
        let failed = outcomes.iter().filter(|o| matches!(o.status(), Status::Failed | Status::NotJudged));
        let waits: Vec<&str> = failed.map(|o| o.checkpoint.id).collect();
        let mut outcome = match checkpoint.how {
            How::Greedy(_) if !waits.is_empty() => Outcome {
                checkpoint,
                findings: vec![],
                skipped: Some(format!("not run because {} did not pass", waits.join(", "))),
                notes: vec![],
            },
            _ => judge_checkpoint(subject, checkpoint, &mut prefills)?,
        };
        done(&mut outcome);
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

#[cfg(test)]
mod tests;
