//! Judges a model stage by stage, so that only one layer's weights are in memory: all passes go through a layer before
//! the next one is loaded.
//!
//! References come from the project's own oracle, which computes each stage at the same time.

mod port;

use std::slice::from_ref;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};

use self::port::StagePort;
use super::convention::ColumnOrder;
use super::judged_rows::input;
use super::lacks::{OF_GREEDY, OF_SAMPLING, OF_TEXTS, OF_WEIGHTS, needs};
use super::laws;
use super::prefills::{judge_case, plan};
use super::sharing;
use super::units::UnitFindings;
use super::verdict::Finding;
use crate::checkpoints::{Checkpoint, How};
use crate::model::{Attention, Stage};
use crate::models::Model;
use crate::probe::StageName;
use crate::record::Layered;
use crate::reference::{Feed, Reference};
use crate::weights::Weights;
use crate::{Error, Result};

/// A prompt longer than this is run in pieces only near its end.
const SHORT: usize = 64;
/// The number of tokens at the end of a long prompt that are run in pieces.
const IN_PIECES: usize = 8;

/// A model to judge stage by stage, with dense products.
pub struct Stream<'a> {
    /// The model.
    pub model: &'a Model,
    /// The prompt's token ids.
    pub ids: &'a [u32],
    /// Where the model runs.
    pub device: &'a Device,
    /// The dtype that it computes in.
    pub dtype: DType,
    /// The attention paths.
    pub attentions: &'a [Attention],
    /// Judge sites under this feed only, if set.
    pub feed: Option<Feed>,
}

/// What all stages showed.
pub struct Streamed {
    /// By checkpoint and stage; [`merged`](super::merged) makes outcomes of them.
    pub units: Vec<UnitFindings>,
    /// The case, without values: its manifest lists the sites of all stages.
    pub case: Reference,
    /// The names of the paths.
    pub paths: Vec<&'static str>,
    /// The time that each layer took.
    pub times: Vec<Duration>,
}

/// One path, and its own values at the input of the next stage.
struct PathState {
    attention: Attention,
    own: Option<Tensor>,
}

impl Stream<'_> {
    /// Judges all stages. `begin` is told each stage and the number of layers.
    ///
    /// # Errors
    /// The weights cannot be read, or the device or dtype cannot run a path.
    pub fn judge(
        &self,
        checkpoints: &[&'static Checkpoint],
        mut begin: impl FnMut(StageName, usize),
    ) -> Result<Streamed> {
        let weights = &self.model.weights;
        let layers = weights.config().num_hidden_layers;
        let mut oracle = Layered::new(weights, &self.model.name, self.ids, self.dtype)?;
        let mut paths: Vec<PathState> =
            self.attentions.iter().map(|&attention| PathState { attention, own: None }).collect();
        let mut units: Vec<UnitFindings> =
            checkpoints.iter().filter_map(|&checkpoint| lacking(checkpoint)).collect();
        let (mut whole, mut names, mut times) = (None::<Reference>, vec![], vec![]);
        for (n, name) in StageName::all(layers).into_iter().enumerate() {
            begin(name, layers);
            let start = Instant::now();
            let held = match name {
                StageName::Layer(layer) => weights.held(&format!("model.layers.{layer}."))?,
                StageName::Embedding | StageName::Head => weights.clone(),
            };
            let case = oracle.stage(name, &held.held_in_order()?)?;
            for (p, path) in paths.iter_mut().enumerate() {
                let stage = Stage::load(&held, name, self.device, self.dtype, path.attention)?;
                let mut port = StagePort::new(stage, self.ids, path.own.take());
                names.extend((n == 0).then(|| port.path()));
                let place = Place { stage: n, path: p, stages: layers + 2 };
                units.extend(self.judge_stage(&mut port, &case, &held, checkpoints, place)?);
                path.own = Some(port.result(&input(&case))?);
            }
            if let StageName::Layer(_) = name {
                times.push(start.elapsed());
            }
            match &mut whole {
                None => whole = Some(case.keeping(|_, _| false)),
                Some(whole) => whole.manifest.sites.extend(case.manifest.sites),
            }
        }
        let case = whole.ok_or_else(|| Error::internal("a model without stages"))?;
        Ok(Streamed { units, case, paths: names, times })
    }

    /// Judges one stage on one path.
    fn judge_stage(
        &self,
        port: &mut StagePort,
        case: &Reference,
        held: &Weights,
        checkpoints: &[&'static Checkpoint],
        place: Place,
    ) -> Result<Vec<UnitFindings>> {
        let read = port.reads();
        // The input is judged in the stage that computes it.
        let judged_here = |findings: Vec<Finding>| -> Vec<Finding> {
            let here = findings.into_iter().filter(|f| f.site.is_none() || f.site != read);
            here.map(|finding| Finding { own: true, ..finding }).collect()
        };
        let (mut units, mut order) = (Vec::new(), ColumnOrder::default());
        let plan = plan(checkpoints, self.feed);
        for (checkpoint, shown) in judge_case(&plan, port, (from_ref(case), case), held, &mut order)? {
            units.push(UnitFindings {
                notes: shown.notes,
                ..UnitFindings::new(checkpoint, place.prefill()).with(judged_here(shown.findings))
            });
        }
        for &checkpoint in checkpoints {
            let How::Laws(factor) = &checkpoint.how else { continue };
            let mut findings = match self.ids.len() {
                0..=SHORT => laws::judge_laws(port, case, factor.times, held, false)?,
                length => {
                    let late = case.clone().keeping(|_, (_, slot)| slot + IN_PIECES >= length);
                    laws::judge_laws(port, &late, factor.times, held, false)?
                }
            };
            let mut notes = vec![];
            if read.is_none() {
                findings.push(laws::context_ends(port));
                notes.extend(sharing::not_judged(port, None));
            }
            units.push(UnitFindings {
                notes,
                ..UnitFindings::new(checkpoint, place.laws()).with(judged_here(findings))
            });
        }
        Ok(units)
    }
}

/// Where a unit stands among those of its checkpoint.
#[derive(Clone, Copy)]
struct Place {
    stage: usize,
    path: usize,
    stages: usize,
}

impl Place {
    /// By stage, then by path. 0 is for what belongs to no stage.
    fn prefill(self) -> usize {
        1 + self.stage * self.stages + self.path
    }

    /// By path, then by stage.
    fn laws(self) -> usize {
        self.path * self.stages + self.stage
    }
}

/// What the project's own oracle lacks for this checkpoint.
fn lacking(checkpoint: &'static Checkpoint) -> Option<UnitFindings> {
    let unit = UnitFindings::new(checkpoint, 0);
    let skipped = |what: &str| UnitFindings { skipped: Some(needs(what)), ..unit.clone() };
    match checkpoint.how {
        How::Weights => Some(skipped(OF_WEIGHTS)),
        How::Sampling => Some(skipped(OF_SAMPLING)),
        How::Greedy(_) => Some(skipped(OF_GREEDY)),
        How::Tokens(..) => {
            Some(UnitFindings { notes: vec![format!("texts are not judged: {}", needs(OF_TEXTS))], ..unit })
        }
        How::Sites(..) | How::Laws(_) => None,
    }
}
