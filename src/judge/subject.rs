//! What is judged: ports, and the cases and facts that they are compared with.

use candle_core::{DType, Device};
use rayon::prelude::*;

use super::all_judged::all_judged;
use super::lacks::needs;
use crate::files::printable;
use crate::model::{Llama, Path};
use crate::models::{self, Model};
use crate::port::{LlamaPort, Port};
use crate::reference::{Facts, Feed, Greedy, Reference, Sampling, Tokens};
use crate::tokenizer::{Content, Tokenizer};
use crate::weights::{Config, Weights};
use crate::{Error, Result};

/// Everything that is judged, and the references for it. A planted mistake changes one of these fields.
pub struct Subject<'a> {
    /// The config that the port was built with.
    pub config: Config,
    /// The weights.
    pub weights: &'a Weights,
    /// Text ↔ ids, or why the tokenizer cannot be used.
    pub tokenizer: Result<&'a Tokenizer, Unread>,
    /// The port, once for each path.
    pub ports: Vec<Box<dyn Port>>,
    /// The reference cases.
    pub cases: Vec<Reference>,
    /// Facts about the model as a whole, if the references include them.
    pub model: Option<ModelFacts>,
    /// Judge sites under this feed only, if set.
    pub feed: Option<Feed>,
}

impl<'a> Subject<'a> {
    /// The project's own Llama on these weights, once for each of `paths`, with these cases of the model's
    /// references and, if stored, the facts about the model as a whole.
    ///
    /// # Errors
    /// The model has no references, has no such case, or has references that no checkpoint uses; or the
    /// device or dtype cannot run a path.
    pub fn new(
        model: &'a Model,
        cases: &[String],
        device: &Device,
        dtype: DType,
        paths: &[impl Into<Path> + Copy],
    ) -> Result<Self> {
        let fixture = model.fixture.as_ref().ok_or_else(|| {
            Error::input(
                format!("{}: no references", model.name),
                "capture references with scripts/capture_reference.py",
            )
        })?;
        let cases = cases.iter().map(|case| fixture.case(case)).collect::<Result<Vec<_>>>()?;
        let mut subject = Self::of_cases(model, cases, device, dtype, paths)?;
        if fixture.has_facts()? {
            subject.model = Some(ModelFacts {
                facts: fixture.facts()?,
                tokens: fixture.tokens()?,
                greedy: fixture.greedy()?,
                sampling: fixture.sampling()?,
            });
        }
        Ok(subject)
    }

    /// Like [`Subject::new`], with cases from any source and no facts about the model as a whole.
    ///
    /// # Errors
    /// As [`Subject::new`].
    pub fn of_cases(
        model: &'a Model,
        cases: Vec<Reference>,
        device: &Device,
        dtype: DType,
        paths: &[impl Into<Path> + Copy],
    ) -> Result<Self> {
        let weights = &model.weights;
        let unread = |error: &Error| {
            let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
            Unread { why: printable(&format!("{error}{hint}")), content: model.tokenizer_content() }
        };
        let tokenizer = model.tokenizer.as_ref().map_err(unread);
        let mut loaded: Vec<Llama> = Vec::new();
        let mut ports: Vec<Box<dyn Port>> = Vec::new();
        for path in paths.iter().map(|&path| path.into()) {
            // Paths with the same matmul share their weights.
            let llama = match loaded.iter().find(|llama| llama.path.matmul == path.matmul) {
                Some(llama) => llama.on(path.attention)?,
                None => Llama::load(weights, device, dtype, path)?,
            };
            ports.push(Box::new(LlamaPort::new(llama.clone())));
            loaded.push(llama);
        }
        for (case, port) in cases.iter().flat_map(|case| ports.iter().map(move |port| (case, port))) {
            all_judged(case, &port.traits())?;
        }
        Ok(Self {
            config: weights.config().clone(),
            weights,
            tokenizer,
            ports,
            cases,
            model: None,
            feed: None,
        })
    }

    /// Why something that belongs to no case cannot be judged: these references lack `what`.
    pub(super) fn lacks(&self, what: &str) -> String {
        if self.cases.iter().any(Reference::is_own) {
            needs(what)
        } else {
            "these references contain only cases, no facts about the model as a whole".into()
        }
    }

    /// The weights with the config as transformers reads it, if that is stored: the parsed config may itself
    /// contain the mistake.
    pub(crate) fn right_weights(&self) -> Weights {
        let theirs = self.model.as_ref().map(|model| &model.facts.config);
        theirs.map_or_else(|| self.weights.clone(), |theirs| models::corrected(self.weights, theirs))
    }
}

/// A tokenizer that cannot be used.
#[derive(Clone, Debug)]
pub struct Unread {
    /// Why, and what to do about it, in one line.
    pub why: String,
    /// What its files contain nevertheless.
    pub content: Content,
}

/// Facts about the model as a whole that belong to no single case.
#[derive(Clone)]
pub struct ModelFacts {
    /// Config and tensors.
    pub facts: Facts,
    /// Texts and their ids.
    pub tokens: Tokens,
    /// Greedy continuations.
    pub greedy: Greedy,
    /// Sampling distributions.
    pub sampling: Sampling,
}

/// Runs `judge` on all ports in parallel. The results are in the order of the ports.
pub(super) fn side_by_side<T: Send>(
    ports: &mut [Box<dyn Port>],
    judge: impl Fn(&mut Box<dyn Port>) -> Result<T> + Send + Sync,
) -> Result<Vec<T>> {
    ports.par_iter_mut().map(judge).collect()
}
