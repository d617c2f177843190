//! The shape that an array must have.

use super::axes::Axes;
use super::positions::Positions;
use crate::probe::Kind;
use crate::weights::Config;

/// The expected shape of the arrays of a kind, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Want {
    pub batch: usize,
    /// Number of positions in the pass.
    pub length: usize,
    /// Number of key positions: those of the pass and the cached ones.
    pub keys: usize,
    /// Number of heads, if heads are an axis.
    pub heads: Option<usize>,
    /// Number of heads concatenated in the last axis; 1 if there are none or it is unknown.
    pub merged: usize,
    /// Size of the last axis.
    pub width: usize,
}

impl Want {
    /// The shape for a model with this config.
    pub(super) fn of(kind: Kind, config: &Config, batch: usize, length: usize, keys: usize) -> Self {
        let (heads, kv_heads, d) = (config.num_attention_heads, config.num_key_value_heads, config.head_dim);
        let (heads, merged, width) = match kind {
            Kind::QRope => (Some(heads), 1, d),
            Kind::KRope => (Some(kv_heads), 1, d),
            Kind::Scores | Kind::Probs => (Some(heads), 1, keys),
            Kind::QProj | Kind::QNorm | Kind::Context => (None, heads, config.query_width()),
            Kind::KProj | Kind::KNorm | Kind::VProj => (None, kv_heads, config.key_width()),
            Kind::Gate | Kind::Up | Kind::Act => (None, 1, config.intermediate_size),
            Kind::Logits | Kind::CappedLogits => (None, 1, config.vocab_size),
            Kind::Embed
            | Kind::InputNorm
            | Kind::OProj
            | Kind::PostNormInput
            | Kind::PostNorm
            | Kind::FfnNormInput
            | Kind::FfnNorm
            | Kind::FfnPostNorm
            | Kind::Down
            | Kind::Block
            | Kind::FinalNorm => (None, 1, config.hidden_size),
        };
        Self { batch, length, keys, heads, merged, width }
    }

    /// `[b, heads, s, width]` or `[b, s, width]`.
    pub(super) fn dims(&self) -> Vec<usize> {
        match self.heads {
            Some(heads) => vec![self.batch, heads, self.length, self.width],
            None => vec![self.batch, self.length, self.width],
        }
    }

    /// The sizes of these axes.
    pub(super) fn sizes(&self, axes: &Axes) -> Vec<usize> {
        let heads = self.heads.unwrap_or(self.merged);
        let head_dim = if self.heads.is_some() { self.width } else { self.width / self.merged.max(1) };
        let size = |letter: char| match letter {
            'b' => self.batch,
            's' => self.length,
            'h' => heads,
            'd' => head_dim,
            _ => self.width,
        };
        axes.single_letters().map(size).collect()
    }

    /// The shapes that an array of these dimensions may have, if it has other positions or is padded.
    pub(super) fn variants(self, positions: Positions, padded: bool, dims: &[usize]) -> Vec<Self> {
        let mut sizes: Vec<usize> = dims.to_vec();
        sizes.sort_unstable();
        sizes.dedup();
        match positions {
            _ if padded => {
                sizes.into_iter().filter(|&n| n > self.width).map(|width| Self { width, ..self }).collect()
            }
            Positions::All => vec![self],
            Positions::Last | Positions::First => {
                let fewer = sizes.into_iter().rev().chain([1]).filter(|&n| n < self.length);
                fewer.map(|length| Self { length, ..self }).collect()
            }
        }
    }
}
