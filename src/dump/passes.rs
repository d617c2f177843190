//! Several passes of one model, in the order in which they ran: each is judged by itself, on the cache that the earlier
//! ones left.

use super::Against;
use super::earlier::Earlier;
use crate::Result;
use crate::checkpoints::{Checkpoint, How, of_laws};
use crate::judge::{Finding, Outcome};
use crate::recording::Recording;

/// Passes in the order in which they ran.
#[derive(Debug, Default)]
pub struct Passes {
    pub(super) all: Vec<Pass>,
    next: Earlier,
}

/// One pass, and what those before it left.
#[derive(Debug)]
pub(super) struct Pass {
    pub number: usize,
    pub recording: Recording,
    pub earlier: Earlier,
}

impl Passes {
    /// Adds the pass that ran next, and understands it as [`Recording::understand`] does. If it continues the text of
    /// the passes before it, their keys and values are in its cache, unless it has recorded a cache itself.
    ///
    /// # Errors
    /// Those of [`Recording::understand`].
    pub fn add(&mut self, number: usize, mut recording: Recording, against: &Against<'_>) -> Result<()> {
        if self.all.last().is_some_and(|last| last.number + 1 != number) {
            self.next = Earlier::default(); // a pass between them was not recorded
        }
        recording.understand_after(&self.next, against)?;
        let after = self.next.after(&recording, against)?;
        let earlier = std::mem::replace(&mut self.next, after);
        self.all.push(Pass { number, recording, earlier });
        Ok(())
    }

    /// The passes, with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Recording)> {
        self.all.iter().map(|pass| (pass.number, &pass.recording))
    }
}

/// The outcome of each checkpoint over all passes. `judged` has the number and the outcomes of each pass; the laws of
/// the cache are judged by the checkpoint that judges such laws.
pub fn merged(
    judged: &[(usize, Vec<Outcome>)],
    laws: Vec<Finding>,
    checkpoints: &[&'static Checkpoint],
) -> Vec<Outcome> {
    let mut laws = Some(laws);
    let merged = |&checkpoint: &&'static Checkpoint| {
        let mut all = Outcome { checkpoint, findings: vec![], skipped: None, notes: vec![] };
        for (number, outcomes) in judged {
            let Some(outcome) = outcomes.iter().find(|outcome| outcome.checkpoint == checkpoint) else {
                continue;
            };
            all.findings.extend(outcome.findings.iter().cloned().map(|finding| of_pass(finding, *number)));
            for note in &outcome.notes {
                if !all.notes.contains(note) {
                    all.notes.push(note.clone());
                }
            }
            if all.skipped.is_none() {
                all.skipped.clone_from(&outcome.skipped);
            }
        }
        if checkpoint == of_laws() {
            all.findings.extend(laws.take().unwrap_or_default());
        }
        all.skipped = all.skipped.filter(|_| all.findings.is_empty()).map(|why| match checkpoint.how {
            How::Laws(_) => "no pass continues another, or their keys and values are unknown".to_owned(),
            How::Weights | How::Sampling | How::Greedy(_) => "recorded passes cannot show this".to_owned(),
            How::Tokens(..) | How::Sites(..) => why,
        });
        all
    };
    checkpoints.iter().map(merged).collect()
}

/// The finding with the pass that it is about.
fn of_pass(finding: Finding, number: usize) -> Finding {
    let case = match finding.case.as_str() {
        "" => format!("pass {number}"),
        case => format!("pass {number}, {case}"),
    };
    Finding { case, ..finding }
}
