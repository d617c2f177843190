//! Looks up the recorded tensor at a site, with its axes in the reference's order.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::form::{self, Form};
use super::pass::{Recording, Tensors};
use super::site_tensor::{Lookup, SiteTensor};
use super::stored::UNRECORDED;
use super::want::Want;
use crate::Result;
use crate::probe::{Kind, Layout, Site};
use crate::weights::{Config, RopeLayout};

impl Recording {
    /// The tensor at `site` with its axes in the reference's order. Without a config any width is accepted.
    ///
    /// # Errors
    /// The tensor cannot be read from its file.
    pub(crate) fn lookup(&self, site: Site, config: Option<&Config>) -> Result<Lookup> {
        let (tensor, form) = match &self.tensors {
            Tensors::File(stored) => match stored.read(site)? {
                None => return Ok(Lookup::Absent),
                Some((tensor, form)) => (tensor, form.clone()),
            },
            Tensors::Memory(entries) => match entries.get(&site) {
                None => return Ok(Lookup::Absent),
                Some(entry) => (entry.handed.clone(), Form::default()),
            },
        };
        self.read_as(site, &tensor, &form, config)
    }

    /// The tensor at `site`, if `tensor` is its array and has this form.
    ///
    /// # Errors
    /// A tensor operation fails.
    pub(super) fn read_as(
        &self,
        site: Site,
        tensor: &Tensor,
        form: &Form,
        config: Option<&Config>,
    ) -> Result<Lookup> {
        let want = match config {
            Some(config) => self.want(site.kind, config),
            None => self.as_it_is(site.kind, tensor.dims()),
        };
        let layout = self.layout(site.kind, form, config);
        Ok(match form::canonical(site, tensor, form, layout, &want, config)? {
            Lookup::Tensor(mut recorded) => {
                recorded.first += self.cache.slots();
                let recorded = self.conventions.convert(recorded, &|place, key| self.sees(place, key))?;
                Lookup::Tensor(self.weighted(recorded)?)
            }
            other => other,
        })
    }

    /// The logits of the same pass without the recorder, read as the recorded ones are.
    ///
    /// # Errors
    /// The tensor cannot be read from its file.
    pub(crate) fn unrecorded_logits(&self, config: Option<&Config>) -> Result<Lookup> {
        let (Tensors::File(stored), site) = (&self.tensors, Site::model(Kind::Logits)) else {
            return Ok(Lookup::Absent);
        };
        let form = stored.form(site.kind).cloned().unwrap_or_default();
        match stored.array(&(UNRECORDED.to_owned(), form.clone()))? {
            Some((tensor, _)) => self.read_as(site, &tensor, &form, config),
            None => Ok(Lookup::Absent),
        }
    }

    /// A norm with its weight, if it was recorded without.
    fn weighted(&self, mut recorded: SiteTensor) -> Result<SiteTensor> {
        if let Tensors::File(stored) = &self.tensors
            && let Some(weight) = stored.weights.get(&recorded.site)
        {
            let weight = weight.to_dtype(recorded.tensor.dtype())?;
            recorded.tensor = recorded.tensor.broadcast_mul(&weight)?;
        }
        Ok(recorded)
    }

    /// The norms that may have been recorded before their weight was applied.
    pub(crate) fn normalized(&self) -> &[Site] {
        match &self.tensors {
            Tensors::File(stored) => &stored.normalized,
            Tensors::Memory(_) => &[],
        }
    }

    /// From now on, these norms are multiplied by their weights `[hidden]`.
    pub(crate) fn apply_weights(&mut self, weights: BTreeMap<Site, Tensor>) {
        if let Tensors::File(stored) = &mut self.tensors {
            stored.weights = weights;
        }
    }

    /// silu(gate) of a layer, which is not a site of its own; it has the shape of `mlp.act`.
    ///
    /// # Errors
    /// The tensor cannot be read from its file.
    pub(crate) fn activation(&self, layer: u16, config: Option<&Config>) -> Result<Lookup> {
        let Tensors::File(stored) = &self.tensors else { return Ok(Lookup::Absent) };
        let Some(array) = stored.activations.get(&layer) else { return Ok(Lookup::Absent) };
        let Some((tensor, form)) = stored.array(array)? else { return Ok(Lookup::Absent) };
        self.read_as(Site { layer: Some(layer), kind: Kind::Act }, &tensor, form, config)
    }

    /// The layers in which silu(gate) was recorded.
    pub(crate) fn activations(&self) -> impl Iterator<Item = u16> + '_ {
        let stored = match &self.tensors {
            Tensors::File(stored) => Some(stored.activations.keys().copied()),
            Tensors::Memory(_) => None,
        };
        stored.into_iter().flatten()
    }

    /// The shape that the tensor of a kind must have.
    pub(super) fn want(&self, kind: Kind, config: &Config) -> Want {
        Want::of(kind, config, self.input.batch(), self.length(), self.slots())
    }

    /// The tensor recorded at `site`, with its axes in the reference's order if possible.
    pub(super) fn tensor(&self, site: Site, config: Option<&Config>) -> Result<Option<Tensor>> {
        match (self.lookup(site, config)?, &self.tensors) {
            (Lookup::Absent, _) => Ok(None),
            (Lookup::Tensor(recorded), Tensors::File(_)) => Ok(Some(recorded.tensor)),
            (Lookup::Misfit(_), Tensors::File(stored)) => Ok(stored.read(site)?.map(|(tensor, _)| tensor)),
            (_, Tensors::Memory(entries)) => Ok(entries.get(&site).map(|entry| entry.handed.clone())),
        }
    }

    fn as_it_is(&self, kind: Kind, shape: &[usize]) -> Want {
        let width = if kind.over_keys() { self.slots() } else { shape.last().copied().unwrap_or(1) };
        let heads = kind.by_head().then(|| shape.len().checked_sub(3).map_or(1, |axis| shape[axis]));
        let (batch, length, keys) = (self.input.batch(), self.length(), self.slots());
        Want { batch, length, keys, heads, merged: 1, width }
    }

    /// The layout of the last axis of tensors of this kind and form.
    pub(super) fn layout(&self, kind: Kind, form: &Form, config: Option<&Config>) -> Layout {
        match config.filter(|config| kind.has_rotated_columns() && self.is_interleaved(form, config)) {
            Some(config) => Layout::Interleaved { head_dim: config.head_dim },
            None => Layout::Reference,
        }
    }

    /// Are elements i and i + head_dim/2 next to each other in q and k of this form? If neither the map nor the metadata
    /// say it, ggml's tensors have the order of the family's GGUF files, and all others that of Hugging Face.
    pub(crate) fn is_interleaved(&self, form: &Form, config: &Config) -> bool {
        let stated = self.metadata.get("layout").map(|layout| layout == "interleaved");
        let usual = || form.order.is_ggml() && config.family.gguf_layout() == RopeLayout::Interleaved;
        form.interleaved.or(stated).unwrap_or_else(usual)
    }
}
