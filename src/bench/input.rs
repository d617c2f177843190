//! The inputs of a case: numbers, rounded to a dtype and arranged in memory.

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};

use crate::compare::spacing;

/// How an input is arranged in memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Layout {
    /// In order, from the start of its storage.
    Contiguous,
    /// In order, behind other numbers of the same storage.
    Offset,
    /// Its last axis is part of a longer one, so that a gap follows each row.
    Gaps,
    /// Its last two axes are exchanged in memory.
    Transposed,
}

/// An input of a case.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its axes.
    pub dims: Vec<usize>,
    /// Its values, before they are rounded to the dtype.
    pub values: Vec<f64>,
    /// Its dtype.
    pub dtype: DType,
    /// How it is arranged in memory.
    pub layout: Layout,
}

/// The numbers of an input as the operation sees them, in the order of its axes.
#[derive(Clone, Debug)]
pub struct Array {
    /// The axes.
    pub dims: Vec<usize>,
    /// The values, exactly.
    pub values: Vec<f64>,
}

impl Array {
    /// The length of the last axis.
    pub fn width(&self) -> usize {
        self.dims.last().copied().unwrap_or(1)
    }

    /// The rows along the last axis; none if that axis is empty.
    pub fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.width().max(1))
    }
}

/// `value` rounded to the nearest number of `dtype`, ties to even, without Candle and without the `half` crate, whose
/// own conversion from float64 is wrong near ties.
pub fn rounded(value: f64, dtype: DType) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let unit = spacing(value, dtype);
    let rounded = (value / unit).round_ties_even() * unit;
    if rounded.abs() > largest(dtype) { f64::INFINITY.copysign(value) } else { rounded }
}

/// The largest number of a float dtype.
pub fn largest(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 65504.0,
        DType::BF16 => f64::from(bf16::MAX),
        DType::F32 => f64::from(f32::MAX),
        _ => f64::MAX,
    }
}

impl Input {
    /// Values in order of the axes, from the start of their storage.
    pub fn new(dims: &[usize], dtype: DType, values: Vec<f64>) -> Self {
        debug_assert_eq!(dims.iter().product::<usize>(), values.len());
        Self { dims: dims.to_vec(), values, dtype, layout: Layout::Contiguous }
    }

    /// The same values, arranged in another way.
    pub fn arranged(self, layout: Layout) -> Self {
        Self { layout, ..self }
    }

    /// Its numbers as the operation sees them.
    pub fn array(&self) -> Array {
        let of = |&value: &f64| if self.dtype.is_float() { rounded(value, self.dtype) } else { value };
        Array { dims: self.dims.clone(), values: self.values.iter().map(of).collect() }
    }

    /// The tensor on `device`. What its layout skips is filled with a number that would be noticed.
    ///
    /// # Errors
    /// The device has no such dtype.
    pub fn tensor(&self, device: &Device) -> candle_core::Result<Tensor> {
        const SKIPPED: f64 = 777.0;
        let values = self.array().values;
        let rank = self.dims.len();
        let width = self.dims.last().copied().unwrap_or(1);
        match self.layout {
            Layout::Contiguous => stored(values, &self.dims, self.dtype, device),
            Layout::Offset => {
                let mut dims = self.dims.clone();
                let row: usize = dims[1..].iter().product();
                dims[0] += 2;
                let around = vec![SKIPPED; row];
                stored([around.clone(), values, around].concat(), &dims, self.dtype, device)?.narrow(
                    0,
                    1,
                    self.dims[0],
                )
            }
            Layout::Gaps => {
                let mut dims = self.dims.clone();
                dims[rank - 1] += 3;
                let padded = values.chunks(width.max(1)).flat_map(|row| {
                    std::iter::once(SKIPPED).chain(row.iter().copied()).chain([SKIPPED, SKIPPED])
                });
                stored(padded.collect(), &dims, self.dtype, device)?.narrow(rank - 1, 1, width)
            }
            Layout::Transposed => {
                let (rows, mut dims) = (self.dims[rank - 2], self.dims.clone());
                dims.swap(rank - 2, rank - 1);
                let matrices = values.chunks(rows * width);
                let turned = matrices
                    .flat_map(|m| (0..width).flat_map(move |j| (0..rows).map(move |i| m[i * width + j])));
                stored(turned.collect(), &dims, self.dtype, device)?.transpose(rank - 2, rank - 1)
            }
        }
    }
}

/// A contiguous tensor of numbers that the dtype holds exactly.
fn stored(values: Vec<f64>, dims: &[usize], dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
    match dtype {
        DType::F64 => Tensor::from_vec(values, dims, device),
        DType::F32 => Tensor::from_vec(cast(&values, |x| x as f32), dims, device),
        DType::BF16 => Tensor::from_vec(cast(&values, bf16::from_f64), dims, device),
        DType::F16 => Tensor::from_vec(cast(&values, f16::from_f64), dims, device),
        DType::U8 => Tensor::from_vec(cast(&values, |x| x as u8), dims, device),
        DType::I64 => Tensor::from_vec(cast(&values, |x| x as i64), dims, device),
        DType::U32 => Tensor::from_vec(cast(&values, |x| x as u32), dims, device),
        other => candle_core::bail!("no cases for {}", other.as_str()),
    }
}

fn cast<T>(values: &[f64], to: impl Fn(f64) -> T) -> Vec<T> {
    values.iter().map(|&value| to(value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::tie_to_even(DType::BF16, 1.0 + 1.0 / 256.0, 1.0)]
    #[case::just_above_a_tie(DType::BF16, 1.0 + 1.0 / 256.0 + 1e-12, 1.0 + 1.0 / 128.0)]
    #[case::just_above_a_tie_of_f16(DType::F16, 1.0 + 2f64.powi(-11) + 1e-13, 1.0 + 2f64.powi(-10))]
    #[case::subnormal(DType::F16, 3.1 * 2f64.powi(-24), 3.0 * 2f64.powi(-24))]
    #[case::overflow(DType::F16, 65520.0, f64::INFINITY)]
    #[case::below_overflow(DType::F16, 65519.0, 65504.0)]
    #[case::negative(DType::F32, -0.1, f64::from(-0.1f32))]
    fn rounding_is_to_the_nearest_and_ties_go_to_even(
        #[case] dtype: DType,
        #[case] value: f64,
        #[case] want: f64,
    ) {
        assert_eq!(rounded(value, dtype), want);
    }

    #[rstest]
    fn every_layout_has_the_same_values(
        #[values(Layout::Contiguous, Layout::Offset, Layout::Gaps, Layout::Transposed)] layout: Layout,
    ) {
        let values: Vec<f64> = (0..24).map(f64::from).collect();
        let input = Input::new(&[2, 3, 4], DType::F32, values.clone()).arranged(layout);
        let tensor = input.tensor(&Device::Cpu).unwrap();
        assert_eq!(tensor.dims(), [2, 3, 4]);
        let got = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(got.into_iter().map(f64::from).collect::<Vec<_>>(), values);
        assert_eq!(tensor.is_contiguous(), matches!(layout, Layout::Contiguous | Layout::Offset));
    }
}
