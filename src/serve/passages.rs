//! The text of each choice, as its tokens arrive.

use rbees_check::engine::Token;

use super::answer::{Passage, Scored};
use super::model::ServedModel;

/// How far each choice is.
#[derive(Clone, Debug)]
pub struct Passages {
    /// The number of characters of each choice's tokens so far.
    offsets: Vec<usize>,
}

impl Passages {
    pub fn new(choices: usize) -> Self {
        Self { offsets: vec![0; choices] }
    }

    /// What a token adds to a choice.
    pub fn next(&mut self, choice: usize, token: Token, model: &ServedModel) -> Passage {
        let scored = Scored::of(&token, model);
        let offset = self.offsets[choice];
        self.offsets[choice] += scored.as_ref().map_or(0, |scored| scored.token.text.chars().count());
        Passage { text: token.text, scored: scored.into_iter().collect(), offset }
    }
}
