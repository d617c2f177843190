//! Compares the graph, computed in exact arithmetic, with PyTorch's stored reference: each site from the
//! reference values of its inputs, and the whole pass from token ids. The two float64 Llamas share no code
//! and must agree.
//!
//! `RECORD=1 cargo test --test oracle` writes the largest difference of each whole pass into its manifest, as
//! `second_oracle`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use rbees_check::graph::{self, Edge, Graph, NodeId, Role, SiteName};
use rbees_check::models;
use rbees_check::oracle::{Exact, Executor, Given, Pass, Place, Placed, Rows, Slot, Token};
use rbees_check::reference::{Manifest, Reference, ReferenceRows, SecondOracle};

/// The largest allowed difference between two float64 computations, as a share of the row's scale. The stored
/// reference is rounded to 40 bits, which is 9e-13. The order of summation changes less than that.
const SAME: f64 = 1e-9;

/// The difference measured on another machine may be this many times larger or smaller than the recorded one,
/// because another processor sums in another order.
const LIKE: f64 = 8.0;

/// What the pass knows about padding: its tokens, or nothing.
#[derive(Clone, Copy)]
enum Padding {
    Tokens,
    Nothing,
}

fn main() -> ExitCode {
    let args = Arguments::from_args();
    let mut trials = Vec::new();
    for model in models::NAMES {
        let absent = models::open(model).is_err();
        let cases = models::fixture(model).expect("references are part of the repository").cases;
        for case in cases {
            let name = |test: &str| format!("{test}::{model}::{case}").replace('-', "_");
            let mut add = |test: &str, run: fn(&str, &str) -> Result<(), Failed>| {
                let case = case.clone();
                trials.push(Trial::test(name(test), move || run(model, &case)).with_ignored_flag(absent));
            };
            add("each_node_computed_from_reference_inputs_matches_the_reference", nodes_agree);
            add("the_whole_pass_from_token_ids_matches_the_reference", pass_agrees_as_recorded);
            if case.starts_with("batch") {
                add("the_whole_pass_with_known_padding_matches_the_reference", |model, case| {
                    pass_agrees(model, case, Padding::Tokens).map(drop)
                });
            }
        }
    }
    libtest_mimic::run(&args, trials).exit_code()
}

/// Computes every stored site whose inputs are stored, from the reference values of its inputs. It compares
/// the rows for which the inputs are stored.
fn nodes_agree(model: &str, case: &str) -> Result<(), Failed> {
    let opened = models::open(model)?;
    let reference = opened.fixture.as_ref().ok_or("no references")?.case(case)?;
    let graph = graph::of(opened.weights.config())?;
    let stored = references(&graph, &reference)?;
    let mut given = Given::default();
    for (&id, Stored { reference, .. }) in &stored {
        let width = reference.row_shape.iter().product();
        given
            .values
            .insert(id, Placed::new(Rows::new(width, reference.values.clone()), reference.places.to_vec())?);
    }
    let mut wanted = stored.clone();
    wanted.retain(|&id, _| follows(&graph, id, &stored));
    for (&id, want) in &mut wanted {
        want.rows.retain(|&row| has_inputs(&graph, id, &stored, want.reference.places[row]));
    }
    let whole = stored.len() == graph.ids().filter(|&id| is_stored(&graph, id)).count();
    if wanted.is_empty() || whole && wanted.len() != stored.len() {
        return Err(format!("{} of {} stored sites follow from others", wanted.len(), stored.len()).into());
    }
    let what = format!("{} of {} sites from their inputs", wanted.len(), stored.len());
    let pass = pass_of(&reference.manifest, Padding::Nothing)?;
    agree(&Executor::new(&graph, &opened.weights, &pass, Exact), &graph, &given, &wanted, &what).map(drop)
}

/// Computes the whole pass with unknown padding. The largest difference from the reference must be similar
/// to the one that the manifest records.
fn pass_agrees_as_recorded(model: &str, case: &str) -> Result<(), Failed> {
    let largest = pass_agrees(model, case, Padding::Nothing)?;
    if std::env::var_os("RECORD").is_some() {
        return Ok(record(&manifest(model, case), largest)?);
    }
    match models::fixture(model)?.case(case)?.manifest.second_oracle {
        SecondOracle::Agrees { within } if within < LIKE * largest && largest < LIKE * within => Ok(()),
        recorded => {
            Err(format!("the manifest says {recorded:?}, measured {largest:.1e}: RECORD=1 records it").into())
        }
    }
}

/// Computes every stored site from token ids alone. Returns the largest difference.
fn pass_agrees(model: &str, case: &str, padding: Padding) -> Result<f64, Failed> {
    let opened = models::open(model)?;
    let reference = opened.fixture.as_ref().ok_or("no references")?.case(case)?;
    let graph = graph::of(opened.weights.config())?;
    let wanted = references(&graph, &reference)?;
    let what = format!("{} sites from token ids", wanted.len());
    let pass = pass_of(&reference.manifest, padding)?;
    agree(&Executor::new(&graph, &opened.weights, &pass, Exact), &graph, &Given::default(), &wanted, &what)
}

/// The reference at a node, and the rows of it to compare.
#[derive(Clone)]
struct Stored<'a> {
    reference: &'a ReferenceRows,
    rows: Vec<usize>,
}

/// Computes `wanted` and compares its rows. Returns the largest difference.
fn agree(
    executor: &Executor<Exact>,
    graph: &Graph,
    given: &Given,
    wanted: &BTreeMap<NodeId, Stored>,
    what: &str,
) -> Result<f64, Failed> {
    let (mut largest, mut rows, mut seen) = ((0.0, String::new()), 0, BTreeSet::new());
    executor.compute(&wanted.keys().copied().collect(), given, &mut |id, placed| {
        let (want, site) = (&wanted[&id], &graph.node(id).expect("it was computed").site);
        let apart = apart(placed, want);
        if apart > largest.0 {
            largest = (apart, site.to_string());
        }
        seen.insert(id);
        rows += want.rows.len();
        Ok(())
    })?;
    println!("{what}, {rows} rows: {:.1e} of a row's scale at most, at {}", largest.0, largest.1);
    if !seen.iter().eq(wanted.keys()) {
        return Err(format!("{} of {} sites were computed", seen.len(), wanted.len()).into());
    }
    match largest {
        (apart, _) if apart <= SAME => Ok(apart),
        (apart, site) => Err(format!("{site}: {apart:e} of its row's scale").into()),
    }
}

/// The largest difference as a share of a row's scale. It is infinite if no row is compared, or if a row is
/// missing, NaN, or masked on one side only.
fn apart(placed: &Placed, Stored { reference, rows }: &Stored) -> f64 {
    let mut largest = if rows.is_empty() { f64::INFINITY } else { 0.0 };
    for &r in rows {
        let Some(row) = placed.at(reference.places[r]).filter(|row| row.len() == reference.row(r).len())
        else {
            return f64::INFINITY;
        };
        let scale = reference.scale(r).max;
        for (&got, &want) in row.iter().zip(reference.row(r)) {
            let difference = if got == want { 0.0 } else { (got - want).abs() / scale };
            largest = if difference.is_nan() { f64::INFINITY } else { largest.max(difference) };
        }
    }
    largest
}

fn references<'a>(graph: &Graph, reference: &'a Reference) -> Result<BTreeMap<NodeId, Stored<'a>>, Failed> {
    let node = |site| {
        let id = graph.position(&SiteName::from(site)).ok_or(format!("the graph has no {site}"))?;
        let stored = reference.rows(site).ok_or(format!("{site} is not stored"))?;
        Ok((id, Stored { reference: stored, rows: (0..stored.places.len()).collect() }))
    };
    reference.sites().map(node).collect()
}

/// References store every node of a Llama except the activation, which is part of their `mlp.act`.
fn is_stored(graph: &Graph, id: NodeId) -> bool {
    graph.node(id).is_some_and(|node| node.role != Role::Activation)
}

/// Is every input stored, or an activation of a stored node?
fn follows(graph: &Graph, id: NodeId, stored: &BTreeMap<NodeId, Stored>) -> bool {
    graph.node(id).expect("an id of this graph").inputs.iter().all(|input| {
        let id = input.node;
        stored.contains_key(&id) || !is_stored(graph, id) && follows(graph, id, stored)
    })
}

/// Is every row-wise input of the row at `place` stored? Keys are always stored in full.
fn has_inputs(graph: &Graph, id: NodeId, stored: &BTreeMap<NodeId, Stored>, place: Place) -> bool {
    let inputs = &graph.node(id).expect("an id of this graph").inputs;
    inputs.iter().filter(|input| input.edge == Edge::RowWise).all(|input| match stored.get(&input.node) {
        Some(stored) => stored.reference.places.contains(&place),
        None => has_inputs(graph, input.node, stored, place),
    })
}

fn pass_of(manifest: &Manifest, padding: Padding) -> rbees_check::Result<Pass> {
    let slot = |b: usize, s: usize| {
        let token = Token { id: manifest.ids[b][s], position: manifest.position_ids[b][s] };
        match (manifest.rows["all"].binary_search(&(b, s)), padding) {
            (Ok(_), _) => Slot::Real(token),
            (Err(_), Padding::Tokens) => Slot::Padding(token),
            (Err(_), Padding::Nothing) => Slot::Unknown,
        }
    };
    let row = |b: usize| (0..manifest.ids[b].len()).map(|s| slot(b, s)).collect();
    Pass::new((0..manifest.ids.len()).map(row).collect())
}

fn manifest(model: &str, case: &str) -> PathBuf {
    let folder = model.replace(':', "-"); // tiny-llama:q8_0 is in tiny-llama-q8_0
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(folder).join(case).join("manifest.json")
}

/// Changes only that value in the manifest. Writes a temporary file and renames it.
fn record(path: &Path, largest: f64) -> std::io::Result<()> {
    let text = std::fs::read_to_string(path)?;
    let key = "\"second_oracle\": ";
    let start = text.find(key).expect("a manifest has a second_oracle") + key.len();
    let end = start + text[start..].find('\n').expect("the value ends with a line break");
    let comma = if text[..end].ends_with(',') { "," } else { "" };
    let new = format!("{}{{\"within\": {largest:.1e}}}{comma}{}", &text[..start], &text[end..]);
    let beside = path.with_extension("json.partial");
    std::fs::write(&beside, new)?;
    std::fs::rename(beside, path)
}
