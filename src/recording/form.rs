//! The axis order and layout of recorded arrays, and their conversion to the reference's order.

use candle_core::Tensor;

use super::axes::Axes;
use super::site_tensor::{Lookup, Misfit, SiteTensor};
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
}

/// The order of the axes of an array.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum AxisOrder {
    /// As described in docs/dump-format.md.
    #[default]
    Canonical,
    /// Positions before heads: `[b, s, heads, head_dim]`.
    SeqFirst,
    /// Dimensions listed innermost first.
    Reversed,
    /// ggml's order: positions before heads, cache cells after the last key, dimensions listed in either
    /// direction.
    Ggml,
    /// Given in letters.
    Letters(Axes),
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
}

impl AxisOrder {
    /// The interpretations to try for an array of `kind`, in order.
    fn readings(&self, kind: Kind) -> Vec<Reading> {
        use Written::{InnermostFirst, OutermostFirst};
        let read = |written, axes| Reading { written, axes };
        let (reference, seq_first) = (|| Axes::of_reference(kind), || Axes::positions_first(kind));
        match self {
            Self::Canonical => vec![read(OutermostFirst, reference())],
            Self::SeqFirst => vec![read(OutermostFirst, seq_first())],
            Self::Reversed => vec![read(InnermostFirst, reference()), read(InnermostFirst, seq_first())],
            Self::Ggml => vec![read(OutermostFirst, seq_first()), read(InnermostFirst, seq_first())],
            Self::Letters(axes) => vec![read(OutermostFirst, axes.clone())],
        }
    }
}

/// The expected shape of the arrays of a kind, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Want {
    pub batch: usize,
    /// Number of positions in the pass.
    pub length: usize,
    /// Number of heads, if heads are an axis.
    pub heads: Option<usize>,
    /// Number of heads concatenated in the last axis; 1 if there are none or it is unknown.
    pub merged: usize,
    /// Size of the last axis.
    pub width: usize,
}

impl Want {
    /// The shape for a model with this config.
    pub(super) fn of(kind: Kind, config: &Config, batch: usize, length: usize) -> Self {
        let (heads, kv_heads, d) = (config.num_attention_heads, config.num_key_value_heads, config.head_dim);
        let (heads, merged, width) = match kind {
            Kind::QRope => (Some(heads), 1, d),
            Kind::KRope => (Some(kv_heads), 1, d),
            Kind::Scores | Kind::Probs => (Some(heads), 1, length),
            Kind::QProj | Kind::Context => (None, heads, config.query_width()),
            Kind::KProj | Kind::VProj => (None, kv_heads, config.key_width()),
            Kind::Gate | Kind::Up | Kind::Act => (None, 1, config.intermediate_size),
            Kind::Logits => (None, 1, config.vocab_size),
            Kind::Embed
            | Kind::InputNorm
            | Kind::OProj
            | Kind::PostNormInput
            | Kind::PostNorm
            | Kind::Down
            | Kind::Block
            | Kind::FinalNorm => (None, 1, config.hidden_size),
        };
        Self { batch, length, heads, merged, width }
    }

    /// `[b, heads, s, width]` or `[b, s, width]`.
    fn dims(&self) -> Vec<usize> {
        match self.heads {
            Some(heads) => vec![self.batch, heads, self.length, self.width],
            None => vec![self.batch, self.length, self.width],
        }
    }
}

/// Puts the axes of `tensor` in the reference's order if it can be the expected tensor.
pub(super) fn canonical(
    site: Site,
    tensor: &Tensor,
    order: &AxisOrder,
    layout: Layout,
    want: &Want,
) -> Result<Lookup> {
    let mut misfit = None;
    for Reading { written, axes } in order.readings(site.kind) {
        let mut dims = tensor.dims().to_vec();
        if written == Written::InnermostFirst {
            dims.reverse();
        }
        let Some(dims) = ranked(&dims, axes.rank()) else { continue };
        let Some(mut turned) = axes.to_reference(site.kind, &tensor.reshape(dims)?, want.heads) else {
            continue;
        };
        if *order == AxisOrder::Ggml && site.kind.over_keys() && turned.dims()[3] > want.length {
            turned = turned.narrow(3, 0, want.length)?.contiguous()?;
        }
        match fits(site.kind, turned.dims(), want) {
            Ok(first) => {
                let shape = Shape {
                    batch: want.batch,
                    queries: want.length - first,
                    heads: want.heads,
                    width: want.width,
                    merged: want.merged,
                    over_keys: site.kind.over_keys(),
                };
                return Ok(Lookup::Tensor(SiteTensor { site, tensor: turned, first, layout, shape }));
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
fn fits(kind: Kind, dims: &[usize], want: &Want) -> std::result::Result<usize, Misfit> {
    let wanted = want.dims();
    let s = dims[dims.len() - 2];
    let rest = |dims: &[usize]| [&dims[..dims.len() - 2], &dims[dims.len() - 1..]].concat();
    if dims == wanted {
        return Ok(0);
    }
    let but_for_positions = rest(dims) == rest(&wanted) && s < want.length;
    if but_for_positions && matches!(kind, Kind::FinalNorm | Kind::Logits) {
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
