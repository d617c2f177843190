//! The product of rows with a matrix: which kernel, and how the work is divided among threads.

use std::ops::Range;

use rayon::prelude::*;

use super::activations::Rounded;
use super::kernel::Kernel;
use super::packed::{GROUP, Packed};
use super::portable::Portable;
use super::stored::BLOCK;
#[cfg(target_arch = "x86_64")]
use super::x86::{Avx2, Avx512};

/// The rows that are multiplied at once, as many as fit into vector registers.
const TILE: usize = 8;

/// The rows that a thread multiplies by the whole matrix.
const CHUNK: usize = 32;

/// A thread multiplies at least as many entries of the matrix, because handing over work takes a few microseconds.
const PART: usize = 1 << 16;

impl Packed {
    /// x Wᵀ, `[rows, in]` → `[rows, out]`.
    pub fn product(&self, x: &[f32]) -> Vec<f32> {
        #[cfg(target_arch = "x86_64")]
        {
            if let Some(kernel) = Avx512::detect() {
                return self.product_by(kernel, x);
            }
            if let Some(kernel) = Avx2::detect() {
                return self.product_by(kernel, x);
            }
        }
        self.product_by(Portable, x)
    }

    /// The same with this kernel.
    pub(super) fn product_by<K: Kernel>(&self, kernel: K, x: &[f32]) -> Vec<f32> {
        let (out, width) = self.shape();
        if out == 0 || width == 0 {
            return Vec::new();
        }
        let mut y = vec![0f32; x.len() / width * out];
        let many = x.len() / width >= CHUNK * rayon::current_num_threads();
        if many {
            // Each thread takes some rows of x: its outputs are consecutive.
            y.par_chunks_mut(CHUNK * out).zip(x.par_chunks(CHUNK * width)).for_each(|(y, x)| {
                self.columns(kernel, &self.rounded(kernel, x), 0..self.groups(), y);
            });
            return y;
        }
        let (rounded, groups) = (self.rounded(kernel, x), self.groups());
        let at_once = PART.div_ceil(GROUP * width).max(1); // groups
        if out == y.len() {
            // Each thread takes some rows of the matrix.
            y.par_chunks_mut(at_once * GROUP).enumerate().for_each(|(part, y)| {
                self.columns(kernel, &rounded, part * at_once..groups.min((part + 1) * at_once), y);
            });
            return y;
        }
        let parts: Vec<Range<usize>> =
            (0..groups).step_by(at_once).map(|first| first..groups.min(first + at_once)).collect();
        let rows = x.len() / width;
        let products: Vec<Vec<f32>> = parts
            .into_par_iter()
            .map(|part| {
                let columns = out.min(part.end * GROUP) - part.start * GROUP;
                let mut y = vec![0f32; rows * columns];
                self.columns(kernel, &rounded, part, &mut y);
                y
            })
            .collect();
        let mut first = 0;
        for product in products {
            let columns = product.len() / rows.max(1);
            for (y, product) in y.chunks_exact_mut(out).zip(product.chunks_exact(columns)) {
                y[first..first + columns].copy_from_slice(product);
            }
            first += columns;
        }
        y
    }

    fn rounded<K: Kernel>(&self, kernel: K, x: &[f32]) -> Vec<Rounded> {
        let mut rounded = vec![Rounded::default(); x.len() / BLOCK];
        kernel.round(x, &mut rounded, self.needs());
        rounded
    }

    /// The products with these groups alone: as many columns as `y` has for each row.
    fn columns<K: Kernel>(&self, kernel: K, rounded: &[Rounded], groups: Range<usize>, y: &mut [f32]) {
        let blocks = self.shape().1 / BLOCK;
        let columns = y.len() / (rounded.len() / blocks).max(1);
        for (n, group) in groups.map(|group| self.group(group)).enumerate() {
            let place = n * GROUP..columns.min((n + 1) * GROUP);
            let (mut x, mut y) = (rounded, &mut *y);
            while x.len() >= TILE * blocks {
                let (tile, rest) = x.split_at(TILE * blocks);
                let (to, others) = y.split_at_mut(TILE * columns);
                put(kernel.product::<TILE>(group, rows_of(tile, blocks)), to, columns, &place);
                (x, y) = (rest, others);
            }
            for (x, y) in x.chunks_exact(blocks).zip(y.chunks_exact_mut(columns)) {
                put(kernel.product::<1>(group, [x]), y, columns, &place);
            }
        }
    }
}

/// The rows of a tile.
fn rows_of<const ROWS: usize>(tile: &[Rounded], blocks: usize) -> [&[Rounded]; ROWS] {
    std::array::from_fn(|row| &tile[row * blocks..][..blocks])
}

/// Writes the products of a group to its place in each row of `y`.
fn put<const ROWS: usize>(
    products: [[f32; GROUP]; ROWS],
    y: &mut [f32],
    columns: usize,
    place: &Range<usize>,
) {
    for (y, product) in y.chunks_exact_mut(columns).zip(products) {
        y[place.clone()].copy_from_slice(&product[..place.len()]);
    }
}
