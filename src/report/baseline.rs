//! Compares two reports and lists what changed since the earlier one.

use std::collections::BTreeMap;
use std::fmt;

use super::json::{Checkpoint, Finding, Number, Report, Standing, Verdict};
use crate::files::one_line;

/// Growth below this share of the budget is not reported.
const SMALL: f64 = 0.01;
/// Growth is reported when a share is more than this many times the earlier one.
const GROWN: f64 = 2.0;
/// How many lines of one kind of change are shown.
const SHOWN: usize = 8;

/// What has changed since an earlier report.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Settings that differ between the two runs: name, earlier value, current value.
    pub settings: Vec<(&'static str, String, String)>,
    /// Failed or could not be judged now, but not before.
    pub newly_failing: Vec<String>,
    /// Passes now, but did not before.
    pub newly_passing: Vec<String>,
    /// Passes in both, but uses more than twice the share of its budget (shares under 1% are ignored).
    pub grown: Vec<String>,
    /// Judged only in the current run.
    pub appeared: Vec<String>,
    /// Judged only in the earlier run.
    pub gone: Vec<String>,
    /// Comparisons with no change worth reporting.
    pub unchanged: usize,
}

/// What changed between `then` and `now`. A checkpoint that only one of the two ran appears in the settings;
/// its comparisons are not listed.
pub fn changes(then: &Report, now: &Report) -> Changes {
    let mut changes = Changes { settings: settings(then, now), ..Changes::default() };
    let both = |checkpoint: &Checkpoint, other: &Report| {
        ran(checkpoint) && other.checkpoints.iter().any(|c| c.id == checkpoint.id && ran(c))
    };
    let (before, after) = (things(then, |c| both(c, now)), things(now, |c| both(c, then)));
    let earlier: BTreeMap<&FindingKey<'_>, &State> = before.iter().map(|(key, state)| (key, state)).collect();
    for (key, state) in &after {
        match earlier.get(key) {
            None => changes.appeared.push(key.to_string()),
            Some(was) => changes.compare(key, was, state),
        }
    }
    let later: BTreeMap<&FindingKey<'_>, &State> = after.iter().map(|(key, state)| (key, state)).collect();
    changes.gone =
        before.iter().filter(|(key, _)| !later.contains_key(key)).map(|(key, _)| key.to_string()).collect();
    changes
}

fn ran(checkpoint: &Checkpoint) -> bool {
    checkpoint.skipped.is_none()
}

impl Changes {
    fn compare(&mut self, key: &FindingKey<'_>, was: &State, is: &State) {
        let passing = |state: &State| matches!(state.standing, Standing::Passed | Standing::Own);
        match (was.failing(), is.failing()) {
            (false, true) => self.newly_failing.push(key.to_string()),
            _ if passing(is) && !passing(was) => self.newly_passing.push(key.to_string()),
            _ if is.share >= SMALL && is.share > GROWN * was.share => {
                let percent = |share: f64| format!("{:.1}%", share * 100.0);
                self.grown.push(format!(
                    "{key}: {} of budget, was {}",
                    percent(is.share),
                    percent(was.share)
                ));
            }
            _ => self.unchanged += 1,
        }
    }
}

/// Everything except the verdicts in which two runs may differ.
fn settings(then: &Report, now: &Report) -> Vec<(&'static str, String, String)> {
    let of = |report: &Report| {
        let Report { tool, model, run, references, checkpoints, .. } = report;
        let cases: Vec<&str> = references.cases.iter().map(|case| case.case.as_str()).collect();
        let hashes: Vec<String> = references
            .cases
            .iter()
            .map(|case| format!("{} {}", case.case, short(&case.sites_sha256)))
            .collect();
        let ids: Vec<&str> = checkpoints.iter().filter(|c| ran(c)).map(|c| c.id.as_str()).collect();
        [
            ("version", tool.version.clone()),
            ("model", model.name.clone()),
            ("weights", model.weights_sha256.as_deref().map_or_else(|| "none".into(), short)),
            ("device", run.device.clone()),
            ("dtype", run.dtype.clone()),
            ("matmul", run.matmul.clone()),
            ("attention", run.paths.join(", ")),
            ("feed", run.feed.clone().unwrap_or_else(|| "all".into())),
            ("threads", run.threads.to_string()),
            ("cases", cases.join(", ")),
            ("references", hashes.join(", ")),
            ("checkpoints", ids.join(", ")),
        ]
    };
    let differing = of(then).into_iter().zip(of(now)).filter(|((_, was), (_, is))| was != is);
    let changed: Vec<_> = differing.map(|((what, was), (_, is))| (what, was, is)).collect();
    // If the cases differ, the references differ as a consequence, which is not listed separately.
    let other_cases = changed.iter().any(|(what, ..)| *what == "cases");
    changed.into_iter().filter(|(what, ..)| !(other_cases && *what == "references")).collect()
}

/// Enough of a hash to distinguish two of them.
fn short(hash: &str) -> String {
    hash.chars().take(12).collect()
}

/// What is compared: one subject of a checkpoint, in one case, under one drive.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct FindingKey<'a> {
    checkpoint: &'a str,
    about: &'a str,
    case: Option<&'a str>,
    drive: Option<&'a str>,
}

impl fmt::Display for FindingKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.checkpoint, self.about)?;
        match [self.case, self.drive].into_iter().flatten().collect::<Vec<_>>().join("; ").as_str() {
            "" => Ok(()),
            place => write!(f, " ({place})"),
        }
    }
}

/// The worst of all findings with the same key.
struct State {
    standing: Standing,
    share: f64,
}

impl State {
    fn failing(&self) -> bool {
        matches!(self.standing, Standing::Failed | Standing::NotJudged)
    }
}

/// Everything that `report` compares in the chosen checkpoints, in the report's order.
fn things<'a>(report: &'a Report, chosen: impl Fn(&Checkpoint) -> bool) -> Vec<(FindingKey<'a>, State)> {
    let mut things: Vec<(FindingKey<'a>, State)> = Vec::new();
    let mut places = BTreeMap::new();
    for checkpoint in report.checkpoints.iter().filter(|checkpoint| chosen(checkpoint)) {
        for finding in &checkpoint.findings {
            let place = *places
                .entry((&checkpoint.id, &finding.about, &finding.case, &finding.drive))
                .or_insert(things.len());
            let share = share(finding);
            match things.get_mut(place) {
                Some((_, state)) => {
                    state.standing = state.standing.max(finding.status);
                    state.share = state.share.max(share);
                }
                None => {
                    let (checkpoint, about) = (checkpoint.id.as_str(), finding.about.as_str());
                    let (case, drive) = (finding.case.as_deref(), finding.drive.as_deref());
                    things.push((
                        FindingKey { checkpoint, about, case, drive },
                        State { standing: finding.status, share },
                    ));
                }
            }
        }
    }
    things
}

/// The share of its budget that a passing finding used.
fn share(finding: &Finding) -> f64 {
    match finding.verdict {
        Verdict::Pass { share: Number(share) } => share,
        _ => 0.0,
    }
}

impl fmt::Display for Changes {
    /// A line of counts, then one line per change; of each kind only the first few.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            ("now failing", &self.newly_failing),
            ("now passing", &self.newly_passing),
            ("grown", &self.grown),
            ("appeared", &self.appeared),
            ("gone", &self.gone),
        ];
        let counts: Vec<String> = kinds
            .iter()
            .filter(|(_, all)| !all.is_empty())
            .map(|(kind, all)| format!("{} {kind}", all.len()))
            .collect();
        let news = if counts.is_empty() { "nothing new".to_owned() } else { counts.join(", ") };
        writeln!(f, "{news}, {} as before", self.unchanged)?;
        for (what, was, is) in &self.settings {
            writeln!(f, "   {what:<12} was {}, is {}", one_line(was), one_line(is))?;
        }
        for (kind, all) in kinds {
            all.iter().take(SHOWN).try_for_each(|line| writeln!(f, "   {kind:<12} {}", one_line(line)))?;
            if all.len() > SHOWN {
                writeln!(f, "   {:<12} and {} more", "", all.len() - SHOWN)?;
            }
        }
        Ok(())
    }
}
