//! Extracts one operation from a forward pass: the inputs it was fed and the output it gave.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::Tensor;

use super::judged_rows::input;
use super::recorded::run;
use crate::Result;
use crate::port::{Port, Traits};
use crate::probe::Site;
use crate::reference::{Feed, Reference};

/// The tensors around `site` in one prefill of `case` with reference inputs at every site: for each input of
/// the site, the tensor that the port continues with; for `site` itself, the tensor that the port hands over.
/// An input that this path never computes as a tensor is replaced by that input's own inputs.
///
/// # Errors
/// Any error of the port.
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
    let mut open = traits.inputs(site);
    while let Some(input) = open.pop() {
        if traits.shows(input.kind) {
            shown.insert(input);
        } else {
            open.extend(traits.inputs(input));
        }
    }
    shown
}
