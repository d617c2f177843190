//! Which rows stand in the slots of a batch.

/// Which row of the keys, or values, stands in each slot of each batch row.
#[derive(Clone, Debug, PartialEq)]
pub struct Slots {
    rows: Vec<Vec<Option<usize>>>,
    length: usize,
}

impl Slots {
    /// Row r stands at `places[r]`, batch row and slot, of `length` slots.
    pub fn new(places: &[(usize, usize)], length: usize) -> Self {
        let batch = places.iter().map(|&(b, _)| b + 1).max().unwrap_or(0);
        let mut rows = vec![vec![None; length]; batch];
        for (r, &(b, slot)) in places.iter().enumerate() {
            rows[b][slot] = Some(r);
        }
        Self { rows, length }
    }

    /// The first `length` slots of it.
    pub fn until(self, length: usize) -> Self {
        Self { length: length.min(self.length), ..self }
    }

    /// The row at a place; none for padding.
    pub fn at(&self, batch: usize, slot: usize) -> Option<usize> {
        (slot < self.length).then(|| self.rows.get(batch)?[slot]).flatten()
    }

    /// Slots.
    pub fn len(&self) -> usize {
        self.length
    }

    /// No slots at all.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}
