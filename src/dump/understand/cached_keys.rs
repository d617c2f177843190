//! Recorded keys and values of earlier passes. A recorded cache contains the slots before the pass, or also those of
//! the pass itself, or unused slots behind them: what decides is where the keys of this pass are in it.

use super::cache::{KEY, starts, stated};
use crate::compare::ulp;
use crate::dump::Against;
use crate::probe::{Kind, Site};
use crate::recording::{Cache, Recording, SiteTensor};
use crate::reference::Place;
use crate::weights::Config;
use crate::{Error, Result};

/// Reads the recorded cache, if there is one.
///
/// # Errors
/// An array has a shape that nothing explains, or too few slots; two sources of the number of cached tokens
/// disagree; a tensor cannot be read.
pub(super) fn understand(dump: &mut Recording, against: &Against<'_>) -> Result<()> {
    let (Some(config), sites) = (against.config, dump.cached_sites()) else { return Ok(()) };
    if sites.is_empty() {
        return Ok(());
    }
    dump.layers(against)?;
    let mut arrays: Vec<(Site, Vec<SiteTensor>)> = Vec::new();
    for site in sites {
        let readings = dump.cached_readings(site, config)?;
        if readings.is_empty() {
            return Err(misshapen(dump, site, config));
        }
        arrays.push((site, readings));
    }
    let found = arrays.iter().find_map(|(site, readings)| {
        let keys = site.kind == Kind::KRope;
        keys.then(|| readings.iter().find_map(|reading| place_of_own(dump, against, reading))).flatten()
    });
    let past = match found {
        Some(past) => past,
        None => before(dump, &arrays)?,
    };
    if past == 0 {
        return Ok(());
    }
    let real = match dump.real_before.first().map(Vec::len) {
        None => vec![vec![true; past]; dump.input.batch()],
        Some(slots) if slots == past => dump.real_before.clone(),
        Some(slots) => {
            let what = format!(
                "attention_mask has {slots} columns before those of this pass, but {past} slots are cached"
            );
            return Err(disagree(dump, what));
        }
    };
    let mut cache = Cache::new(real);
    if let Some(stated) = stated(dump)?.filter(|stated| *stated != cache.tokens()) {
        let what = format!(
            "the metadata say that {stated:?} tokens are cached, but the recorded keys are those of {:?}",
            cache.tokens()
        );
        return Err(disagree(dump, what));
    }
    for (site, readings) in arrays {
        if readings.iter().all(|reading| slots(reading) < past) {
            let (name, _) = dump.cached_array(site).unwrap_or_default();
            let what = format!("`{name}` has fewer slots than the {past} that are cached");
            return Err(disagree(dump, what));
        }
        if let Some(reading) = chosen(dump, against, readings, past) {
            cache.insert(reading.slots(0..past)?);
        }
    }
    dump.set_cache(cache);
    Ok(())
}

/// The number of slots of an array of cached rows.
fn slots(cached: &SiteTensor) -> usize {
    cached.shape().queries
}

/// The reading that contains the rows of this pass after the cached ones. If none does, the only one.
fn chosen(
    dump: &Recording,
    against: &Against<'_>,
    readings: Vec<SiteTensor>,
    past: usize,
) -> Option<SiteTensor> {
    let mut readings: Vec<SiteTensor> =
        readings.into_iter().filter(|reading| slots(reading) >= past).collect();
    let contains = |reading: &SiteTensor| {
        let own = own_row(dump, against, reading.site)?;
        same(reading, (own.0.0, past), &own.1).then_some(())
    };
    match readings.iter().position(|reading| contains(reading).is_some()) {
        Some(at) => Some(readings.swap_remove(at)),
        None if readings.len() == 1 => readings.pop(),
        None => None,
    }
}

/// The number of slots before the rows of this pass in a recorded cache; `None` if they are not in it.
fn place_of_own(dump: &Recording, against: &Against<'_>, cached: &SiteTensor) -> Option<usize> {
    let ((batch, slot), own) = own_row(dump, against, cached.site)?;
    let last = slots(cached).checked_sub(dump.length())?;
    (0..=last).rev().find(|&past| same(cached, (batch, past + slot), &own))
}

/// The first recorded row of this pass.
fn own_row(dump: &Recording, against: &Against<'_>, site: Site) -> Option<(Place, Vec<f64>)> {
    let own = dump.fit(site, against).ok()??;
    let place = dump.own_places().into_iter().find(|&place| own.holds(place))?;
    Some((place, own.rows(&[place]).ok()?))
}

/// Is the cached row at this place equal to `own`, to within a rounding to the dtype of the cache?
fn same(cached: &SiteTensor, place: Place, own: &[f64]) -> bool {
    let Ok(row) = cached.rows(&[place]) else { return false };
    let largest = own.iter().fold(0f64, |most, value| most.max(value.abs()));
    let allowed = largest * ulp(cached.tensor.dtype());
    row.len() == own.len() && largest > 0.0 && row.iter().zip(own).all(|(a, b)| (a - b).abs() <= allowed)
}

/// The number of cached slots, if the rows of this pass are not found among them.
fn before(dump: &Recording, arrays: &[(Site, Vec<SiteTensor>)]) -> Result<usize> {
    let Some(cached) = arrays.iter().find_map(|(_, readings)| readings.first()) else { return Ok(0) };
    let all = slots(cached);
    // A cache of a fixed size is zero behind the last token.
    let empty = |slot: &usize| cached.rows(&[(0, *slot)]).is_ok_and(|row| row.iter().all(|&x| x == 0.0));
    let filled = all - (0..all).rev().take_while(empty).count();
    let masked = dump.real_before.first().map(Vec::len);
    let said = stated(dump)?.and_then(|stated| stated.into_iter().max());
    let Some(past) = masked.or(said) else {
        return Ok(starts(dump).map_or(filled, |starts| starts[0].clamp(filled, all)));
    };
    if filled > past && filled != past + dump.length() {
        let source = if masked.is_some() { "attention_mask says" } else { "the metadata say" };
        let what =
            format!("{source} that {past} tokens are cached, but the recorded keys are those of {filled}");
        return Err(disagree(dump, what));
    }
    Ok(past)
}

fn misshapen(dump: &Recording, site: Site, config: &Config) -> Error {
    let (name, dims) = dump.cached_array(site).unwrap_or_default();
    let what = format!(
        "`{name}` cannot be read as cached rows of {site}: its shape is {dims:?}, but a cache has the shape [{}, {}, slots, {}]",
        dump.input.batch(),
        config.num_key_value_heads,
        config.head_dim
    );
    let hint = format!("record it again, or leave it out: \"{name}\" = \"\" under [names] in a --map file");
    Error::file(&dump.name, what, hint)
}

fn disagree(dump: &Recording, what: String) -> Error {
    let hint = format!("record them again, or correct \"{KEY}\" in the metadata");
    Error::file(&dump.name, what, hint)
}
