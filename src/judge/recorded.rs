//! One pass of a port, kept in memory.

use super::enter::{Fed, enter_truth};
use crate::Result;
use crate::model::Input;
use crate::port::{Port, Traits};
use crate::probe::Site;
use crate::recording::{Keep, Recording, gather};
use crate::reference::{Place, Truth};

/// Runs `input` once from an empty cache and keeps the sites that are wanted.
///
/// # Errors
/// Whatever the port refuses.
pub(super) fn recorded(
    port: &mut dyn Port,
    input: &Input,
    fed: Option<Fed<'_>>,
    wanted: &dyn Fn(Site) -> bool,
) -> Result<Recording> {
    let (traits, window) = (port.traits(), 0..input.len());
    let enter = |site, tensor| enter_truth(fed, &traits, &window, site, tensor);
    let recording = Recording::in_memory(traits.path, input.clone(), traits.dtype);
    let mut keep = Keep { wanted, enter: &enter, recording };
    port.begin();
    port.forward(input, &mut keep)?;
    Ok(keep.recording)
}

/// What was handed over at `site`, at these places. None where it was not kept, or has other axes than its kind: the
/// judged forward tells those.
pub(super) fn rows_of(
    recording: &Recording,
    site: Site,
    traits: &Traits,
    places: impl Iterator<Item = Place>,
) -> Result<Option<Truth>> {
    let (Some(tensor), places) = (recording.handed(site), places.collect::<Vec<_>>()) else {
        return Ok(None);
    };
    let rows = gather(tensor, site.kind, &traits.layout(site.kind), 0, &places)?;
    Ok(rows.map(|rows| Truth { places: places.into(), row_shape: rows.row_shape, values: rows.values }))
}
