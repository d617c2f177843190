//! Names that mean another tensor in some families. The name tables are those of Llama; Gemma has a norm between
//! attention and the residual sum, so that what Llama's second norm reads and returns are other tensors there, and
//! caps its logits.

use crate::Result;
use crate::dump::Against;
use crate::probe::{Kind, Site};
use crate::recording::{Recognition, Recording};

/// Moves arrays whose names mean another site in the model's family.
///
/// # Errors
/// The config contradicts itself.
pub(super) fn understand(dump: &mut Recording, against: &Against<'_>) -> Result<()> {
    if against.config.is_none() {
        return Ok(());
    }
    let kinds = dump.kinds(against)?;
    let other = |dump: &Recording, site: Site| {
        let own = |module: &str| dump.array(site).is_some_and(|(name, ..)| name.contains(module));
        match site.kind {
            // The module itself is the norm of the attention's output; what it reads has a site of its own.
            Kind::PostNormInput if kinds.norms_branches() && own("post_attention") => Some(Kind::OProj),
            Kind::PostNormInput if kinds.norms_branches() => Some(Kind::FfnNormInput),
            // The second is llama.cpp's name of the module.
            Kind::PostNorm if own("post_attention") || own("attn_post_norm") => None,
            Kind::PostNorm if kinds.norms_branches() => Some(Kind::FfnNorm),
            // A model returns capped logits; its head does not.
            Kind::Logits if kinds.has(Kind::CappedLogits) && !own("lm_head") => Some(Kind::CappedLogits),
            _ => None,
        }
    };
    let recorded: Vec<Site> = dump.sites().collect();
    let moved: Vec<(Site, Site)> =
        recorded.iter().filter_map(|&from| Some((from, Site { kind: other(dump, from)?, ..from }))).collect();
    let Some(&(from, to)) = moved.first() else { return Ok(()) };
    let name = dump.array(from).map(|(name, ..)| name.to_owned()).unwrap_or_default();
    // Where the array's own site was recorded too, that one is read.
    let place = |site: Site| match moved.iter().find(|(from, _)| *from == site) {
        None => Some(site),
        Some((_, to)) => (!recorded.contains(to)).then_some(*to),
    };
    dump.reassign(place);
    dump.recognised.push(Recognition {
        what: format!("in this family, `{name}` is {to}"),
        explicit: format!("\"{name}\" = \"{to}\" under [names] in a --map file"),
    });
    Ok(())
}
