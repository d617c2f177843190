//! A port that runs one text in the steps of a scheduler, beside other sequences. The judge compares it with the same
//! text in one prefill.

use std::ops::Range;

use candle_core::{DType, Device, Tensor};

use super::drive::Company;
use super::recorded::Seeing;
use super::substitute::Fed;
use crate::model::Input;
use crate::port::{Port, SharedSteps, Traits};
use crate::probe::{Kind, Probe, Site};
use crate::{Error, Result};

/// A text, and how it is divided.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub ids: Vec<u32>,
    /// How many of them form the prompt; the others are decoded.
    pub prompt: usize,
    /// How many tokens of the prompt a step runs.
    pub piece: usize,
    /// How many tokens another text has in common with it, if a prefix is reused.
    pub common: usize,
}

/// What one step computed for the text.
#[derive(Debug)]
pub(super) struct Step {
    /// The text's tokens in the step.
    pub window: Range<usize>,
    /// The logits after the last of them, `[vocab]`.
    pub logits: Vec<f32>,
    /// The tokens in the caches of the other sequences before the step.
    pub others: Vec<Vec<u32>>,
}

/// The text in the steps of the port's scheduler.
pub(super) struct Served<'a> {
    port: &'a mut dyn Port,
    text: &'a Text,
    company: Company,
    /// Where reference tensors replace those of a text whose prefix is reused.
    fed: Option<Fed<'a>>,
    run: Option<Run>,
    /// Those of its steps that gave logits.
    pub steps: Vec<Step>,
}

/// A run of the text.
struct Run {
    steps: Box<dyn SharedSteps>,
    sequence: usize,
    reused: usize,
    others: Vec<Other>,
}

/// Another sequence.
struct Other {
    ids: Vec<u32>,
    /// Its number, while it runs.
    sequence: Option<usize>,
    /// How many of its tokens the scheduler knows.
    pushed: usize,
    /// How many of them are in its cache.
    fed: usize,
}

/// A number that no sequence has: nothing is watched.
const NOBODY: usize = usize::MAX;

impl Text {
    /// The windows of its steps if its first `reused` tokens are in a cache.
    pub fn windows(&self, reused: usize) -> Vec<Range<usize>> {
        let end = |start: usize| self.prompt.min(start + self.piece);
        let pieces = (reused..self.prompt).step_by(self.piece).map(|start| start..end(start));
        pieces.chain((self.prompt..self.ids.len()).map(|at| at..at + 1)).collect()
    }

    /// Another text, twice as long. It has the same beginning if a prefix is reused.
    pub fn other(&self, company: Company, number: u32, vocab: usize) -> Vec<u32> {
        let twice = self.ids.iter().chain(&self.ids);
        let mut ids: Vec<u32> = twice.map(|id| (id * 7 + 1 + number) % vocab as u32).collect();
        if company == Company::Prefix {
            ids[..self.common].copy_from_slice(&self.ids[..self.common]);
            ids[self.common] = (self.ids[self.common] + 1) % vocab as u32;
        }
        ids
    }
}

impl<'a> Served<'a> {
    pub fn new(port: &'a mut dyn Port, text: &'a Text, company: Company, fed: Option<Fed<'a>>) -> Self {
        Self { port, text, company, fed, run: None, steps: vec![] }
    }

    /// Starts the text, and returns how many of its tokens were in a kept cache.
    ///
    /// # Errors
    /// Any error of the port.
    pub fn start(&mut self) -> Result<usize> {
        let (text, traits) = (self.text, self.port.traits());
        let steps = self.port.shared_steps(text.piece).ok_or_else(|| Error::internal("no scheduler"))?;
        let other = |number| Other {
            ids: text.other(self.company, number, traits.vocab),
            sequence: None,
            pushed: 0,
            fed: 0,
        };
        let mut run = Run { steps, sequence: NOBODY, reused: 0, others: vec![other(0), other(1)] };
        match self.company {
            Company::None | Company::After => {}
            Company::Joining => {
                run.enter(0, text)?;
                run.until(text, |others| others[0].fed > text.prompt)?;
            }
            Company::Leaving => {
                run.enter(0, text)?;
                run.enter(1, text)?;
                run.until(text, |others| others[1].fed > text.prompt)?;
            }
            Company::Prefix => {
                run.enter(0, text)?;
                while let (Some(sequence), fed) = (run.others[0].sequence, run.others[0].fed)
                    && fed <= text.prompt
                {
                    let window = fed..run.others[0].pushed.min(fed + text.piece);
                    let (fed, see) = (self.fed, &mut |_, _: &_, _: &_| Ok(()));
                    run.step(sequence, text, &mut Seeing { fed, traits: &traits, window, see })?;
                }
                run.leave(0);
            }
        }
        let opened = run.steps.open(&text.ids[..text.prompt])?;
        (run.sequence, run.reused) = (opened.sequence, opened.reused);
        if self.company == Company::After {
            run.enter(0, text)?;
            run.enter(1, text)?;
        }
        let reused = run.reused;
        self.run = Some(run);
        Ok(reused)
    }
}

impl Port for Served<'_> {
    fn traits(&self) -> Traits {
        self.port.traits()
    }

    fn begin(&mut self) {
        self.run = None;
        self.steps.clear();
    }

    /// Runs the step with the text's tokens `input`, and returns the logits after them, `[1, 1, vocab]`, if it has some.
    fn forward(&mut self, input: &Input, probe: &mut dyn Probe) -> Result<Tensor> {
        if self.run.is_none() {
            self.start()?;
        }
        let Some(run) = &mut self.run else { return Err(Error::internal("the text did not start")) };
        let (text, start) = (self.text, input.positions[0][0]);
        if start >= text.prompt {
            run.steps.push(run.sequence, text.ids[start])?;
        }
        match self.company {
            Company::Joining if start == text.prompt => run.enter(1, text)?,
            Company::Leaving if start == text.prompt + 1 => run.leave(0),
            _ => {}
        }
        let running = run.others.iter().filter(|other| other.sequence.is_some());
        let others = running.map(|other| other.ids[..other.fed].to_vec()).collect();
        let logits = run.step(run.sequence, text, &mut LastRow { probe, rows: input.len() })?;
        let values = logits.clone().unwrap_or_default();
        let shape = (1, values.len().min(1), values.len());
        if let Some(logits) = logits {
            self.steps.push(Step { window: start..start + input.len(), logits, others });
        }
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(DType::F32)?)
    }
}

impl Run {
    /// Another sequence begins.
    fn enter(&mut self, number: usize, text: &Text) -> Result<()> {
        let other = &mut self.others[number];
        let opened = self.steps.open(&other.ids[..text.prompt])?;
        (other.sequence, other.pushed, other.fed) = (Some(opened.sequence), text.prompt, opened.reused);
        Ok(())
    }

    /// Another sequence ends.
    fn leave(&mut self, number: usize) {
        if let Some(sequence) = self.others[number].sequence.take() {
            self.steps.close(sequence);
        }
    }

    /// Runs steps until the other sequences are so far; every step feeds all of them.
    fn until(&mut self, text: &Text, so_far: impl Fn(&[Other]) -> bool) -> Result<()> {
        for _ in 0..self.others[0].ids.len() {
            if so_far(&self.others) {
                return Ok(());
            }
            self.step(NOBODY, text, &mut ())?;
        }
        Err(Error::input(
            "the scheduler does not feed a sequence that runs",
            "run every sequence that has a token",
        ))
    }

    /// Runs one step, shows it to the probe of one sequence, and gives every other sequence its next token. Returns the
    /// text's logits, if it has some.
    fn step(&mut self, watched: usize, text: &Text, probe: &mut dyn Probe) -> Result<Option<Vec<f32>>> {
        let sampled = self.steps.step(watched, probe)?;
        for other in self.others.iter_mut() {
            let Some(sequence) = other.sequence else { continue };
            other.fed = other.pushed.min(other.fed + text.piece);
            if sampled.iter().any(|one| one.sequence == sequence)
                && let Some(&next) = other.ids.get(other.pushed)
            {
                self.steps.push(sequence, next)?;
                other.pushed += 1;
            }
        }
        Ok(sampled.into_iter().find(|one| one.sequence == self.sequence).map(|one| one.logits))
    }
}

/// Hands over the one row of logits as the last row of the step: the judge expects a row for each token.
struct LastRow<'a> {
    probe: &'a mut dyn Probe,
    rows: usize,
}

impl Probe for LastRow<'_> {
    fn wants(&self, kind: Kind) -> bool {
        self.probe.wants(kind)
    }

    fn tap(&mut self, site: Site, tensor: Tensor) -> Result<Tensor> {
        if !matches!(site.kind, Kind::Logits | Kind::CappedLogits) {
            return self.probe.tap(site, tensor);
        }
        let rows = tensor.pad_with_zeros(1, self.rows - 1, 0)?; // [1, s, vocab]
        Ok(self.probe.tap(site, rows)?.narrow(1, self.rows - 1, 1)?.contiguous()?) // [1, 1, vocab]
    }
}
