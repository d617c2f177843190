//! One call of a port on a stored case, and the diagnosis of a wrong tensor in it. It uses only as much of
//! the case as a diagnosis needs, so that a thousand diagnoses take seconds.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use candle_core::DType;
use rand::Rng;
use rand::rngs::StdRng;
use rbees_check::checkpoints::judge_of;
use rbees_check::compare::{Budget, Noise, Scale};
use rbees_check::diagnose::{self, Diagnosis, Evidence, PortTensors, ReferenceRow, SiteContext, round};
use rbees_check::graph::{self, Graph, NodeId};
use rbees_check::models::{self, Model};
use rbees_check::oracle::{Pass, Placed, Rows, Slot, Token};
use rbees_check::probe::{Arithmetic, Kind, Layout, Site};
use rbees_check::reference::{Feed, Place, Reference};

pub static MODEL: LazyLock<Model> = LazyLock::new(|| models::open("tiny-llama").unwrap());

static GRAPH: LazyLock<Graph> = LazyLock::new(|| graph::llama(MODEL.weights.config()).unwrap());

/// A case of one prompt.
static SHORT: LazyLock<Reference> = LazyLock::new(|| case("short"));

/// A case of three prompts, padded on the left.
static BATCH: LazyLock<Reference> = LazyLock::new(|| case("batch-left"));

/// The case of the model with this name.
pub fn case(name: &str) -> Reference {
    MODEL.fixture.as_ref().unwrap().case(name).unwrap()
}

/// A call that computes the slots `window` of a case, and nothing after them.
pub struct Call {
    case: &'static Reference,
    /// Every token before the end of the window, without padding.
    places: Vec<Place>,
    window: Range<usize>,
}

impl Call {
    /// A random call: the whole batch, the first tokens of the single prompt, or one of its tokens as a
    /// decode step.
    pub fn any(rng: &mut StdRng) -> Self {
        let (case, window): (&'static Reference, _) = match rng.random_range(0..4) {
            0 => (&BATCH, 0..BATCH.length()),
            1 => {
                let last = rng.random_range(1..SHORT.length());
                (&SHORT, last..last + 1)
            }
            _ => (&SHORT, 0..rng.random_range(2..=8)),
        };
        let places = case.places().iter().copied().filter(|(_, slot)| *slot < window.end).collect();
        Self { case, places, window }
    }

    /// The places of the rows that the call computes.
    pub fn fed(&self) -> Vec<Place> {
        self.places.iter().copied().filter(|(_, slot)| self.window.contains(slot)).collect()
    }

    /// The reference at `site` in the rows that the call computes.
    pub fn reference(&self, site: Site) -> Rows {
        self.stored(site).unwrap().kept(&self.fed()).unwrap().rows().clone()
    }

    /// The budgets of those rows.
    pub fn budgets(&self, site: Site, dtype: DType) -> Vec<Budget> {
        let factor = judge_of(site.kind).1;
        let reference = self.reference(site);
        let budget = |(row, place): (&[f64], Place)| {
            Budget::derive(Scale::of(row.iter().copied()), self.noise(site, place, dtype), factor, dtype)
        };
        reference.iter().zip(self.fed()).map(budget).collect()
    }

    /// Diagnoses a port that computes `got` at `site` and never taps the kinds `hides`. `None` if every
    /// entry is within budget.
    pub fn diagnose(&self, site: Site, hides: &[Kind], dtype: DType, got: &Rows) -> Option<Diagnosis> {
        let (reference, fed) = (self.reference(site), self.fed());
        let wanted = fed.iter().enumerate().map(|(r, &place)| ReferenceRow {
            place,
            row: Cow::Borrowed(reference.row(r)),
            noise: self.noise(site, place, dtype),
        });
        let pass = self.pass();
        let context = SiteContext {
            site,
            graph: &GRAPH,
            weights: &MODEL.weights,
            dtype,
            arithmetic: Arithmetic::Dense,
            layout: Layout::Reference,
            hides,
            pass: &pass,
            factor: judge_of(site.kind).1,
            window: self.window.clone(),
            whole: self.window == (0..self.case.length()),
            first_layer_agrees: site.layer.is_some_and(|layer| layer > 0),
        };
        let rows = |places: &[Place]| {
            let row = |place: &Place| got.row(fed.binary_search(place).unwrap()).to_vec();
            Ok(Some(Rows::new(got.width, places.iter().flat_map(row).collect())))
        };
        let tensors = FedTensors { call: self, hides, dtype };
        let evidence = Evidence::of(context, wanted, rows, &tensors).unwrap()?;
        let differs = (0..evidence.got.len()).any(|r| evidence.wrong(r).next().is_some());
        differs.then(|| diagnose::diagnose(&evidence).unwrap())
    }

    /// The tokens that the call can attend to.
    fn pass(&self) -> Pass {
        let manifest = &self.case.manifest;
        let slot = |b: usize, s: usize| {
            let token = Token { id: manifest.ids[b][s], position: manifest.position_ids[b][s] };
            if self.places.contains(&(b, s)) { Slot::Real(token) } else { Slot::Padding(token) }
        };
        let row = |b| (0..self.window.end).map(|s| slot(b, s)).collect();
        Pass::new((0..self.case.batch()).map(row).collect()).unwrap()
    }

    /// The reference at `site` for all places before the end of the window.
    fn stored(&self, site: Site) -> Option<Placed> {
        let reference = self.case.rows(site)?;
        let (stored, seen) = (*reference.row_shape.last()?, self.window.end);
        let rows = (0..reference.places.len()).filter(|&r| self.places.contains(&reference.places[r]));
        let row = |r: usize| -> Vec<f64> {
            let kept = if site.kind.over_keys() { seen } else { stored };
            reference.row(r).chunks_exact(stored).flat_map(|run| &run[..kept]).copied().collect()
        };
        let rows: Vec<Vec<f64>> = rows.map(row).collect();
        Placed::new(Rows::new(rows[0].len(), rows.concat()), self.places.clone()).ok()
    }

    fn noise(&self, site: Site, place: Place, dtype: DType) -> Noise {
        self.case.noise_on(Arithmetic::Dense, Feed::Site, site, place, dtype).unwrap()
    }
}

/// The probed site of a node, if it has one.
fn site(id: NodeId) -> Option<Site> {
    GRAPH.node(id)?.site.probed()
}

/// The inputs of a port that got reference inputs, rounded to its dtype.
struct FedTensors<'a> {
    call: &'a Call,
    hides: &'a [Kind],
    dtype: DType,
}

impl PortTensors for FedTensors<'_> {
    fn computes(&self, id: NodeId) -> bool {
        site(id).is_none_or(|site| self.hides.contains(&site.kind))
    }

    fn at(&self, id: NodeId) -> Option<Placed> {
        let stored = self.call.stored(site(id)?)?;
        let values = stored.rows().values.iter().map(|&value| round(value, self.dtype)).collect();
        Placed::new(Rows::new(stored.rows().width, values), stored.places().to_vec()).ok()
    }
}
