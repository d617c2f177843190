//! Is the recorded pass the one that runs without the recorder? A recorder may select other kernels, and a fused
//! attention has no scores that could be recorded.

use std::collections::BTreeSet;

use super::Against;
use super::reference::misfit;
use crate::Result;
use crate::judge::{Drive, Finding, Verdict};
use crate::probe::{Kind, Site};
use crate::recording::{Lookup, Recognition, Recording};

/// What the finding is about.
const ABOUT: &str = "logits without the recorder";

/// Compares the logits of the unrecorded run with the recorded ones. They may differ as much as two correct runs may.
/// `None` if one of the two is missing, or if it is unknown how far two correct runs may differ.
///
/// # Errors
/// A tensor or a weight cannot be read.
pub(super) fn compare(dump: &Recording, against: &Against<'_>) -> Result<Option<Finding>> {
    let site = Site::model(Kind::Logits);
    let found = |verdict| Some(Finding { drive: Drive::Recorded, ..Finding::new(ABOUT, verdict) });
    let unrecorded = match dump.unrecorded_logits(against.config)? {
        Lookup::Absent => return Ok(None),
        Lookup::Misfit(why) => return Ok(found(misfit(why))),
        Lookup::Tensor(unrecorded) => unrecorded,
    };
    let Some(recorded) = dump.fit(site, against)? else { return Ok(None) };
    if !dump.knows_noise(against) {
        return Ok(None);
    }
    let noise = dump.allowed(against, dump.layers(against)?, &BTreeSet::from([site]))?;
    let of_two = |place| {
        let of_one = noise(site, place)?;
        Some(of_one.plus(of_one))
    };
    let compared = dump.apart(&recorded, (dump, &unrecorded), against, &of_two)?;
    Ok(match compared.verdict {
        Verdict::Incomparable => None,
        Verdict::Differs(difference) => found(Verdict::Broken(format!(
            "they differ from the recorded logits by {:.1} times what two correct runs may: the pass that you recorded is not the one that runs without the recorder",
            difference.ratio
        ))),
        verdict => found(verdict),
    })
}

/// Notes that nothing can be compared, if the recorded logits are missing.
pub(super) fn note(dump: &mut Recording, against: &Against<'_>) -> Result<()> {
    let there = !matches!(dump.unrecorded_logits(against.config)?, Lookup::Absent);
    if there && !dump.has(Site::model(Kind::Logits)) {
        dump.recognised.push(Recognition {
            what: "`unrecorded.logits` is not compared, because lm_head was not recorded".into(),
            explicit: "record lm_head, or \"unrecorded.logits\" = \"\" under [names] in a --map file".into(),
        });
    }
    Ok(())
}
