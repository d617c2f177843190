//! Checks that every stored tensor is judged by some checkpoint.

use super::judged_rows::is_judged;
use crate::checkpoints::{self, Checkpoint};
use crate::port::Traits;
use crate::reference::{Manifest, Reference};
use crate::{Error, Result};

/// Every stored site must be judged by some checkpoint or be an input of a judged site. A reference that is
/// never used would leave its part of the model unchecked.
///
/// # Errors
/// Names the first site that no checkpoint uses.
pub fn all_judged(case: &Reference, traits: &Traits) -> Result<()> {
    let plain = Traits { hides: &[], ..traits.clone() };
    let arithmetic = traits.arithmetic;
    if !case.knows(arithmetic) {
        let Manifest { model, case, .. } = &case.manifest;
        let what = format!("{model}/{case}: no reference for {} arithmetic", arithmetic.name());
        return Err(Error::input(
            what,
            "capture the references again from the quantised file, or use --matmul dense",
        ));
    }
    let views = || checkpoints::ALL.into_iter().flat_map(Checkpoint::views);
    let judged = |site| views().any(|view| is_judged(view, case, site, &plain));
    for site in case.sites() {
        let feeds = || case.sites().any(|other| traits.inputs(other).contains(&site) && judged(other));
        let outside = site.layer.is_some_and(|layer| usize::from(layer) >= traits.layers);
        if outside || !(judged(site) || feeds()) {
            return Err(Error::input(
                format!("{}/{}: no checkpoint judges {site}", case.manifest.model, case.manifest.case),
                "a stored site that is never judged leaves a part of the model unchecked: capture the case again, with the inputs of this site",
            ));
        }
    }
    for (feed, site) in case.sites_on(arithmetic) {
        if !views().any(|view| view.feed == feed && is_judged(view, case, site, &plain)) {
            return Err(Error::input(
                format!(
                    "{}/{}: no checkpoint judges {site} under feed {} on {}",
                    case.manifest.model,
                    case.manifest.case,
                    feed.name(),
                    arithmetic.name()
                ),
                "a stored site that is never judged leaves a part of the model unchecked: capture the case again",
            ));
        }
    }
    Ok(())
}
