//! Changes of what an operation reads or returns: scaled, shifted, reordered, rounded, cut off.

use std::ops::Range;
use std::sync::Arc;

use candle_core::DType;

use super::listed::{Listed, ZEROS, columns, heads_of, listed};
use super::normed::norms;
use super::orders;
use super::proposal::{Proposal, called, called_input, scale_is_open};
use super::seen;
use crate::Result;
use crate::diagnose::Evidence;
use crate::diagnose::deviation::{Block, Change, Deviation, Edge, Format, Function, Row};
use crate::diagnose::fit::Expected;
use crate::graph::{Node, Operation, Role};

/// Changes of each input.
///
/// # Errors
/// A weight cannot be read.
pub(super) fn of_input(e: &Evidence<'_>, node: &Node) -> Result<Vec<Proposal>> {
    let mut all = Vec::new();
    for n in 0..node.inputs.len() {
        let Some(input) = e.graph.node(node.inputs[n].node) else { continue };
        // What lies between the nodes of the cut is changed as an output.
        if e.cut.contains(&node.inputs[n].node) {
            continue;
        }
        let (name, what) = (called(node), called_input(e, node, n));
        let width = input.shape.width(e.context.pass.length());
        let linear = matches!(node.operation, Operation::Linear(_));
        let mut changes = moved();
        changes.extend(reordered(width, e.config().head_dim));
        changes.extend(emptied(width, heads_of(e, input)));
        changes.extend(rounded(e, width, linear || node.role == Role::Context));
        changes.extend(functions());
        changes.extend(limited());
        for (name, by, how) in norms(e, node, width)? {
            let says = format!("you compute {} from {what} {how}", called(node));
            let made = by.into_iter().map(|change| Deviation::Input { n, change }).collect();
            all.push(Proposal::of(name, node, made, says));
        }
        all.extend(changes.into_iter().map(|Listed { name: [kind, _], change, how, coarse }| {
            let says = format!("you compute {name} from {what} {how}");
            Proposal::new(kind, node, Deviation::Input { n, change }, says).rounding(coarse)
        }));
    }
    Ok(all)
}

/// Changes of the result.
///
/// # Errors
/// A weight cannot be read.
pub(super) fn of_output(e: &Evidence<'_>, node: &Node, right: &Expected) -> Result<Vec<Proposal>> {
    let (name, width) = (called(node), node.shape.width(e.context.pass.length()));
    let mut all: Vec<Proposal> = seen::factor(e, node, right).into_iter().collect();
    let mut changes = moved();
    if !node.role.is_over_keys() {
        changes.extend(reordered(width, e.config().head_dim));
    }
    changes.extend(seen::empty(e, node, right));
    changes.extend(rounded(e, width, false));
    changes.extend(functions());
    changes.extend(rows_of_logits(node));
    all.extend(seen::clipped(e, node, right));
    // Sums of low precision round what they read, too.
    all.extend(low_sum(e, node));
    for (kind, by, how) in norms(e, node, width)? {
        let made = by.into_iter().map(Deviation::Output).collect();
        all.push(Proposal::of(kind, node, made, format!("you return {name} {how}")));
    }
    all.extend(changes.into_iter().map(|Listed { name: [_, kind], change, how, coarse }| {
        Proposal::new(kind, node, Deviation::Output(change), format!("you return {name} {how}"))
            .rounding(coarse)
    }));
    Ok(all)
}

/// Changes of a result that was not recorded, so that nothing can be read from it.
pub(super) fn of_unrecorded(e: &Evidence<'_>, node: &Node) -> Vec<Proposal> {
    let (name, width) = (called(node), node.shape.width(e.context.pass.length()));
    let mut changes = moved();
    if !node.role.is_over_keys() {
        changes.extend(reordered(width, e.config().head_dim));
        changes.extend(emptied(width, heads_of(e, node)));
    }
    changes.extend(rounded(e, width, false));
    changes.extend(functions());
    changes.extend(limited());
    let factors = if scale_is_open(e) { vec![] } else { seen::factors(e) };
    let mut all: Vec<Proposal> = factors
        .into_iter()
        .map(|(by, text)| {
            let says = format!("you multiply {name} by {text}; it has no such factor");
            Proposal::new("output-scaled", node, Deviation::Output(Change::Times(by)), says)
        })
        .collect();
    all.extend(changes.into_iter().map(|Listed { name: [_, kind], change, how, coarse }| {
        Proposal::new(kind, node, Deviation::Output(change), format!("you return {name} {how}"))
            .rounding(coarse)
    }));
    all
}

/// Rows in another place.
fn moved() -> Vec<Listed> {
    const NAME: [&str; 2] = ["input-rows", "output-rows"];
    let mut all = Vec::new();
    for (by, side) in [(1, "before"), (-1, "after")] {
        for (edge, end) in [(Edge::Wraps, ""), (Edge::Zero, ", and zeros at the end"), (Edge::Stays, "")] {
            let how = format!("of the row {side}: rows are shifted by one{end}");
            all.push(listed(NAME, Change::Shifted { by, edge }, how));
        }
    }
    all.push(listed(NAME, Change::RowsReversed, "with its rows in reverse order"));
    all.push(listed(NAME, Change::Repeats(Row::Last), "of the last row, for every row"));
    all.push(listed(NAME, Change::Repeats(Row::First), "of the first row, for every row"));
    all
}

fn reordered(width: usize, head_dim: usize) -> Vec<Listed> {
    let order = |(order, how): (Vec<usize>, String)| {
        let change = Change::Columns(Arc::from(order));
        listed(["input-columns", "output-columns"], change, format!("with its columns {how}"))
    };
    orders::all(width, head_dim).into_iter().map(order).collect()
}

/// Inputs of which a part is zero: halves, quarters, heads, and single columns at either end.
fn emptied(width: usize, head_dim: usize) -> Vec<Listed> {
    let half = width / 2;
    let mut ranges: Vec<Range<usize>> = vec![half..width, 0..half, 0..1, width - 1..width];
    if width.is_multiple_of(4) {
        ranges.extend((0..4).map(|n| n * width / 4..(n + 1) * width / 4));
        ranges.extend([width / 4..width, 0..3 * width / 4]);
    }
    if width.is_multiple_of(head_dim) && width > head_dim {
        ranges.extend((0..width / head_dim).map(|h| h * head_dim..(h + 1) * head_dim));
    }
    let zeros = |range: Range<usize>| {
        let how = format!("with zeros in {}", columns(&range, width, head_dim));
        listed(ZEROS, Change::Zeros(range), how)
    };
    ranges.into_iter().map(zeros).collect()
}

/// Formats that a tensor may be rounded to. Of the inputs of a product, all kinds of integers.
fn rounded(e: &Evidence<'_>, width: usize, all: bool) -> Vec<Listed> {
    let formats = Format::all(width).into_iter().filter(|format| match format {
        Format::Half(dtype) => *dtype != e.context.dtype,
        Format::Integers { bits, block, .. } => all || (*bits == 8 && !matches!(block, Block::Run(_))),
        Format::TruncatedBf16 | Format::Float8 { .. } => true,
    });
    // Each head's row of probabilities.
    let slots = e.context.pass.length();
    let run = (slots < width && width.is_multiple_of(slots)).then_some(Format::Integers {
        bits: 8,
        block: Block::Run(slots),
        affine: false,
    });
    let listed = |format: Format| {
        let how = format!("rounded to {}", format.name());
        let coarse = format.coarse();
        Listed { coarse, ..listed(["input-rounded", "output-rounded"], Change::Rounded(format), how) }
    };
    formats.chain(run).map(listed).collect()
}

/// A sum whose terms and result are rounded.
fn low_sum(e: &Evidence<'_>, node: &Node) -> Vec<Proposal> {
    if !matches!(node.operation, Operation::WeightedSum { .. }) {
        return vec![];
    }
    let others = [DType::BF16, DType::F16].into_iter().filter(|dtype| *dtype != e.context.dtype);
    let sum = |dtype: DType| {
        let rounded = || Change::Rounded(Format::Half(dtype));
        let inputs = (0..node.inputs.len()).map(|n| Deviation::Input { n, change: rounded() });
        let made = inputs.chain([Deviation::Output(rounded())]).collect();
        let says = format!("you add up {} in {}", called(node), dtype.as_str());
        Proposal::of("output-rounded", node, made, says).rounding(Some(dtype))
    };
    others.map(sum).collect()
}

/// Limits that ports put on an input.
fn limited() -> Vec<Listed> {
    let limits = [7.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 0.5, 16.0, 20.0, 30.0, 50.0, 100.0];
    let clip = |low: f64, high: f64, how: String| {
        listed(["input-clipped", "output-clipped"], Change::Clipped { low, high }, how)
    };
    let both = limits.map(|limit| clip(-limit, limit, format!("clipped to ±{limit}")));
    let above = limits.map(|limit| clip(f64::NEG_INFINITY, limit, format!("clipped to at most {limit}")));
    both.into_iter().chain(above).collect()
}

fn functions() -> Vec<Listed> {
    let applied = [
        Function::Relu,
        Function::Silu,
        Function::Gelu,
        Function::GeluTanh,
        Function::Tanh,
        Function::Sigmoid,
        Function::Magnitude,
        Function::Square,
        Function::Exp,
    ];
    let function = |function: Function| {
        let how = format!("after {} is applied to it", function.name());
        listed(["input-function", "output-function"], Change::By(function), how)
    };
    applied.into_iter().map(function).collect()
}

/// What belongs to a sampler, or to a loss.
fn rows_of_logits(node: &Node) -> Vec<Listed> {
    if node.role != Role::Head {
        return vec![];
    }
    let form = |change: Change, how: &str| listed(["logits-form", "logits-form"], change, how);
    let mut all = vec![
        form(Change::LogSoftmax, "as log-probabilities: a log-softmax is applied"),
        form(Change::Softmax, "as probabilities: a softmax is applied"),
        form(Change::MinusLargest, "minus the largest of each row"),
    ];
    all.extend([50, 40, 20, 10, 100, 1].map(|n| {
        form(Change::Top(n), &format!("with −∞ for all but the {n} largest: a sampler's top-k is applied"))
    }));
    all.extend(
        [30.0, 50.0, 15.0, 20.0, 100.0]
            .map(|cap| form(Change::Softcap(cap), &format!("with a softcap of {cap}"))),
    );
    all
}
