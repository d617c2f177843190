//! Finds weight rows that are in the wrong place: elsewhere in the head, in another of q, k and v, or in the
//! other of gate and up. It identifies them by their outputs, column by column.

use super::Evidence;
use super::deviation::{Deviation, MatrixReading, OtherModule};
use super::search::Candidate;
use crate::Result;
use crate::graph::{Node, Operation, Role};
use crate::oracle::{Matrix, Rows, linear, vector};
use crate::probe::{Kind, Layout};

/// The rows that a port may have confused: those of one matrix and of the matrices fused with it.
struct Beside {
    /// Matrix and row index of each, `[all]`.
    rows: Vec<(String, u32)>,
    /// The output of each without its bias, `[tokens, all]`.
    outputs: Rows,
    /// The bias of each, `[all]`; zeros where there is none.
    biases: Vec<f64>,
    /// The index of the first row of the site's own matrix.
    start: usize,
}

impl Beside {
    fn of(e: &Evidence<'_>) -> Result<Option<Self>> {
        let (Some(own), Some(x)) = (e.node(), e.input(0)) else { return Ok(None) };
        let roles: &[Role] = match own.role {
            Role::QProj | Role::KProj | Role::VProj => &[Role::QProj, Role::KProj, Role::VProj],
            Role::Gate | Role::Up => &[Role::Gate, Role::Up],
            _ => return Ok(None),
        };
        let (mut rows, mut outputs, mut biases, mut start) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for &role in roles {
            let node = e.graph.find(own.layer, role).and_then(|id| e.graph.node(id));
            let Some((name, bias, count)) = node.and_then(whole_matrix) else { return Ok(None) };
            let known = e.context.weights.shape(name).is_some_and(|shape| shape[1..] == [x.width]);
            if !known {
                return Ok(None);
            }
            if role == own.role {
                start = rows.len();
            }
            rows.extend((0..count as u32).map(|row| (name.to_owned(), row)));
            biases.extend(match bias {
                Some(bias) => vector(e.context.weights, bias)?,
                None => vec![0.0; count],
            });
            let matrix = e.matrices.read(e.context.weights, name, None, e.context.arithmetic)?;
            outputs.push(linear(&x, &Matrix::of(&matrix.matrix)?)?);
        }
        let row = |r: usize| outputs.iter().flat_map(move |rows| rows.row(r)).copied();
        let outputs = Rows::new(rows.len(), (0..x.len()).flat_map(row).collect());
        Ok(Some(Self { rows, outputs, biases, start }))
    }

    /// The deviation of a port whose row j is row `columns[j]` of these, with the bias of that row if `moved`, otherwise
    /// with its own.
    fn read(&self, columns: &[usize], moved: bool) -> Deviation {
        let reading = MatrixReading::Rows(columns.iter().map(|&c| self.rows[c].clone()).collect());
        if !moved {
            return Deviation::Matrix(reading);
        }
        let bias = columns.iter().enumerate().map(|(j, &c)| self.biases[c] - self.biases[self.start + j]);
        Deviation::Module(OtherModule { reading, bias: bias.collect() })
    }
}

/// The matrix of a product that uses all of its rows, its bias, and the number of rows.
fn whole_matrix(node: &Node) -> Option<(&str, Option<&str>, usize)> {
    match &node.operation {
        Operation::Linear(linear) if linear.rows.is_none() => {
            Some((&linear.weight, linear.bias.as_deref(), node.shape.width(0)))
        }
        _ => None,
    }
}

/// Finds each of the port's columns among the outputs of the rows that it may have confused. Where there are biases, a
/// row may have taken its own along.
pub(super) fn found(e: &Evidence<'_>, _: &[Deviation]) -> Result<Vec<Candidate>> {
    // One token alone cannot identify columns reliably.
    if e.got.len() < 2 {
        return Ok(vec![]);
    }
    let Some(beside) = Beside::of(e)? else { return Ok(vec![]) };
    let biased = beside.biases.iter().any(|&bias| bias != 0.0);
    let ways = if biased { &[true, false][..] } else { &[false] };
    Ok(ways.iter().flat_map(|&moved| found_with(e, &beside, moved)).collect())
}

/// The same, if biases move with their rows, or if they do not.
fn found_with(e: &Evidence<'_>, beside: &Beside, moved: bool) -> Option<Candidate> {
    let Beside { outputs, biases, start, .. } = beside;
    let (width, kind) = (e.got.width, e.context.site.kind);
    let budgets: Vec<f64> = (0..e.got.len()).map(|r| e.budget(r, e.got.row(r)).max).collect();
    let same = |j: usize, c: usize| {
        let bias = biases[if moved { c } else { start + j }];
        (0..e.got.len()).all(|r| (e.got.row(r)[j] - outputs.row(r)[c] - bias).abs() <= budgets[r])
    };
    if matches!(kind, Kind::Gate | Kind::Up) {
        let (is, other, first) = if kind == Kind::Gate { ("gate", "up", width) } else { ("up", "gate", 0) };
        // A mix of rows of both is another mistake: a fused matrix split in the wrong places.
        if !(0..width).all(|j| same(j, first + j)) {
            return None;
        }
        let read = beside.read(&(first..first + width).collect::<Vec<_>>(), moved);
        let what = if moved { "weight and bias" } else { "weight" };
        let says = format!("you use {other}_proj's {what} in {is}_proj");
        return Some(Candidate::new(read, says).named("gate-up-swapped"));
    }
    let find = |j: usize| std::iter::once(start + j).chain(0..outputs.width).find(|&c| same(j, c));
    let columns = (0..width).map(find).collect::<Option<Vec<usize>>>()?;
    let candidate = |says: String| Candidate::new(beside.read(&columns, moved), says);
    let d = e.config().head_dim;
    let own = |c: &usize| (*start..start + width).contains(c);
    let in_head = |(j, c): (usize, &usize)| own(c) && j / d == (c - start) / d;
    match kind {
        Kind::QProj | Kind::KProj if columns.iter().enumerate().all(in_head) => {
            let order = order(&columns.iter().map(|c| c - start).collect::<Vec<_>>(), d);
            let says =
                format!("your weight has the right rows, but in another order within each head: {order}");
            Some(candidate(says).named("unpermuted-qk"))
        }
        _ if columns.iter().all(own) => None,
        _ => Some(candidate("your weight has rows of q, k and v in the wrong places".into())),
    }
}

/// Describes the order of the port's columns, given the index of each in the reference.
fn order(columns: &[usize], head_dim: usize) -> String {
    let there = Layout::Interleaved { head_dim }.columns(columns.len()).unwrap_or_default();
    if columns.iter().enumerate().all(|(j, &c)| there.get(c) == Some(&j)) {
        return "they are permuted for `rope_i`, as in GGUF files".into();
    }
    if columns == there {
        return "you un-permute them as if they were permuted for `rope_i`, but they are not".into();
    }
    let moved = columns.iter().enumerate().filter(|(j, c)| j != *c);
    let first = moved
        .clone()
        .next()
        .map_or(String::new(), |(j, c)| format!(", your row {j} is the reference's row {c}"));
    format!("{} of {} rows are moved{first}", moved.count(), columns.len())
}
