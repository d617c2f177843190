//! The cached keys and values of a recording: from its file, or those that earlier passes left.

use candle_core::Tensor;

use super::axes::Axes;
use super::cache::Cache;
use super::form::{self, AxisOrder, Form};
use super::pass::{Recording, Tensors};
use super::site_tensor::{Lookup, SiteTensor};
use super::stored::Array;
use super::vocabulary::cached_name;
use super::want::Want;
use crate::Result;
use crate::probe::{Kind, Layout, Site};
use crate::weights::Config;

impl Recording {
    /// The slots before this pass, with their keys and values as far as they are known.
    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Which slots have a token: those before the pass, if they are known, and its own.
    pub(crate) fn real_slots(&self) -> Vec<Vec<bool>> {
        self.cache.followed_by(&self.input.real).real
    }

    /// The cached rows, with their names in docs/dump-format.md.
    pub(crate) fn cached_rows(&self) -> impl Iterator<Item = (String, &SiteTensor)> {
        self.cache.tensors.iter().map(|(&site, rows)| (cached_name(site), rows))
    }

    /// From now on, the pass attends to this cache too.
    pub(crate) fn set_cache(&mut self, cache: Cache) {
        if cache.slots() > 0 {
            self.cached = cache.tokens();
        }
        self.cache = cache;
    }

    /// Reads the cached keys of a file in the order of rows that is known by now.
    pub(crate) fn read_cached_keys_again(&mut self, config: Option<&Config>) {
        let Tensors::File(stored) = &self.tensors else { return };
        let layout = |(site, (_, form)): (&Site, &Array)| {
            let own = stored.sites.get(site).and_then(|(_, form)| form.interleaved);
            let stays = config.and_then(|config| self.stays_interleaved(form, config));
            let form = Form { interleaved: stays.or(own), ..form.clone() };
            (*site, self.layout(site.kind, &form, config))
        };
        let layouts: Vec<(Site, Layout)> = stored.caches.iter().map(layout).collect();
        for (site, layout) in layouts {
            if let Some(cached) = self.cache.tensors.get_mut(&site) {
                cached.layout = layout;
            }
        }
    }

    /// The sites whose cached rows are in a file.
    pub(crate) fn cached_sites(&self) -> Vec<Site> {
        match &self.tensors {
            Tensors::File(stored) => stored.caches.keys().copied().collect(),
            Tensors::Memory(_) => vec![],
        }
    }

    /// The name and the dimensions of the array of cached rows of a site.
    pub(crate) fn cached_array(&self, site: Site) -> Option<(&str, &[usize])> {
        let Tensors::File(stored) = &self.tensors else { return None };
        let (name, _) = stored.caches.get(&site)?;
        Some((name, &stored.arrays.entry(name)?.shape))
    }

    /// Every way to read the array of cached rows of a site, judged by its shape alone: the order of the project
    /// that named it first. The number of slots is that of the array.
    ///
    /// # Errors
    /// The tensor cannot be read from its file.
    pub(crate) fn cached_readings(&self, site: Site, config: &Config) -> Result<Vec<SiteTensor>> {
        let Tensors::File(stored) = &self.tensors else { return Ok(vec![]) };
        let Some(array) = stored.caches.get(&site) else { return Ok(vec![]) };
        let Some((tensor, own)) = stored.array(array)? else { return Ok(vec![]) };
        let mut found: Vec<SiteTensor> = Vec::new();
        // A cache may be made for more rows than this batch has.
        let batch = self.input.batch();
        let tensor = match tensor.dims() {
            [rows, _, _, _] if *rows > batch => tensor.narrow(0, 0, batch)?.contiguous()?,
            _ => tensor,
        };
        for (order, tensor) in readings(site.kind, own, &tensor)? {
            let form = Form { order, interleaved: self.stays_interleaved(own, config), ..own.clone() };
            let layout = self.layout(site.kind, &form, Some(config));
            for &length in tensor.dims() {
                let want = Want::of(site.kind, config, batch, length, length);
                let read = form::canonical(site, &tensor, &form, layout.clone(), &want, Some(config))?;
                let Lookup::Tensor(read) = read else { continue };
                // As many heads as slots: the first order is taken.
                let known = |other: &SiteTensor| other.tensor.dims() == read.tensor.dims();
                if own.order.is_ggml() || !found.iter().any(known) {
                    found.push(read);
                    break;
                }
            }
        }
        Ok(found)
    }
}

/// The orders in which caches are kept, with the array as it is then read. llama.cpp keeps values transposed unless
/// flash attention is on, although the dimensions do not show it.
fn readings(kind: Kind, own: &Form, tensor: &Tensor) -> Result<Vec<(AxisOrder, Tensor)>> {
    let letters = |axes: Axes| AxisOrder::Letters(axes);
    let mut all: Vec<(AxisOrder, Tensor)> = Vec::new();
    if own.order.is_ggml() {
        all.push((letters(Axes::single("bsw")), tensor.clone()));
        if kind == Kind::VProj && tensor.rank() >= 2 {
            let dims = tensor.dims();
            let (rest, last) = dims.split_at(dims.len() - 2);
            let turned = tensor.reshape([rest, &[last[1], last[0]]].concat())?.t()?.contiguous()?;
            all.push((letters(Axes::single("bsw")), turned));
        }
        return Ok(all);
    }
    for axes in ["bhsd", "bshd", "bsw"] {
        all.push((letters(Axes::single(axes)), tensor.clone()));
    }
    Ok(all)
}
