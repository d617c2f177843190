//! One operation taken out of a pass: what it was fed, and what it gave.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::Tensor;

use super::claims::input;
use super::watch::feed;
use super::window::Window;
use crate::Result;
use crate::port::{Port, Traits};
use crate::probe::{Kind, Probe, Site};
use crate::reference::{Feed, Reference};

/// The tensors around `site` in one prefill of `case` that is fed with truth at every site: what the port
/// goes on with at the sites it is computed from, and what it hands over at `site` itself. Inputs that this
/// path never makes a tensor of are replaced by their own.
///
/// # Errors
/// Whatever the port refuses.
pub(crate) fn single(port: &mut dyn Port, case: &Reference, site: Site) -> Result<BTreeMap<Site, Tensor>> {
    let traits = port.traits();
    let inputs = shown_inputs(site, &traits);
    let window = 0..case.length();
    let mut around = Around { site, inputs, case, traits: &traits, window, tensors: BTreeMap::new() };
    port.begin();
    port.forward(&input(case), &mut around)?;
    Ok(around.tensors)
}

fn shown_inputs(site: Site, traits: &Traits) -> BTreeSet<Site> {
    let mut shown = BTreeSet::new();
    let mut open = site.inputs(traits.layers);
    while let Some(input) = open.pop() {
        match traits.shows(input.kind) {
            true => drop(shown.insert(input)),
            false => open.extend(input.inputs(traits.layers)),
        }
    }
    shown
}

struct Around<'a> {
    site: Site,
    inputs: BTreeSet<Site>,
    case: &'a Reference,
    traits: &'a Traits,
    window: Window,
    tensors: BTreeMap<Site, Tensor>,
}

impl Probe for Around<'_> {
    fn wants(&self, _: Kind) -> bool {
        true
    }

    fn tap(&mut self, site: Site, tensor: Tensor) -> Result<Tensor> {
        if site == self.site {
            self.tensors.insert(site, tensor.clone());
        }
        let fed = feed(Some((self.case, Feed::Site)), self.traits, &self.window, site, tensor)?;
        if self.inputs.contains(&site) {
            self.tensors.insert(site, fed.clone());
        }
        Ok(fed)
    }
}
