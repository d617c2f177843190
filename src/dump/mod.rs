//! Recorded passes of any port: what `docs/dump-format.md` describes, read without trusting it, and judged.
//!
//! Beside the comparison with stored truth, where there is some for these token ids, every operation is
//! computed by the oracle from the port's *own* recorded inputs: of a chain of wrong values one operation is
//! guilty, the first that does not follow from what went into it.

mod against;
mod blocks;
mod form;
mod habit;
mod held;
mod judged;
mod map;
mod names;
mod naming;
mod open;
mod operation;
mod orders;
mod pair;
mod replay;
mod replayed;
mod span;
mod theory;
mod truth;
mod value;

use std::collections::BTreeMap;

use candle_core::DType;

use self::form::Form;
pub use self::judged::{Coverage, Judged};
pub use self::map::NameMap;
pub use self::pair::Pair;
pub use self::replayed::Guilt;
use crate::arrays::Arrays;
use crate::probe::{Arithmetic, Kind, Site};
use crate::reference::{Place, Reference};
use crate::weights::{Config, Weights};
use crate::{Error, Result};

/// One recorded pass. Tensors stay in the file until asked for.
#[derive(Debug)]
pub struct Dump {
    /// Its path.
    pub name: String,
    /// Token ids, `[b][s]`.
    pub ids: Vec<Vec<u32>>,
    /// The position of each, `[b][s]`.
    pub positions: Vec<Vec<usize>>,
    /// Is it a token, or padding? `[b][s]`
    pub real: Vec<Vec<bool>>,
    /// What the port computes in.
    pub dtype: DType,
    /// What its metadata says: `recorder`, `model`, `attention`.
    pub metadata: BTreeMap<String, String>,
    arrays: Arrays,
    sites: BTreeMap<Site, (String, Form)>,
}

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

impl Dump {
    /// Every site in it, in forward order.
    pub fn sites(&self) -> impl Iterator<Item = Site> + '_ {
        self.sites.keys().copied()
    }

    /// Where its tokens stand: batch row and slot, padding left out.
    pub fn places(&self) -> Vec<Place> {
        let rows = self.real.iter().enumerate();
        rows.flat_map(|(b, row)| row.iter().enumerate().filter(|(_, real)| **real).map(move |(s, _)| (b, s)))
            .collect()
    }

    /// Positions of the pass, padding counted.
    pub fn length(&self) -> usize {
        self.ids[0].len()
    }

    /// Which truth it is to be held to: that of its metadata's `arithmetic`, dense where that says nothing.
    ///
    /// # Errors
    /// An arithmetic that is not known.
    pub fn arithmetic(&self) -> Result<Arithmetic> {
        let all = [Arithmetic::Dense, Arithmetic::Blocks32, Arithmetic::Blocks256];
        match self.metadata.get("arithmetic") {
            None => Ok(Arithmetic::Dense),
            Some(said) => all.into_iter().find(|a| a.name() == said).ok_or_else(|| {
                self.arrays
                    .fault(format!("arithmetic `{said}` is none of dense, quantized-32, quantized-256"))
            }),
        }
    }

    /// The one site that was computed, where the others are what it was fed: truth.
    fn alone(&self) -> Result<Option<Site>> {
        let site = self.metadata.get("alone").map(|name| name.parse());
        site.transpose().map_err(|error: Error| self.arrays.fault(format!("alone: {error}")))
    }

    /// Kinds that its attention never makes a tensor of: those of every attention but the eager one, as far
    /// as the dump has none of them.
    pub fn hides(&self) -> &'static [Kind] {
        let eager = self.metadata.get("attention").is_none_or(|name| name == "eager");
        let shown = self.sites().any(|site| site.kind.over_keys());
        if eager || shown { &[] } else { &[Kind::Scores, Kind::Probs] }
    }
}
