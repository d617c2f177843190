//! `run`: checks a model, checkpoint by checkpoint.

use std::path::Path;

use candle_core::Device;
use clap::Args;
use rbees_check::checkpoints::{self, Checkpoint};
use rbees_check::judge::{self, Outcome, Status, Subject};
use rbees_check::model::{self, Attention, Llama};
use rbees_check::models::Model;
use rbees_check::reference::Feed;
use rbees_check::report::json::Report;
use rbees_check::{Error, Result};

use super::bundle::Bundling;
use super::choices::{AttentionChoice, FeedChoice, MatmulChoice};
use super::common::{self, Common, DEFAULT_MODEL};
use super::description::Description;
use super::dumped::{Dumped, RunOptions};
use super::ending::Ending;
use super::expect::Expectations;
use super::own::{self, OwnOracle};
use super::paint::Out;
use super::part::{self, Sharding, WholeRun};
use super::progress::Progress;
use super::reports::Reports;
use super::rerun::Flags;
use super::results::Results;
use super::settings::Settings;
use super::stderr::say;
use super::stream::StreamedRun;
use super::{cases, device, interrupt, paths, suggest, threads, timed_text};

#[derive(Args, Debug)]
pub struct RunArgs {
    /// Checkpoints to run: 3, 03, attention, CHECKPOINT_01B_ROPE …, or all
    #[arg(value_name = "ID", default_value = "all")]
    ids: Vec<String>,
    #[command(flatten)]
    common: Common,
    /// One of the model's cases, or a folder with a manifest.json; repeatable
    /// [default: all of the model's cases]
    #[arg(long = "case", value_name = "NAME|DIR")]
    cases: Vec<String>,
    /// Where to substitute reference tensors: at every site, at each block's input, or never
    /// [default: all three]
    #[arg(long, value_enum)]
    feed: Option<FeedChoice>,
    /// Check only this attention path [default: both]
    #[arg(long, value_name = "PATH", value_enum)]
    attention: Option<AttentionChoice>,
    /// Multiply by float weights, or by the blocks of a quantised file [default: both for a quantised file,
    /// otherwise dense]
    #[arg(long, value_name = "PATH", value_enum)]
    matmul: Option<MatmulChoice>,
    #[command(flatten)]
    own: OwnOracle,
    #[command(flatten)]
    dumped: Dumped,
    #[command(flatten)]
    reports: Reports,
    #[command(flatten)]
    bundling: Bundling,
    #[command(flatten)]
    sharding: Sharding,
}

impl RunArgs {
    pub fn perform(mut self, out: &mut Out) -> Result<Ending> {
        let checkpoints = self.checkpoints()?;
        threads::start(self.common.threads)?;
        interrupt::heed();
        let flags = self.flags();
        let settings = Settings::find()?;
        let file = settings.file.clone();
        let expected = self.settle(settings);
        let earlier = self.ready(file.as_deref())?;
        let mut aside = Out::aside();
        let out = if self.reports.on_stdout() { &mut aside } else { out };
        let (reports, verbose) = (&self.reports, self.common.verbose);
        let results = Results { out, reports, earlier, expected, verbose, flags: &flags };
        if self.dumped.is_meant() {
            let Self { common, cases, dumped, bundling, .. } = &self;
            let blocks = self.matmul == Some(MatmulChoice::Quantized);
            let options = RunOptions { common, cases, checkpoints: &checkpoints, blocks, bundling };
            dumped.judge_recording(&options, results)
        } else {
            self.judge_model(&checkpoints, results)
        }
    }

    /// Reads the model, judges it and prints the result.
    fn judge_model(&self, checkpoints: &[&'static Checkpoint], mut results: Results<'_>) -> Result<Ending> {
        let shard = self.sharding.part(&results)?;
        let device = device::open(&self.common.device)?;
        let progress = Progress::start("reading the model and its references");
        let model = self.common.open()?;
        common::refuse_weights_that_are_not_finite(&model.weights)?;
        if let Some(prompt) = self.own.streamed() {
            return self.stream((&model, prompt, &device), checkpoints, results, progress);
        }
        let mut subject = self.subject(&model, &device)?;

        let (dtype, on) = (self.common.dtype(), device::name(&device));
        let matmul = paths::named(&paths::matmuls(self.matmul, &model));
        let head = format!("{} · {} · {on}, {}, {matmul}\n", model.name, subject.config, dtype.as_str());
        progress.aside(|| results.out.line(head))?;
        if let Some(shard) = shard {
            let whole = WholeRun { checkpoints, command: &self.ids.join(" ") };
            let description =
                |subject: &Subject<'_>| Description::of_model(&model, subject, &on, dtype, &matmul);
            return part::judge(&mut subject, shard, &whole, results, description, progress);
        }
        let outcomes = judge_checkpoints(&mut subject, checkpoints, &progress, &mut results)?;
        drop(progress);
        results.failures(&outcomes)?;
        let description = || Description::of_model(&model, &subject, &on, dtype, &matmul);
        results.report(&outcomes, &self.ids.join(" "), description)?;
        self.bundling.write(&mut subject, &outcomes, results.flags)?;
        drop(subject);
        let all_passed = outcomes.iter().all(|outcome| outcome.status() == Status::Passed);
        if all_passed && outcomes.len() == checkpoints::ALL.len() {
            self.print_sample(&model, &device, results.out)?;
        }
        results.end(&outcomes)
    }

    /// Prints a text on the path that `generate` uses by default: on quantised blocks, if the file has them.
    fn print_sample(&self, model: &Model, device: &Device, out: &mut Out) -> Result<()> {
        let matmul = paths::matmuls(self.matmul, model).pop().unwrap_or(model::Matmul::Dense);
        let path = model::Path { attention: Attention::Plain, matmul };
        let llama = Llama::load(&model.weights, device, self.common.dtype(), path)?;
        timed_text::sample(model, &llama, out)
    }

    /// Before anything is judged: checks that every file can be written and is no other file of this run. Reads
    /// the earlier report, if there is one to compare with.
    fn ready(&self, settings: Option<&Path>) -> Result<Option<Report>> {
        let model = self.common.model.as_deref().map(|model| ("model", Path::new(model)));
        let references = self.common.references.as_deref().map(|folder| ("references", Path::new(folder)));
        let cases = self.cases.iter().map(|case| ("case", Path::new(case)));
        let settings = settings.map(|file| ("settings", file));
        let inputs = self.dumped.files().chain(model).chain(references).chain(cases).chain(settings);
        let inputs: Vec<_> = inputs.collect();
        let earlier = self.reports.ready(&inputs)?;
        let others: Vec<_> = inputs.into_iter().chain(self.reports.files()).collect();
        self.bundling.ready(&others)?;
        Ok(earlier)
    }

    /// Fills in from the settings what the flags do not set. Returns the failures that the settings expect of
    /// this run.
    fn settle(&mut self, settings: Settings) -> Expectations {
        let differs = |flag: &Option<String>, file: &str| flag.as_ref().is_some_and(|flag| flag != file);
        let other = differs(&self.common.model, settings.model.as_deref().unwrap_or(DEFAULT_MODEL))
            || differs(&self.common.references, settings.references.as_deref().unwrap_or_default());
        let partial = !self.cases.is_empty()
            || self.own.prompt().is_some()
            || self.feed.is_some()
            || self.attention.is_some()
            || self.matmul.is_some()
            || self.common.dtype.is_some()
            || self.common.device != "cpu";
        self.common.settle(&settings);
        self.attention = self.attention.or(settings.attention);
        if self.cases.is_empty() && self.own.prompt().is_none() {
            self.cases = settings.cases;
        }
        match (&settings.file, other && !settings.expected.is_empty()) {
            (Some(file), true) => {
                say(&format!(
                    "note: {} expects failures of another model, so its expectations are ignored here",
                    file.display()
                ));
                Expectations::default()
            }
            _ => Expectations::new(settings.expected, partial),
        }
    }

    /// The flags that decide what is judged, as they were given.
    fn flags(&self) -> String {
        let mut flags = Flags::of(&self.common);
        self.dumped.flags(&mut flags);
        self.cases.iter().for_each(|case| flags.text("case", case));
        self.own.flags(&mut flags);
        flags.choice("feed", self.feed);
        flags.choice("attention", self.attention);
        flags.choice("matmul", self.matmul);
        flags.line()
    }

    /// The requested checkpoints, each once, in pipeline order.
    fn checkpoints(&self) -> Result<Vec<&'static Checkpoint>> {
        if self.ids.iter().any(|id| id.eq_ignore_ascii_case("all")) {
            return Ok(checkpoints::ALL.to_vec());
        }
        let asked = self.ids.iter().map(|id| suggest::checkpoint(id)).collect::<Result<Vec<_>>>()?;
        Ok(checkpoints::ALL.into_iter().filter(|checkpoint| asked.contains(checkpoint)).collect())
    }

    /// Judges the model stage by stage and prints the result.
    fn stream(
        &self,
        (model, prompt, device): (&Model, &str, &Device),
        checkpoints: &[&'static Checkpoint],
        results: Results<'_>,
        progress: Progress,
    ) -> Result<Ending> {
        if self.matmul == Some(MatmulChoice::Quantized) {
            let hint = "leave out --matmul quantized, or check the blocks without --stream";
            return Err(Error::input("--stream checks dense products only", hint));
        }
        let run = StreamedRun {
            model,
            prompt,
            device,
            dtype: self.common.dtype(),
            attentions: &paths::attentions(self.attention, device),
            feed: self.feed.map(Feed::from),
            checkpoints,
            ids: &self.ids.join(" "),
        };
        run.judge(results, progress)
    }

    fn subject<'a>(&self, model: &'a Model, device: &Device) -> Result<Subject<'a>> {
        let attentions = paths::attentions(self.attention, device);
        let of = |matmul| attentions.iter().map(move |&attention| model::Path { attention, matmul });
        let chosen: Vec<model::Path> = paths::matmuls(self.matmul, model).into_iter().flat_map(of).collect();
        let dtype = self.common.dtype();
        let names = model.fixture.as_ref().map_or(&[][..], |fixture| &fixture.cases);
        let mut subject = if let Some(prompt) = self.own.prompt() {
            let case = own::case(model, prompt, vec![dtype], &paths::matmuls(self.matmul, model))?;
            Subject::of_cases(model, vec![case], device, dtype, &chosen)?
        } else if self.cases.is_empty() && names.is_empty() {
            let hint = "use those of another model with --references NAME, a captured case with --case DIR, or the \
                        project's own oracle with --reference oracle --prompt TEXT";
            return Err(Error::input(format!("{}: no references to check it against", model.name), hint));
        } else if self.cases.iter().all(|case| names.contains(case)) {
            let cases = if self.cases.is_empty() { names } else { &self.cases };
            Subject::new(model, cases, device, dtype, &chosen)?
        } else {
            let cases = self.cases.iter().map(|case| cases::read(model, case)).collect::<Result<Vec<_>>>()?;
            Subject::of_cases(model, cases, device, dtype, &chosen)?
        };
        subject.feed = self.feed.map(Feed::from);
        Ok(subject)
    }
}

/// Runs the checkpoints and prints each when it ends.
fn judge_checkpoints(
    subject: &mut Subject<'_>,
    checkpoints: &[&'static Checkpoint],
    progress: &Progress,
    results: &mut Results<'_>,
) -> Result<Vec<Outcome>> {
    let mut coming = checkpoints.iter().map(|checkpoint| format!("{} {}", checkpoint.id, checkpoint.name));
    let mut next = || coming.next().map_or((), |name| progress.now(&name));
    next();
    judge::run_all(subject, checkpoints, |outcome| {
        next();
        progress.aside(|| results.outcome(outcome))
    })
}
