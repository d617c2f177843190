//! Operations that are at fault → what mistake it was, tried on the port's own inputs.

use std::collections::BTreeMap;

use super::replay::{Red, Replay};
use super::span;
use super::truth::judged_as;
use crate::Result;
use crate::checkpoints::judge_of;
use crate::judge::{Finding, Verdict};
use crate::oracle::Rows;
use crate::probe::{Kind, Site};
use crate::reference::Place;
use crate::suspects::{self, Evidence, Stored, Wanted};

/// Explains the red sites of a layer, of which everything is known now: the first of each kind.
pub(super) fn explain(replay: &Replay<'_>, reds: Vec<Red>, findings: &mut [Finding]) {
    let mut looked: BTreeMap<Kind, Site> = BTreeMap::new();
    for finding in findings.iter() {
        if let (Some(site), Some(_)) = (finding.site, &finding.explained) {
            looked.entry(site.kind).or_insert(site);
        }
    }
    for red in reds {
        let site = red.held.site;
        if looked.contains_key(&site.kind) {
            continue;
        }
        let agrees = |f: &Finding| f.site == Some(Site { layer: site.layer.map(|_| 0), ..site });
        let first_layer_agrees = findings.iter().any(|f| agrees(f) && matches!(f.verdict, Verdict::Pass(_)));
        let place = red.place;
        findings[place].set_explanation(diagnose(replay, red, first_layer_agrees));
    }
}

fn diagnose(replay: &Replay<'_>, red: Red, first_layer_agrees: bool) -> Result<Option<suspects::Diagnosis>> {
    let (Some(weights), site) = (replay.against.weights, red.held.site) else { return Ok(None) };
    let (theory, held) = (&red.theory, &red.held);
    // What it should be stands beside what went in: projections are mistaken for each other.
    let truth = |other: Site| {
        let placed = match replay.theories.get(&other) {
            Some(theory) if site.kind.is_product() && other.kind.is_product() => theory,
            _ => &replay.values.get(&other)?.placed,
        };
        Some(Stored { rows: placed.rows.clone(), places: placed.places.clone() })
    };
    let known = suspects::Red {
        site,
        weights,
        dtype: judged_as(replay.dump.dtype),
        layout: held.layout.clone(),
        hides: replay.dump.hides(),
        all: replay.machine.tokens.clone(),
        factor: judge_of(site.kind).1,
        window: 0..replay.dump.length(),
        first_layer_agrees,
    };
    let rows = theory.placed.places.iter().enumerate().filter(|&(_, &place)| held.holds(place));
    let wanted = rows.map(|(r, &place)| Wanted {
        place,
        row: theory.placed.rows.row(r).into(),
        noise: theory.noise[r],
    });
    let got = |places: &[Place]| Ok(Some(Rows::new(held.width(), held.rows(places)?)));
    let Some(evidence) = Evidence::of(known, wanted, got, &truth)? else { return Ok(None) };
    let alone = suspects::diagnose(&evidence)?;
    if red.since.len() == 1 || !alone.named.is_empty() {
        return Ok(Some(alone));
    }
    let spanned = span::diagnose(replay, &evidence, &red.since)?;
    let nearest = |a: &suspects::RunnerUp, b: &suspects::RunnerUp| a.residual.total_cmp(&b.residual);
    let others = alone.runner_up.into_iter().chain(spanned.runner_up);
    let unnamed = |next: &suspects::RunnerUp| spanned.named.iter().all(|n| n.mistake != next.mistake);
    let runner_up = others.filter(unnamed).min_by(nearest);
    Ok(Some(suspects::Diagnosis { runner_up, ..spanned }))
}
