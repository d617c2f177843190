//! The null test of the diagnosis: a wrong tensor that no known mistake produced must not be given a name.
//! For each operation and dtype, a thousand tensors are diagnosed. Each is at least one budget away from the
//! reference. They are:
//!
//! - the reference tensor with its rows shuffled;
//! - the same kind of tensor from another layer, or from another prompt if the model has only one;
//! - the reference tensor with rounding-like noise, whose worst entry is off by one to three budgets.
//!
//! `cargo test --test null -- --nocapture` prints how many were named, one line per operation and dtype.

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

/// A case whose prompt differs from those of the calls. It stores the last rows of the prompt.
static OTHER: LazyLock<Reference> = LazyLock::new(|| case("long"));

/// Number of trials per operation and dtype.
const TRIALS: u64 = 1000;

/// An operation that the diagnosis searches for mistakes.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Norm,
    Rope,
    Linear,
    Scores,
    Probs,
    Context,
    /// Scores, softmax and context computed in one kernel.
    FusedContext,
    Act,
    Logits,
}

impl Operation {
    /// The kinds of site that the operation computes.
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

    /// The kinds of site that a port with this operation never produces.
    fn hides(self) -> &'static [Kind] {
        match self {
            Self::FusedContext => &[Kind::Scores, Kind::Probs],
            _ => &[],
        }
    }
}

/// How a wrong tensor without a known mistake is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    /// The reference tensor with its rows in another order.
    Shuffled,
    /// The tensor of another layer or prompt.
    Elsewhere,
    /// The reference tensor with added noise.
    Noise,
}

/// How noise is distributed over a tensor.
#[derive(Clone, Copy)]
enum Spread {
    /// Evenly over a row, like the error of a sum.
    Row,
    /// In proportion to each entry, like a rounding error.
    Entry,
    /// One factor for a whole row, like the error of a mean square.
    Factor,
}

/// The rows of `site` in another order. `None` if that order is itself a mistake that may be named: rows that are
/// shifted by one, or reversed, or the logits of the previous or next row.
fn shuffled(rng: &mut StdRng, call: &Call, site: Site) -> Option<Rows> {
    let reference = call.reference(site);
    let mut order: Vec<usize> = (0..reference.len()).collect();
    order.shuffle(rng);
    let a_mistake = site.kind == Kind::Logits && [-1, 1].iter().any(|&by| shifts(&order, &call.fed(), by));
    let n = order.len();
    let simple = |other: &dyn Fn(usize) -> bool| (0..n).filter(|&r| !other(r)).count() <= 1;
    let shifted = simple(&|r| order[r] == (r + 1) % n) || simple(&|r| order[r] == (r + n - 1) % n);
    let reversed = (0..n).all(|r| order[r] == n - 1 - r);
    let a_mistake = a_mistake || shifted || reversed;
    (!a_mistake).then(|| Rows::from_fn(reference.len(), reference.width, |r, j| reference.row(order[r])[j]))
}

/// Does `order` replace every row by the row `by` slots away in the same sequence, if there is one?
fn shifts(order: &[usize], places: &[Place], by: isize) -> bool {
    let neighbour = |r: usize| {
        let (batch, slot) = places[r];
        places.binary_search(&(batch, slot.checked_add_signed(by)?)).ok()
    };
    (0..order.len()).all(|r| neighbour(r).is_none_or(|other| order[r] == other))
}

/// The same kind of tensor from another layer, or from another prompt if the model has only one.
fn elsewhere(rng: &mut StdRng, call: &Call, site: Site) -> Rows {
    let Some(layer) = site.layer else {
        let other = OTHER.rows(site).unwrap();
        let first = rng.random_range(0..other.places.len());
        let row = |r: usize| other.row((first + r) % other.places.len()).to_vec();
        return Rows::new(other.row(0).len(), (0..call.fed().len()).flat_map(row).collect());
    };
    let others: Vec<u16> = (0..layers() as u16).filter(|other| *other != layer).collect();
    call.reference(Site { layer: others.choose(rng).copied(), ..site })
}

fn layers() -> usize {
    MODEL.weights.config().num_hidden_layers
}

/// `rows` with errors like those of rounding, scaled so that the worst entry is off by `budgets` times its
/// budget, and rounded to `dtype`. Masked entries do not change: −inf in scores, 0 in probabilities.
fn with_noise(rng: &mut StdRng, mut rows: Rows, allowed: &[Budget], budgets: f64, dtype: DType) -> Rows {
    let spread = *[Spread::Row, Spread::Entry, Spread::Factor].choose(rng).unwrap();
    // The error of each entry, in units of its row's budget.
    let mut errors = rows.clone();
    for row in errors.values.chunks_exact_mut(rows.width) {
        let scale = Scale::of(row.iter().copied()).max;
        let factor: f64 = rng.random_range(-1.0..1.0);
        for entry in row {
            // A sum of three random numbers, because small errors are more frequent than large ones.
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

/// Diagnoses one wrong tensor without a known mistake. Returns its site and the diagnosis.
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
            Origin::Noise => Some(call.reference(site)),
        };
        let Some(rows) = rows else { continue };
        let budgets = if origin == Origin::Noise { rng.random_range(1.0..3.0) } else { 0.25 };
        let got = with_noise(rng, rows, &call.budgets(site, dtype), budgets, dtype);
        // Shuffling may leave the rows in place, and layers may have equal rows. Then nothing is wrong: try
        // again.
        if let Some(diagnosis) = call.diagnose(site, operation.hides(), dtype, &got) {
            return (site, diagnosis);
        }
    }
}

#[rstest]
fn a_wrong_tensor_that_no_known_mistake_produced_gets_no_name(
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
            let away = one.details.as_ref().map_or(f64::NAN, |details| details.correct_residual);
            examples.push(format!("seed {seed}, {origin:?}, {site}, {away:.1} budgets: {}", one.says));
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
