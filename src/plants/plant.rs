//! The type of a planted mistake, and the defaults that plants share.

use std::collections::BTreeSet;

use candle_core::DType;

use super::making::{Correct, Planted, Setting};
use crate::Result;
use crate::model::Attention;
use crate::weights::Config;

/// A planted mistake, and the results that the self-test expects.
pub struct Plant {
    /// The mistake's name in the catalogue.
    pub name: &'static str,
    /// What the altered model does.
    pub does: &'static str,
    /// Plants the mistake in a correct model.
    pub make: fn(&Correct<'_>) -> Result<Planted>,
    /// The paths on which it can be planted.
    pub paths: &'static [Attention],
    /// The checkpoints that must fail: all of these, those of `also`, and no others.
    pub fails: &'static [&'static str],
    /// Further checkpoints that must fail in a model of this config.
    pub also: fn(&Config) -> &'static [&'static str],
    /// Checkpoints that may also fail, depending on path or machine, and why.
    pub may: (&'static [&'static str], &'static str),
    /// Dtypes in which the mistake is smaller than the noise of correct arithmetic, and why.
    pub unseen: &'static [(DType, &'static str)],
    /// The first site that it changes on plain attention; `None` if it changes no tensor. If the site is in layer 0,
    /// the layer is that of `layer`.
    pub first: Option<&'static str>,
    /// The first layer of a model of this config that it changes.
    pub layer: fn(&Config) -> usize,
    /// The number of positions that a case must have for the mistake to show in this dtype.
    pub reach: fn(DType) -> usize,
    /// Whether this model and its cases can show it; the error says what is missing.
    pub shows: fn(&Setting<'_>) -> Result<(), String>,
}

/// Both paths of attention.
const BOTH: &[Attention] = &[Attention::Plain, Attention::Fused];

/// The default values of most plants.
pub const PLANT: Plant = Plant {
    name: "",
    does: "",
    make: |correct| correct.altered(|_| Ok(())),
    paths: BOTH,
    fails: &[],
    also: |_| &[],
    may: (&[], ""),
    unseen: &[],
    first: None,
    layer: |_| 0,
    reach: |_| 0,
    shows: |_| Ok(()),
};

impl Plant {
    /// Why it cannot be seen in `dtype`, if it cannot.
    pub fn unseen_in(&self, dtype: DType) -> Option<&'static str> {
        self.unseen.iter().find(|(unseen, _)| *unseen == dtype).map(|(_, why)| *why)
    }

    /// The checkpoints that must fail in a model of this config.
    pub fn fails_in(&self, config: &Config) -> BTreeSet<&'static str> {
        self.fails.iter().chain((self.also)(config)).copied().collect()
    }

    /// The first site that it changes on `path` in a model of this config. A fused kernel hands over no scores and
    /// probabilities, so an error in them first shows in the context.
    pub fn first_on(&self, path: Attention, config: &Config) -> Option<String> {
        let hidden = |site: String| site.replace("scores", "context").replace("probs", "context");
        let layer = format!("model.layers.{}.", (self.layer)(config));
        let site = self.first?.replace("model.layers.0.", &layer);
        Some(if path == Attention::Fused { hidden(site) } else { site })
    }
}
