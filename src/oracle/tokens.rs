//! Where the tokens of a batch stand.

/// The tokens of a batch, one a row of every tensor. Padding has no row.
#[derive(Clone, Debug, PartialEq)]
pub struct Tokens {
    /// Their ids.
    pub ids: Vec<u32>,
    /// Batch row and slot of each, the slot counted in the padded sequence.
    pub places: Vec<(usize, usize)>,
    /// The position that each is rotated by.
    pub positions: Vec<usize>,
    /// Slots of the padded sequence.
    pub length: usize,
}

impl Tokens {
    /// Those at `places`, in order, of a batch of these ids and positions, `[b][slot]`.
    pub fn of(ids: &[Vec<u32>], positions: &[Vec<usize>], places: Vec<(usize, usize)>) -> Self {
        Self {
            ids: places.iter().map(|&(b, slot)| ids[b][slot]).collect(),
            positions: places.iter().map(|&(b, slot)| positions[b][slot]).collect(),
            length: ids.first().map_or(0, Vec::len),
            places,
        }
    }

    /// Those of them that stand at `places`.
    pub fn at(&self, places: &[(usize, usize)]) -> Self {
        let rows: Vec<usize> = places.iter().filter_map(|p| self.places.binary_search(p).ok()).collect();
        Self {
            ids: rows.iter().map(|&r| self.ids[r]).collect(),
            positions: rows.iter().map(|&r| self.positions[r]).collect(),
            places: rows.iter().map(|&r| self.places[r]).collect(),
            length: self.length,
        }
    }

    /// Their batch rows.
    pub fn batch(&self) -> Vec<usize> {
        self.places.iter().map(|&(batch, _)| batch).collect()
    }

    /// Which row stands in which slot.
    pub fn slots(&self) -> Slots {
        Slots::new(&self.places, self.length)
    }
}

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
