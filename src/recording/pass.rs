//! One recorded pass and its metadata.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};

use super::cache::Cache;
use super::convention::Conventions;
use super::form::Form;
use super::recognition::Recognition;
use super::saved::Saved;
use super::stored::{AGAIN, Stored};
use crate::model::Input;
use crate::probe::{Arithmetic, Kind, Site};
use crate::reference::Place;
use crate::{Error, Result};

/// One recorded pass.
#[derive(Debug)]
pub struct Recording {
    /// Its path, or another name for messages.
    pub name: String,
    /// The input of the pass.
    pub input: Input,
    /// The number of tokens in the cache before the pass, for each row of the batch. Their keys and values may be
    /// unknown.
    pub cached: Vec<usize>,
    /// The slots before the pass, if they are known.
    pub(super) cache: Cache,
    /// Which slots before the pass have a token, if its mask of tokens shows it.
    pub(crate) real_before: Vec<Vec<bool>>,
    /// The dtype that the port computes in.
    pub dtype: DType,
    /// How its tensors were converted when they were saved, if they were.
    pub saved: Option<Saved>,
    /// Its metadata: `recorder`, `model`, `attention`.
    pub metadata: BTreeMap<String, String>,
    /// What was recognised in it although nothing in it states it.
    pub recognised: Vec<Recognition>,
    /// How its numbers are converted as they are read.
    pub(crate) conventions: Conventions,
    pub(super) tensors: Tensors,
}

/// Where the tensors are stored.
#[derive(Debug)]
pub(super) enum Tensors {
    /// In a file; each tensor is read when it is needed.
    File(Box<Stored>),
    /// In memory, with their axes in the reference's order.
    Memory(BTreeMap<Site, TappedTensor>),
}

/// The array of each site.
#[derive(Debug, Default)]
pub(crate) struct Sites(BTreeMap<Site, (String, Form)>);

/// What a port did at one site.
#[derive(Clone, Debug)]
pub(super) struct TappedTensor {
    /// The tensor it handed over.
    pub handed: Tensor,
    /// The tensor it continued with; `None` if it took nothing back.
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

    /// Moves each recorded tensor of a file to another site, or leaves it out. Returns the earlier sites.
    pub(crate) fn reassign(&mut self, to: impl Fn(Site) -> Option<Site>) -> Sites {
        let Tensors::File(stored) = &mut self.tensors else { return Sites::default() };
        let moved = stored.sites.iter().filter_map(|(&site, array)| Some((to(site)?, array.clone())));
        let sites = moved.collect();
        Sites(std::mem::replace(&mut stored.sites, sites))
    }

    /// Undoes [`Recording::reassign`].
    pub(crate) fn restore(&mut self, sites: Sites) {
        if let Tensors::File(stored) = &mut self.tensors {
            stored.sites = sites.0;
        }
    }

    /// The dtype in which the tensor at `site` is stored.
    pub(crate) fn stored_dtype(&self, site: Site) -> Option<DType> {
        match &self.tensors {
            Tensors::File(stored) => stored.dtype_of(site),
            Tensors::Memory(entries) => Some(entries.get(&site)?.handed.dtype()),
        }
    }

    /// Is there a tensor of this kind?
    pub fn shows(&self, kind: Kind) -> bool {
        self.sites().any(|site| site.kind == kind)
    }

    /// The places of its tokens, without padding: batch row and slot. Slots before the pass count too, if they are
    /// known.
    pub fn places(&self) -> Vec<Place> {
        let (rows, past) = (self.input.real.iter().enumerate(), self.cache.slots());
        rows.flat_map(|(b, row)| {
            row.iter().enumerate().filter(|(_, real)| **real).map(move |(s, _)| (b, past + s))
        })
        .collect()
    }

    /// The places of its tokens, with slots counted from the start of the pass.
    pub(crate) fn own_places(&self) -> Vec<Place> {
        let past = self.cache.slots();
        self.places().into_iter().map(|(b, slot)| (b, slot - past)).collect()
    }

    /// May the query at this place attend to the key in slot `key`? Causal: to its own and to earlier tokens.
    pub(crate) fn sees(&self, (batch, query): Place, key: usize) -> bool {
        key <= query && self.is_real((batch, key))
    }

    /// Does this place have a token, of this pass or an earlier one?
    pub(crate) fn is_real(&self, (batch, slot): Place) -> bool {
        match slot.checked_sub(self.cache.slots()) {
            Some(own) => self.input.real[batch][own],
            None => self.cache.is_real(batch, slot),
        }
    }

    /// States the dtype that the port computes in, as the metadata's `dtype` does.
    pub fn compute_in(&mut self, dtype: DType) {
        self.metadata.insert("dtype".into(), dtype.as_str().into());
        self.dtype = dtype;
    }

    /// Does the pass attend to tokens of earlier passes?
    pub(crate) fn reads_a_cache(&self) -> bool {
        self.cached.iter().any(|&cached| cached > 0)
    }

    /// The number of positions, padding included.
    pub fn length(&self) -> usize {
        self.input.len()
    }

    /// The number of key positions: those of the pass and, if they are known, those before it.
    pub(crate) fn slots(&self) -> usize {
        self.cache.slots() + self.length()
    }

    /// The arithmetic of the reference to compare with: from the metadata's `arithmetic`, or dense if it is
    /// missing.
    ///
    /// # Errors
    /// An unknown arithmetic.
    pub fn arithmetic(&self) -> Result<Arithmetic> {
        let all = [Arithmetic::Dense, Arithmetic::Blocks32, Arithmetic::Blocks256];
        match self.metadata.get("arithmetic") {
            None => Ok(Arithmetic::Dense),
            Some(name) => all.into_iter().find(|a| a.name() == name).ok_or_else(|| {
                self.fault(format!(
                    "unknown arithmetic `{name}` in the metadata: use dense, quantized-32 or quantized-256"
                ))
            }),
        }
    }

    /// The only site that was computed, if the others are the reference inputs that it was fed.
    ///
    /// # Errors
    /// The name in the metadata is not a site.
    pub fn alone(&self) -> Result<Option<Site>> {
        let site = self.metadata.get("alone").map(|name| name.parse());
        site.transpose().map_err(|error: Error| self.fault(format!("alone: {error}")))
    }

    /// Kinds that the recording's attention does not compute as tensors: scores and probs for every attention
    /// except eager, unless the recording contains them.
    pub fn hides(&self) -> &'static [Kind] {
        let eager = self.metadata.get("attention").is_none_or(|name| name == "eager");
        let shown = self.sites().any(|site| site.kind.over_keys());
        if eager || shown { &[] } else { &[Kind::Scores, Kind::Probs] }
    }

    pub(crate) fn fault(&self, what: impl std::fmt::Display) -> Error {
        Error::file(&self.name, what, AGAIN)
    }
}
