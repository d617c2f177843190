//! Replaces a model's tensors with reference values during a pass.

use candle_core::Tensor;

use super::window::{Window, inside, shape};
use crate::Result;
use crate::port::Traits;
use crate::probe::Site;
use crate::recording::scatter;
use crate::reference::{Feed, Reference};

/// The case whose reference values replace the model's own, and at which sites.
pub(crate) type Fed<'a> = (&'a Reference, Feed);

/// Returns `tensor` with its stored rows replaced by reference values, if the feed says so.
pub(crate) fn substitute_reference(
    fed: Option<Fed<'_>>,
    traits: &Traits,
    window: &Window,
    site: Site,
    tensor: Tensor,
) -> Result<Tensor> {
    let reference = fed.and_then(|(case, feed)| case.rows(site).filter(|_| feed.replaces(site.kind)));
    let (Some(reference), Some((case, _))) = (reference, fed) else { return Ok(tensor) };
    if tensor.dims() != shape(site.kind, reference, window, case.batch()).dims() {
        return Ok(tensor); // the wrong shape has already been reported
    }
    let rows = inside(reference, window).map(|(r, place)| (place, reference.row(r)));
    scatter(&tensor, site.kind, &traits.layout(site.kind), window.start, rows)
}
