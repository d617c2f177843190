//! Arrays that contain more than one tensor, or a tensor more than once.

use candle_core::{Device, Tensor};

use super::want::Want;
use crate::Result;
use crate::probe::Kind;
use crate::weights::Config;

/// Which part of an array is the tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Part {
    /// All of it.
    #[default]
    Whole,
    /// Columns of an array that has several tensors side by side.
    Fused(Fused),
    /// Heads of keys or values that were repeated for each query head.
    Repeated(Repetition),
    /// The first columns; the others are padding.
    Padded,
}

/// Several tensors side by side in the last axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fused {
    /// All queries, then all keys, then all values.
    Qkv,
    /// For each key head, the queries of its query heads, then the key, then the value.
    QkvByGroup,
    /// The gate, then up.
    GateUp,
}

/// How heads of keys and values are repeated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Repetition {
    /// Each head is followed by its copies, as `repeat_kv` and `repeat_interleave` do.
    Adjacent,
    /// All heads are followed by copies of all heads, as `repeat` and `tile` do.
    Tiled,
}

impl Fused {
    /// The kinds of the tensors, in the order of the array.
    pub const fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Qkv | Self::QkvByGroup => &[Kind::QProj, Kind::KProj, Kind::VProj],
            Self::GateUp => &[Kind::Gate, Kind::Up],
        }
    }

    /// The width of the whole array.
    fn width(self, config: &Config) -> usize {
        match self {
            Self::Qkv | Self::QkvByGroup => config.query_width() + 2 * config.key_width(),
            Self::GateUp => 2 * config.intermediate_size,
        }
    }

    /// The columns of the tensor of this kind.
    fn columns(self, kind: Kind, config: &Config) -> Vec<usize> {
        let (q, k, d) = (config.query_width(), config.key_width(), config.head_dim);
        let ffn = config.intermediate_size;
        match (self, kind) {
            (Self::Qkv, Kind::KProj) => (q..q + k).collect(),
            (Self::Qkv, Kind::VProj) => (q + k..q + 2 * k).collect(),
            (Self::Qkv, _) => (0..q).collect(),
            (Self::GateUp, Kind::Up) => (ffn..2 * ffn).collect(),
            (Self::GateUp, _) => (0..ffn).collect(),
            (Self::QkvByGroup, _) => {
                let groups = config.num_key_value_heads;
                let queries = q / groups.max(1);
                let part = match kind {
                    Kind::KProj => queries..queries + d,
                    Kind::VProj => queries + d..queries + 2 * d,
                    _ => 0..queries,
                };
                (0..groups)
                    .flat_map(|group| part.clone().map(move |j| group * (queries + 2 * d) + j))
                    .collect()
            }
        }
    }
}

impl Repetition {
    /// The first copy of each of `heads` heads, each of which is there `times` times.
    fn first(self, heads: usize, times: usize) -> Vec<usize> {
        (0..heads).map(|head| self.copy(head, 0, heads, times)).collect()
    }

    /// Where copy `n` of `head` is.
    const fn copy(self, head: usize, n: usize, heads: usize, times: usize) -> usize {
        match self {
            Self::Adjacent => head * times + n,
            Self::Tiled => n * heads + head,
        }
    }
}

impl Part {
    /// The shape of the whole array if `want` is that of the tensor; `None` if it is not known.
    pub(super) fn want(self, want: &Want, kind: Kind, config: Option<&Config>) -> Option<Want> {
        Some(match self {
            Self::Whole | Self::Padded => *want,
            Self::Fused(fused) => Want { heads: None, merged: 1, width: fused.width(config?), ..*want },
            Self::Repeated(_) => {
                let heads = config?.num_attention_heads;
                match want.heads {
                    Some(_) => Want { heads: Some(heads), ..*want },
                    None => Want { merged: heads, width: heads * config?.head_dim, ..*want },
                }
            }
        })
        .filter(|_| !matches!(self, Self::Fused(fused) if !fused.kinds().contains(&kind)))
    }

    /// The tensor in the array, whose axes are in the reference's order.
    ///
    /// # Errors
    /// A tensor operation fails.
    pub(super) fn of(
        self,
        array: Tensor,
        kind: Kind,
        want: &Want,
        config: Option<&Config>,
    ) -> Result<Tensor> {
        let last = array.rank() - 1;
        let (axis, indices) = match (self, config) {
            (Self::Padded, _) => return Ok(array.narrow(last, 0, want.width)?.contiguous()?),
            (Self::Whole, _) | (_, None) => return Ok(array),
            (Self::Fused(fused), Some(config)) => (last, fused.columns(kind, config)),
            (Self::Repeated(how), Some(config)) => {
                let (heads, times) = repeated(config);
                let first = how.first(heads, times);
                match want.heads {
                    Some(_) => (1, first),
                    None => (last, columns(&first, config.head_dim)),
                }
            }
        };
        let indices: Vec<u32> = indices.into_iter().map(|index| index as u32).collect();
        Ok(array.index_select(&Tensor::new(indices, &Device::Cpu)?, axis)?)
    }
}

/// The number of key heads, and how often each is repeated.
pub(super) fn repeated(config: &Config) -> (usize, usize) {
    let heads = config.num_key_value_heads;
    (heads, config.num_attention_heads / heads.max(1))
}

/// The columns of these heads.
fn columns(heads: &[usize], head_dim: usize) -> Vec<usize> {
    heads.iter().flat_map(|head| head * head_dim..(head + 1) * head_dim).collect()
}

/// How heads are repeated in the rows `[rows, heads · times, head_dim]`: all copies are equal bit by bit. `None` if
/// they are not.
pub(super) fn repetition(rows: &[f64], head_dim: usize, heads: usize, times: usize) -> Option<Repetition> {
    let same = |how: Repetition| {
        rows.chunks_exact(heads * times * head_dim).all(|row| {
            let entries = |at: usize| row[at * head_dim..][..head_dim].iter().map(|x| x.to_bits());
            (0..heads).all(|head| {
                let first = how.copy(head, 0, heads, times);
                (1..times).all(|n| entries(how.copy(head, n, heads, times)).eq(entries(first)))
            })
        })
    };
    [Repetition::Adjacent, Repetition::Tiled].into_iter().find(|&how| same(how))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::adjacent(&[1.0, 1.0, 2.0, 2.0], Some(Repetition::Adjacent))]
    #[case::tiled(&[1.0, 2.0, 1.0, 2.0], Some(Repetition::Tiled))]
    #[case::not_repeated(&[1.0, 2.0, 3.0, 4.0], None)]
    #[case::another_copy(&[1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 3.0], None)]
    #[case::another_zero(&[0.0, -0.0, 2.0, 2.0], None)]
    fn heads_are_repeated_if_all_copies_are_equal(#[case] rows: &[f64], #[case] how: Option<Repetition>) {
        assert_eq!(repetition(rows, 1, 2, 2), how);
    }
}
