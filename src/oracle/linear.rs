//! Matrices: the linear layer and the embedding. The matrix product is the only arithmetic that
//! Candle computes here (in float64), because a product of this size in plain loops would take minutes.

use candle_core::{DType, Device, Tensor};

use super::Rows;
use crate::Result;
use crate::graph::MatrixRows;
use crate::weights::Weights;

/// A matrix `[out, in]`, float64, on the CPU, with rows in Hugging Face's order.
#[derive(Clone, Debug)]
pub struct Matrix(Tensor);

impl Matrix {
    /// The tensor `name`, dequantised.
    ///
    /// # Errors
    /// The tensor does not exist or is not a matrix.
    pub fn read(weights: &Weights, name: &str) -> Result<Self> {
        Self::of(&weights.canonical(name)?)
    }

    /// From a float tensor, `[out, in]`.
    ///
    /// # Errors
    /// The tensor is not a matrix.
    pub fn of(tensor: &Tensor) -> Result<Self> {
        tensor.dims2()?;
        Ok(Self(tensor.to_dtype(DType::F64)?))
    }

    /// The matrix in float32, `[out, in]`.
    ///
    /// # Errors
    /// None in practice.
    pub fn floats(&self) -> Result<Tensor> {
        Ok(self.0.to_dtype(DType::F32)?)
    }

    /// Rows `ids` of the tensor `name`, dequantised, `[ids, in]`.
    ///
    /// # Errors
    /// The tensor does not exist or is not a matrix, or an id is past its last row.
    pub fn read_rows(weights: &Weights, name: &str, ids: &[u32]) -> Result<Self> {
        Ok(Self(weights.canonical_rows(name, ids)?.to_dtype(DType::F64)?))
    }

    /// Concatenates the rows of all `parts`, which must have the same width.
    ///
    /// # Errors
    /// There are no parts, or their widths differ.
    pub fn stacked(parts: &[Self]) -> Result<Self> {
        let parts: Vec<&Tensor> = parts.iter().map(|part| &part.0).collect();
        Ok(Self(Tensor::cat(&parts, 0)?))
    }

    /// Reorders the rows: row j of the result is row `order[j]`. Without an order, they stay as they are.
    ///
    /// # Errors
    /// `order` names a row that does not exist.
    pub fn in_order(&self, order: Option<&[usize]>) -> Result<Self> {
        let Some(order) = order else { return Ok(self.clone()) };
        let order: Vec<u32> = order.iter().map(|&row| row as u32).collect();
        Ok(Self(self.0.index_select(&Tensor::new(order, &Device::Cpu)?, 0)?))
    }

    /// The transpose, `[in, out]`.
    ///
    /// # Errors
    /// None in practice: every matrix has a transpose.
    pub fn transposed(&self) -> Result<Self> {
        Ok(Self(self.0.t()?.contiguous()?))
    }

    /// Applies `to` to every entry.
    ///
    /// # Errors
    /// None in practice.
    pub fn map(&self, to: impl Fn(f64) -> f64) -> Result<Self> {
        let values: Vec<f64> = self.0.flatten_all()?.to_vec1()?;
        let mapped = values.into_iter().map(to).collect();
        Ok(Self(Tensor::from_vec(mapped, self.0.shape(), &Device::Cpu)?))
    }

    /// Applies `to` to all values at once, in row-major order, with the number of columns.
    ///
    /// # Errors
    /// None in practice.
    pub fn changed(&self, to: impl Fn(&mut [f64], usize)) -> Result<Self> {
        let mut values: Vec<f64> = self.0.flatten_all()?.to_vec1()?;
        to(&mut values, self.shape().1);
        Ok(Self(Tensor::from_vec(values, self.0.shape(), &Device::Cpu)?))
    }

    /// Reinterprets the values of this `[out, in]` matrix as `[in, out]` and transposes: `[out, in]` again.
    ///
    /// # Errors
    /// None in practice.
    pub fn read_as_transposed(&self) -> Result<Self> {
        let (out, width) = self.shape();
        Ok(Self(self.0.reshape((width, out))?.t()?.contiguous()?))
    }

    /// The numbers of rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        (self.0.dims()[0], self.0.dims()[1])
    }

    /// The rows `ids`, `[ids, in]`, as an embedding looks them up.
    ///
    /// # Errors
    /// An id is past the last row.
    pub fn rows(&self, ids: &[u32]) -> Result<Rows> {
        let chosen = self.0.index_select(&Tensor::new(ids, &Device::Cpu)?, 0)?; // [ids, in]
        Ok(Rows::new(self.shape().1, chosen.flatten_all()?.to_vec1()?))
    }
}

/// Selects rows of a matrix, `[rows, in]`.
///
/// # Errors
/// A row does not exist.
pub(super) fn rows_of(matrix: &Tensor, rows: &MatrixRows) -> Result<Tensor> {
    Ok(match rows {
        MatrixRows::Range(rows) => matrix.narrow(0, rows.start, rows.len())?,
        MatrixRows::Listed(rows) => matrix.index_select(&Tensor::new(&rows[..], matrix.device())?, 0)?,
    })
}

/// x Wᵀ, `[rows, in]` → `[rows, out]`.
///
/// # Errors
/// The widths of x and W differ.
pub fn linear(x: &Rows, weight: &Matrix) -> Result<Rows> {
    let (out, _) = weight.shape();
    let x = Tensor::from_slice(&x.values, (x.len(), x.width), &Device::Cpu)?; // [rows, in]
    let y = x.matmul(&weight.0.t()?)?; // [rows, out]
    Ok(Rows::new(out, y.flatten_all()?.to_vec1()?))
}

/// A vector of weights such as a norm's, `[width]`.
///
/// # Errors
/// The tensor does not exist.
pub fn vector(weights: &Weights, name: &str) -> Result<Vec<f64>> {
    Ok(weights.canonical(name)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}
