//! A recorded tensor with its axes in the reference's order, or the reason why they cannot be reordered.

use candle_core::{DType, Tensor};

use super::rows::{bar, gather};
use crate::Result;
use crate::compare::Shape;
use crate::probe::{Layout, Site};
use crate::reference::Place;

/// What a recording contains at a site.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// Nothing was recorded.
    Absent,
    /// An array that cannot be the expected tensor.
    Misfit(Misfit),
    /// The tensor.
    Tensor(SiteTensor),
}

/// A recorded tensor, its axes in the reference's order.
#[derive(Clone, Debug)]
pub(crate) struct SiteTensor {
    pub site: Site,
    /// `[b, heads, s, width]` or `[b, s, width]`, in the dtype of the recording.
    pub tensor: Tensor,
    /// The slot of its first position; not 0 if only the last positions were recorded.
    pub first: usize,
    /// The layout of its last axis.
    pub layout: Layout,
    pub(super) shape: Shape,
}

/// Why an array cannot be the expected tensor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Misfit {
    /// A recognised problem, in words.
    Recognised(String),
    /// Any other shape.
    Shape { got: Vec<usize>, want: Vec<usize> },
}

impl SiteTensor {
    /// The shape to use in a comparison.
    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Was this slot recorded?
    pub(crate) fn holds(&self, place: Place) -> bool {
        (self.first..self.first + self.shape.queries).contains(&place.1)
    }

    /// The rows at `places`, `[places, heads * width]`, in the reference's order, with masked entries as
    /// −inf.
    pub(crate) fn rows(&self, places: &[Place]) -> Result<Vec<f64>> {
        let (kind, dtype) = (self.site.kind, self.tensor.dtype());
        let rows = gather(&self.tensor, kind, &self.layout, self.first, places)?;
        Ok(rows.map(|rows| rows.barred(kind, dtype).values).unwrap_or_default())
    }

    /// The whole tensor, with masked entries as −inf: as float64 if it was recorded as float64, otherwise as
    /// float32.
    pub(crate) fn barred(&self) -> Result<Tensor> {
        let dtype = self.tensor.dtype();
        let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        if !self.site.kind.over_keys() {
            return Ok(self.tensor.to_dtype(wide)?);
        }
        let mut values: Vec<f64> = self.tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
        bar(&mut values, dtype);
        Ok(Tensor::from_vec(values, self.tensor.shape(), self.tensor.device())?.to_dtype(wide)?)
    }

    /// The same rows in the reference's order. Their first slot is 0.
    pub(crate) fn in_reference_order(&self) -> Result<Self> {
        let tensor = match self.layout.columns(self.shape.width) {
            None => self.tensor.clone(),
            Some(columns) => {
                let columns: Vec<u32> = columns.into_iter().map(|column| column as u32).collect();
                let columns = Tensor::new(columns, self.tensor.device())?;
                self.tensor.contiguous()?.index_select(&columns, self.tensor.rank() - 1)?
            }
        };
        Ok(Self { tensor, first: 0, layout: Layout::Reference, ..self.clone() })
    }

    /// These rows and those of `other` in the slots after them, in the reference's order.
    pub(crate) fn followed_by(&self, other: &Self) -> Result<Self> {
        let wide = |this: &Self| -> Result<Tensor> {
            let dtype = if this.tensor.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
            Ok(this.in_reference_order()?.tensor.to_dtype(dtype)?)
        };
        let (own, others) = (wide(self)?, wide(other)?);
        let others = others.to_dtype(own.dtype())?;
        let tensor = Tensor::cat(&[&own, &others], own.rank() - 2)?;
        let shape = Shape { queries: self.shape.queries + other.shape.queries, ..self.shape.clone() };
        Ok(Self { site: self.site, tensor, first: 0, layout: Layout::Reference, shape })
    }

    /// The rows of these slots only.
    pub(crate) fn slots(&self, slots: std::ops::Range<usize>) -> Result<Self> {
        let (axis, count) = (self.tensor.rank() - 2, slots.len());
        let tensor = self.tensor.narrow(axis, slots.start - self.first, count)?.contiguous()?;
        let shape = Shape { queries: count, ..self.shape.clone() };
        Ok(Self { tensor, first: slots.start, shape, ..self.clone() })
    }

    /// The width of its rows over all heads.
    pub(crate) fn width(&self) -> usize {
        self.shape.heads.unwrap_or(1) * self.shape.width
    }
}
