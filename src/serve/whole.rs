//! An answer in one piece.

use std::future::poll_fn;
use std::sync::Arc;

use super::answer::{Answer, Head, Passage, Reason, Usage};
use super::model::ServedModel;
use super::passages::Passages;
use super::problem::Problem;
use super::sequences::{Heard, Sequences};

/// Waits for all sequences. When the client leaves, this is dropped, and with it the sequences.
///
/// # Errors
/// A sequence failed.
pub async fn whole<A: Answer>(
    form: A,
    model: Arc<ServedModel>,
    mut sequences: Sequences,
    choices: usize,
) -> Result<String, Problem> {
    let mut passages = Passages::new(choices);
    let none = Reason { finish: "length", limit: None };
    let mut answers = vec![(Passage::default(), none); choices];
    while let Some((choice, heard)) = poll_fn(|context| sequences.poll(context)).await? {
        match heard {
            Heard::Token(token) => {
                let Passage { text, scored, .. } = passages.next(choice, token, &model);
                answers[choice].0.text += &text;
                answers[choice].0.scored.extend(scored);
            }
            Heard::End(finish) => answers[choice].1 = finish.into(),
        }
    }
    let usage = Usage::new(sequences.flight.prompt_tokens, sequences.flight.tokens);
    Ok(form.whole(&Head::new(A::PREFIX, &model), &answers, usage))
}
