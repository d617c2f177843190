//! Deviations in the embedding: other rows of its table.

/// The rows of the table that a port looks up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::diagnose) enum LookUp {
    /// The ids plus this number, counted in a circle.
    Plus(i64),
    /// The ids modulo this number.
    Modulo(u32),
    /// The right ids, in a table whose values are read in column-major order.
    ColumnMajor,
}

impl LookUp {
    /// The ids that are looked up in a table of `vocab` rows.
    pub fn of(self, ids: &[u32], vocab: usize) -> Vec<u32> {
        let id = |&id: &u32| match self {
            Self::Plus(more) => (i64::from(id) + more).rem_euclid(vocab.max(1) as i64) as u32,
            Self::Modulo(n) => id % n.max(1),
            Self::ColumnMajor => id,
        };
        ids.iter().map(id).collect()
    }
}
