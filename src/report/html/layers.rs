//! Where in the model budgets are used: one table of every site, and per checkpoint a chart over the layers.

use std::collections::{BTreeMap, BTreeSet};

use super::chart::{self, Chart, Line};
use super::heat::{Cell, Heat, HeatRow};
use super::level::{self, share};
use crate::judge::{Finding, Outcome};
use crate::probe::{Kind, Site};
use crate::report::text::place;

/// Up to this many layers, every cell has room for its number.
const ROOMY: usize = 12;

/// For each key, the finding with the largest share of its budget.
fn worst<'a, K: Ord>(
    findings: impl Iterator<Item = &'a Finding>,
    key: impl Fn(Site) -> Option<K>,
) -> BTreeMap<K, (f64, &'a Finding)> {
    let mut worst = BTreeMap::new();
    for finding in findings {
        let Some((key, share)) = finding.site.and_then(|site| Some((key(site)?, share(finding)?))) else {
            continue;
        };
        let entry = worst.entry(key).or_insert((share, finding));
        if share > entry.0 || share.is_nan() {
            *entry = (share, finding);
        }
    }
    worst
}

/// Every kind of site in every layer, in forward order; `None` if no site was judged.
pub fn sites(outcomes: &[Outcome]) -> Option<Heat> {
    let all = worst(outcomes.iter().flat_map(|outcome| &outcome.findings), Some);
    // The references of a large model store only some of its layers.
    let layers: BTreeSet<u16> = all.keys().filter_map(|site| site.layer).collect();
    let cell = |site: Site| {
        let (share, finding) = all.get(&site)?;
        Some(Cell::of(*share, &place(finding)))
    };
    // Forward order: embedding, layers, then the sites after them.
    let kinds: BTreeSet<Site> =
        all.keys().map(|site| Site { layer: site.layer.map(|_| 0), ..*site }).collect();
    let row = |site: &Site| HeatRow {
        label: name(site.kind).into(),
        cells: match site.layer {
            None => vec![cell(*site).map(|cell| Cell { span: layers.len().max(1), ..cell })],
            Some(_) => layers.iter().map(|&layer| cell(Site { layer: Some(layer), ..*site })).collect(),
        },
    };
    let heat = Heat {
        caption: "The largest share of its budget that each site used, over all cases and paths".into(),
        across: "layer",
        columns: layers.iter().map(u16::to_string).collect(),
        rows: kinds.iter().map(row).collect(),
        small: layers.len() > ROOMY,
    };
    (!heat.rows.is_empty()).then_some(heat)
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Block => "block output",
        kind => kind.name(),
    }
}

/// One chart for each checkpoint that judged sites in layers.
pub fn charts(outcomes: &[Outcome]) -> Vec<Chart> {
    let of_layers = |outcome: &'_ Outcome| -> Vec<(usize, f64, String)> {
        worst(outcome.findings.iter(), |site| site.layer)
            .into_iter()
            .map(|(layer, (share, finding))| {
                (
                    usize::from(layer),
                    share,
                    format!("layer {layer}: {}, {}", level::in_words(share), place(finding)),
                )
            })
            .collect()
    };
    let all: Vec<(&Outcome, Vec<_>)> = outcomes
        .iter()
        .map(|outcome| (outcome, of_layers(outcome)))
        .filter(|(_, points)| !points.is_empty())
        .collect();
    let highest = chart::highest(all.iter().flat_map(|(_, points)| points.iter().map(|point| point.1)));
    all.into_iter()
        .map(|(outcome, points)| {
            let title = format!("{} {}", outcome.checkpoint.id, outcome.checkpoint.name);
            chart::chart(title, "layer", highest, &[Line { name: String::new(), class: "main", points }])
        })
        .collect()
}
