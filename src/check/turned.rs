//! A port's own names and axes, turned into those of the reference and back.

use candle_core::Tensor;

use crate::probe::{Kind, Site};
use crate::recording::{Known, Vocabulary};
use crate::reference::Reference;
use crate::{Error, Result};

/// The site that `name` means: one of the port's own names, or Hugging Face's.
pub(super) fn site_of(vocabulary: &Vocabulary, name: &str) -> Result<Site> {
    match vocabulary.lookup(name) {
        Known::Site(site) => Ok(site),
        Known::LeftOut | Known::Unknown => name.parse().map_err(|_| {
            let hint = "sites are named as Hugging Face modules: `model.layers.0.self_attn.q_proj`; \
                        for names of your own say `Check::rename(\"blk.{}.attn_q\", Kind::QProj)`";
            Error::input(format!("`{name}` is not a site"), hint)
        }),
    }
}

/// The tensor in the reference's order of axes; `None` if it has not the axes that were said. Where
/// nothing was said, a batch of one needs no axis.
pub(super) fn to_reference(
    vocabulary: &Vocabulary,
    case: &Reference,
    site: Site,
    tensor: &Tensor,
) -> Option<Tensor> {
    match vocabulary.letters(site.kind) {
        None if case.batch() == 1 && tensor.rank() + 1 == rank(site.kind) => tensor.unsqueeze(0).ok(),
        None => Some(tensor.clone()),
        Some(axes) => axes.to_reference(site.kind, tensor, heads(case, site)),
    }
}

/// The way back, to a tensor of the port's `dims`.
pub(super) fn to_port(
    vocabulary: &Vocabulary,
    case: &Reference,
    site: Site,
    tensor: &Tensor,
    dims: &[usize],
) -> Option<Tensor> {
    match vocabulary.letters(site.kind) {
        None => tensor.reshape(dims).ok(),
        Some(axes) => axes.to_port(site.kind, tensor, dims, heads(case, site)),
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
