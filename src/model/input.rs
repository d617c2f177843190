//! The input of one forward pass: a rectangular batch of token ids, the position of each token, and which
//! slots are padding.
//!
//! Candle has no type for this. It is plain data, so that a caller can fill it in by hand, also with
//! mistakes.

use std::ops::Range;

use crate::{Error, Result};

/// The side on which short rows of a batch are padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Padding comes first, so the last column is every row's newest token, which suits generation.
    Left,
    /// Padding comes last.
    Right,
}

/// A batch of token ids, `[batch][slot]` throughout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Token ids; any id of the vocabulary where `real` is false.
    pub ids: Vec<Vec<u32>>,
    /// The position by which each token is rotated: the number of real tokens before it in its row.
    pub positions: Vec<Vec<usize>>,
    /// True for a token, false for padding, which no query may see.
    pub real: Vec<Vec<bool>>,
}

impl Input {
    /// One row without padding, whose first token is at position `start`.
    pub fn single(ids: &[u32], start: usize) -> Self {
        Self {
            ids: vec![ids.to_vec()],
            positions: vec![(start..start.saturating_add(ids.len())).collect()],
            real: vec![vec![true; ids.len()]],
        }
    }

    /// Rows of different lengths, padded with the id `pad` on one side. The first real token of every row is
    /// at position 0.
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

    /// The number of rows.
    pub fn batch(&self) -> usize {
        self.ids.len()
    }

    /// The number of slots per row: the query positions of the forward pass.
    pub fn len(&self) -> usize {
        self.ids.first().map_or(0, Vec::len)
    }

    /// Whether there are no rows, or rows without slots.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The slots `range` of every row, for a chunk of a prefill. Slots past the end are left out.
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

    /// Row `b` alone, with its padding; empty if there is no such row.
    pub fn row(&self, b: usize) -> Self {
        fn pick<T: Clone>(rows: &[Vec<T>], b: usize) -> Vec<Vec<T>> {
            rows.get(b).into_iter().cloned().collect()
        }
        Self { ids: pick(&self.ids, b), positions: pick(&self.positions, b), real: pick(&self.real, b) }
    }

    /// Checks that a model of `vocab` tokens can embed this batch.
    ///
    /// # Errors
    /// The batch is empty, its rows differ in length, or an id is outside the vocabulary (for which a GPU
    /// would silently read past the table).
    pub fn check(&self, vocab: usize) -> Result<()> {
        let (batch, len) = (self.batch(), self.len());
        if self.is_empty() {
            return Err(Error::input("the input has no tokens", "give at least one token id"));
        }
        let ragged = self.ids.iter().any(|row| row.len() != len)
            || self.positions.len() != batch
            || self.positions.iter().any(|row| row.len() != len)
            || self.real.len() != batch
            || self.real.iter().any(|row| row.len() != len);
        if ragged {
            return Err(Error::input(
                format!("the input is not a rectangle of {batch} rows of {len}"),
                "give ids, positions and real rows of equal length, for example with `Input::padded`",
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
    fn positions_count_the_real_tokens_before_each_slot() {
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
    fn slices_and_rows_outside_the_batch_are_empty() {
        let input = Input::padded(&[&[7, 8, 9][..], &[5]], Side::Left, 0);
        assert_eq!(input.slice(1..9).ids, [[8, 9], [0, 5]]);
        assert_eq!(input.row(1).positions, [[0, 0, 0]]);
        assert!(input.row(2).is_empty() && input.slice(3..4).is_empty());
    }

    #[test]
    fn the_error_for_an_unusable_batch_says_why() {
        let says = |input: Input, what: &str| {
            let error = input.check(10).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        };
        says(Input::single(&[], 0), "no tokens");
        says(Input::single(&[3, 10], 0), "token id 10 is outside the vocabulary of 10");
        says(Input { real: vec![], ..Input::single(&[1, 2], 0) }, "not a rectangle of 1 rows of 2");
    }
}
