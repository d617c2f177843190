//! Looks up the recorded tensor at a site, with its axes in the reference's order.

use candle_core::Tensor;

use super::form::{self, AxisOrder, Form, Want};
use super::pass::{Recording, Tensors};
use super::site_tensor::Lookup;
use crate::Result;
use crate::probe::{Kind, Layout, Site};
use crate::weights::Config;

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
        let want = match config {
            Some(config) => Want::of(site.kind, config, self.input.batch(), self.length()),
            None => self.as_it_is(site.kind, tensor.dims()),
        };
        let layout = self.layout(site.kind, &form, config.map(|config| config.head_dim));
        Ok(match form::canonical(site, &tensor, &form.order, layout, &want)? {
            Lookup::Tensor(recorded) => Lookup::Tensor(self.conventions.convert(recorded, &self.input)?),
            other => other,
        })
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
        let width = if kind.over_keys() { self.length() } else { shape.last().copied().unwrap_or(1) };
        let heads = kind.by_head().then(|| shape.len().checked_sub(3).map_or(1, |axis| shape[axis]));
        Want { batch: self.input.batch(), length: self.length(), heads, merged: 1, width }
    }

    /// The layout of the last axis of tensors of this kind and form.
    pub(super) fn layout(&self, kind: Kind, form: &Form, head_dim: Option<usize>) -> Layout {
        let Form { order, interleaved } = form;
        let turned = matches!(kind, Kind::QProj | Kind::KProj | Kind::QRope | Kind::KRope);
        let recorded = self.metadata.get("layout").map(|layout| layout == "interleaved");
        let interleaved = interleaved.or(recorded).unwrap_or(*order == AxisOrder::Ggml);
        match head_dim.filter(|_| turned && interleaved) {
            Some(head_dim) => Layout::Interleaved { head_dim },
            None => Layout::Reference,
        }
    }
}
