//! Maps the slots of a batch to rows of a tensor.

/// The row of the keys, or of the values, for each slot of each batch row.
#[derive(Clone, Debug, PartialEq)]
pub struct Slots {
    rows: Vec<Vec<Option<usize>>>,
    length: usize,
}

impl Slots {
    /// Puts row r at `places[r]` (batch row, slot). Each batch row has `length` slots.
    pub fn new(places: &[(usize, usize)], length: usize) -> Self {
        let batch = places.iter().map(|&(b, _)| b + 1).max().unwrap_or(0);
        let mut rows = vec![vec![None; length]; batch];
        for (r, &(b, slot)) in places.iter().enumerate() {
            rows[b][slot] = Some(r);
        }
        Self { rows, length }
    }

    /// Keeps only the first `length` slots.
    pub fn until(self, length: usize) -> Self {
        Self { length: length.min(self.length), ..self }
    }

    /// The row at a place; `None` for padding.
    pub fn at(&self, batch: usize, slot: usize) -> Option<usize> {
        (slot < self.length).then(|| self.rows.get(batch)?[slot]).flatten()
    }

    /// The number of slots.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Are there no slots?
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}
