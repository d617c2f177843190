//! Which positions of a pass an array has.

/// Which positions of the pass an array has.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Positions {
    /// All of them; the final norm and the logits may have the last ones only.
    #[default]
    All,
    /// The last ones.
    Last,
    /// The first ones.
    First,
}
