//! The axis order and layout of recorded arrays, and their conversion to the reference's order.

use candle_core::Tensor;

use super::axes::{Axes, Sizes};
use super::part::Part;
use super::positions::Positions;
use super::site_tensor::{Lookup, Misfit, SiteTensor};
use super::want::Want;
use crate::Result;
use crate::compare::Shape;
use crate::probe::{Kind, Layout, Site};
use crate::weights::Config;

/// The axis order and layout of an array.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Form {
    /// The order of its axes.
    pub order: AxisOrder,
    /// Are the rows of q and k in neighbouring pairs? `None`: as the recording's metadata says.
    pub interleaved: Option<bool>,
    /// Which part of the array is the tensor.
    pub part: Part,
    /// Which positions it has.
    pub positions: Positions,
    /// Does a map state it?
    pub stated: bool,
}

/// The order of the axes of an array.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum AxisOrder {
    /// As described in docs/dump-format.md.
    #[default]
    Canonical,
    /// Positions before heads: `[b, s, heads, head_dim]`.
    SeqFirst,
    /// Heads are an axis of all tensors that have heads, after positions or before them.
    Split,
    /// Dimensions listed innermost first.
    Reversed,
    /// ggml's order: positions before heads, cache cells after the last key, dimensions listed in either
    /// direction.
    Ggml,
    /// The same, with heads before positions.
    GgmlHeadsFirst,
    /// Given in letters.
    Letters(Axes),
    /// These single axes in memory, whatever the dimensions say.
    Memory(Axes),
}

/// One way to interpret the dimensions of an array.
struct Reading {
    written: Written,
    axes: Axes,
}

/// The direction in which the dimensions of an array are listed. The values in memory are the same.
#[derive(Clone, Copy, PartialEq)]
enum Written {
    OutermostFirst,
    InnermostFirst,
    /// They are not: the dimensions are those of the axes.
    AsInMemory,
}

impl AxisOrder {
    /// Is it an order of ggml's?
    pub const fn is_ggml(&self) -> bool {
        matches!(self, Self::Ggml | Self::GgmlHeadsFirst)
    }

    /// The interpretations to try for an array of `kind`, in order.
    fn readings(&self, kind: Kind) -> Vec<Reading> {
        use Written::{InnermostFirst, OutermostFirst};
        let read = |written, axes| Reading { written, axes };
        let (reference, seq_first) = (|| Axes::of_reference(kind), || Axes::positions_first(kind));
        match self {
            Self::Canonical => vec![read(OutermostFirst, reference())],
            Self::SeqFirst => vec![read(OutermostFirst, seq_first())],
            Self::Split => {
                let orders = [seq_first(), Axes::heads_second(), Axes::heads_first()];
                orders
                    .into_iter()
                    .take(if kind.over_keys() { 1 } else { 3 })
                    .map(|axes| read(OutermostFirst, axes))
                    .collect()
            }
            Self::Reversed => vec![read(InnermostFirst, reference()), read(InnermostFirst, seq_first())],
            Self::Ggml => vec![read(OutermostFirst, seq_first()), read(InnermostFirst, seq_first())],
            Self::GgmlHeadsFirst => {
                vec![read(OutermostFirst, Axes::heads_first()), read(InnermostFirst, Axes::heads_first())]
            }
            Self::Memory(axes) => vec![read(Written::AsInMemory, axes.clone())],
            Self::Letters(axes) => vec![read(OutermostFirst, axes.clone())],
        }
    }
}

/// Puts the axes of `tensor` in the reference's order if it can be the expected tensor.
pub(super) fn canonical(
    site: Site,
    tensor: &Tensor,
    form: &Form,
    layout: Layout,
    want: &Want,
    config: Option<&Config>,
) -> Result<Lookup> {
    let (order, of_tensor) = (&form.order, want);
    let Some(want) = &form.part.want(want, site.kind, config) else {
        let why = "it is part of a larger array, which cannot be divided without the model's config";
        return Ok(Lookup::Misfit(Misfit::Recognised(why.into())));
    };
    let heads = want.heads.or((want.merged > 1).then_some(want.merged));
    let sizes = Sizes { batch: Some(want.batch), heads };
    let mut misfit = None;
    for Reading { written, axes } in order.readings(site.kind) {
        let mut dims = tensor.dims().to_vec();
        match written {
            Written::OutermostFirst => {}
            Written::InnermostFirst => dims.reverse(),
            Written::AsInMemory => {
                dims = want.sizes(&axes);
                if dims.iter().product::<usize>() != tensor.elem_count() {
                    continue;
                }
            }
        }
        let Some(dims) = ranked(&dims, axes.rank()) else { continue };
        let Some(mut turned) = axes.to_reference(site.kind, &tensor.reshape(dims)?, sizes) else {
            continue;
        };
        if order.is_ggml() && site.kind.over_keys() && turned.dims()[3] > want.keys {
            turned = turned.narrow(3, 0, want.keys)?.contiguous()?;
        }
        let padded = Want { width: want.width.max(turned.dims()[turned.rank() - 1]), ..*want };
        let want = if form.part == Part::Padded { &padded } else { want };
        match fits(site.kind, turned.dims(), want, form.positions) {
            Ok(first) => {
                let shape = Shape {
                    batch: want.batch,
                    queries: turned.dims()[turned.rank() - 2],
                    heads: of_tensor.heads,
                    width: of_tensor.width,
                    merged: of_tensor.merged,
                    over_keys: site.kind.over_keys(),
                };
                let tensor = form.part.of(turned, site.kind, of_tensor, config)?;
                return Ok(Lookup::Tensor(SiteTensor { site, tensor, first, layout, shape }));
            }
            Err(why) => misfit = misfit.or(Some(why)),
        }
    }
    let other = || Misfit::Shape { got: tensor.dims().to_vec(), want: want.dims() };
    Ok(Lookup::Misfit(misfit.unwrap_or_else(other)))
}

/// `dims` with exactly `rank` axes, if only leading axes of size 1 must be added or removed.
fn ranked(dims: &[usize], rank: usize) -> Option<Vec<usize>> {
    let surplus = dims.len().saturating_sub(rank);
    if dims[..surplus].iter().any(|&n| n != 1) {
        return None;
    }
    Some([vec![1; rank.saturating_sub(dims.len())], dims[surplus..].to_vec()].concat())
}

/// The slot of the first position, if these dimensions match what is expected.
fn fits(kind: Kind, dims: &[usize], want: &Want, positions: Positions) -> std::result::Result<usize, Misfit> {
    let wanted = want.dims();
    let s = dims[dims.len() - 2];
    let rest = |dims: &[usize]| [&dims[..dims.len() - 2], &dims[dims.len() - 1..]].concat();
    if dims == wanted {
        return Ok(0);
    }
    let but_for_positions = rest(dims) == rest(&wanted) && s < want.length;
    let may_be_last =
        matches!(kind, Kind::FinalNorm | Kind::Logits | Kind::CappedLogits) || positions == Positions::Last;
    if but_for_positions && positions == Positions::First {
        return Ok(0);
    }
    if but_for_positions && may_be_last {
        return Ok(want.length - s);
    }
    let swapped = |a: usize, b: usize| {
        let mut other = wanted.clone();
        other.swap(a, b);
        dims == other
    };
    let last = wanted.len() - 1;
    Err(Misfit::Recognised(if but_for_positions {
        format!("truncated: {s} of {} positions", want.length)
    } else if dims[0] < want.batch && dims[1..] == wanted[1..] {
        format!("truncated: {} of {} rows of the batch", dims[0], want.batch)
    } else if swapped(last - 1, last) {
        format!("transposed: {dims:?}, want {wanted:?}")
    } else if last == 3 && swapped(1, 2) {
        format!(
            "positions come before heads: {dims:?}, want {wanted:?}; if this is intended, pass a --map file with layout `seq-first`"
        )
    } else if dims.iter().rev().eq(wanted.iter()) {
        format!(
            "dimensions are reversed: {dims:?}, want {wanted:?}; if this is intended, pass a --map file with layout `reversed`"
        )
    } else {
        return Err(Misfit::Shape { got: dims.to_vec(), want: wanted });
    }))
}
