//! What an array with a known name contains.

use crate::probe::Kind;
use crate::recording::form::AxisOrder;
use crate::recording::part::Fused;

/// What an array with a known name contains.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Content {
    /// The tensor of this kind of site.
    Tensor(Kind),
    /// The same, with heads before positions.
    HeadsFirst(Kind),
    /// A norm, with its weight or before it is applied.
    Normalized(Kind),
    /// Several of them side by side.
    Fused(Fused),
    /// The input of its layer: the embedding, or the output of the layer before.
    LayerInput,
    /// The first, if heads are not an axis of the array; otherwise the second.
    ByHeads(Kind, Kind),
    /// One of these: the program uses the name several times.
    OneOf(&'static [Kind]),
    /// silu(gate), or silu(gate) · up.
    Activation,
    /// Cached keys (`KRope`) or values (`VProj`): of the tokens before this pass, or of all tokens up to its end.
    Cached(Kind),
    /// Token ids, positions or the mask of the tokens.
    Tokens(&'static str),
    /// Nothing that can be checked.
    NotASite,
}

/// The names that one project uses.
#[derive(Debug)]
pub(crate) struct Project {
    /// Its name in metadata: `llama.cpp`.
    pub id: &'static str,
    /// Its name in a sentence.
    pub name: &'static str,
    /// If these are names of one family of models in the project with this id: a file has them only if it has a name
    /// that the project does not use for the others.
    pub family_of: Option<&'static str>,
    /// The order of the axes of its arrays.
    pub order: AxisOrder,
    /// Names and what they mean; `{N}` stands for the layer. Any of `.`, `/`, `_` and `-` may separate their parts.
    pub names: &'static [(&'static str, Content)],
}
