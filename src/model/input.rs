//! What one forward pass is fed: a rectangular batch of token ids, where each token stands, and
//! which slots are padding.
//!
//! Candle has nothing for this; it is plain data, so that a caller may fill it in by hand, wrongly
//! too.

use std::ops::Range;

use crate::{Error, Result};

/// The side on which the short rows of a batch are padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Padding first: the last column is every row's newest token, as generation likes it.
    Left,
    /// Padding last.
    Right,
}

/// A batch of token ids, `[batch][slot]` throughout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Token ids; any id of the vocabulary where `real` is false.
    pub ids: Vec<Vec<u32>>,
    /// The position by which each token is rotated: how many real tokens of its row come before.
    pub positions: Vec<Vec<usize>>,
    /// Is the slot a token, or padding that nobody may look at?
    pub real: Vec<Vec<bool>>,
}

impl Input {
    /// One row without padding, whose first token stands at position `start`.
    pub fn single(ids: &[u32], start: usize) -> Self {
        Self {
            ids: vec![ids.to_vec()],
            positions: vec![(start..start.saturating_add(ids.len())).collect()],
            real: vec![vec![true; ids.len()]],
        }
    }

    /// Rows of unequal lengths, filled up with the id `pad` on one side; every row's first real
    /// token stands at position 0.
    pub fn padded<R: AsRef<[u32]>>(rows: &[R], side: Side, pad: u32) -> Self {
        let width = rows.iter().map(|row| row.as_ref().len()).max().unwrap_or(0);
        let mut input = Self { ids: vec![], positions: vec![], real: vec![] };
        for row in rows {
            let row = row.as_ref();
            let start = match side {
                Side::Left => width - row.len(),
                Side::Right => 0,
            };
            let end = start + row.len();
            let id = |slot: usize| if (start..end).contains(&slot) { row[slot - start] } else { pad };
            input.ids.push((0..width).map(id).collect());
            input.positions.push((0..width).map(|slot| slot.clamp(start, end) - start).collect());
            input.real.push((0..width).map(|slot| (start..end).contains(&slot)).collect());
        }
        input
    }

    /// Rows.
    pub fn batch(&self) -> usize {
        self.ids.len()
    }

    /// Slots per row: the query positions of the forward pass.
    pub fn len(&self) -> usize {
        self.ids.first().map_or(0, Vec::len)
    }

    /// No rows, or rows without slots: nothing to compute.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The slots `range` of every row, as a chunk of a prefill is fed; slots past the end are left
    /// out.
    pub fn slice(&self, range: Range<usize>) -> Self {
        fn cut<T: Copy>(rows: &[Vec<T>], range: &Range<usize>) -> Vec<Vec<T>> {
            rows.iter().map(|row| row.iter().copied().take(range.end).skip(range.start).collect()).collect()
        }
        Self {
            ids: cut(&self.ids, &range),
            positions: cut(&self.positions, &range),
            real: cut(&self.real, &range),
        }
    }

    /// Row `b` alone, its padding kept; empty when there is no such row.
    pub fn row(&self, b: usize) -> Self {
        fn pick<T: Clone>(rows: &[Vec<T>], b: usize) -> Vec<Vec<T>> {
            rows.get(b).into_iter().cloned().collect()
        }
        Self { ids: pick(&self.ids, b), positions: pick(&self.positions, b), real: pick(&self.real, b) }
    }

    /// Is this a batch that a model of `vocab` tokens can embed?
    ///
    /// # Errors
    /// When it is empty, its rows differ in length, or an id is outside the vocabulary (which a GPU
    /// would read past the table for, silently).
    pub fn check(&self, vocab: usize) -> Result<()> {
        let (batch, len) = (self.batch(), self.len());
        if self.is_empty() {
            return Err(Error::input("the input holds no tokens", "give at least one token id"));
        }
        let ragged = self.ids.iter().any(|row| row.len() != len)
            || self.positions.len() != batch
            || self.positions.iter().any(|row| row.len() != len)
            || self.real.len() != batch
            || self.real.iter().any(|row| row.len() != len);
        if ragged {
            return Err(Error::input(
                format!("the input is not a rectangle of {batch} rows of {len}"),
                "ids, positions and real need rows of one length: `Input::padded` makes them",
            ));
        }
        match self.ids.iter().flatten().find(|&&id| id as usize >= vocab) {
            None => Ok(()),
            Some(id) => Err(Error::input(
                format!("token id {id} is outside the vocabulary of {vocab}"),
                "encode the text with this model's own tokenizer",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_counts_the_real_tokens_before_each_slot() {
        let rows = [&[7, 8, 9][..], &[5]];
        let left = Input::padded(&rows, Side::Left, 0);
        assert_eq!(left.ids, [[7, 8, 9], [0, 0, 5]]);
        assert_eq!(left.positions, [[0, 1, 2], [0, 0, 0]]);
        assert_eq!(left.real[1], [false, false, true]);
        let right = Input::padded(&rows, Side::Right, 0);
        assert_eq!(right.ids[1], [5, 0, 0]);
        assert_eq!(right.positions[1], [0, 1, 1]);
        assert_eq!(right.real[1], [true, false, false]);
    }

    #[test]
    fn cuts_never_leave_the_batch() {
        let input = Input::padded(&[&[7, 8, 9][..], &[5]], Side::Left, 0);
        assert_eq!(input.slice(1..9).ids, [[8, 9], [0, 5]]);
        assert_eq!(input.row(1).positions, [[0, 0, 0]]);
        assert!(input.row(2).is_empty() && input.slice(3..4).is_empty());
    }

    #[test]
    fn unusable_batches_are_errors_that_say_why() {
        let says = |input: Input, what: &str| {
            let error = input.check(10).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        };
        says(Input::single(&[], 0), "no tokens");
        says(Input::single(&[3, 10], 0), "token id 10 is outside the vocabulary of 10");
        says(Input { real: vec![], ..Input::single(&[1, 2], 0) }, "not a rectangle of 1 rows of 2");
    }
}
