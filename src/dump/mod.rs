//! Recorded passes of any port: what `docs/dump-format.md` describes, read without trusting it, and judged.
//!
//! Beside the comparison with stored truth, where there is some for these token ids, every operation is
//! computed by the oracle from the port's *own* recorded inputs: of a chain of wrong values one operation is
//! guilty, the first that does not follow from what went into it.

mod against;
mod engine;
mod judged;
mod naming;
mod pair;
mod red;
mod replay;
mod replayed;
mod shown;
mod span;
#[cfg(test)]
mod tests;
mod theory;
mod truth;
mod value;

pub use self::against::Sought;
pub use self::judged::{Coverage, Judged};
pub use self::pair::Pair;
pub use self::replayed::Guilt;
pub use self::span::Span;
use crate::probe::Arithmetic;
use crate::reference::Reference;
use crate::weights::{Config, Weights};

/// What a dump is held against, as far as there is any of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Against<'a> {
    /// Truth for its token ids.
    pub case: Option<&'a Reference>,
    /// The weights that it should have computed with, with their right config.
    pub weights: Option<&'a Weights>,
    /// The config of the model, where that is known without them too.
    pub config: Option<&'a Config>,
    /// What its matrices are multiplied with.
    pub arithmetic: Arithmetic,
}
