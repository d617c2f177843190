//! Other matrices: from elsewhere in the file, rounded, or with other rows.

use super::Proposal;
use super::proposal::called;
use crate::diagnose::Evidence;
use crate::diagnose::deviation::{Deviation, Format, MatrixReading};
use crate::diagnose::linear::low_factors;
use crate::graph::{Linear, Node, Operation, Role};

pub(super) fn proposals(e: &Evidence<'_>, node: &Node, linear: &Linear) -> Vec<Proposal> {
    let name = called(node);
    let reading = |named: &'static str, reading: MatrixReading, says: String| {
        Proposal::new(named, node, Deviation::Matrix(reading), says)
    };
    let mut all: Vec<Proposal> = others(e, linear)
        .into_iter()
        .map(|other| {
            let path = other.trim_end_matches(".weight");
            let says = format!("you use the matrix of {path}; {name} has its own");
            reading("other-matrix", MatrixReading::Other(other.clone()), says)
        })
        .collect();
    let low = low_factors(e).into_iter();
    all.extend(low.map(|(low, says)| Proposal::new("gemm-reduced", node, low, says)));
    all.extend(dealt(e, node));
    if node.role == Role::Head && linear.rows.is_none() {
        let says = "you read the output matrix in column-major order: it is [vocab, hidden], row by row";
        all.push(reading("weight-transposed", MatrixReading::Transposed { order: None }, says.into()));
    }
    if linear.rows.is_none() {
        let width = e.context.weights.shape(&linear.weight).map_or(0, |shape| shape[1]);
        for format in Format::all(width) {
            let says = format!("you round the matrix of {name} to {}", format.name());
            all.push(
                reading("rounded-matrix", MatrixReading::Rounded(format), says).rounding(format.coarse()),
            );
        }
    }
    let says = format!("you scale every row of the matrix of {name} to length 1");
    all.push(reading("scaled-matrix", MatrixReading::UnitRows, says));
    all
}

/// The other matrices of the file with as many columns and at least as many rows: same kind and near layers
/// first.
fn others(e: &Evidence<'_>, linear: &Linear) -> Vec<String> {
    let weights = e.context.weights;
    let Some(&[rows, width]) = weights.shape(&linear.weight) else { return vec![] };
    let fits = |name: &String| {
        *name != linear.weight
            && matches!(weights.shape(name), Some(&[own, columns]) if columns == width && own >= rows)
            // A whole vocabulary has far more rows than any projection.
            && (name.contains(".layers.") == linear.weight.contains(".layers."))
    };
    let layer = |name: &str| name.split('.').nth(2).and_then(|n| n.parse::<usize>().ok()).unwrap_or(0);
    let kind = |name: &str| name.split('.').skip(3).collect::<Vec<_>>().join(".");
    let own = (layer(&linear.weight), kind(&linear.weight));
    let mut names: Vec<String> = weights.names().into_iter().filter(fits).collect();
    names.sort_by_key(|name| (kind(name) != own.1 && layer(name) != own.0, layer(name).abs_diff(own.0)));
    names.truncate(64);
    names
}

/// Rows of gate and up taken from a fused matrix in the wrong order.
fn dealt(e: &Evidence<'_>, node: &Node) -> Vec<Proposal> {
    let first = match node.role {
        Role::Gate => 0,
        Role::Up => 1,
        _ => return vec![],
    };
    let matrix = |role: Role| {
        let node = e.graph.find(node.layer, role).and_then(|id| e.graph.node(id))?;
        match &node.operation {
            Operation::Linear(linear) if linear.rows.is_none() => {
                Some((linear.weight.clone(), node.shape.width(1)))
            }
            _ => None,
        }
    };
    let (Some((gate, n)), Some((up, _))) = (matrix(Role::Gate), matrix(Role::Up)) else { return vec![] };
    // The rows of the fused matrix, gate first or alternating.
    let stacked =
        |row: usize| if row < n { (gate.clone(), row as u32) } else { (up.clone(), (row - n) as u32) };
    let alternating =
        |row: usize| (if row.is_multiple_of(2) { &gate } else { &up }.clone(), (row / 2) as u32);
    let every_other = (0..n).map(|row| stacked(2 * row + first)).collect();
    let halves = (0..n).map(|row| alternating(row + first * n)).collect();
    let proposal = |rows: Vec<(String, u32)>, says: &str| {
        Proposal::new("fused-split", node, Deviation::Matrix(MatrixReading::Rows(rows)), says)
    };
    vec![
        proposal(
            every_other,
            "you take every other row of the fused gate and up matrix; it stores all rows of gate first",
        ),
        proposal(
            halves,
            "you take the first half of a fused matrix with alternating rows of gate and up as gate; take every other row",
        ),
    ]
}
