//! Norms under a name that TransformerLens gives to x / √(mean(x²) + ε), before the norm's weight is applied. Others
//! record the whole norm under the same name.

use super::follows::share;
use crate::Result;
use crate::dump::Against;
use crate::probe::Site;
use crate::recording::Recording;

/// Applies the weights of such norms, unless the first of them has its weight. Without weights they cannot be checked,
/// and are left out.
///
/// # Errors
/// A tensor or a weight cannot be read.
pub(super) fn understand(dump: &mut Recording, against: &Against<'_>) -> Result<()> {
    let sites: Vec<Site> = dump.normalized().to_vec();
    let Some(&first) = sites.first() else { return Ok(()) };
    let Some(weights) = against.weights else {
        dump.reassign(|site| Some(site).filter(|site| !sites.contains(site)));
        return Ok(());
    };
    if share(dump, against, first)?.is_some_and(|share| share <= 1.0) {
        return Ok(());
    }
    let weight = |&site: &Site| Ok((site, weights.canonical(&format!("{site}.weight"))?));
    let all = sites.iter().map(weight).collect::<Result<_>>()?;
    dump.apply_weights(all);
    Ok(())
}
