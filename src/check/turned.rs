//! Converts a port's own names and axes to the reference's and back.

use candle_core::Tensor;

use crate::probe::{Kind, Site};
use crate::recording::{NameLookup, Sizes, Vocabulary};
use crate::reference::Reference;
use crate::{Error, Result};

/// The site that `name` means, in the port's own names or Hugging Face's.
pub(super) fn site_of(vocabulary: &Vocabulary, name: &str) -> Result<Site> {
    match vocabulary.lookup(name) {
        NameLookup::Site(site) => Ok(site),
        NameLookup::Fused(..) | NameLookup::Cached(_) | NameLookup::LeftOut | NameLookup::Unknown => {
            name.parse().map_err(|_| {
                let hint = "sites are named as Hugging Face modules: `model.layers.0.self_attn.q_proj`; \
                        for your own names, call `Check::rename(\"blk.{}.attn_q\", Kind::QProj)`";
                Error::input(format!("`{name}` is not a site"), hint)
            })
        }
    }
}

/// The tensor in the reference's axis order; `None` if it does not have the declared axes. If no axes were
/// declared, a batch of one needs no axis.
pub(super) fn to_reference(
    vocabulary: &Vocabulary,
    case: &Reference,
    site: Site,
    tensor: &Tensor,
) -> Option<Tensor> {
    match vocabulary.letters(site.kind) {
        None if case.batch() == 1 && tensor.rank() + 1 == rank(site.kind) => tensor.unsqueeze(0).ok(),
        None => Some(tensor.clone()),
        Some(axes) => axes.to_reference(site.kind, tensor, sizes(case, site)),
    }
}

/// The inverse: converts to a tensor with the port's `dims`.
pub(super) fn to_port(
    vocabulary: &Vocabulary,
    case: &Reference,
    site: Site,
    tensor: &Tensor,
    dims: &[usize],
) -> Option<Tensor> {
    match vocabulary.letters(site.kind) {
        None => tensor.reshape(dims).ok(),
        Some(axes) => axes.to_port(site.kind, tensor, dims, sizes(case, site)),
    }
}

/// Number of axes of the reference's tensor.
fn rank(kind: Kind) -> usize {
    if kind.by_head() { 4 } else { 3 }
}

/// The rows of the batch; and the number of heads, if the site has a head axis and the case stores it.
fn sizes(case: &Reference, site: Site) -> Sizes {
    let heads = case.rows(site).map(|rows| rows.row_shape[0]).filter(|_| site.kind.by_head());
    Sizes { batch: Some(case.batch()), heads }
}
