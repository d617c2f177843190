//! Values before and after they were saved in another dtype than the port computes in. Recorded values are then
//! known to half a unit in the last place only, and each run of rounded arithmetic reads other values.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::Result;
use crate::oracle::{Placed, Rows};
use crate::probe::Site;
use crate::recording::Saved;
use crate::reference::Place;

/// Values that the port may have computed, given those that were saved at `site`: others in each run.
///
/// # Errors
/// None: the places are those of `recorded`.
pub(super) fn before(saved: Saved, site: Site, run: usize, recorded: &Placed) -> Result<Placed> {
    let layer = site.layer.map_or(0, |layer| u64::from(layer) + 1);
    // Different for every row of every site and run.
    let seed = |(batch, slot): Place| {
        [run as u64, layer, site.kind as u64, batch as u64, slot as u64]
            .into_iter()
            .fold(0u64, |seed, part| seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(part + 1))
    };
    let mut rngs: Vec<StdRng> =
        recorded.places().iter().map(|&place| StdRng::seed_from_u64(seed(place))).collect();
    each(recorded, |row, value| saved.before(value, rngs[row].random()))
}

/// Computed values as they would be saved.
///
/// # Errors
/// None: the places are those of `computed`.
pub(super) fn after(saved: Saved, computed: &Placed) -> Result<Placed> {
    each(computed, |_, value| saved.convert(value))
}

/// The same rows with each value replaced; `of` gets the number of the row and the value.
fn each(placed: &Placed, mut of: impl FnMut(usize, f64) -> f64) -> Result<Placed> {
    let rows = placed.rows();
    let values = rows.values.iter().enumerate().map(|(n, &value)| of(n / rows.width, value)).collect();
    Placed::new(Rows { width: rows.width, values }, placed.places().to_vec())
}
