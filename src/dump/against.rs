//! What a recording is compared with: the case with its token ids, the model's weights, and its config.

use crate::recording::Recording;
use crate::reference::{Place, Reference};
use crate::{Error, Result};

/// The result of searching for a case with a recording's prompt.
#[derive(Debug)]
pub enum Sought {
    /// A case is stored.
    Found(Box<Reference>),
    /// No case is stored.
    NotStored {
        /// How the prompt of the most similar case differs, in words.
        nearest: String,
    },
}

impl Recording {
    /// How its prompt differs from that of `case`, in words; `None` if the prompts are the same.
    pub fn other_prompt(&self, case: &Reference) -> Option<String> {
        let ids = &case.manifest.ids;
        let (own, theirs) = ([self.input.ids.len(), self.length()], [case.batch(), case.length()]);
        let first = case.places().iter().find(|&&(b, s)| self.id((b, s)) != Some(ids[b][s]));
        let at = |&(b, s): &Place| match self.id((b, s)) {
            Some(id) => format!("position {s} of row {b} is token {id}, but {} in the case", ids[b][s]),
            None => format!("it has {} tokens, but the case has {}", self.length(), case.length()),
        };
        match first {
            Some(place) => Some(at(place)),
            None if own != theirs => Some(format!("its ids have shape {own:?}, but {theirs:?} in the case")),
            None if self.own_places()[..] != case.places()[..] => {
                Some("its attention_mask is different".into())
            }
            None => None,
        }
    }

    fn id(&self, (batch, slot): Place) -> Option<u32> {
        self.input.ids.get(batch)?.get(slot).copied()
    }

    /// How its positions differ from those of `case`, which has the same prompt, in words; `None` if they are the
    /// same.
    pub fn other_positions(&self, case: &Reference) -> Option<String> {
        let theirs = &case.manifest.position_ids;
        let &(b, s) = case.places().iter().find(|&&(b, s)| self.input.positions[b][s] != theirs[b][s])?;
        let (own, theirs) = (self.input.positions[b][s], theirs[b][s]);
        Some(format!("token {s} of row {b} has position {own}, but {theirs} in the case"))
    }

    /// Searches `cases` for the case with this recording's prompt.
    ///
    /// # Errors
    /// A case cannot be read.
    pub fn find_case(&self, cases: impl Iterator<Item = Result<Reference>>) -> Result<Sought> {
        let mut nearest: Option<((bool, usize), String)> = None;
        for case in cases {
            let case = case?;
            let Some(how) = self.other_prompt(&case) else { return Ok(Sought::Found(Box::new(case))) };
            let along =
                case.places().iter().take_while(|&&(b, s)| self.id((b, s)) == Some(case.manifest.ids[b][s]));
            // A padded batch is not similar to a single prompt.
            let along = (case.batch() == self.input.ids.len(), along.count());
            if nearest.as_ref().is_none_or(|(most, _)| along > *most) {
                nearest = Some((along, format!("{}: {how}", case.manifest.case)));
            }
        }
        let nearest = nearest.map_or("there is no stored case".to_owned(), |(_, nearest)| nearest);
        Ok(Sought::NotStored { nearest })
    }

    /// The error for a recording whose prompt is not that of the case.
    pub fn of_another_prompt(&self, case: &str, how: &str) -> Error {
        let hint = "record the prompt of the case (its manifest.json has the ids), or leave out --case";
        Error::file(&self.name, format!("its prompt is not that of case {case}: {how}"), hint)
    }
}
