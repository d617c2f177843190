//! Laws of a scheduler that runs several sequences in one step: a text has the values that it has in one prefill,
//! whatever others join, leave or precede it, however its prompt is divided, and whether its beginning is reused.
//! Where products do not depend on the number of rows, its logits are the same bits in every company.

use std::collections::BTreeMap;

use super::drive::{Company, Drive};
use super::pieces::{Criteria, Sequence, replay};
use super::served::{Served, Step, Text};
use super::shared_mistakes;
use super::verdict::{Finding, Status, Verdict};
use crate::Result;
use crate::model::Input;
use crate::port::Port;
use crate::probe::{Kind, Site};
use crate::reference::{Feed, Reference, ReferenceRows};

/// The number of tokens that are run. More would show nothing else.
const LENGTH: usize = 12;

/// The fewest tokens that can be divided into two pieces and two decoded tokens.
const SHORTEST: usize = 6;

/// The number of the case that is run in shared steps: the shortest that is one text from its first position on, long
/// enough, without padding, and with stored logits of all tokens that are run.
pub(super) fn case_of(cases: &[Reference]) -> Option<usize> {
    let from_the_start = |row: &Vec<usize>| row.iter().copied().eq(0..row.len());
    let stored = |case: &Reference, position| {
        let logits = case.rows(Site::model(Kind::Logits));
        logits.is_some_and(|logits| logits.places.binary_search(&(0, position)).is_ok())
    };
    let fits = |case: &Reference| {
        case.batch() == 1
            && case.length() >= SHORTEST
            && case.places().len() == case.length()
            && case.manifest.position_ids.iter().all(from_the_start)
            && (0..case.length().min(LENGTH)).all(|position| stored(case, position))
    };
    let fitting = cases.iter().enumerate().filter(|(_, case)| fits(case));
    fitting.min_by_key(|(_, case)| case.length()).map(|(n, _)| n)
}

/// Why the laws of shared steps are not judged, if they are not; `case` is the number of the case for them.
pub(super) fn not_judged(port: &dyn Port, case: Option<usize>) -> Option<String> {
    let why = match (port.shared_steps(1), case) {
        (None, _) => format!("the port ({}) has no scheduler", port.traits().path),
        (Some(_), None) => format!("no case is one text of {SHORTEST} tokens or more, from position 0 on"),
        (Some(_), Some(_)) => return None,
    };
    Some(format!("steps shared by several sequences are not judged: {why}"))
}

/// Judges every law on the first tokens of `whole`, which was recorded in `prefill`. A port without a scheduler has none
/// of these laws.
pub(super) fn same_in_company(
    port: &mut dyn Port,
    whole: &Sequence<'_>,
    prefill: &BTreeMap<Site, ReferenceRows>,
    criteria: &Criteria<'_>,
) -> Result<Vec<Finding>> {
    let ids = &whole.input.ids[0][..whole.input.len().min(LENGTH)];
    let prompt = (2 * ids.len()).div_ceil(3);
    let text = Text { ids: ids.to_vec(), prompt, piece: prompt.div_ceil(2), common: prompt / 2 - 1 };
    let Some(steps) = port.shared_steps(text.piece) else { return Ok(vec![]) };
    let repeats_bits = steps.repeats_bits();
    let mut alone: Vec<Step> = Vec::new();
    let mut findings = Vec::new();
    for company in Company::ALL {
        let (mut found, steps) = in_company(port, whole, &text, company, prefill, criteria)?;
        let failed = |finding: &Finding| finding.status() == Status::Failed;
        if repeats_bits && matches!(company, Company::Joining | Company::Leaving | Company::After) {
            found.push(same_bits(whole, drive(port, company, criteria), &alone, &steps));
        }
        if let Some(first) = found.iter_mut().find(|finding| failed(finding) && finding.explained.is_none()) {
            // With reference inputs, the logits show only the last layer.
            let own = match criteria.fed {
                Some(_) => &unfed(port, &text, company),
                None => &steps,
            };
            first.explained = shared_mistakes::diagnose(port, &text, company, own)?;
        }
        if company == Company::None {
            alone = steps;
        }
        findings.extend(found);
    }
    Ok(findings)
}

/// The findings of one company, and the steps that gave logits.
fn in_company(
    port: &mut dyn Port,
    whole: &Sequence<'_>,
    text: &Text,
    company: Company,
    prefill: &BTreeMap<Site, ReferenceRows>,
    criteria: &Criteria<'_>,
) -> Result<(Vec<Finding>, Vec<Step>)> {
    let drive = drive(port, company, criteria);
    let same = if company == Company::Prefix { text.common } else { 0 };
    let mut served = Served::new(port, text, company, criteria.fed);
    let reused = match served.start() {
        Ok(reused) => reused,
        Err(error) => return Ok((vec![Finding::stopped(error, whole.name, drive)], vec![])),
    };
    if reused > same {
        let verdict = Verdict::Broken(format!(
            "{reused} tokens of a new prompt were taken from a kept cache, which has only the first {same} of them"
        ));
        let explained = Some(crate::diagnose::decoding::stale_prefix(reused, same));
        let finding = Finding { explained, ..law("reused prefix", whole, drive, verdict) };
        return Ok((vec![finding], vec![]));
    }
    let windows = text.windows(reused);
    let sequence = Sequence {
        name: whole.name,
        input: Input::single(&text.ids, 0),
        places: whole.places.iter().copied().filter(|&(_, position)| position < text.ids.len()).collect(),
    };
    // Logits are computed only where a token is sampled.
    let sampled = |kind: Kind, position: usize| {
        !matches!(kind, Kind::Logits | Kind::CappedLogits) || position + 1 >= text.prompt
    };
    let rows = prefill.iter().filter_map(|(&site, rows)| {
        let wanted = |position| (reused..text.ids.len()).contains(&position) && sampled(site.kind, position);
        Some((site, some_rows(rows, wanted)?))
    });
    let findings = replay(&mut served, &sequence, &windows, &rows.collect(), criteria, drive)?;
    Ok((findings, served.steps))
}

/// The steps that give logits on the port's own values; none after an error of the port.
fn unfed(port: &mut dyn Port, text: &Text, company: Company) -> Vec<Step> {
    let mut served = Served::new(port, text, company, None);
    let whole = Input::single(&text.ids, 0);
    let Ok(reused) = served.start() else { return vec![] };
    for window in text.windows(reused) {
        if served.forward(&whole.slice(window), &mut ()).is_err() {
            break;
        }
    }
    served.steps
}

/// The rows at the positions that are wanted; `None` if there are none.
fn some_rows(rows: &ReferenceRows, wanted: impl Fn(usize) -> bool) -> Option<ReferenceRows> {
    let kept = || rows.places.iter().enumerate().filter(|(_, (_, position))| wanted(*position));
    let places: Vec<_> = kept().map(|(_, &place)| place).collect();
    (!places.is_empty()).then(|| ReferenceRows {
        places: places.into(),
        row_shape: rows.row_shape.clone(),
        values: kept().flat_map(|(r, _)| rows.row(r).iter().copied()).collect(),
    })
}

/// Whether the text has the same bits as without others.
fn same_bits(whole: &Sequence<'_>, drive: Drive, alone: &[Step], beside: &[Step]) -> Finding {
    let differs = |(a, b): (&Step, &Step)| {
        let differs = |(x, y): (&f32, &f32)| x.to_bits() != y.to_bits();
        let at = a.logits.iter().zip(&b.logits).position(differs)?;
        Some((a.window.end - 1, at, a.logits[at], b.logits[at]))
    };
    let verdict = if alone.is_empty() || alone.len() != beside.len() {
        Verdict::Broken(format!(
            "{} steps gave logits without others, {} with them",
            alone.len(),
            beside.len()
        ))
    } else {
        match alone.iter().zip(beside).find_map(differs) {
            None => Verdict::Pass(0.0),
            Some((token, at, a, b)) => Verdict::Broken(format!(
                "after token {token}, logit {at} is {a} without others and {b} beside them"
            )),
        }
    };
    law("same bits", whole, drive, verdict)
}

fn law(name: &str, whole: &Sequence<'_>, drive: Drive, verdict: Verdict) -> Finding {
    Finding { case: whole.name.to_owned(), drive, ..Finding::new(name, verdict) }
}

fn drive(port: &mut dyn Port, company: Company, criteria: &Criteria<'_>) -> Drive {
    let feed = criteria.fed.map_or(Feed::Own, |(_, feed)| feed);
    Drive::SharedSteps(company, port.traits().path, feed)
}
