//! One operation taken out of a pass: what it was fed, and what it gave.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::Tensor;

use super::claims::input;
use super::recorded::run;
use crate::Result;
use crate::port::{Port, Traits};
use crate::probe::Site;
use crate::reference::{Feed, Reference};

/// The tensors around `site` in one prefill of `case` that is fed with truth at every site: what the port
/// goes on with at the sites it is computed from, and what it hands over at `site` itself. Inputs that this
/// path never makes a tensor of are replaced by their own.
///
/// # Errors
/// Whatever the port refuses.
pub(crate) fn single(port: &mut dyn Port, case: &Reference, site: Site) -> Result<BTreeMap<Site, Tensor>> {
    let inputs = shown_inputs(site, &port.traits());
    let mut tensors = BTreeMap::new();
    run(port, &input(case), Some((case, Feed::Site)), &mut |other, handed, continued| {
        if other == site {
            tensors.insert(other, handed.clone());
        } else if inputs.contains(&other) {
            tensors.insert(other, continued.clone());
        }
        Ok(())
    })?;
    Ok(tensors)
}

fn shown_inputs(site: Site, traits: &Traits) -> BTreeSet<Site> {
    let mut shown = BTreeSet::new();
    let mut open = site.inputs(traits.layers);
    while let Some(input) = open.pop() {
        if traits.shows(input.kind) {
            shown.insert(input);
        } else {
            open.extend(input.inputs(traits.layers));
        }
    }
    shown
}
