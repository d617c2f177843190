//! Planted mistakes in schedulers: rows 46 to 49 of the catalogue. The model and its scheduler are correct; what the
//! scheduler plans, or the caches that it kept, are changed before each step.

use std::collections::BTreeSet;

use candle_core::{DType, Tensor};

use super::making::{Setting, demand};
use super::plant::{PLANT, Plant};
use crate::Result;
use crate::engine::{Kept, Opened, Plan, Sampled, Scheduler, Watched};
use crate::model::{Input, Llama};
use crate::port::{LlamaPort, Port, SharedSteps, Traits, scheduler};
use crate::probe::Probe;

pub const PLANTS: &[Plant] = &[
    Plant {
        name: "other-cache",
        does: "swaps the caches of the first two sequences of a step if another one has just left",
        make: |correct| correct.driven(planted::<SwappedCaches>),
        fails: &["04"],
        first: Some("model.layers.0.self_attn.scores"),
        shows: text,
        ..PLANT
    },
    Plant {
        name: "stale-prefix",
        does: "reuses a kept cache if its first token is that of the prompt",
        make: |correct| correct.driven(planted::<FirstToken>),
        fails: &["04"],
        shows: text,
        ..PLANT
    },
    Plant {
        name: "chunk-position",
        does: "counts positions from 0 in every piece of a prompt",
        make: |correct| correct.driven(planted::<Restarted>),
        fails: &["04"],
        first: Some("model.layers.0.self_attn.q_rope"),
        shows: text,
        ..PLANT
    },
    Plant {
        name: "step-row",
        does: "samples the n-th sequence of a step from its n-th row",
        make: |correct| correct.driven(planted::<RowOfPlace>),
        fails: &["04"],
        unseen: &[(
            DType::BF16,
            "rows of a short text differ by about as much as the budget; it shows in f32 and f16",
        )],
        first: Some("lm_head"),
        shows: text,
        ..PLANT
    },
];

/// Requires a case that is one short text of several tokens.
fn text(setting: &Setting<'_>) -> Result<(), String> {
    let fits = setting.cases.iter().any(|case| case.batch() == 1 && (6..=64).contains(&case.length()));
    demand(fits, "no case is one text of 6 to 64 tokens")
}

/// What goes wrong before each step, or before a sequence starts.
trait Wrong: Default + Send + 'static {
    fn plan(&mut self, plan: Plan) -> Plan {
        plan
    }

    fn kept(&mut self, _kept: &mut [Kept], _ids: &[u32]) {}
}

/// The caches of the first two sequences are swapped if another one has left.
#[derive(Default)]
struct SwappedCaches {
    before: BTreeSet<usize>,
}

impl Wrong for SwappedCaches {
    fn plan(&mut self, mut plan: Plan) -> Plan {
        let now: BTreeSet<usize> = plan.parts.iter().map(|part| part.sequence).collect();
        let left = !self.before.is_subset(&now);
        self.before = now;
        if let [first, second, ..] = &mut plan.parts[..]
            && left
        {
            std::mem::swap(&mut first.cache, &mut second.cache);
        }
        plan
    }
}

/// A kept cache counts as that of any prompt with its first token.
#[derive(Default)]
struct FirstToken;

impl Wrong for FirstToken {
    fn kept(&mut self, kept: &mut [Kept], ids: &[u32]) {
        for kept in kept.iter_mut().filter(|kept| kept.ids.first() == ids.first()) {
            let len = kept.ids.len().min(ids.len());
            kept.ids[..len].copy_from_slice(&ids[..len]);
        }
    }
}

/// Every piece of a prompt begins at position 0.
#[derive(Default)]
struct Restarted;

impl Wrong for Restarted {
    fn plan(&mut self, mut plan: Plan) -> Plan {
        for part in plan.parts.iter_mut().filter(|part| part.input.len() > 1) {
            part.input = Input::single(&part.input.ids[0], 0);
        }
        plan
    }
}

/// Each sequence is sampled from the row that it would have if every sequence had one.
#[derive(Default)]
struct RowOfPlace;

impl Wrong for RowOfPlace {
    fn plan(&mut self, mut plan: Plan) -> Plan {
        for (place, part) in plan.parts.iter_mut().enumerate() {
            part.sampled = part.sampled.map(|_| place);
        }
        plan
    }
}

/// The correct model, whose scheduler is wrong.
struct WithWrong<W> {
    port: LlamaPort,
    llama: Llama,
    wrong: std::marker::PhantomData<fn() -> W>,
}

fn planted<W: Wrong>(llama: Llama) -> WithWrong<W> {
    WithWrong { port: LlamaPort::new(llama.clone()), llama, wrong: std::marker::PhantomData }
}

impl<W: Wrong> Port for WithWrong<W> {
    fn traits(&self) -> Traits {
        self.port.traits()
    }

    fn begin(&mut self) {
        self.port.begin();
    }

    fn forward(&mut self, input: &Input, probe: &mut dyn Probe) -> Result<Tensor> {
        self.port.forward(input, probe)
    }

    fn shared_steps(&self, piece: usize) -> Option<Box<dyn SharedSteps>> {
        Some(Box::new(WrongSteps { scheduler: scheduler(&self.llama, piece), wrong: W::default() }))
    }
}

/// A correct scheduler between wrong hands.
struct WrongSteps<W> {
    scheduler: Scheduler,
    wrong: W,
}

impl<W: Wrong> SharedSteps for WrongSteps<W> {
    fn open(&mut self, ids: &[u32]) -> Result<Opened> {
        self.wrong.kept(&mut self.scheduler.kept, ids);
        self.scheduler.open(ids)
    }

    fn push(&mut self, sequence: usize, id: u32) -> Result<()> {
        self.scheduler.push(sequence, id)
    }

    fn close(&mut self, sequence: usize) {
        SharedSteps::close(&mut self.scheduler, sequence);
    }

    fn step(&mut self, watched: usize, probe: &mut dyn Probe) -> Result<Vec<Sampled>> {
        let plan = self.wrong.plan(self.scheduler.plan());
        self.scheduler.run(&plan, &mut Watched::new(&plan, watched, probe))
    }

    fn repeats_bits(&self) -> bool {
        self.scheduler.repeats_bits()
    }
}
