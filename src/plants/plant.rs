//! A mistake made for real, and what its plants have in common.

use candle_core::DType;

use super::making::{Planted, Setting, Sound};
use crate::Result;
use crate::model::Attention;

/// A mistake made for real, and what must be seen of it.
pub struct Plant {
    /// The mistake's name in the catalogue.
    pub name: &'static str,
    /// What is done to a sound model.
    pub does: &'static str,
    /// Makes the port that has it.
    pub make: fn(&Sound<'_>) -> Result<Planted>,
    /// Paths on which it can be made.
    pub paths: &'static [Attention],
    /// The checkpoints that turn red: all of these and no others.
    pub red: &'static [&'static str],
    /// Checkpoints that may turn red as well, on one path or machine and not on another, and why.
    pub may: (&'static [&'static str], &'static str),
    /// Dtypes in which it drowns in the noise of honest arithmetic, and why.
    pub unseen: &'static [(DType, &'static str)],
    /// The first site that it alters, on plain attention; none if it alters no tensor.
    pub first: Option<&'static str>,
    /// Positions that a case must have before it shows in this dtype.
    pub reach: fn(DType) -> usize,
    /// Can this model and its cases show it? If not, what they lack.
    pub shows: fn(&Setting<'_>) -> Result<(), String>,
}

/// Both ways in which scores become context.
const BOTH: &[Attention] = &[Attention::Plain, Attention::Fused];

/// What most plants have in common.
pub const PLANT: Plant = Plant {
    name: "",
    does: "",
    make: |sound| sound.altered(|_| Ok(())),
    paths: BOTH,
    red: &[],
    may: (&[], ""),
    unseen: &[],
    first: None,
    reach: |_| 0,
    shows: |_| Ok(()),
};

impl Plant {
    /// Why it cannot be seen in `dtype`, if it cannot.
    pub fn unseen_in(&self, dtype: DType) -> Option<&'static str> {
        self.unseen.iter().find(|(unseen, _)| *unseen == dtype).map(|(_, why)| *why)
    }

    /// The first site that it alters on `path`: a fused kernel shows no scores and no probabilities,
    /// and what is wrong in them is first seen in their context.
    pub fn first_on(&self, path: Attention) -> Option<String> {
        let hidden = |site: &str| site.replace("scores", "context").replace("probs", "context");
        self.first.map(|site| if path == Attention::Fused { hidden(site) } else { site.to_owned() })
    }
}
