//! Removes findings that noise made inconclusive if another finding judges the same thing.

use super::verdict::{Finding, Outcome, Verdict};

/// Is it the same layer of the same case under the same drive?
pub(super) fn of_one_layer(a: &Finding, b: &Finding) -> bool {
    let layer = |f: &Finding| f.site.and_then(|site| site.layer);
    (&a.case, &a.drive, layer(a)) == (&b.case, &b.drive, layer(b))
}

/// Removes each finding that could not be judged because of noise if a judged finding is about the same site or
/// layer according to `same`, and adds a note for each.
pub(super) fn set_aside(outcome: &mut Outcome, why: &str, same: impl Fn(&Finding, &Finding) -> bool) {
    let inconclusive = |f: &Finding| f.verdict == Verdict::Incomparable;
    let (judged, all): (Vec<Finding>, Vec<Finding>) = (
        outcome.findings.iter().filter(|f| !inconclusive(f)).cloned().collect(),
        std::mem::take(&mut outcome.findings),
    );
    for finding in all {
        if inconclusive(&finding) && judged.iter().any(|other| same(&finding, other)) {
            let Finding { about, case, drive, incomparable, .. } = &finding;
            outcome.notes.push(format!(
                "{about} ({case}; {drive}): not judged, because all {incomparable} rows are no larger than their noise; {why}"
            ));
        } else {
            outcome.findings.push(finding);
        }
    }
}

/// Is it the same site under the same drive, in any case?
pub(super) fn of_one_site(a: &Finding, b: &Finding) -> bool {
    (&a.about, &a.drive) == (&b.about, &b.drive)
}
