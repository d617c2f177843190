//! The roles of sites: what a site means, independent of its module name in a family.

use std::fmt;

/// Defines each role once, so that the enum, the list and the names cannot disagree.
macro_rules! roles {
    ($($(#[$doc:meta])* $role:ident = $name:literal,)*) => {
        /// What a site means. A model has at most one node of each role in a layer, and at most one outside
        /// the layers. No family has all roles.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Role { $($(#[$doc])* $role,)* }

        impl Role {
            /// Every role.
            pub const ALL: &[Role] = &[$(Role::$role,)*];

            /// Its name in reports and messages.
            pub const fn name(self) -> &'static str {
                match self { $(Role::$role => $name,)* }
            }
        }
    };
}

roles! {
    /// Embedding rows; scaled if the family scales them inside the module.
    Embed = "embed",
    /// Embedding rows scaled outside the module, as Granite does.
    EmbedScaled = "embed_scaled",
    /// The norm before attention.
    AttnPreNorm = "attn_pre_norm",
    /// Query projection.
    QProj = "q_proj",
    /// Key projection.
    KProj = "k_proj",
    /// Value projection.
    VProj = "v_proj",
    /// The norm of the queries, before rotation.
    QNorm = "q_norm",
    /// The norm of the keys, before rotation.
    KNorm = "k_norm",
    /// Rotated queries.
    QRope = "q_rope",
    /// Rotated keys, as they enter the cache.
    KRope = "k_rope",
    /// Scaled, capped and masked scores, before softmax; masked entries are −inf.
    Scores = "scores",
    /// Softmax of the scores.
    Probs = "probs",
    /// Weighted values, heads merged, before the output projection.
    Context = "context",
    /// Output projection of the attention.
    OProj = "o_proj",
    /// The norm of the attention's output, before the residual addition.
    AttnPostNorm = "attn_post_norm",
    /// The residual stream after attention.
    AttnResidual = "attn_residual",
    /// The norm before the feed-forward network.
    FfnPreNorm = "ffn_pre_norm",
    /// Gate projection.
    Gate = "gate",
    /// Up projection.
    Up = "up",
    /// activation(gate).
    Activation = "activation",
    /// activation(gate) · up.
    Gated = "gated",
    /// Down projection.
    Down = "down",
    /// The norm of the feed-forward network's output, before the residual addition.
    FfnPostNorm = "ffn_post_norm",
    /// The layer's output: the residual stream after the feed-forward network.
    Block = "block",
    /// The norm after the last layer.
    FinalNorm = "final_norm",
    /// The product with the output matrix.
    Head = "head",
    /// The head's output after a softcap (Gemma 2) or a scale (Granite). A family with neither has no such
    /// node; see [`Graph::output`](super::Graph::output).
    Logits = "logits",
}

impl Role {
    /// Whether a row of such a tensor has one entry per head and key.
    pub const fn is_over_keys(self) -> bool {
        matches!(self, Self::Scores | Self::Probs)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
