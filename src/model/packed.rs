//! A forward pass over several sequences. Everything but attention works row by row, so the rows of all sequences are
//! packed one after another, without padding; attention takes them apart again. Candle has no operation for this.
//!
//! A product with floats takes another kernel, with another order of summation, for one row or a small result than for
//! several rows (`gemm` 0.19: `n <= 1`, `m * n <= 256`; if a sum is longer than 512, also `m <= 64` and `n <= 64`). So
//! that a sequence's numbers do not depend on how many others share the pass, a packed pass has at least as many rows as
//! the kernel for several rows needs: rows of zeros are added.

use candle_core::{DType, Tensor};

use super::lane::{Lane, filled};
use super::llama::{Llama, matrices};
use super::projection::Projection;
use crate::probe::Probe;
use crate::{Error, Result};

/// The largest result, in entries, that `gemm` computes as dot products.
const SMALL: usize = 16 * 16;

/// The widest result, and the most rows, for which `gemm` divides a long sum in another way.
const NARROW: usize = 64;

/// The longest sum that `gemm` does not divide.
const UNDIVIDED: usize = 512;

impl Llama {
    /// The final norm's output for the next tokens of several sequences, packed one after another, `[1, rows,
    /// hidden]`; rows after those of the sequences mean nothing, see [`Llama::fewest_rows`]. A sequence's rows do not
    /// depend on the other sequences. The probe receives sites of all rows; scores and probabilities once for each
    /// sequence, in order.
    ///
    /// # Errors
    /// Those of [`Llama::forward`]; there is no lane; a lane is a batch.
    pub fn packed<P: Probe>(&self, lanes: &mut [Lane<'_>], probe: &mut P) -> Result<Tensor> {
        if lanes.is_empty() || lanes.iter().any(|lane| lane.input.batch() != 1) {
            let hint = "give each sequence a lane of its own";
            return Err(Error::input("packed rows need sequences, and no batches", hint));
        }
        let ids: Vec<u32> = lanes.iter().flat_map(|lane| lane.input.ids.concat()).collect();
        let mut positions: Vec<usize> = lanes.iter().flat_map(|lane| lane.input.positions.concat()).collect();
        positions.resize(positions.len().max(self.fewest_rows()), 0);
        self.through(lanes, &[ids], &[positions], probe) // [1, rows, hidden]
    }

    /// Logits of some rows of [`Llama::packed`], `[1, rows, hidden]` → `[1, chosen, vocab]`. They do not depend on which
    /// other rows are chosen. The probe receives the logits of all `chosen` rows, and perhaps rows after them that mean
    /// nothing.
    ///
    /// # Errors
    /// There is no such row.
    pub fn logits_of<P: Probe>(&self, hidden: &Tensor, chosen: &[u32], probe: &mut P) -> Result<Tensor> {
        let rows = hidden.index_select(&Tensor::new(chosen, self.device())?, 1)?; // [1, chosen, hidden]
        let logits = self.logits(&filled(&rows, self.fewest_rows())?, probe)?; // [1, rows, vocab]
        Ok(logits.narrow(1, 0, chosen.len())?)
    }

    /// Whether all numbers of a sequence in a packed pass are the same bits, whatever other sequences share the pass. They
    /// are on a CPU, if every matrix is stored in float32 or in blocks of 32 weights.
    pub fn repeats_bits(&self) -> bool {
        let repeats = |matrix: &Projection| match matrix.floats() {
            Some(floats) => floats.dtype() == DType::F32,
            None => matrix.packed().is_some(),
        };
        self.device().is_cpu() && matrices(&self.layers, &self.lm_head).all(repeats)
    }

    /// The least number of rows of a packed pass; if the sequences have fewer, rows of zeros are added. See
    /// [`Llama::repeats_bits`].
    pub fn fewest_rows(&self) -> usize {
        let of_shape = |(outputs, inputs): (usize, usize)| match outputs {
            0..=NARROW if inputs > UNDIVIDED => NARROW + 1,
            _ => (SMALL / outputs.max(1) + 1).max(2),
        };
        let floats = matrices(&self.layers, &self.lm_head).filter_map(Projection::floats);
        floats.filter_map(|floats| floats.dims2().ok()).map(of_shape).max().unwrap_or(1)
    }
}
