//! Other residual sums: which tensors of the layer are added, and how often.

use super::Proposal;
use super::normed::{LayerNorm, layer_norms};
use super::proposal::{called, called_input, scale_is_open, source};
use super::wiring::everything;
use crate::Result;
use crate::diagnose::Evidence;
use crate::diagnose::deviation::{Change, Deviation};
use crate::graph::{Node, NodeId, Operation};
use crate::oracle::Rows;

/// Factors that ports use, with their meaning.
fn factors(e: &Evidence<'_>) -> Vec<(f64, String)> {
    let layers = e.config().num_hidden_layers as f64;
    let mut all: Vec<(f64, String)> = [1.0, 2.0, 0.5, 3.0, 0.25, 0.1, 0.22]
        .into_iter()
        .map(|by| (by, by.to_string()))
        .chain([
            (0.5f64.sqrt(), "1/√2".into()),
            ((2.0 * layers).sqrt().recip(), "1/√(2 · layers)".into()),
            (layers.sqrt().recip(), "1/√layers".into()),
            (2f64.sqrt(), "√2".into()),
        ])
        .collect();
    let negative: Vec<_> = all.iter().map(|(by, name)| (-by, format!("−{name}"))).collect();
    all.extend(negative);
    all
}

/// A tensor that may be added: its node, and its rows at the judged places.
struct Term {
    id: NodeId,
    rows: Rows,
}

/// Sums of the known tensors, solved from the recorded sum.
///
/// # Errors
/// A weight cannot be read.
pub(super) fn solved_from(e: &Evidence<'_>, node: &Node) -> Result<Vec<Proposal>> {
    let width = node.shape.width(1);
    let terms: Vec<Term> = everything(e)
        .into_iter()
        .filter(|(other, _)| other.shape.width(1) == width)
        .filter_map(|(_, id)| {
            let rows = e.given.as_ref()?.values.get(&id)?.kept(&e.places)?.rows().clone();
            Some(Term { id, rows })
        })
        .collect();
    let mut all: Vec<Proposal> = Vec::new();
    let tabled = factors(e);
    for subset in subsets(terms.len()) {
        let chosen: Vec<&Term> = subset.iter().map(|&n| &terms[n]).collect();
        if let Some(found) = solved(e, node, &chosen, &tabled) {
            all.push(found);
        }
    }
    // Fewer terms and factors of 1 first.
    let cost = |proposal: &Proposal| match &proposal.tried.deviations[..] {
        [Deviation::Sum(terms)] => terms.len() + 2 * terms.iter().filter(|(by, _)| *by != 1.0).count(),
        _ => 0,
    };
    all.sort_by_key(cost);
    all.extend(normed(e, node, width)?);
    Ok(all)
}

/// Sums of the node's own inputs with other factors.
///
/// # Errors
/// A weight cannot be read.
pub(super) fn listed(e: &Evidence<'_>, node: &Node) -> Result<Vec<Proposal>> {
    let (first, second) = match node.inputs[..] {
        [first, second] => (first.node, second.node),
        _ => return Ok(vec![]),
    };
    let mut all = Vec::new();
    let factors = if scale_is_open(e) { vec![] } else { factors(e) };
    for (by, name) in factors {
        for (a, b) in [(1.0, by), (by, 1.0), (0.0, by), (by, 0.0), (by, by)] {
            if (a, b) == (1.0, 1.0) {
                continue;
            }
            let terms = [(a, &*name, first), (b, &*name, second)].into_iter().filter(|(by, ..)| *by != 0.0);
            let terms: Vec<(f64, &str, NodeId)> = terms.collect();
            let says = sentence(e, node, &terms);
            let terms = terms.into_iter().map(|(by, _, id)| (by, id)).collect();
            all.push(Proposal::new("residual-sum", node, Deviation::Sum(terms), says));
        }
    }
    all.extend(normed(e, node, node.shape.width(1))?);
    Ok(all)
}

/// All sets of one, two or three of `n` terms.
fn subsets(n: usize) -> Vec<Vec<usize>> {
    let pairs = (0..n).flat_map(|a| (0..a).map(move |b| vec![b, a]));
    let triples = (0..n).flat_map(|a| (0..a).flat_map(move |b| (0..b).map(move |c| vec![c, b, a])));
    (0..n).map(|a| vec![a]).chain(pairs).chain(triples).collect()
}

/// The sum of these terms that comes closest to the port's rows, if its factors are tabled.
fn solved(e: &Evidence<'_>, node: &Node, terms: &[&Term], tabled: &[(f64, String)]) -> Option<Proposal> {
    let solution = least_squares(terms, &e.got)?;
    let near = |by: f64| tabled.iter().find(|(own, _)| (own - by).abs() <= 1e-3 * own.abs());
    let factors: Vec<&(f64, String)> = solution.into_iter().map(near).collect::<Option<_>>()?;
    let sum: Vec<(f64, NodeId)> = factors.iter().zip(terms).map(|((by, _), term)| (*by, term.id)).collect();
    let right: Vec<NodeId> = node.inputs.iter().map(|input| input.node).collect();
    let ones = sum.iter().all(|(by, _)| *by == 1.0);
    if ones && sum.len() == right.len() && sum.iter().all(|(_, id)| right.contains(id)) {
        return None;
    }
    let named: Vec<(f64, &str, NodeId)> =
        factors.iter().zip(terms).map(|((by, name), term)| (*by, &**name, term.id)).collect();
    let says = sentence(e, node, &named);
    let choices = tabled.len().saturating_pow(sum.len() as u32);
    Some(Proposal::new("residual-sum", node, Deviation::Sum(sum), says).one_of(choices))
}

/// What the sum is, and what it should be. Each term has its factor, the factor's name, and its node.
fn sentence(e: &Evidence<'_>, node: &Node, terms: &[(f64, &str, NodeId)]) -> String {
    let terms = without_differences(e, terms);
    let called_source = |id: NodeId| e.graph.node(id).map_or_else(String::new, source);
    let term = |(by, name, id): &(f64, String, NodeId)| {
        if *by == 1.0 { called_source(*id) } else { format!("{name} · {}", called_source(*id)) }
    };
    let made: Vec<String> = terms.iter().map(term).collect();
    let right: Vec<String> = node.inputs.iter().map(|input| called_source(input.node)).collect();
    format!("{} is {}; it should be {}", called(node), made.join(" + "), right.join(" + "))
}

/// The same sum without differences: a recorded sum minus one of its two inputs is the other input.
fn without_differences(e: &Evidence<'_>, terms: &[(f64, &str, NodeId)]) -> Vec<(f64, String, NodeId)> {
    let inputs = |id: NodeId| match e.graph.node(id) {
        Some(node) if matches!(node.operation, Operation::WeightedSum { .. }) => {
            node.inputs.iter().map(|input| input.node).collect()
        }
        _ => vec![],
    };
    let mut all: Vec<(f64, String, NodeId)> =
        terms.iter().map(|&(by, name, id)| (by, name.to_owned(), id)).collect();
    for &(by, _, sum) in terms {
        let [first, second] = inputs(sum)[..] else { continue };
        for (subtracted, other) in [(first, second), (second, first)] {
            let Some(&(minus, ..)) = terms.iter().find(|(_, _, id)| *id == subtracted) else { continue };
            let left = by + minus;
            if minus < 0.0 && left >= 0.0 {
                all.retain(|(_, _, id)| ![sum, subtracted].contains(id));
                all.extend((left > 0.0).then(|| (left, left.to_string(), sum)));
                all.push((-minus, (-minus).to_string(), other));
                return all;
            }
        }
    }
    all
}

/// The factors of the terms whose sum is closest to `rows`, by the normal equations; `None` if the terms depend
/// on each other.
fn least_squares(terms: &[&Term], rows: &Rows) -> Option<Vec<f64>> {
    let dot = |a: &Rows, b: &Rows| a.values.iter().zip(&b.values).map(|(a, b)| a * b).sum::<f64>();
    let n = terms.len();
    let mut system: Vec<Vec<f64>> = (0..n)
        .map(|i| {
            let own = &terms[i].rows;
            terms.iter().map(|other| dot(own, &other.rows)).chain([dot(own, rows)]).collect()
        })
        .collect();
    for pivot in 0..n {
        let best = (pivot..n).max_by(|&a, &b| system[a][pivot].abs().total_cmp(&system[b][pivot].abs()))?;
        system.swap(pivot, best);
        let scale = dot(&terms[pivot].rows, &terms[pivot].rows);
        if system[pivot][pivot].abs() <= 1e-9 * scale || !scale.is_finite() {
            return None;
        }
        for row in 0..n {
            if row != pivot {
                let by = system[row][pivot] / system[pivot][pivot];
                let pivot_row = system[pivot].clone();
                system[row].iter_mut().zip(pivot_row).skip(pivot).for_each(|(own, other)| *own -= by * other);
            }
        }
    }
    Some((0..n).map(|i| system[i][n] / system[i][i]).collect())
}

/// The sum normed, or the branch normed before it is added, by one of the layer's norms.
fn normed(e: &Evidence<'_>, node: &Node, width: usize) -> Result<Vec<Proposal>> {
    let mut all = Vec::new();
    for LayerNorm { name, eps, weighted } in layer_norms(e, node, width)? {
        let by = Change::Normed { run: width, eps, unit: false };
        let output = vec![Deviation::Output(by.clone()), Deviation::Output(weighted.clone())];
        let says = format!("you apply {name} to {}: the residual stream must not be normed", called(node));
        all.push(Proposal::of("residual-sum", node, output, says));
        for n in 0..node.inputs.len() {
            let input = |change: &Change| Deviation::Input { n, change: change.clone() };
            let what = called_input(e, node, n);
            let says = format!("you apply {name} to {what} before it is added");
            all.push(Proposal::of("residual-sum", node, vec![input(&by), input(&weighted)], says));
        }
    }
    Ok(all)
}
