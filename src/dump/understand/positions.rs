//! Arrays with fewer positions than the pass: the last ones, or the first ones of a recording that was cut off. The
//! shape is the same. What decides is which of the two the arrays follow as.

use super::follows::share;
use crate::Result;
use crate::dump::Against;
use crate::probe::Site;
use crate::recording::{Form, Positions, Recording};

/// Reads arrays as the first positions if some of them are wrong as the last ones, and none as the first ones. Shapes
/// alone make them the last ones.
///
/// # Errors
/// A tensor cannot be read.
pub(super) fn understand(dump: &mut Recording, against: &Against<'_>) -> Result<()> {
    let partial = |site: &Site| {
        dump.array(*site).is_some_and(|(_, _, form)| form.positions == Positions::Last && !form.stated)
    };
    let sites: Vec<Site> = dump.sites().filter(partial).collect();
    if sites.is_empty() || !any_wrong(dump, against, &sites)? {
        return Ok(());
    }
    read_as(dump, &sites, Positions::First);
    let wrong = any_wrong(dump, against, &sites);
    if !matches!(wrong, Ok(false)) {
        read_as(dump, &sites, Positions::Last);
        return wrong.map(drop);
    }
    for recognition in &mut dump.recognised {
        recognition.what = recognition.what.replace("the last positions only", "the first positions only");
        recognition.explicit = recognition.explicit.replace("\"last\"", "\"first\"");
    }
    Ok(())
}

fn any_wrong(dump: &Recording, against: &Against<'_>, sites: &[Site]) -> Result<bool> {
    for &site in sites {
        if share(dump, against, site)?.is_some_and(|share| share > 1.0) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn read_as(dump: &mut Recording, sites: &[Site], positions: Positions) {
    for &site in sites {
        if let Some((_, _, form)) = dump.array(site) {
            let form = Form { positions, ..form.clone() };
            dump.set_form(site, form);
        }
    }
}
