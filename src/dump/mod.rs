//! Judges the recorded forward pass of any port (a `--dump` file, see `docs/dump-format.md`). The file is
//! validated as it is read.
//!
//! If a reference is stored for these token ids, the recording is compared with it. In addition, the oracle
//! recomputes every operation from the port's *own* recorded inputs, so only the operation that introduced an
//! error fails, and not the operations after it.

mod against;
mod earlier;
mod engine;
mod entrywise;
mod failed_site;
mod judged;
mod laws;
mod measured_noise;
mod naming;
mod pair;
mod passes;
mod positions;
mod recomputed;
mod reference;
mod replay;
mod replay_noise;
mod replayed;
mod rounded;
mod shown;
mod span;
#[cfg(test)]
mod tests;
mod understand;
mod unrecorded;
mod unsaved;
mod value;

pub use self::against::Sought;
pub use self::judged::{Coverage, Judged};
pub use self::pair::Pair;
pub use self::passes::{Passes, merged};
pub use self::replayed::FirstWrong;
pub use self::span::Span;
use crate::probe::Arithmetic;
use crate::reference::Reference;
use crate::weights::{Config, Weights};

/// What a recording is compared with. Each part may be missing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Against<'a> {
    /// The case with reference tensors for the recording's token ids.
    pub case: Option<&'a Reference>,
    /// The correct weights of the model, with their correct config.
    pub weights: Option<&'a Weights>,
    /// The config of the model, if it is known without the weights.
    pub config: Option<&'a Config>,
    /// The matrix arithmetic of the port: dense or on quantised blocks.
    pub arithmetic: Arithmetic,
}
