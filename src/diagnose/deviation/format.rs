//! Number formats that ports round to: floats of 8 and 16 bits, and integers with a scale per block.

use candle_core::DType;

use crate::diagnose::round;

/// A number format.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::diagnose) enum Format {
    /// The nearest value of a half-precision dtype.
    Half(DType),
    /// bfloat16, cut off instead of rounded.
    TruncatedBf16,
    /// Floats with this many explicit bits of mantissa, scaled so that the largest value of the tensor is
    /// `largest`.
    Float8 { mantissa: i32, largest: f64 },
    /// Integers of `bits` bits; each run of `block` values has its own scale. `affine`: and its own minimum.
    Integers { bits: i32, block: Block, affine: bool },
}

/// The values that share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::diagnose) enum Block {
    Tensor,
    Row,
    Run(usize),
}

impl Format {
    /// The formats of weights that are tried, for rows of `width` values.
    pub fn all(width: usize) -> Vec<Self> {
        let mut all = vec![
            Self::Half(DType::BF16),
            Self::Half(DType::F16),
            Self::TruncatedBf16,
            Self::Float8 { mantissa: 3, largest: 448.0 },
            Self::Float8 { mantissa: 2, largest: 57344.0 },
        ];
        let runs =
            [32, 16, 64, 128, 256].into_iter().filter(|run| width.is_multiple_of(*run) && *run < width);
        let blocks: Vec<Block> =
            [Block::Row, Block::Tensor].into_iter().chain(runs.map(Block::Run)).collect();
        for bits in [8, 4, 6, 5, 3, 2, 7] {
            for &block in &blocks {
                all.extend([false, true].map(|affine| Self::Integers { bits, block, affine }));
            }
        }
        all
    }

    /// Rounds values in rows of `width`.
    pub fn of(self, values: &mut [f64], width: usize) {
        match self {
            Self::Half(dtype) => values.iter_mut().for_each(|v| *v = round(*v, dtype)),
            Self::TruncatedBf16 => values.iter_mut().for_each(|v| {
                *v = f64::from(f32::from_bits((*v as f32).to_bits() & 0xffff_0000));
            }),
            Self::Float8 { mantissa, largest } => {
                let scale = largest_of(values) / largest;
                values.iter_mut().filter(|v| **v != 0.0 && v.is_finite()).for_each(|v| {
                    let exponent = (*v / scale).abs().log2().floor() as i32;
                    let step = scale * 2f64.powi(exponent - mantissa);
                    *v = (*v / step).round_ties_even() * step;
                });
            }
            Self::Integers { bits, block, affine } => {
                let run = match block {
                    Block::Tensor => values.len(),
                    Block::Row => width,
                    Block::Run(run) => run,
                };
                values.chunks_mut(run.max(1)).for_each(|run| integers(run, bits, affine));
            }
        }
    }

    /// Its description: `8-bit integers with one scale per row`.
    pub fn name(self) -> String {
        match self {
            Self::Half(dtype) => dtype.as_str().to_owned(),
            Self::TruncatedBf16 => "bf16 by truncation instead of rounding".into(),
            Self::Float8 { mantissa, .. } => format!("8-bit floats with {mantissa} bits of mantissa"),
            Self::Integers { bits, block, affine } => {
                let scale = if affine { "scale and minimum" } else { "scale" };
                let per = match block {
                    Block::Tensor => "for the whole tensor".into(),
                    Block::Row => "per row".into(),
                    Block::Run(run) => format!("per block of {run}"),
                };
                format!("{bits}-bit integers with one {scale} {per}")
            }
        }
    }

    /// The dtype whose ties may be rounded either way.
    pub const fn coarse(self) -> Option<DType> {
        match self {
            Self::Half(dtype) => Some(dtype),
            _ => None,
        }
    }
}

fn largest_of(values: &[f64]) -> f64 {
    values.iter().filter(|v| v.is_finite()).fold(0.0, |most: f64, v| most.max(v.abs()))
}

/// Rounds a block to integers times its own scale, in place.
fn integers(block: &mut [f64], bits: i32, affine: bool) {
    let (low, steps) = if affine {
        (block.iter().copied().fold(f64::INFINITY, f64::min), 2f64.powi(bits) - 1.0)
    } else {
        (0.0, 2f64.powi(bits - 1) - 1.0)
    };
    // In float32, as ports do: a value half-way between two steps goes to one side or the other by its last bit.
    let range = block.iter().fold(0.0, |most: f64, v| most.max((v - low).abs())) as f32;
    let scale = range / steps as f32;
    if scale > 0.0 {
        let step = |v: f64| f64::from(((v - low) as f32 / scale).round_ties_even());
        block.iter_mut().for_each(|v| *v = low + step(*v) * f64::from(scale));
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::one_scale_per_row(Format::Integers { bits: 4, block: Block::Row, affine: false }, [7.0, -3.0, 70.0, -30.0])]
    #[case::one_scale_for_all(Format::Integers { bits: 4, block: Block::Tensor, affine: false }, [10.0, 0.0, 70.0, -30.0])]
    #[case::scale_and_minimum(Format::Integers { bits: 1, block: Block::Row, affine: true }, [7.0, -3.4, 70.0, -32.0])]
    #[case::truncated(Format::TruncatedBf16, [7.0, -3.390_625, 70.0, -32.0])]
    fn values_are_rounded_to(#[case] format: Format, #[case] rounded: [f64; 4]) {
        let mut values = [7.0, -3.4, 70.0, -32.0];
        format.of(&mut values, 2);
        for (got, want) in values.iter().zip(rounded) {
            approx::assert_relative_eq!(*got, want, max_relative = 1e-6);
        }
    }
}
