//! How recorded arrays lie, and the canonical tensor that each is.

use candle_core::{DType, Device, Tensor};

use crate::Result;
use crate::compare::Shape;
use crate::oracle::Rows;
use crate::probe::{Kind, Layout, Site};
use crate::reference::Place;
use crate::weights::Config;

/// How an array lies.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Form {
    /// The order of its axes.
    pub axes: Axes,
    /// Do the rows of q and k lie in neighbouring pairs? Unsaid: as the dump's metadata has it.
    pub interleaved: Option<bool>,
}

/// The order of the axes of an array.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Axes {
    /// As docs/dump-format.md has it.
    #[default]
    Canonical,
    /// Positions before heads: `[b, s, heads, head_dim]`.
    SeqFirst,
    /// Dimensions written innermost first.
    Reversed,
    /// ggml's: positions before heads, cache cells past the last key, dimensions in either order.
    Ggml,
}

/// What the arrays of a kind must be, as far as that is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Want {
    pub batch: usize,
    /// Positions of the pass.
    pub length: usize,
    /// Where heads are an axis.
    pub heads: Option<usize>,
    /// Heads that the last axis holds one behind another; 1 where it holds none, or they are not known.
    pub merged: usize,
    /// The last axis.
    pub width: usize,
}

impl Want {
    /// What a model of this config makes.
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
            _ => (None, 1, config.hidden_size),
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

/// A recorded tensor, its axes in canonical order.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub site: Site,
    /// `[b, heads, s, width]` or `[b, s, width]`, in the dtype that it was recorded in.
    pub tensor: Tensor,
    /// The slot of its first position: not 0 where only the last were recorded.
    pub first: usize,
    /// How its last axis lies.
    pub layout: Layout,
    shape: Shape,
}

/// Why an array is not the tensor that it should be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Misfit {
    /// Known by how it does not fit, in words.
    Known(String),
    /// Another shape.
    Shape { got: Vec<usize>, want: Vec<usize> },
}

/// Puts the axes of `tensor` in canonical order, if they can be what is wanted.
pub(super) fn canonical(
    site: Site,
    tensor: Tensor,
    axes: Axes,
    layout: Layout,
    want: &Want,
) -> Result<std::result::Result<Held, Misfit>> {
    let recorded = tensor.dims().to_vec();
    let orders: &[(bool, bool)] = match axes {
        // Dimensions turned round, positions before heads.
        Axes::Canonical => &[(false, false)],
        Axes::SeqFirst => &[(false, true)],
        Axes::Reversed => &[(true, false), (true, true)],
        Axes::Ggml => &[(false, true), (true, true)],
    };
    let mut misfit = None;
    for &(reversed, seq_first) in orders {
        let mut dims = recorded.clone();
        if reversed {
            dims.reverse();
        }
        let Some(dims) = ranked(&dims, want.dims().len()) else { continue };
        let turned = tensor.reshape(dims)?;
        let by_seq = seq_first && matches!(site.kind, Kind::QRope | Kind::KRope);
        let mut turned = if by_seq { turned.transpose(1, 2)?.contiguous()? } else { turned };
        if axes == Axes::Ggml && site.kind.over_keys() && turned.dims()[3] > want.length {
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
                return Ok(Ok(Held { site, tensor: turned, first, layout, shape }));
            }
            Err(why) => misfit = misfit.or(Some(why)),
        }
    }
    Ok(Err(misfit.unwrap_or(Misfit::Shape { got: recorded, want: want.dims() })))
}

/// `dims` with as many axes as `rank`, if only ones stand at the front too much or too few.
fn ranked(dims: &[usize], rank: usize) -> Option<Vec<usize>> {
    let surplus = dims.len().saturating_sub(rank);
    if dims[..surplus].iter().any(|&n| n != 1) {
        return None;
    }
    Some([vec![1; rank.saturating_sub(dims.len())], dims[surplus..].to_vec()].concat())
}

/// The slot of the first position, if these are the dimensions of what is wanted.
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
    Err(Misfit::Known(if but_for_positions {
        format!("truncated: {s} of {} positions", want.length)
    } else if dims[0] < want.batch && dims[1..] == wanted[1..] {
        format!("truncated: {} of {} rows of the batch", dims[0], want.batch)
    } else if swapped(last - 1, last) {
        format!("transposed: {dims:?}, want {wanted:?}")
    } else if last == 3 && swapped(1, 2) {
        format!(
            "positions stand before heads: {dims:?}, want {wanted:?}; --map can say so, layout `seq-first`"
        )
    } else if dims.iter().rev().eq(wanted.iter()) {
        format!("dimensions are reversed: {dims:?}, want {wanted:?}; --map can say so, layout `reversed`")
    } else {
        return Err(Misfit::Shape { got: dims.to_vec(), want: wanted });
    }))
}

impl Held {
    /// As the comparison is to see it.
    pub(super) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Does it hold this slot?
    pub(super) fn holds(&self, place: Place) -> bool {
        place.1 >= self.first
    }

    /// The rows at `places`, `[places, heads * width]`, in the reference's order; what is barred is −inf.
    pub(super) fn rows(&self, places: &[Place]) -> Result<Rows> {
        let (heads, width, queries) = (self.shape.heads.unwrap_or(1), self.shape.width, self.shape.queries);
        let values: Vec<f64> =
            self.tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
        let lowest = if self.tensor.dtype() == DType::F16 { -65504.0 } else { f64::from(f32::MIN) };
        let columns = self.layout.columns(width);
        let mut rows = Vec::with_capacity(places.len() * heads * width);
        for &(batch, slot) in places {
            for head in 0..heads {
                let start = ((batch * heads + head) * queries + slot - self.first) * width;
                rows.extend((0..width).map(|j| {
                    let value = values[start + columns.as_ref().map_or(j, |columns| columns[j])];
                    let barred = self.shape.over_keys && value <= lowest / 2.0;
                    if barred { f64::NEG_INFINITY } else { value }
                }));
            }
        }
        Ok(Rows::new(heads * width, rows))
    }
}
