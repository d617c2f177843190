//! A matrix whose rows are interleaved, 16 to a group, so that one vector register holds a part of every row.

use candle_core::quantized::QTensor;
use half::f16;
use rayon::prelude::*;

use super::activations::Needs;
use super::stored::{BLOCK, BlockType, Levels};
use crate::Result;

/// Rows of a group.
pub(super) const GROUP: usize = 16;

/// Four levels, or four pairs of levels, of each row of a group: one vector register of 64 bytes.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Line(pub [[u8; 4]; GROUP]);

/// A matrix `[out, in]` in blocks of 32 weights. It takes as many bytes as in its file (for five-bit levels, as many as
/// with eight bits).
#[derive(Debug)]
pub struct Packed {
    stored: BlockType,
    out: usize,
    width: usize,
    /// Of each group, of each block: 4 lines with two levels in each byte, or 8 with one.
    levels: Vec<Line>,
    /// Of each group, of each block: the rows' scales.
    scales: Vec<[f16; GROUP]>,
    /// The same with their minima; empty for types without.
    minima: Vec<[f16; GROUP]>,
}

/// 16 rows of a matrix.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group<'a> {
    /// As in [`Packed`].
    pub levels: &'a [Line],
    /// Of each block.
    pub scales: &'a [[f16; GROUP]],
    /// Of each block, if the type has minima.
    pub minima: Option<&'a [[f16; GROUP]]>,
    /// The level that stands for 0.
    pub centre: u8,
    /// Whether each byte has two levels.
    pub halves: bool,
}

impl Packed {
    /// Rearranges the blocks of `weight`, `[out, in]`, on the CPU; `None` if they are of another kind. Missing rows of the
    /// last group are 0.
    ///
    /// # Errors
    /// None in practice.
    pub fn of(weight: &QTensor) -> Result<Option<Self>> {
        let (Some(stored), true) = (BlockType::of(weight.dtype()), weight.device().is_cpu()) else {
            return Ok(None);
        };
        let (out, width) = weight.shape().dims2()?;
        let data = weight.data()?;
        let (blocks, groups) = (width / BLOCK, out.div_ceil(GROUP));
        let lines = stored.lines();
        let minima = if stored.minimum { blocks * groups } else { 0 };
        let mut packed = Self {
            stored,
            out,
            width,
            levels: vec![Line([[0; 4]; GROUP]); groups * blocks * lines],
            scales: vec![[f16::ZERO; GROUP]; groups * blocks],
            minima: vec![[f16::ZERO; GROUP]; minima],
        };
        for (row, bytes) in data.chunks_exact(blocks * stored.bytes).enumerate() {
            let (group, place) = (row / GROUP, row % GROUP);
            for (block, bytes) in bytes.chunks_exact(stored.bytes).enumerate() {
                let at = group * blocks + block;
                let (scale, minimum) = stored.scale(bytes);
                packed.scales[at][place] = scale;
                if let Some(minima) = packed.minima.get_mut(at) {
                    minima[place] = minimum;
                }
                let lines = &mut packed.levels[at * lines..][..lines];
                let mut put = |bytes: &[u8]| {
                    let words = bytes.as_chunks::<4>().0;
                    lines.iter_mut().zip(words).for_each(|(line, word)| line.0[place] = *word);
                };
                match stored.levels {
                    Levels::Four => put(stored.stored(bytes)),
                    Levels::Five | Levels::Eight => put(&stored.unsigned(bytes)),
                }
            }
        }
        Ok(Some(packed))
    }

    /// Outputs and inputs.
    pub const fn shape(&self) -> (usize, usize) {
        (self.out, self.width)
    }

    /// The number of groups of rows.
    pub(super) const fn groups(&self) -> usize {
        self.out.div_ceil(GROUP)
    }

    /// What a product with it needs of activations.
    pub(super) const fn needs(&self) -> Needs {
        Needs { centre: self.stored.centre(), sums: self.stored.minimum }
    }

    /// A group of rows.
    pub(super) fn group(&self, number: usize) -> Group<'_> {
        let (blocks, lines) = (self.width / BLOCK, self.stored.lines());
        let of_blocks = number * blocks..(number + 1) * blocks;
        Group {
            levels: &self.levels[of_blocks.start * lines..of_blocks.end * lines],
            scales: &self.scales[of_blocks.clone()],
            minima: self.stored.minimum.then(|| &self.minima[of_blocks]),
            centre: self.stored.centre(),
            halves: self.stored.levels == Levels::Four,
        }
    }

    /// One row as floats, `[in]`, bit for bit as Candle dequantises it. The row must exist.
    pub fn row(&self, row: usize, to: &mut [f32]) {
        let (group, place) = (self.group(row / GROUP), row % GROUP);
        for (block, to) in to.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
            let (scale, levels) = (group.scales[block][place].to_f32(), group.levels(block, place));
            let minimum = group.minima.map(|minima| minima[block][place].to_f32());
            *to = levels.map(|level| {
                let level = f32::from(i16::from(level) - i16::from(group.centre));
                minimum.map_or(level * scale, |minimum| level * scale + minimum)
            });
        }
    }

    /// All rows as floats, `[out, in]`.
    pub fn rows(&self) -> Vec<f32> {
        let mut values = vec![0f32; self.out * self.width];
        values.par_chunks_exact_mut(self.width).enumerate().for_each(|(row, to)| self.row(row, to));
        values
    }
}

impl Group<'_> {
    /// The levels of one row of a block.
    pub fn levels(&self, block: usize, place: usize) -> [u8; BLOCK] {
        let lines = if self.halves { 4 } else { 8 };
        let lines = &self.levels[block * lines..][..lines];
        std::array::from_fn(|j| match self.halves {
            true if j < BLOCK / 2 => lines[j / 4].0[place][j % 4] & 15,
            true => lines[j / 4 - 4].0[place][j % 4] >> 4,
            false => lines[j / 4].0[place][j % 4],
        })
    }
}

impl BlockType {
    /// The number of lines of a block.
    const fn lines(&self) -> usize {
        match self.levels {
            Levels::Four => 4,
            Levels::Five | Levels::Eight => 8,
        }
    }
}
