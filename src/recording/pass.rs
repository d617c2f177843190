//! One recorded pass, and what it says of itself.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};

use super::stored::{AGAIN, Stored};
use crate::model::Input;
use crate::probe::{Arithmetic, Kind, Site};
use crate::reference::Place;
use crate::{Error, Result};

/// One recorded pass.
#[derive(Debug)]
pub struct Recording {
    /// Its path, or what stands for it in messages.
    pub name: String,
    /// What went in.
    pub input: Input,
    /// What the port computes in.
    pub dtype: DType,
    /// What it says of itself: `recorder`, `model`, `attention`.
    pub metadata: BTreeMap<String, String>,
    pub(super) tensors: Tensors,
}

/// Where the tensors lie.
#[derive(Debug)]
pub(super) enum Tensors {
    /// In a file, each until it is asked for.
    File(Stored),
    /// In memory, their axes in order.
    Memory(BTreeMap<Site, Entry>),
}

/// What a port did at one site.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// What it handed over.
    pub handed: Tensor,
    /// What it continued with; none where it took nothing back.
    pub continued: Option<Tensor>,
}

impl Recording {
    /// Every site in it, in forward order.
    pub fn sites(&self) -> impl Iterator<Item = Site> + '_ {
        let (file, memory) = match &self.tensors {
            Tensors::File(stored) => (Some(stored.sites()), None),
            Tensors::Memory(entries) => (None, Some(entries.keys().copied())),
        };
        file.into_iter().flatten().chain(memory.into_iter().flatten())
    }

    /// Is there a tensor at `site`?
    pub fn has(&self, site: Site) -> bool {
        match &self.tensors {
            Tensors::File(stored) => stored.has(site),
            Tensors::Memory(entries) => entries.contains_key(&site),
        }
    }

    /// Is there a tensor of this kind?
    pub fn shows(&self, kind: Kind) -> bool {
        self.sites().any(|site| site.kind == kind)
    }

    /// Where its tokens stand: batch row and slot, padding left out.
    pub fn places(&self) -> Vec<Place> {
        let rows = self.input.real.iter().enumerate();
        rows.flat_map(|(b, row)| row.iter().enumerate().filter(|(_, real)| **real).map(move |(s, _)| (b, s)))
            .collect()
    }

    /// Positions of the pass, padding counted.
    pub fn length(&self) -> usize {
        self.input.len()
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
                self.fault(format!("arithmetic `{said}` is none of dense, quantized-32, quantized-256"))
            }),
        }
    }

    /// The one site that was computed, where the others are what it was fed: truth.
    ///
    /// # Errors
    /// A name in the metadata that is not a site.
    pub fn alone(&self) -> Result<Option<Site>> {
        let site = self.metadata.get("alone").map(|name| name.parse());
        site.transpose().map_err(|error: Error| self.fault(format!("alone: {error}")))
    }

    /// Kinds that its attention never makes a tensor of: those of every attention but the eager one, as far
    /// as the recording has none of them.
    pub fn hides(&self) -> &'static [Kind] {
        let eager = self.metadata.get("attention").is_none_or(|name| name == "eager");
        let shown = self.sites().any(|site| site.kind.over_keys());
        if eager || shown { &[] } else { &[Kind::Scores, Kind::Probs] }
    }

    fn fault(&self, what: impl std::fmt::Display) -> Error {
        Error::file(&self.name, what, AGAIN)
    }
}
