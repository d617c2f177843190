//! Reads rows of a tensor at given places, and writes them back.

use std::collections::BTreeSet;

use candle_core::{DType, Device, Tensor};

use crate::Result;
use crate::compare::masked_below;
use crate::probe::{Kind, Layout};
use crate::reference::Place;

/// Rows in the reference's order, concatenated.
pub(crate) struct Gathered {
    /// `[places, …row_shape]`
    pub values: Vec<f64>,
    /// `[heads, width]` if heads are an axis of the kind, else `[width]`.
    pub row_shape: Vec<usize>,
}

/// The axes `[batch, heads, queries, width]` of a tensor of `kind`, with heads = 1 if heads are not an axis.
/// `None` if it has other axes.
fn axes(tensor: &Tensor, kind: Kind) -> Option<(usize, usize, usize)> {
    match (kind.by_head(), tensor.dims()) {
        (true, &[_, heads, queries, width]) => Some((heads, queries, width)),
        (false, &[_, queries, width]) => Some((1, queries, width)),
        _ => None,
    }
}

/// The rows of `tensor`, of this kind and layout, at these places; its first query is at slot `first`. `None`
/// if it does not have the axes of its kind, or lacks one of these places.
pub(crate) fn gather(
    tensor: &Tensor,
    kind: Kind,
    layout: &Layout,
    first: usize,
    places: &[Place],
) -> Result<Option<Gathered>> {
    let Some((heads, queries, width)) = axes(tensor, kind) else { return Ok(None) };
    let batch = tensor.dims()[0];
    if places.iter().any(|&(b, slot)| b >= batch || !(first..first + queries).contains(&slot)) {
        return Ok(None);
    }
    let row_shape = if kind.by_head() { vec![heads, width] } else { vec![width] };
    if places.is_empty() {
        return Ok(Some(Gathered { values: Vec::new(), row_shape }));
    }
    // Convert only the requested slots: long passes are gathered in parts, and sampled.
    let slots: BTreeSet<usize> = places.iter().map(|&(_, slot)| slot - first).collect();
    let slots: Vec<u32> = slots.into_iter().map(|slot| slot as u32).collect();
    let axis = if kind.by_head() { 2 } else { 1 };
    let part = tensor.index_select(&Tensor::new(&slots[..], tensor.device())?, axis)?;
    let queries = slots.len();
    let all: Vec<f64> = part.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
    let columns = layout.columns(width);
    let mut values = Vec::with_capacity(places.len() * heads * width);
    for &(batch, slot) in places {
        let query = slots.partition_point(|&own| (own as usize) < slot - first);
        for head in 0..heads {
            let row = &all[((batch * heads + head) * queries + query) * width..][..width];
            match &columns {
                None => values.extend_from_slice(row),
                Some(columns) => values.extend(columns.iter().map(|&j| row[j])),
            }
        }
    }
    Ok(Some(Gathered { values, row_shape }))
}

impl Gathered {
    /// The same rows, with −inf for masked scores.
    pub(crate) fn barred(mut self, kind: Kind, dtype: DType) -> Self {
        if kind.over_keys() {
            bar(&mut self.values, dtype);
        }
        self
    }
}

/// Scores that a mask has set to the lowest number of `dtype` are masked: replace them with −inf.
pub(super) fn bar(values: &mut [f64], dtype: DType) {
    let lowest = masked_below(dtype);
    values.iter_mut().filter(|value| **value <= lowest).for_each(|value| *value = f64::NEG_INFINITY);
}

/// `tensor`, as [`gather`] takes it, with the rows at these places replaced. A row that is wider than the
/// tensor is cut in each head, because a pass that ends early has seen fewer keys.
pub(crate) fn scatter<'r>(
    tensor: &Tensor,
    kind: Kind,
    layout: &Layout,
    first: usize,
    rows: impl Iterator<Item = (Place, &'r [f64])>,
) -> Result<Tensor> {
    let Some((heads, queries, width)) = axes(tensor, kind) else { return Ok(tensor.clone()) };
    let mut values: Vec<f32> =
        tensor.to_dtype(DType::F32)?.flatten_all()?.to_device(&Device::Cpu)?.to_vec1()?;
    for ((batch, slot), row) in rows {
        let stored = row.len() / heads;
        let columns = layout.columns(stored);
        for (head, row) in row.chunks_exact(stored).enumerate() {
            let start = ((batch * heads + head) * queries + slot - first) * width;
            for (j, &value) in row[..width].iter().enumerate() {
                let column = columns.as_ref().map_or(j, |columns| columns[j]);
                values[start + column] = value as f32;
            }
        }
    }
    Ok(Tensor::from_vec(values, tensor.shape(), &Device::Cpu)?
        .to_device(tensor.device())?
        .to_dtype(tensor.dtype())?)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// 2 batch rows, 3 queries starting at slot 4, 2 heads of width 4.
    fn tensor(kind: Kind) -> Tensor {
        let dims: &[usize] = if kind.by_head() { &[2, 2, 3, 4] } else { &[2, 3, 8] };
        Tensor::arange(0f32, 48.0, &Device::Cpu).unwrap().reshape(dims).unwrap()
    }

    #[rstest]
    #[case(Kind::QRope, &[28.0, 29.0, 30.0, 31.0, 40.0, 41.0, 42.0, 43.0], &[2, 4])]
    #[case(Kind::QProj, &[32.0, 33.0, 34.0, 35.0, 36.0, 37.0, 38.0, 39.0], &[8])]
    fn a_row_is_gathered_from_its_place(#[case] kind: Kind, #[case] want: &[f64], #[case] shape: &[usize]) {
        let rows = gather(&tensor(kind), kind, &Layout::Reference, 4, &[(1, 5)]).unwrap().unwrap();
        assert_eq!((rows.values.as_slice(), rows.row_shape.as_slice()), (want, shape));
    }

    #[rstest]
    fn scattered_rows_are_gathered_again_and_other_rows_are_unchanged(
        #[values(Kind::QRope, Kind::QProj)] kind: Kind,
        #[values(Layout::Reference, Layout::Interleaved { head_dim: 4 })] layout: Layout,
    ) {
        let row: Vec<f64> = (0..8).map(|j| 100.0 + f64::from(j)).collect();
        let places = [(0, 4), (1, 6)];
        let rows = places.iter().map(|&place| (place, row.as_slice()));
        let changed = scatter(&tensor(kind), kind, &layout, 4, rows).unwrap();
        let at = |tensor: &Tensor, place| gather(tensor, kind, &layout, 4, &[place]).unwrap().unwrap().values;
        assert!(places.iter().all(|&place| at(&changed, place) == row));
        assert_eq!(at(&changed, (0, 5)), at(&tensor(kind), (0, 5)));
    }

    /// A port may hand over fewer rows or positions than it was fed.
    #[rstest]
    #[case::another_batch_row((2, 4))]
    #[case::before_the_first((0, 3))]
    #[case::after_the_last((1, 7))]
    fn a_place_outside_the_tensor_has_no_row(
        #[case] place: Place,
        #[values(Kind::QRope, Kind::QProj)] kind: Kind,
    ) {
        let rows = gather(&tensor(kind), kind, &Layout::Reference, 4, &[(0, 4), place]).unwrap();
        assert!(rows.is_none());
    }

    #[test]
    fn a_tensor_with_other_axes_has_no_rows() {
        let rows = gather(&tensor(Kind::QProj), Kind::QRope, &Layout::Reference, 4, &[(0, 4)]).unwrap();
        assert!(rows.is_none());
    }

    #[test]
    fn scores_at_the_lowest_number_of_the_dtype_count_as_masked() {
        let mut values = [1.0, -65504.0, f64::from(f32::MIN)];
        bar(&mut values, DType::F32);
        assert_eq!(values, [1.0, -65504.0, f64::NEG_INFINITY]);
        bar(&mut values, DType::F16);
        assert_eq!(values, [1.0, f64::NEG_INFINITY, f64::NEG_INFINITY]);
    }
}
