//! A port's own names and axes, against those of Hugging Face.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::axes::Axes;
use crate::probe::{Kind, Site};
use crate::reference::Reference;
use crate::{Error, Result};

/// What a port calls its sites, and how their axes lie, where it differs.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Text before the layer, text behind it, what it is. Without a layer the second is `None`.
    foreign: Vec<(String, Option<String>, Kind)>,
    axes: BTreeMap<Kind, Axes>,
}

impl Names {
    /// `theirs` is what the port calls sites of `kind`, `{}` standing for the layer.
    pub fn rename(&mut self, theirs: &str, kind: Kind) -> Result<()> {
        let (before, behind) = match theirs.split_once("{}") {
            Some((before, behind)) => (before, Some(behind.to_owned())),
            None => (theirs, None),
        };
        if behind.is_some() != kind.in_layer() {
            let hint = "`{}` stands for the layer: `blk.{}.attn_q`, and in no name outside the layers";
            let site = Site { layer: kind.in_layer().then_some(0), kind };
            let what = format!("`{theirs}` cannot name {site} and its like");
            return Err(Error::input(what, hint));
        }
        self.foreign.push((before.to_owned(), behind, kind));
        Ok(())
    }

    /// How the axes of sites of `kind` lie.
    pub fn axes(&mut self, kind: Kind, text: &str) -> Result<()> {
        self.axes.insert(kind, Axes::parse(kind, text)?);
        Ok(())
    }

    /// The site that `name` means: a foreign one, or Hugging Face's.
    pub fn site(&self, name: &str) -> Result<Site> {
        let foreign = self.foreign.iter().find_map(|(before, behind, kind)| match behind {
            None => (name == before).then_some(Site::model(*kind)),
            Some(behind) => {
                let layer = name.strip_prefix(before.as_str())?.strip_suffix(behind.as_str())?.parse::<u16>();
                Some(Site { layer: Some(layer.ok()?), kind: *kind })
            }
        });
        match foreign {
            Some(site) => Ok(site),
            None => name.parse().map_err(|_| {
                let hint = "sites are named as Hugging Face modules: `model.layers.0.self_attn.q_proj`; \
                            for names of your own say `Check::rename(\"blk.{}.attn_q\", Kind::QProj)`";
                Error::input(format!("`{name}` is not a site"), hint)
            }),
        }
    }

    /// The tensor in the reference's order of axes; `None` if it has not the axes that were said. Where
    /// nothing was said, a batch of one needs no axis.
    pub fn to_reference(&self, case: &Reference, site: Site, tensor: &Tensor) -> Option<Tensor> {
        match self.axes.get(&site.kind) {
            None if case.batch() == 1 && tensor.rank() + 1 == rank(site.kind) => tensor.unsqueeze(0).ok(),
            None => Some(tensor.clone()),
            Some(axes) => axes.to_reference(site.kind, tensor, heads(case, site)),
        }
    }

    /// The way back, to a tensor of the port's `dims`.
    pub fn to_port(&self, case: &Reference, site: Site, tensor: &Tensor, dims: &[usize]) -> Option<Tensor> {
        match self.axes.get(&site.kind) {
            None => tensor.reshape(dims).ok(),
            Some(axes) => axes.to_port(site.kind, tensor, dims, heads(case, site)),
        }
    }
}

/// Axes of the reference's own tensor.
fn rank(kind: Kind) -> usize {
    if kind.by_head() { 4 } else { 3 }
}

/// Heads of a site that has some, where the case stores it.
fn heads(case: &Reference, site: Site) -> Option<usize> {
    Some(case.truth(site)?.row_shape[0]).filter(|_| site.kind.by_head())
}
