//! Summation in different orders, as a correct port with other kernels may do it.

use candle_core::{Device, Storage, Tensor};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rayon::prelude::*;

use crate::{Error, Result};

/// The number of summation orders to run: one in plain order, the others shuffled. A single run can have an
/// unusually small rounding error.
pub const ORDERS: usize = 8;

/// The order in which run number `run` adds `count` terms. Run 0 adds them from first to last.
fn order(run: usize, count: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..u32::try_from(count).unwrap_or(u32::MAX)).collect();
    if run > 0 {
        order.shuffle(&mut StdRng::seed_from_u64(run as u64));
    }
    order
}

/// How a row is summed in float32.
pub(super) struct Summation {
    order: Vec<u32>,
    lanes: usize,
}

/// The number of partial sums in a kernel with vector registers.
const LANES: usize = 8;

impl Summation {
    /// How run `run` adds `count` terms. Run 0 adds them from first to last in a plain loop, which is the
    /// least accurate order that a correct port would use. Other runs use a shuffled order and [`LANES`]
    /// partial sums, as PyTorch's kernels do.
    pub fn new(run: usize, count: usize) -> Self {
        Self { order: order(run, count), lanes: if run == 0 { 1 } else { LANES } }
    }

    /// The sum of `terms`.
    pub fn of(&self, terms: &[f32]) -> f32 {
        let mut partial = [0f32; LANES];
        for lanes in self.order.chunks(self.lanes) {
            lanes.iter().zip(&mut partial).for_each(|(&i, sum)| *sum += terms[i as usize]);
        }
        partial.iter().sum()
    }
}

/// a bᵀ in float32, summed over the shared axis in the order of run `run`: `[rows, n]`, `[out, n]` →
/// `[rows, out]`.
///
/// # Errors
/// The shapes do not fit.
pub(super) fn product(run: usize, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if run == 0 {
        return Ok(a.matmul(&b.t()?)?);
    }
    let order = order(run, a.dims2()?.1); // [n]
    Ok(columns_in(&order, a)?.matmul(&columns_in(&order, b)?.t()?)?)
}

/// Permutes columns: column j of the result is column `order[j]` of `matrix`, `[rows, n]` in float32.
/// Candle's `index_select` would be slow, because it copies such columns with one call per entry.
fn columns_in(order: &[u32], matrix: &Tensor) -> Result<Tensor> {
    let (rows, n) = matrix.dims2()?;
    let matrix = matrix.contiguous()?;
    let (storage, layout) = matrix.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        return Err(Error::internal("the matrix is not on the CPU"));
    };
    let values = &storage.as_slice::<f32>()?[layout.start_offset()..][..rows * n];
    let mut ordered = vec![0f32; rows * n];
    ordered.par_chunks_mut(n).zip(values.par_chunks(n)).with_min_len(64).for_each(|(to, from)| {
        to.iter_mut().zip(order).for_each(|(to, &j)| *to = from[j as usize]);
    });
    Ok(Tensor::from_vec(ordered, (rows, n), &Device::Cpu)?)
}
