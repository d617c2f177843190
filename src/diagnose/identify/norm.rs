//! Other norms: another statistic, another vector, another order of steps.

use std::sync::Arc;

use super::Proposal;
use super::proposal::called;
use crate::Result;
use crate::diagnose::Evidence;
use crate::diagnose::deviation::{Block, Deviation, Divisor, EpsUse, Format, NormForm, NormWeight};
use crate::graph::{Node, Norm};
use crate::oracle::vector;

pub(super) fn proposals(e: &Evidence<'_>, node: &Node, norm: &Norm) -> Result<Vec<Proposal>> {
    let mut all = forms(e, node, norm);
    let name = called(node);
    let weight = |weight: NormWeight, says: String| {
        Proposal::new("norm-weight", node, Deviation::NormWeight(weight), says)
    };
    all.push(weight(
        NormWeight::Power(2),
        format!("you multiply by {name}'s weight twice; multiply by it once"),
    ));
    all.push(weight(NormWeight::Power(-1), format!("you divide by {name}'s weight; multiply by it")));
    let offset = e.config().family.norm_offset();
    all.push(weight(NormWeight::Reversed, format!("you read {name}'s weight in reverse order")));
    for (other, values) in vectors(e, &norm.weight)? {
        let says = format!("you multiply by the weight of {other}; multiply by the weight of {name}");
        let gain: Vec<f64> = values.iter().map(|value| value + offset).collect();
        all.push(weight(NormWeight::Is(gain.into()), says));
    }
    let integers = [8, 4, 6].map(|bits| Format::Integers { bits, block: Block::Tensor, affine: false });
    let width = norm.rule.run(node.shape.width(1));
    for format in Format::all(width).into_iter().filter(|format| !matches!(format, Format::Integers { .. })) {
        let says = format!("you round {name}'s weight to {}", format.name());
        all.push(weight(NormWeight::Rounded(format), says).rounding(format.coarse()));
    }
    for format in integers {
        all.push(weight(
            NormWeight::Rounded(format),
            format!("you round {name}'s weight to {}", format.name()),
        ));
    }
    Ok(all)
}

fn forms(e: &Evidence<'_>, node: &Node, norm: &Norm) -> Vec<Proposal> {
    let (name, row) = (called(node), node.shape.width(1));
    let width = norm.rule.run(row);
    let form = |named: &'static str, form: NormForm, says: String| {
        Proposal::new(named, node, Deviation::NormForm(form), says)
    };
    let mut all = vec![
        form("norm-skipped", NormForm::Skipped, format!("you do not apply {name}: your tensor is its input")),
        form(
            "norm-skipped",
            NormForm::WeightOnly,
            format!("you multiply by {name}'s weight without dividing by the root mean square"),
        ),
        form(
            "norm-order",
            NormForm::WeightFirst,
            format!("you multiply by {name}'s weight before normalising; normalise first"),
        ),
        form("norm-twice", NormForm::Twice { weighted: true }, format!("you apply {name} twice")),
        form(
            "norm-twice",
            NormForm::Twice { weighted: false },
            format!("you normalise the result of {name} once more, without the weight"),
        ),
        form(
            "norm-statistic",
            NormForm::Centred { sample: false },
            format!("you subtract the mean in {name}, as LayerNorm does; RMSNorm does not"),
        ),
        form(
            "norm-statistic",
            NormForm::Centred { sample: true },
            format!("you subtract the mean in {name} and divide by the sample standard deviation (n − 1)"),
        ),
        form(
            "norm-statistic",
            NormForm::Inverted,
            format!("you multiply by the root mean square in {name}; divide by it"),
        ),
    ];
    for (by, what) in Divisor::ALL {
        for (eps, how) in [
            (EpsUse::Inside, ""),
            (EpsUse::Absent, ", without ε"),
            (EpsUse::Outside, ", with ε added outside the root"),
        ] {
            let says =
                format!("you divide by {what}{how}, in {name}; divide by the root of the mean square plus ε");
            all.push(form("norm-statistic", NormForm::Divided { by, eps }, says));
        }
    }
    if width < row {
        // What is a position in the statistics of whole rows is a head here.
        all.retain(|proposal| proposal.tried.deviations.iter().all(Deviation::is_row_wise));
        let says = format!(
            "you normalise the whole row of {row} in {name}; normalise each head of {width} on its own"
        );
        all.push(form("norm-statistic", NormForm::WholeRow, says));
    }
    let head_dim = e.config().head_dim;
    let mut runs: Vec<usize> = vec![head_dim, width / 2, width / 4];
    runs.retain(|&run| run > 0 && run < width && width.is_multiple_of(run));
    runs.dedup();
    for run in runs {
        let head = if run == head_dim { ", one head" } else { "" };
        let says = format!(
            "you normalise each run of {run} channels{head} on its own in {name}; normalise all {width} together"
        );
        all.push(form("norm-statistic", NormForm::Runs(run), says));
    }
    all
}

/// A vector of the file, with its name.
type Named = (String, Arc<[f64]>);

/// The other vectors of the file that are as long as `own`, those of near layers first.
fn vectors(e: &Evidence<'_>, own: &str) -> Result<Vec<Named>> {
    let weights = e.context.weights;
    let shape = weights.shape(own).unwrap_or_default().to_vec();
    let layer = |name: &str| name.split('.').nth(2).and_then(|n| n.parse::<usize>().ok());
    let away = |name: &str| match (layer(name), layer(own)) {
        (Some(a), Some(b)) => a.abs_diff(b),
        _ => 1,
    };
    let mut names = weights.names();
    names.retain(|name| name != own && weights.shape(name) == Some(&shape[..]));
    names.sort_by_key(|name| away(name));
    let read =
        |name: String| Ok((name.trim_end_matches(".weight").to_owned(), vector(weights, &name)?.into()));
    names.into_iter().map(read).collect()
}
