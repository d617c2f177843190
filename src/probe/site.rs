//! The names of the tensors of a forward pass.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Error, Result};

/// Defines each kind once, so that the enum, the order of the forward pass and the names cannot disagree.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)*) => {
        /// The kind of a site, without its layer. Listed in forward order.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind { $($(#[$doc])* $kind,)* }

        impl Kind {
            /// Every kind, in forward order.
            pub const ALL: &[Kind] = &[$(Kind::$kind,)*];

            /// The Hugging Face module path below its layer, or the whole path outside the layers.
            pub const fn name(self) -> &'static str {
                match self { $(Kind::$kind => $name,)* }
            }
        }
    };
}

kinds! {
    /// Embedding rows, `[b, s, hidden]`.
    Embed = "model.embed_tokens",
    /// First RMSNorm, `[b, s, hidden]`.
    InputNorm = "input_layernorm",
    /// Query projection, `[b, s, heads * head_dim]`.
    QProj = "self_attn.q_proj",
    /// Key projection, `[b, s, kv_heads * head_dim]`.
    KProj = "self_attn.k_proj",
    /// Value projection, `[b, s, kv_heads * head_dim]`.
    VProj = "self_attn.v_proj",
    /// Norm of each head of the queries, before rotation, `[b, s, heads * head_dim]`.
    QNorm = "self_attn.q_norm",
    /// Norm of each head of the keys, before rotation, `[b, s, kv_heads * head_dim]`.
    KNorm = "self_attn.k_norm",
    /// Rotated queries, `[b, heads, s, head_dim]`.
    QRope = "self_attn.q_rope",
    /// Rotated keys, before the cache, `[b, kv_heads, s, head_dim]`.
    KRope = "self_attn.k_rope",
    /// Scaled and masked scores, before softmax, `[b, heads, s, t]`; masked entries are −inf.
    Scores = "self_attn.scores",
    /// Softmax of the scores, `[b, heads, s, t]`.
    Probs = "self_attn.probs",
    /// Weighted values with heads merged, before the output projection, `[b, s, heads * head_dim]`.
    Context = "self_attn.context",
    /// Output projection, `[b, s, hidden]`.
    OProj = "self_attn.o_proj",
    /// The sum of the first residual addition, `[b, s, hidden]`.
    PostNormInput = "post_attention_layernorm.input",
    /// Second RMSNorm, `[b, s, hidden]`: of the sum or, in Gemma, of the output projection before the addition.
    PostNorm = "post_attention_layernorm",
    /// The sum of the first residual addition in Gemma, `[b, s, hidden]`.
    FfnNormInput = "pre_feedforward_layernorm.input",
    /// Norm of that sum in Gemma, `[b, s, hidden]`.
    FfnNorm = "pre_feedforward_layernorm",
    /// Gate projection, `[b, s, ffn]`.
    Gate = "mlp.gate_proj",
    /// Up projection, `[b, s, ffn]`.
    Up = "mlp.up_proj",
    /// activation(gate) · up, `[b, s, ffn]`.
    Act = "mlp.act",
    /// Down projection, `[b, s, hidden]`.
    Down = "mlp.down_proj",
    /// Norm of the down projection before the second residual addition, in Gemma, `[b, s, hidden]`.
    FfnPostNorm = "post_feedforward_layernorm",
    /// The block's output, after the second residual addition, `[b, s, hidden]`.
    Block = "",
    /// Final RMSNorm, `[b, s, hidden]`.
    FinalNorm = "model.norm",
    /// Logits, `[b, s, vocab]`.
    Logits = "lm_head",
    /// Logits after a softcap, in Gemma 2, `[b, s, vocab]`.
    CappedLogits = "lm_head.softcap",
}

impl Kind {
    /// Whether every layer has one.
    pub const fn in_layer(self) -> bool {
        !matches!(self, Kind::Embed | Kind::FinalNorm | Kind::Logits | Kind::CappedLogits)
    }

    /// Whether the heads are a separate axis, `[b, heads, s, …]`.
    pub const fn by_head(self) -> bool {
        matches!(self, Kind::QRope | Kind::KRope | Kind::Scores | Kind::Probs)
    }

    /// Whether the order of its columns depends on the order of the rows of q and k.
    pub const fn has_rotated_columns(self) -> bool {
        use Kind::*;
        matches!(self, QProj | KProj | QNorm | KNorm | QRope | KRope)
    }

    /// Whether it is a product with a weight matrix.
    pub const fn is_product(self) -> bool {
        use Kind::*;
        matches!(self, QProj | KProj | VProj | OProj | Gate | Up | Down | Logits)
    }

    /// Whether the last axis has one entry per key position.
    pub const fn over_keys(self) -> bool {
        matches!(self, Kind::Scores | Kind::Probs)
    }
}

/// One named tensor of the forward pass. Sites are ordered as in the forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Site {
    /// Its layer, for the kinds that every layer has.
    pub layer: Option<u16>,
    /// Its kind.
    pub kind: Kind,
}

impl Site {
    /// A site inside layer `layer`.
    pub const fn layer(layer: usize, kind: Kind) -> Self {
        Self { layer: Some(layer as u16), kind }
    }

    /// A site outside the layers.
    pub const fn model(kind: Kind) -> Self {
        Self { layer: None, kind }
    }

    /// The input of this site's block: the embedding or the previous block.
    pub fn block_input(self) -> Option<Site> {
        match self.layer? {
            0 => Some(Site::model(Kind::Embed)),
            layer => Some(Site::layer(layer as usize - 1, Kind::Block)),
        }
    }
}

impl Ord for Site {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let key = |site: &Site| match (site.layer, site.kind) {
            (None, Kind::Embed) => (0, 0, site.kind),
            (Some(layer), kind) => (1, layer, kind),
            (None, kind) => (2, 0, kind),
        };
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Site {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.layer, self.kind) {
            (Some(layer), Kind::Block) => write!(f, "model.layers.{layer}"),
            (Some(layer), kind) => write!(f, "model.layers.{layer}.{}", kind.name()),
            (None, kind) => f.write_str(kind.name()),
        }
    }
}

impl FromStr for Site {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let unknown = || {
            Error::input(
                format!("`{name}` is not a site"),
                "use the name of a Hugging Face module, for example `model.layers.0.self_attn.q_proj`",
            )
        };
        let named = |name: &str, in_layer: bool| {
            Kind::ALL.iter().copied().find(|k| k.in_layer() == in_layer && k.name() == name)
        };
        match name.strip_prefix("model.layers.") {
            None => named(name, false).map(Site::model).ok_or_else(unknown),
            Some(rest) => {
                let (layer, kind) = rest.split_once('.').unwrap_or((rest, ""));
                let layer: u16 = layer.parse().map_err(|_| unknown())?;
                let kind = named(kind, true).ok_or_else(unknown)?;
                Ok(Site { layer: Some(layer), kind })
            }
        }
    }
}

impl Serialize for Site {
    /// Its name.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Site {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_site() -> Vec<Site> {
        let inside = |layer| Kind::ALL.iter().filter(|k| k.in_layer()).map(move |&k| Site::layer(layer, k));
        let outside = Kind::ALL.iter().filter(|k| !k.in_layer()).map(|&k| Site::model(k));
        outside.chain((0..3).flat_map(inside)).collect()
    }

    #[test]
    fn every_site_parses_from_its_own_name() {
        for site in every_site() {
            assert_eq!(site.to_string().parse::<Site>().unwrap(), site);
        }
    }

    #[test]
    fn the_error_for_an_unknown_name_quotes_it() {
        for name in
            ["", "model.layers.x.mlp.act", "model.layers.0.mlp", "model.layers.70000", "lm_head.weight"]
        {
            assert!(name.parse::<Site>().unwrap_err().to_string().contains(name));
        }
    }
}
