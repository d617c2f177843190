//! The scope of a failure: which layers, which cases and which drives it is limited to.

use std::collections::{BTreeMap, BTreeSet};

use crate::compare::Axis;
use crate::judge::{Finding, Outcome, Status};

/// What the failed comparisons have in common and the passed ones do not, among those of the same kind of
/// site as `first`: `only layer 2; only cases longer than 1 token`. `None` if all failed, or if nothing
/// separates the two groups.
pub(super) fn scope(outcome: &Outcome, first: &Finding) -> Option<String> {
    let kind = first.site?.kind;
    let judged = |f: &&Finding| matches!(f.status(), Status::Passed | Status::Failed | Status::Expected);
    let of_kind = outcome.findings.iter().filter(|f| f.site.is_some_and(|site| site.kind == kind));
    let same: Vec<(&Finding, bool)> =
        of_kind.filter(judged).map(|f| (f, f.status() != Status::Passed)).collect();
    let mut layers = Axis::default();
    for (finding, wrong) in &same {
        if let Some(layer) = finding.site.and_then(|site| site.layer) {
            layers.see(layer.into(), *wrong);
        }
    }
    let parts = [layers.describe("layer"), cases(&same), drives(&same)];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Which cases fail, if some pass: named by length if all longer (or all shorter) cases fail and the others
/// pass, else by name. A case is as long as the last position that was compared in it.
fn cases(same: &[(&Finding, bool)]) -> Option<String> {
    let mut cases: BTreeMap<&str, (usize, bool)> = BTreeMap::new();
    for (finding, wrong) in same {
        let places = finding.shares.iter().flat_map(|shares| &shares.places);
        let length = places.map(|(_, position)| position + 1).max().unwrap_or(0);
        let (longest, differs) = cases.entry(&finding.case).or_default();
        (*longest, *differs) = ((*longest).max(length), *differs | wrong);
    }
    let of = |wrong: bool| cases.iter().filter(move |(_, case)| case.1 == wrong);
    let lengths = |wrong: bool| of(wrong).map(|(_, case)| case.0);
    let names = |wrong: bool| of(wrong).map(|(name, _)| *name).collect::<Vec<_>>();
    let tokens = |n: usize| format!("{n} token{}", if n == 1 { "" } else { "s" });
    let (shortest_bad, longest_bad) = (lengths(true).min()?, lengths(true).max()?);
    let (shortest_good, longest_good) = (lengths(false).min()?, lengths(false).max()?);
    Some(match (names(true), names(false)) {
        // A case in which no row was compared, for example because of a wrong shape, has no length.
        _ if shortest_bad > longest_good && longest_good > 0 => {
            format!("only cases longer than {}", tokens(longest_good))
        }
        _ if longest_bad < shortest_good && shortest_bad > 0 => {
            format!("only cases shorter than {}", tokens(shortest_good))
        }
        (bad, good) if good.len() < bad.len() => match good.as_slice() {
            [one] => format!("case {one} agrees"),
            several => format!("cases {} agree", several.join(", ")),
        },
        (bad, _) => format!("only {} {}", if bad.len() == 1 { "case" } else { "cases" }, bad.join(", ")),
    })
}

/// What all failing drives share and no passing drive has: `only feed block`, `only token by token`.
fn drives(same: &[(&Finding, bool)]) -> Option<String> {
    let parts = |f: &'_ Finding| f.drive.parts().into_iter().collect::<BTreeSet<_>>();
    let of = |wrong: bool| same.iter().filter(move |s| s.1 == wrong).map(|s| parts(s.0));
    of(false).next()?;
    let common = of(true).reduce(|a, b| &a & &b)?;
    let own: Vec<String> =
        common.into_iter().filter(|part| of(false).all(|other| !other.contains(part))).collect();
    (!own.is_empty()).then(|| format!("only {}", own.join(", ")))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::checkpoints;
    use crate::compare::{Difference, Shares};
    use crate::judge::{Drive, Verdict};
    use crate::probe::{Kind, Site};
    use crate::reference::Feed;

    /// One comparison of q after rope: its layer, case, number of tokens and drive.
    fn one(layer: usize, case: &str, tokens: usize, drive: Drive, wrong: bool) -> Finding {
        let site = Site::layer(layer, Kind::QRope);
        let verdict = if wrong { Verdict::Differs(Difference::default().into()) } else { Verdict::Pass(0.1) };
        let places = (0..tokens).map(|position| (0, position)).collect();
        Finding {
            site: Some(site),
            case: case.into(),
            drive,
            shares: Some(Shares { places, ..Shares::default() }),
            ..Finding::new(site.to_string(), verdict)
        }
    }

    type Judged = (usize, &'static str, usize, Drive, bool);

    const PLAIN: Drive = Drive::Path("plain");
    const FUSED: Drive = Drive::Path("fused");

    #[rstest]
    #[case::all_fail(&[(0, "a", 5, PLAIN, true), (1, "a", 5, PLAIN, true)], None)]
    #[case::one_layer(
        &[(0, "a", 5, PLAIN, false), (1, "a", 5, PLAIN, true), (2, "a", 5, PLAIN, false)],
        Some("only layer 1")
    )]
    #[case::longer_cases_fail(
        &[(0, "a", 5, PLAIN, false), (0, "b", 9, PLAIN, true), (0, "c", 12, PLAIN, true)],
        Some("only cases longer than 5 tokens")
    )]
    #[case::shorter_cases_fail(
        &[(0, "a", 5, PLAIN, true), (0, "b", 9, PLAIN, false)],
        Some("only cases shorter than 9 tokens")
    )]
    #[case::not_by_length(
        &[(0, "a", 5, PLAIN, false), (0, "b", 9, PLAIN, true), (0, "c", 12, PLAIN, false)],
        Some("only case b")
    )]
    #[case::one_case_agrees(
        &[(0, "a", 5, PLAIN, true), (0, "b", 9, PLAIN, false), (0, "c", 12, PLAIN, true)],
        Some("case b agrees")
    )]
    #[case::two_of_four(
        &[(0, "a", 5, PLAIN, true), (0, "b", 9, PLAIN, false), (0, "c", 12, PLAIN, true),
          (0, "d", 14, PLAIN, false)],
        Some("only cases a, c")
    )]
    #[case::of_unknown_length(
        &[(0, "a", 0, PLAIN, true), (0, "b", 9, PLAIN, false)],
        Some("only case a")
    )]
    #[case::one_path(
        &[(0, "a", 5, PLAIN, true), (0, "a", 5, FUSED, false)],
        Some("only plain")
    )]
    #[case::one_feed(
        &[(0, "a", 5, Drive::Prefill("plain", Feed::Block), true), (0, "a", 5, Drive::Prefill("plain", Feed::Site), false),
          (0, "a", 5, Drive::Prefill("fused", Feed::Block), true), (0, "a", 5, Drive::Prefill("fused", Feed::Site), false)],
        Some("only feed block")
    )]
    #[case::not_by_drive(
        &[(0, "a", 5, PLAIN, true), (1, "a", 5, PLAIN, false), (0, "a", 5, FUSED, true)],
        Some("layer 1 agrees")
    )]
    #[case::two_axes(
        &[(0, "a", 1, PLAIN, false), (0, "b", 9, PLAIN, true), (1, "a", 1, PLAIN, false),
          (1, "b", 9, PLAIN, false), (2, "b", 9, PLAIN, false)],
        Some("only layer 0; only cases longer than 1 token")
    )]
    fn the_scope_is_what_only_the_failures_share(#[case] judged: &[Judged], #[case] expected: Option<&str>) {
        let findings: Vec<Finding> =
            judged.iter().map(|(l, c, n, d, wrong)| one(*l, c, *n, d.clone(), *wrong)).collect();
        let first = findings.iter().find(|f| f.status() == Status::Failed).unwrap().clone();
        let checkpoint = checkpoints::find("01B").unwrap();
        let outcome = Outcome { checkpoint, findings, skipped: None, notes: vec![] };
        assert_eq!(scope(&outcome, &first).as_deref(), expected);
    }
}
