//! One recorded tensor as it is held against something: read, and its axes in order.

use candle_core::{DType, Device, Tensor};
use safetensors::Dtype;

use super::Dump;
use super::form::{self, Axes, Form, Held, Misfit, Want};
use crate::Result;
use crate::arrays::Entry;
use crate::probe::{Kind, Layout, Site};
use crate::weights::Config;

impl Dump {
    /// The tensor at `site`, its axes in order; nothing where it was not recorded.
    pub(super) fn held(
        &self,
        site: Site,
        config: Option<&Config>,
    ) -> Result<Option<std::result::Result<Held, Misfit>>> {
        let Some((name, form)) = self.sites.get(&site) else { return Ok(None) };
        let Some(entry) = self.arrays.entry(name) else { return Ok(None) };
        let dtype = float(entry).unwrap_or(DType::F32);
        let values = self.arrays.values(entry)?;
        let tensor = Tensor::from_raw_buffer(&values, dtype, &entry.shape, &Device::Cpu)?;
        let want = match config {
            Some(config) => Want::of(site.kind, config, self.ids.len(), self.length()),
            None => self.as_it_is(site.kind, &entry.shape),
        };
        let layout = self.layout(site.kind, *form, config.map(|config| config.head_dim));
        form::canonical(site, tensor, form.axes, layout, &want).map(Some)
    }

    /// Without a config any width will do.
    fn as_it_is(&self, kind: Kind, shape: &[usize]) -> Want {
        let width = if kind.over_keys() { self.length() } else { shape.last().copied().unwrap_or(1) };
        let heads = kind.by_head().then(|| shape.len().checked_sub(3).map_or(1, |axis| shape[axis]));
        Want { batch: self.ids.len(), length: self.length(), heads, merged: 1, width }
    }

    fn layout(&self, kind: Kind, form: Form, head_dim: Option<usize>) -> Layout {
        let turned = matches!(kind, Kind::QProj | Kind::KProj | Kind::QRope | Kind::KRope);
        let said = self.metadata.get("layout").map(|layout| layout == "interleaved");
        let interleaved = form.interleaved.or(said).unwrap_or(form.axes == Axes::Ggml);
        match head_dim.filter(|_| turned && interleaved) {
            Some(head_dim) => Layout::Interleaved { head_dim },
            None => Layout::Reference,
        }
    }
}

/// The float type of an array.
pub(super) fn float(entry: &Entry) -> Option<DType> {
    match entry.dtype {
        Dtype::F64 => Some(DType::F64),
        Dtype::F32 => Some(DType::F32),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::BF16),
        _ => None,
    }
}
