//! One recorded pass and its metadata.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};

use super::recognition::Recognition;
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
    /// The dtype that the port computes in.
    pub dtype: DType,
    /// Its metadata: `recorder`, `model`, `attention`.
    pub metadata: BTreeMap<String, String>,
    /// What was recognised in it although nothing in it states it.
    pub recognised: Vec<Recognition>,
    pub(super) tensors: Tensors,
}

/// Where the tensors are stored.
#[derive(Debug)]
pub(super) enum Tensors {
    /// In a file; each tensor is read when it is needed.
    File(Stored),
    /// In memory, with their axes in the reference's order.
    Memory(BTreeMap<Site, TappedTensor>),
}

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

    /// Is there a tensor of this kind?
    pub fn shows(&self, kind: Kind) -> bool {
        self.sites().any(|site| site.kind == kind)
    }

    /// The places of its tokens, without padding: batch row and slot.
    pub fn places(&self) -> Vec<Place> {
        let rows = self.input.real.iter().enumerate();
        rows.flat_map(|(b, row)| row.iter().enumerate().filter(|(_, real)| **real).map(move |(s, _)| (b, s)))
            .collect()
    }

    /// The number of positions, padding included.
    pub fn length(&self) -> usize {
        self.input.len()
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

    fn fault(&self, what: impl std::fmt::Display) -> Error {
        Error::file(&self.name, what, AGAIN)
    }
}
