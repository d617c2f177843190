//! Rows of activations, rounded to 8 bits in blocks of 32.

use half::f16;

use super::stored::BLOCK;

/// A block of rounded activations.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rounded {
    /// Its 32 steps, from −127 to 127, four to a word, the first in the lowest byte.
    pub words: [u32; BLOCK / 4],
    /// The size of a step, dx: an f16 number.
    pub scale: f32,
    /// s: the sum of the steps times dx, rounded to f16. 0 unless the matrix has minima.
    pub sum: f32,
    /// −c · Σ step, with c the level that stands for 0.
    pub start: i32,
}

/// Which numbers besides the steps a product needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs {
    /// The level that stands for 0.
    pub centre: u8,
    /// Whether the matrix has minima.
    pub sums: bool,
}

/// Rounds x into as many blocks as there are in `to`. A block with NaN or an infinity makes every product NaN.
#[inline(always)] // compiled for each kernel's instructions
pub(super) fn round(x: &[f32], to: &mut [Rounded], needs: Needs) {
    for (x, to) in x.as_chunks::<BLOCK>().0.iter().zip(to) {
        // As integers, absolute values keep their order, infinity is above all numbers, and NaN above infinity.
        let largest = f32::from_bits(x.iter().fold(0, |most, x| most.max(x.abs().to_bits())));
        let scale = largest / 127.0;
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        // A tiny scale has an infinite inverse; its steps do not matter, because it is 0 in f16.
        let steps: [i8; BLOCK] = std::array::from_fn(|j| (x[j] * inverse).round() as i8);
        let total: i32 = steps.iter().map(|&step| i32::from(step)).sum();
        let kept = f16::from_f32(scale);
        let bytes = steps.as_chunks::<4>().0;
        *to = Rounded {
            words: std::array::from_fn(|word| u32::from_le_bytes(bytes[word].map(|step| step as u8))),
            scale: kept.to_f32(),
            sum: if needs.sums { (f16::from_f32(total as f32) * kept).to_f32() } else { 0.0 },
            start: -i32::from(needs.centre) * total,
        };
    }
}
