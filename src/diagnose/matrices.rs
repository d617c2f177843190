//! A cache of the matrices that one diagnosis reads.

use std::cell::RefCell;

use crate::Result;
use crate::graph::MatrixRows;
use crate::oracle::{self, BlockMatrix, Exact, LastRead, OnBlocks};
use crate::probe::Arithmetic;
use crate::weights::Weights;

/// The matrices of one diagnosis, kept because many deviations are tried on the same few.
#[derive(Default)]
pub(super) struct Matrices {
    read: RefCell<Vec<ReadMatrix>>,
    last: LastRead,
}

struct ReadMatrix {
    name: String,
    rows: Option<MatrixRows>,
    matrix: BlockMatrix,
}

impl Matrices {
    /// The arithmetic that multiplies by them.
    pub fn exact(&self, arithmetic: Arithmetic) -> OnBlocks<'_, Exact> {
        OnBlocks::exact(arithmetic, &self.last)
    }

    /// The matrix `name`, or these rows of it, `[out, in]`; with its quantised blocks if `arithmetic` uses
    /// them. One diagnosis has one arithmetic.
    ///
    /// # Errors
    /// The matrix cannot be read.
    pub fn read(
        &self,
        weights: &Weights,
        name: &str,
        rows: Option<&MatrixRows>,
        arithmetic: Arithmetic,
    ) -> Result<BlockMatrix> {
        let known = |read: &&ReadMatrix| read.name == name && read.rows.as_ref() == rows;
        if let Some(read) = self.read.borrow().iter().find(known) {
            return Ok(read.matrix.clone());
        }
        let matrix = oracle::Arithmetic::matrix(&self.exact(arithmetic), weights, name, rows)?;
        let (name, rows) = (name.to_owned(), rows.cloned());
        self.read.borrow_mut().push(ReadMatrix { name, rows, matrix: matrix.clone() });
        Ok(matrix)
    }
}
