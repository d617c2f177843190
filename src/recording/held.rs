//! One recorded tensor with its axes in order, or why they cannot be.

use candle_core::{DType, Tensor};

use super::rows::{bar, gather};
use crate::Result;
use crate::compare::Shape;
use crate::probe::{Layout, Site};
use crate::reference::Place;

/// What a recording has at a site.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// Nothing was recorded there.
    Absent,
    /// An array that is not the tensor that it should be.
    Misfit(Misfit),
    /// The tensor.
    Held(Held),
}

/// A recorded tensor, its axes in the reference's order.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub site: Site,
    /// `[b, heads, s, width]` or `[b, s, width]`, in the dtype that it was recorded in.
    pub tensor: Tensor,
    /// The slot of its first position: not 0 where only the last were recorded.
    pub first: usize,
    /// How its last axis lies.
    pub layout: Layout,
    pub(super) shape: Shape,
}

/// Why an array is not the tensor that it should be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Misfit {
    /// Known by how it does not fit, in words.
    Known(String),
    /// Another shape.
    Shape { got: Vec<usize>, want: Vec<usize> },
}

impl Held {
    /// As the comparison is to see it.
    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Does it hold this slot?
    pub(crate) fn holds(&self, place: Place) -> bool {
        place.1 >= self.first
    }

    /// The rows at `places`, `[places, heads * width]`, in the reference's order; what is barred is −inf.
    pub(crate) fn rows(&self, places: &[Place]) -> Result<Vec<f64>> {
        let (kind, dtype) = (self.site.kind, self.tensor.dtype());
        let rows = gather(&self.tensor, kind, &self.layout, self.first, places)?;
        Ok(rows.map(|rows| rows.barred(kind, dtype).values).unwrap_or_default())
    }

    /// The whole tensor, in float64 if it was recorded in that, else in float32; what is barred is −inf.
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

    /// The width of its rows, all heads counted.
    pub(crate) fn width(&self) -> usize {
        self.shape.heads.unwrap_or(1) * self.shape.width
    }
}
