//! The null test of the diagnosis: tensors that no mistake made must get no name. For each operation and dtype a
//! thousand of them, of three origins, each at least a budget away from truth:
//!
//! - rows of the right tensor, shuffled;
//! - the same kind of tensor from another layer; of what a model has once, from another prompt;
//! - the right tensor with honest noise, scaled so that its worst entry is one to three budgets away.
//!
//! `cargo test --test null -- --nocapture` prints how many are named, one line an operation and dtype.

mod call;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use call::{Call, MODEL, case};
use candle_core::DType;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rbees_check::compare::{Budget, Scale};
use rbees_check::diagnose::{Diagnosis, round};
use rbees_check::oracle::Rows;
use rbees_check::probe::{Kind, Site};
use rbees_check::reference::{Place, Reference};
use rstest::rstest;

/// Another prompt than those of the calls: the rows of its end.
static OTHER: LazyLock<Reference> = LazyLock::new(|| case("long"));

/// Trials of one operation in one dtype.
const TRIALS: u64 = 1000;

/// One of the operations that mistakes are looked for in.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Norm,
    Rope,
    Linear,
    Scores,
    Probs,
    Context,
    /// Scores, softmax and context in one kernel.
    FusedContext,
    Act,
    Logits,
}

impl Operation {
    /// The sites that it computes.
    fn kinds(self) -> &'static [Kind] {
        use Kind::{
            Down, FinalNorm, Gate, InputNorm, KProj, KRope, OProj, PostNorm, QProj, QRope, Up, VProj,
        };
        match self {
            Self::Norm => &[InputNorm, PostNorm, FinalNorm],
            Self::Rope => &[QRope, KRope],
            Self::Linear => &[QProj, KProj, VProj, OProj, Gate, Up, Down],
            Self::Scores => &[Kind::Scores],
            Self::Probs => &[Kind::Probs],
            Self::Context | Self::FusedContext => &[Kind::Context],
            Self::Act => &[Kind::Act],
            Self::Logits => &[Kind::Logits],
        }
    }

    /// The kinds of tensor that a port with it never makes.
    fn hides(self) -> &'static [Kind] {
        match self {
            Self::FusedContext => &[Kind::Scores, Kind::Probs],
            _ => &[],
        }
    }
}

/// Where a tensor that no mistake made comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    /// Rows of the right tensor in another order.
    Shuffled,
    /// Another layer or prompt.
    Elsewhere,
    /// The right tensor, with noise.
    Noise,
}

/// How honest noise is spread over a tensor.
#[derive(Clone, Copy)]
enum Spread {
    /// Evenly over a row, like the error of a sum.
    Row,
    /// In proportion to each entry, like a rounding error.
    Entry,
    /// One factor for a whole row, like the error of a mean square.
    Factor,
}

/// The rows of `site` in another order. None where that order is a mistake, which may be named: logits of the row
/// before or after.
fn shuffled(rng: &mut StdRng, call: &Call, site: Site) -> Option<Rows> {
    let truth = call.truth(site);
    let mut order: Vec<usize> = (0..truth.len()).collect();
    order.shuffle(rng);
    let a_mistake = site.kind == Kind::Logits && [-1, 1].iter().any(|&by| shifts(&order, &call.fed(), by));
    (!a_mistake).then(|| Rows::from_fn(truth.len(), truth.width, |r, j| truth.row(order[r])[j]))
}

/// Does every row that has a neighbour `by` slots away in its own sequence take that neighbour's place?
fn shifts(order: &[usize], places: &[Place], by: isize) -> bool {
    let neighbour = |r: usize| {
        let (batch, slot) = places[r];
        places.binary_search(&(batch, slot.checked_add_signed(by)?)).ok()
    };
    (0..order.len()).all(|r| neighbour(r).is_none_or(|other| order[r] == other))
}

/// The same kind of tensor in another layer; of a kind that a model has once, at the end of another prompt.
fn elsewhere(rng: &mut StdRng, call: &Call, site: Site) -> Rows {
    let Some(layer) = site.layer else {
        let other = OTHER.truth(site).unwrap();
        let first = rng.random_range(0..other.places.len());
        let row = |r: usize| other.row((first + r) % other.places.len()).to_vec();
        return Rows::new(other.row(0).len(), (0..call.fed().len()).flat_map(row).collect());
    };
    let others: Vec<u16> = (0..layers() as u16).filter(|other| *other != layer).collect();
    call.truth(Site { layer: others.choose(rng).copied(), ..site })
}

fn layers() -> usize {
    MODEL.weights.config().num_hidden_layers
}

/// `rows` with the errors of honest arithmetic, scaled so that the worst entry is `budgets` times as far off as it
/// may be, and rounded to `dtype`. Masked entries stay as they are: −inf in scores, 0 in probabilities.
fn with_noise(rng: &mut StdRng, mut rows: Rows, allowed: &[Budget], budgets: f64, dtype: DType) -> Rows {
    let spread = *[Spread::Row, Spread::Entry, Spread::Factor].choose(rng).unwrap();
    // Of each entry, in budgets of its row.
    let mut errors = rows.clone();
    for row in errors.values.chunks_exact_mut(rows.width) {
        let scale = Scale::of(row.iter().copied()).max;
        let factor: f64 = rng.random_range(-1.0..1.0);
        for entry in row {
            // A sum of three, because small errors are more frequent than large ones.
            let error: f64 = (0..3).map(|_| rng.random_range(-1.0..1.0)).sum();
            *entry = match spread {
                _ if *entry == 0.0 || !entry.is_finite() => 0.0,
                Spread::Row => error,
                Spread::Entry => error * *entry / scale,
                Spread::Factor => factor * *entry / scale,
            };
        }
    }
    let worst = Scale::of(errors.values.iter().copied()).max;
    for (r, row) in rows.values.chunks_exact_mut(rows.width).enumerate() {
        for (value, error) in row.iter_mut().zip(errors.row(r)) {
            *value = round(*value + error / worst * budgets * allowed[r].max, dtype);
        }
    }
    rows
}

/// What is said of one tensor that no mistake made, and where it stands.
fn trial(operation: Operation, dtype: DType, origin: Origin, seed: u64) -> (Site, Diagnosis) {
    let mut rng = StdRng::seed_from_u64(seed);
    let rng = &mut rng;
    loop {
        let call = Call::any(rng);
        let kind = *operation.kinds().choose(rng).unwrap();
        let layer = rng.random_range(0..layers());
        let site = if kind.in_layer() { Site::layer(layer, kind) } else { Site::model(kind) };
        let rows = match origin {
            Origin::Shuffled => shuffled(rng, &call, site),
            Origin::Elsewhere => Some(elsewhere(rng, &call, site)),
            Origin::Noise => Some(call.truth(site)),
        };
        let Some(rows) = rows else { continue };
        let budgets = if origin == Origin::Noise { rng.random_range(1.0..3.0) } else { 0.25 };
        let got = with_noise(rng, rows, &call.budgets(site, dtype), budgets, dtype);
        // Rows may be shuffled to where they were, and equal in all layers: then nothing is wrong.
        if let Some(diagnosis) = call.diagnose(site, operation.hides(), dtype, &got) {
            return (site, diagnosis);
        }
    }
}

#[rstest]
fn what_no_mistake_made_is_not_named(
    #[values(
        Operation::Norm,
        Operation::Rope,
        Operation::Linear,
        Operation::Scores,
        Operation::Probs,
        Operation::Context,
        Operation::FusedContext,
        Operation::Act,
        Operation::Logits
    )]
    operation: Operation,
    #[values(DType::F32, DType::BF16, DType::F16)] dtype: DType,
) {
    let origins = [Origin::Shuffled, Origin::Elsewhere, Origin::Noise];
    let (mut accepted, mut named) = (0, BTreeMap::new());
    let mut examples: Vec<String> = Vec::new();
    for seed in 0..TRIALS {
        let origin = origins[seed as usize % origins.len()];
        let (site, diagnosis) = trial(operation, dtype, origin, seed);
        accepted += usize::from(!diagnosis.named.is_empty());
        for one in diagnosis.named {
            *named.entry((origin, one.mistake)).or_insert(0) += 1;
            examples.push(format!("seed {seed}, {origin:?}, {site}: {}", one.says));
        }
    }
    println!(
        "{:<12} {:<4} {accepted:>4} of {TRIALS} named: {named:?}",
        format!("{operation:?}"),
        dtype.as_str()
    );
    examples.truncate(3);
    assert_eq!(accepted, 0, "{named:?}; {examples:#?}");
}
