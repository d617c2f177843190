//! Drives a model through checkpoints → verdicts.

mod convention;
mod explain;
mod facts;
mod greedy;
mod laws;
mod left_over;
mod noise;
mod pieces;
pub(crate) mod rows;
mod sampling;
mod single;
mod sites;
mod tokens;
mod unjudged;
mod verdict;
mod watch;

pub(crate) use self::explain::corrected;
pub use crate::port::{LlamaPort, Port, Traits};
pub(crate) use single::single;
pub(crate) use sites::judge as judge_sites;
pub use unjudged::laws_alone;
pub use verdict::{Finding, Outcome, Status, Verdict};
pub(crate) use watch::feed as enter_truth;

use candle_core::{DType, Device};

use crate::checkpoints::{self, Checkpoint, Factor, How, View};
use crate::model::{Llama, Path};
use crate::models::Model;
use crate::reference::{Facts, Feed, Greedy, Manifest, Reference, Sampling, Tokens};
use crate::tokenizer::Tokenizer;
use crate::weights::{Config, Weights};
use crate::{Error, Result};

/// Everything that is judged, and what it is judged by. A planted mistake changes one of these.
pub struct Subject<'a> {
    /// The config that the port was built with.
    pub config: Config,
    /// The weights.
    pub weights: &'a Weights,
    /// Text ↔ ids.
    pub tokenizer: &'a Tokenizer,
    /// The port, once for every path of its arithmetic.
    pub ports: Vec<Box<dyn Port>>,
    /// Cases with stored truth.
    pub cases: Vec<Reference>,
    /// The facts that belong to the model as a whole, if its references hold them.
    pub model: Option<ModelFacts>,
    /// Judge sites under this feed only.
    pub feed: Option<Feed>,
}

impl<'a> Subject<'a> {
    /// The project's own Llama on these weights, on each of `paths`, with `cases` of the model's
    /// references, and the facts of the model as a whole where these hold some.
    ///
    /// # Errors
    /// The model has no references, no such case, or references that no checkpoint claims; the
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
                "capture them with scripts/capture_reference.py",
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

    /// As [`Subject::new`], with cases from anywhere and no facts of the model as a whole.
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
        let (weights, tokenizer) = (&model.weights, &model.tokenizer);
        let mut loaded: Vec<Llama> = Vec::new();
        let mut ports: Vec<Box<dyn Port>> = Vec::new();
        for path in paths.iter().map(|&path| path.into()) {
            // Paths that multiply alike share their weights.
            let llama = match loaded.iter().find(|llama| llama.path.matmul == path.matmul) {
                Some(llama) => llama.on(path.attention)?,
                None => Llama::load(weights, device, dtype, path)?,
            };
            ports.push(Box::new(LlamaPort::new(llama.clone())));
            loaded.push(llama);
        }
        for (case, port) in cases.iter().flat_map(|case| ports.iter().map(move |port| (case, port))) {
            all_claimed(case, &port.traits())?;
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
}

/// The facts that belong to the model as a whole and to no case.
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

/// Runs `checkpoint`, all of it.
///
/// # Errors
/// Only where the harness itself cannot go on; a port that stops is a verdict.
pub fn run(subject: &mut Subject<'_>, checkpoint: &'static Checkpoint) -> Result<Outcome> {
    let mut outcome = Outcome { checkpoint, findings: vec![], skipped: None, notes: vec![] };
    match &checkpoint.how {
        How::Weights => {
            if let Some(model) = facts(subject, &mut outcome) {
                outcome.findings = facts::judge(&subject.config, subject.weights, &model.facts)?;
            }
        }
        How::Tokens(view, factor) => {
            match &subject.model {
                Some(model) => {
                    let bos = model.facts.config.bos_token_id;
                    outcome.findings = tokens::judge(subject.tokenizer, &model.tokens, bos);
                }
                None => outcome.notes.push(format!("texts are not judged: {NO_FACTS}")),
            }
            sites(subject, std::slice::from_ref(view), factor, &mut outcome)?;
        }
        How::Sites(views, factor) => sites(subject, views, factor, &mut outcome)?,
        How::Laws(factor) => {
            let weights = explain::right(subject);
            for port in &mut subject.ports {
                for case in &subject.cases {
                    outcome.findings.extend(laws::judge(&mut **port, case, factor.times, &weights)?);
                }
                outcome.findings.push(laws::context_ends(&mut **port));
            }
            set_aside(&mut outcome, "the rest of its layer is judged", |silent, other| {
                let layer = |f: &Finding| f.site.and_then(|site| site.layer);
                (&silent.case, &silent.drive, layer(silent)) == (&other.case, &other.drive, layer(other))
            });
        }
        How::Sampling => {
            if let Some(model) = facts(subject, &mut outcome) {
                outcome.findings = sampling::judge(&model.sampling)?;
            }
        }
        How::Greedy(rule) => {
            let eos = subject.config.eos_token_ids.clone();
            match &subject.model {
                None => outcome.skipped = Some(NO_FACTS.into()),
                Some(model) => {
                    for port in &mut subject.ports {
                        let ends = greedy::Ends { ours: &eos, theirs: &model.facts.config.eos_token_ids };
                        let (findings, notes) = greedy::judge(&mut **port, &model.greedy, &ends, rule)?;
                        outcome.findings.extend(findings);
                        outcome.notes.extend(notes);
                    }
                }
            }
        }
    }
    Ok(outcome)
}

const NO_FACTS: &str = "these references hold cases only, no facts of the model as a whole";

/// The model's facts; without them the checkpoint is skipped, and seen to be.
fn facts<'a>(subject: &'a Subject<'_>, outcome: &mut Outcome) -> Option<&'a ModelFacts> {
    if subject.model.is_none() {
        outcome.skipped = Some(NO_FACTS.into());
    }
    subject.model.as_ref()
}

/// Every case on every path, under every view.
fn sites(subject: &mut Subject<'_>, views: &[View], factor: &Factor, outcome: &mut Outcome) -> Result<()> {
    if let Some(feed) = subject.feed
        && views.iter().all(|view| view.feed != feed)
        && outcome.findings.is_empty()
    {
        outcome.skipped = Some(format!("judges nothing under feed {}", feed.name()));
        return Ok(());
    }
    let weights = explain::right(subject);
    for case in &subject.cases {
        for port in &mut subject.ports {
            for view in views.iter().filter(|view| subject.feed.is_none_or(|feed| feed == view.feed)) {
                // Under another feed a site's inputs are the port's own: nothing stands still to reason from.
                let around = Some(&weights).filter(|_| view.feed == Feed::Site);
                let mut findings = sites::judge(&mut **port, case, view, factor.times, around)?;
                if view.feed == Feed::Site && findings.iter().any(convention::may_be) {
                    let said =
                        convention::settle(&mut **port, case, view, factor.times, &weights, &mut findings)?;
                    outcome.notes.extend(said.filter(|note| !outcome.notes.contains(note)));
                }
                outcome.findings.append(&mut findings);
            }
            let traits = port.traits();
            let hidden: Vec<&str> = views
                .iter()
                .flat_map(|view| view.kinds)
                .filter(|kind| !traits.shows(**kind))
                .map(|kind| kind.name())
                .collect();
            let note = format!("{} cannot show {}", traits.path, hidden.join(", "));
            if !hidden.is_empty() && !outcome.notes.contains(&note) {
                outcome.notes.push(note);
            }
            let far = sites::distance(case, traits.arithmetic, views);
            outcome.notes.extend(far.filter(|note| !outcome.notes.contains(note)));
        }
    }
    set_aside(outcome, "judged in another case", |silent, other| {
        (&silent.about, &silent.drive) == (&other.about, &other.drive)
    });
    Ok(())
}

/// Where noise covers a site whole, and another finding was judged that `speaks` for it, it is taken out
/// and said to be.
fn set_aside(outcome: &mut Outcome, why: &str, speaks: impl Fn(&Finding, &Finding) -> bool) {
    let silent = |f: &Finding| f.verdict == Verdict::Incomparable;
    let (spoken, all): (Vec<Finding>, Vec<Finding>) = (
        outcome.findings.iter().filter(|f| !silent(f)).cloned().collect(),
        std::mem::take(&mut outcome.findings),
    );
    for finding in all {
        if silent(&finding) && spoken.iter().any(|other| speaks(&finding, other)) {
            let Finding { about, case, drive, incomparable, .. } = &finding;
            outcome.notes.push(format!(
                "{about} ({case}; {drive}): all {incomparable} rows are no larger than their noise, {why}"
            ));
        } else {
            outcome.findings.push(finding);
        }
    }
}

/// Runs several checkpoints in order. `done` sees each as it ends, and may mark failures that are
/// expected. Generation waits for the others: the text of a port that fails unexpectedly says nothing.
pub fn run_all(
    subject: &mut Subject<'_>,
    checkpoints: &[&'static Checkpoint],
    mut done: impl FnMut(&mut Outcome),
) -> Result<Vec<Outcome>> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    for &checkpoint in checkpoints {
        let failed = outcomes.iter().filter(|o| matches!(o.status(), Status::Failed | Status::NotJudged));
        let waits: Vec<&str> = failed.map(|o| o.checkpoint.id).collect();
        let mut outcome = match checkpoint.how {
            How::Greedy(_) if !waits.is_empty() => Outcome {
                checkpoint,
                findings: vec![],
                skipped: Some(format!("waits for {}", waits.join(", "))),
                notes: vec![],
            },
            _ => run(subject, checkpoint)?,
        };
        done(&mut outcome);
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// Every stored site must be judged by some checkpoint, or feed one that is: a reference that nobody
/// looks at would let its part of the model pass unseen.
///
/// # Errors
/// Names the first that nobody claims.
pub fn all_claimed(case: &Reference, traits: &Traits) -> Result<()> {
    let plain = Traits { hides: &[], ..traits.clone() };
    let arithmetic = traits.arithmetic;
    if !case.knows(arithmetic) {
        let Manifest { model, case, .. } = &case.manifest;
        let what = format!("{model}/{case}: no truth for {} arithmetic", arithmetic.name());
        return Err(Error::input(what, "capture it again from the quantised file, or use --matmul dense"));
    }
    let views = || checkpoints::ALL.into_iter().flat_map(Checkpoint::views);
    let judged = |site| views().any(|view| sites::claims(view, case, site, &plain));
    for site in case.sites() {
        let feeds = || case.sites().any(|other| other.inputs(traits.layers).contains(&site) && judged(other));
        let outside = site.layer.is_some_and(|layer| usize::from(layer) >= traits.layers);
        if outside || !(judged(site) || feeds()) {
            return Err(Error::input(
                format!("{}/{}: no checkpoint judges {site}", case.manifest.model, case.manifest.case),
                "a stored reference that is never judged hides a part of the model: capture it with its inputs",
            ));
        }
    }
    for (feed, site) in case.sites_on(arithmetic) {
        if !views().any(|view| view.feed == feed && sites::claims(view, case, site, &plain)) {
            return Err(Error::input(
                format!(
                    "{}/{}: no checkpoint judges {site} under feed {} on {}",
                    case.manifest.model,
                    case.manifest.case,
                    feed.name(),
                    arithmetic.name()
                ),
                "a stored reference that is never judged hides a part of the model: capture it again",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
