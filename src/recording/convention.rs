//! How recorded numbers are converted as they are read, where they are not what docs/dump-format.md describes.

use candle_core::{DType, Device, Tensor};

use super::site_tensor::SiteTensor;
use crate::Result;
use crate::compare::masked_below;
use crate::probe::Kind;
use crate::reference::Place;

/// How the scores of a recording differ from scaled and masked ones.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Conventions {
    /// A score at or below this number is masked.
    pub masked_below: Option<f64>,
    /// Scores were recorded before the mask was applied.
    pub unmasked: bool,
    /// Scores were recorded before they were multiplied by this number.
    pub scale: Option<f64>,
}

impl Conventions {
    /// The tensor as docs/dump-format.md describes it.
    ///
    /// # Errors
    /// A tensor operation fails.
    pub(super) fn convert(&self, mut recorded: SiteTensor, sees: Sees<'_>) -> Result<SiteTensor> {
        if recorded.site.kind != Kind::Scores || *self == Self::default() {
            return Ok(recorded);
        }
        let mut scores = recorded.tensor; // [b, heads, s, t]
        if let Some(masked) = self.masked_below {
            scores = hide(&scores, &scores.le(masked.max(masked_below(scores.dtype())))?)?;
        }
        if self.unmasked {
            let hidden = hidden(sees, recorded.first, scores.dims())?;
            scores = hide(&scores, &hidden.broadcast_as(scores.shape())?)?;
        }
        if let Some(scale) = self.scale {
            // The mask of an unscaled score may no longer look like one after scaling.
            scores = hide(&scores, &scores.le(masked_below(scores.dtype()))?)?;
            let wide = if scores.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
            scores = (scores.to_dtype(wide)? * scale)?;
        }
        recorded.tensor = scores;
        Ok(recorded)
    }
}

/// The scores with −inf where `hidden` is 1.
fn hide(scores: &Tensor, hidden: &Tensor) -> Result<Tensor> {
    let low = Tensor::new(f32::NEG_INFINITY, scores.device())?.to_dtype(scores.dtype())?;
    Ok(hidden.where_cond(&low.broadcast_as(scores.shape())?, scores)?)
}

/// 1 at each key that a query may not attend to, `[b, 1, s, t]`. The first query is at slot `first`.
fn hidden(sees: Sees<'_>, first: usize, dims: &[usize]) -> Result<Tensor> {
    let (batch, queries, keys) = (dims[0], dims[2], dims[3]);
    let mut hidden = Vec::with_capacity(batch * queries * keys);
    for row in 0..batch {
        for query in first..first + queries {
            hidden.extend((0..keys).map(|key| u8::from(!sees((row, query), key))));
        }
    }
    Ok(Tensor::from_vec(hidden, (batch, 1, queries, keys), &Device::Cpu)?)
}

/// May the query at this place attend to the key in this slot?
pub(super) type Sees<'a> = &'a dyn Fn(Place, usize) -> bool;

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::compare::Shape;
    use crate::probe::{Layout, Site};

    const LOW: f32 = f32::NEG_INFINITY;

    /// One head and three slots, of which the first is padding.
    fn converted(conventions: Conventions, scores: [f32; 9]) -> Vec<f32> {
        let sees = |(_, query): Place, key: usize| key > 0 && key <= query;
        let tensor = Tensor::from_slice(&scores, (1, 1, 3, 3), &Device::Cpu).unwrap();
        let shape = Shape { batch: 1, queries: 3, heads: Some(1), merged: 1, width: 3, over_keys: true };
        let site = Site::layer(0, Kind::Scores);
        let recorded = SiteTensor { site, tensor, first: 0, layout: Layout::Reference, shape };
        let read = conventions.convert(recorded, &sees).unwrap();
        read.tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[rstest]
    #[case::as_they_are(Conventions::default(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0])]
    #[case::before_the_mask(
        Conventions { unmasked: true, ..Conventions::default() },
        [LOW, LOW, LOW, LOW, 5.0, LOW, LOW, 8.0, 9.0]
    )]
    #[case::a_finite_mask(
        Conventions { masked_below: Some(3.0), ..Conventions::default() },
        [LOW, LOW, LOW, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    )]
    #[case::before_scale_and_mask(
        Conventions { unmasked: true, scale: Some(0.5), ..Conventions::default() },
        [LOW, LOW, LOW, LOW, 2.5, LOW, LOW, 4.0, 4.5]
    )]
    fn scores_are_converted_as_stated(#[case] conventions: Conventions, #[case] want: [f32; 9]) {
        assert_eq!(converted(conventions, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]), want);
    }

    /// −65504 / √32 would not look like a mask.
    #[test]
    fn scores_that_are_masked_but_not_scaled_stay_masked() {
        let unscaled = Conventions { scale: Some(32f64.sqrt().recip()), ..Conventions::default() };
        let masked = converted(unscaled, [f32::MIN; 9]);
        assert_eq!(masked, [LOW; 9]);
    }
}
