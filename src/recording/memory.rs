//! A recording kept in memory while a port runs.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};

use super::cache::Cache;
use super::convention::Conventions;
use super::pass::{Recording, TappedTensor, Tensors};
use crate::model::Input;
use crate::probe::{Kind, Site};

impl Recording {
    /// A pass over `input` with no tensors yet.
    pub(crate) fn in_memory(name: &str, input: Input, dtype: DType) -> Self {
        let (metadata, tensors) = (BTreeMap::new(), Tensors::Memory(BTreeMap::new()));
        let (name, recognised, conventions) = (name.to_owned(), vec![], Conventions::default());
        Self {
            name,
            cached: vec![0; input.batch()],
            input,
            dtype,
            saved: None,
            metadata,
            recognised,
            conventions,
            cache: Cache::default(),
            real_before: vec![],
            tensors,
        }
    }

    /// One pass over the tokens of all `passes`, with no tensors. Positions are the number of tokens before each.
    pub(crate) fn joined<'a>(passes: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let batch = passes.clone().map(|pass| pass.input.batch()).min().unwrap_or(0);
        let mut input = Input { ids: vec![], positions: vec![], real: vec![] };
        for b in 0..batch {
            let inputs = || passes.clone().map(|pass| &pass.input);
            let real: Vec<bool> = inputs().flat_map(|input| input.real[b].iter().copied()).collect();
            let before = |slot: usize| real[..slot].iter().filter(|real| **real).count();
            input.ids.push(inputs().flat_map(|input| input.ids[b].iter().copied()).collect());
            input.positions.push((0..real.len()).map(before).collect());
            input.real.push(real);
        }
        let dtype = passes.clone().next().map_or(DType::F32, |pass| pass.dtype);
        Self::in_memory("the whole text", input, dtype)
    }

    /// Stores what a port hands over at `site`, with its axes in the reference's order. Returns false if the
    /// site was handed over before.
    pub(crate) fn hand_over(&mut self, site: Site, handed: Tensor) -> bool {
        let Tensors::Memory(entries) = &mut self.tensors else { return false };
        entries.insert(site, TappedTensor { handed, continued: None }).is_none()
    }

    /// Stores what the port continues with at `site`.
    pub(crate) fn continue_with(&mut self, site: Site, tensor: Tensor) {
        if let Tensors::Memory(entries) = &mut self.tensors
            && let Some(entry) = entries.get_mut(&site)
        {
            entry.continued = Some(tensor);
        }
    }

    /// The tensor that was handed over at `site` (in-memory recordings only).
    pub(crate) fn handed(&self, site: Site) -> Option<&Tensor> {
        Some(&self.entry(site)?.handed)
    }

    /// The tensor that the port continued with at `site` (in-memory recordings only).
    pub(crate) fn continued(&self, site: Site) -> Option<&Tensor> {
        self.entry(site)?.continued.as_ref()
    }

    /// Did the port take a tensor back at any site of this kind?
    pub(crate) fn took_back(&self, kind: Kind) -> bool {
        self.sites().any(|site| site.kind == kind && self.continued(site).is_some())
    }

    fn entry(&self, site: Site) -> Option<&TappedTensor> {
        match &self.tensors {
            Tensors::Memory(entries) => entries.get(&site),
            Tensors::File(_) => None,
        }
    }
}
