//! What a dump is held against: the case of its token ids, the model's weights, its config.

use crate::recording::Recording;
use crate::reference::{Place, Reference};
use crate::{Error, Result};

/// A case of a recording's own prompt.
#[derive(Debug)]
pub enum Sought {
    /// It is stored.
    Found(Box<Reference>),
    /// None is stored.
    NotStored {
        /// How the prompt of the nearest case differs, in words.
        nearest: String,
    },
}

impl Recording {
    /// How its prompt is not that of `case`, in words; nothing where it is the same.
    pub fn other_prompt(&self, case: &Reference) -> Option<String> {
        let ids = &case.manifest.ids;
        let (own, theirs) = ([self.input.ids.len(), self.length()], [case.batch(), case.length()]);
        let first = case.places().iter().find(|&&(b, s)| self.id((b, s)) != Some(ids[b][s]));
        let at = |&(b, s): &Place| match self.id((b, s)) {
            Some(id) => format!("position {s} of row {b} is token {id}, and {} there", ids[b][s]),
            None => format!("it has {} tokens, and {} there", self.length(), case.length()),
        };
        match first {
            Some(place) => Some(at(place)),
            None if own != theirs => Some(format!("its ids are {own:?}, and {theirs:?} there")),
            None if self.places()[..] != case.places()[..] => Some("its attention_mask is another".into()),
            None => None,
        }
    }

    fn id(&self, (batch, slot): Place) -> Option<u32> {
        self.input.ids.get(batch)?.get(slot).copied()
    }

    /// Goes on with the positions of `case`, whose prompt it is; says where its own were others.
    pub fn takes_positions_of(&mut self, case: &Reference) -> Option<String> {
        let theirs = &case.manifest.position_ids;
        let other = case.places().iter().find(|&&(b, s)| self.input.positions[b][s] != theirs[b][s]);
        let told = other.map(|&(b, s)| {
            let (own, theirs) = (self.input.positions[b][s], theirs[b][s]);
            format!("position_ids: token {s} of row {b} stands at {own}; in this case at {theirs}, by which it is judged")
        });
        self.input.positions = theirs.clone();
        told
    }

    /// Looks for the case among `cases` that has its prompt.
    ///
    /// # Errors
    /// A case that cannot be read.
    pub fn find_case(&self, cases: impl Iterator<Item = Result<Reference>>) -> Result<Sought> {
        let mut nearest: Option<((bool, usize), String)> = None;
        for case in cases {
            let case = case?;
            let Some(how) = self.other_prompt(&case) else { return Ok(Sought::Found(Box::new(case))) };
            let along =
                case.places().iter().take_while(|&&(b, s)| self.id((b, s)) == Some(case.manifest.ids[b][s]));
            // A padded batch is no near relation of a single prompt.
            let along = (case.batch() == self.input.ids.len(), along.count());
            if nearest.as_ref().is_none_or(|(most, _)| along > *most) {
                nearest = Some((along, format!("{}: {how}", case.manifest.case)));
            }
        }
        let said = nearest.map_or("there is no stored case".to_owned(), |(_, said)| said);
        Ok(Sought::NotStored { nearest: said })
    }

    /// An error that says whose prompt it is not.
    pub fn of_another_prompt(&self, case: &str, how: &str) -> Error {
        let hint = "record the prompt of the case: the ids are in its manifest.json; or leave --case out";
        Error::file(&self.name, format!("of another prompt than case {case}: {how}"), hint)
    }
}
