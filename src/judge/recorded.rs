//! Runs one pass of a port and shows every site to a callback.

use candle_core::Tensor;

use super::substitute::{Fed, substitute_reference};
use super::window::Window;
use crate::Result;
use crate::model::Input;
use crate::port::{Port, Traits};
use crate::probe::{Kind, Probe, Site};
use crate::recording::gather;
use crate::reference::{Place, ReferenceRows};

/// Receives a site, the tensor that the port handed over there, and the one that it continues with.
pub(super) type See<'a> = &'a mut dyn FnMut(Site, &Tensor, &Tensor) -> Result<()>;

/// Runs `input` once from an empty cache and shows every site to `see`.
///
/// # Errors
/// Any error of the port, and any error that `see` returns.
pub(super) fn run(port: &mut dyn Port, input: &Input, fed: Option<Fed<'_>>, see: See<'_>) -> Result<()> {
    let (traits, window) = (port.traits(), 0..input.len());
    port.begin();
    port.forward(input, &mut Seeing { fed, traits: &traits, window, see })?;
    Ok(())
}

/// The probe that shows every site to a callback.
pub(super) struct Seeing<'a, 's> {
    pub fed: Option<Fed<'a>>,
    pub traits: &'a Traits,
    /// The positions that the pass covers.
    pub window: Window,
    pub see: See<'s>,
}

impl Probe for Seeing<'_, '_> {
    fn wants(&self, _: Kind) -> bool {
        true
    }

    fn tap(&mut self, site: Site, tensor: Tensor) -> Result<Tensor> {
        let continued = substitute_reference(self.fed, self.traits, &self.window, site, tensor.clone())?;
        (self.see)(site, &tensor, &continued)?;
        Ok(continued)
    }
}

/// The rows of `tensor` at these places. `None` if it does not have the axes of its kind; the judged forward
/// pass reports that.
pub(super) fn rows_of(
    tensor: &Tensor,
    kind: Kind,
    traits: &Traits,
    places: impl Iterator<Item = Place>,
) -> Result<Option<ReferenceRows>> {
    let places: Vec<Place> = places.collect();
    let rows = gather(tensor, kind, &traits.layout(kind), 0, &places)?;
    Ok(rows.map(|rows| ReferenceRows {
        places: places.into(),
        row_shape: rows.row_shape,
        values: rows.values,
    }))
}
