//! `run`: judges a model, checkpoint by checkpoint.

use clap::{Args, ValueEnum};
use rbees_check::checkpoints::{self, Checkpoint};
use rbees_check::judge::{self, Outcome, Status, Subject};
use rbees_check::model::{self, Attention, Llama};
use rbees_check::models::Model;
use rbees_check::reference::{Feed, Reference, Source};
use rbees_check::{Error, Result, report};

use super::paint::{self, Out};
use super::progress::Progress;
use super::{Common, Ending, Matmul, Path, device, explain, say, speech, threads};

#[derive(Args, Debug)]
pub struct Run {
    /// Checkpoints: 3, 03, attention, CHECKPOINT_01B_ROPE …, or all
    #[arg(value_name = "ID", default_value = "all")]
    ids: Vec<String>,
    #[command(flatten)]
    common: Common,
    /// One of the model's cases, or a folder with a manifest.json; repeatable [default: all it has]
    #[arg(long = "case", value_name = "NAME|DIR")]
    cases: Vec<String>,
    /// Judge only where truth enters after every site, at each block's input, or nowhere [default: all]
    #[arg(long, value_enum)]
    feed: Option<Entry>,
    /// Judge this path only [default: both]
    #[arg(long, value_name = "PATH", value_enum)]
    attention: Option<Path>,
    /// Multiply with weights as floats, or in the blocks of a quantised file [default: both, where there are blocks]
    #[arg(long, value_name = "PATH", value_enum)]
    matmul: Option<Matmul>,
}

/// Where truth enters a forward pass.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Entry {
    Site,
    Block,
    Own,
}

impl From<Entry> for Feed {
    fn from(entry: Entry) -> Self {
        match entry {
            Entry::Site => Self::Site,
            Entry::Block => Self::Block,
            Entry::Own => Self::Own,
        }
    }
}

impl Run {
    pub fn perform(self, out: &mut Out) -> Result<Ending> {
        let checkpoints = self.checkpoints()?;
        threads::limit(self.common.threads)?;
        let device = device::open(&self.common.device)?;
        let progress = Progress::start("reading the model and its references");
        let model = self.common.open()?;
        let mut subject = self.subject(&model, &device)?;

        let dtype = candle_core::DType::from(self.common.dtype).as_str();
        let (name, on) = (&model.name, device::name(&device));
        let matmul = matmuls_named(&self.matmuls(&model));
        progress.aside(|| out.line(format!("{name} · {} · {on}, {dtype}, {matmul}\n", subject.config)))?;
        let outcomes = self.judge(&mut subject, &checkpoints, &progress, out)?;
        drop(progress);
        out.line("")?;
        let flags = self.flags();
        for (outcome, detail) in outcomes.iter().filter_map(|o| Some((o, report::detail(o, &flags)?))) {
            out.line(paint::status(&detail, outcome.status()))?;
        }
        if let Some(first) = report::first_wrong(&outcomes) {
            out.line(format!("{first}\n"))?;
        }
        let ending = ending(&outcomes);
        let all_passed = outcomes.iter().all(|outcome| outcome.status() == Status::Passed);
        if all_passed && outcomes.len() == checkpoints::ALL.len() {
            drop(subject);
            // What generates by default: blocks, where there are some.
            let matmul = self.matmuls(&model).pop().unwrap_or(model::Matmul::Dense);
            let path = model::Path { attention: Attention::Plain, matmul };
            let llama = Llama::load(&model.weights, &device, self.common.dtype.into(), path)?;
            speech::sample(&model, &llama, out)?;
        }
        out.line(report::summary(&outcomes))?;
        Ok(ending)
    }

    /// The flags that decide what is judged, as they were given.
    fn flags(&self) -> String {
        let Common { model, references, device, .. } = &self.common;
        let given = |flag: &str, value: &str, default: &str| match value == default {
            true => String::new(),
            false => format!(" --{flag} {value}"),
        };
        let cases: String = self.cases.iter().map(|case| given("case", case, "")).collect();
        let references = references.as_deref().unwrap_or_default();
        let model = given("model", model, "tiny-llama");
        format!("{model}{}{}{cases}", given("references", references, ""), given("device", device, "cpu"))
    }

    /// The checkpoints that were asked for, each once, in their own order.
    fn checkpoints(&self) -> Result<Vec<&'static Checkpoint>> {
        if self.ids.iter().any(|id| id.eq_ignore_ascii_case("all")) {
            return Ok(checkpoints::ALL.to_vec());
        }
        let asked = self.ids.iter().map(|id| explain::find(id)).collect::<Result<Vec<_>>>()?;
        Ok(checkpoints::ALL.into_iter().filter(|checkpoint| asked.contains(checkpoint)).collect())
    }

    /// How matrices are multiplied with, in every way that was asked for.
    fn matmuls(&self, model: &Model) -> Vec<model::Matmul> {
        match self.matmul {
            Some(matmul) => vec![matmul.into()],
            None if model.weights.is_quantized() => vec![model::Matmul::Dense, model::Matmul::Quantized],
            None => vec![model::Matmul::Dense],
        }
    }

    fn subject<'a>(&self, model: &'a Model, device: &candle_core::Device) -> Result<Subject<'a>> {
        let attentions = match self.attention {
            Some(path) => vec![path.into()],
            None if device.is_cpu() => vec![Attention::Plain, Attention::Fused],
            None => {
                say("note: fused attention runs on the CPU only; here the plain path alone is judged");
                vec![Attention::Plain]
            }
        };
        let of = |matmul| attentions.iter().map(move |&attention| model::Path { attention, matmul });
        let paths: Vec<model::Path> = self.matmuls(model).into_iter().flat_map(of).collect();
        let dtype = self.common.dtype.into();
        let names = model.fixture.as_ref().map_or(&[][..], |fixture| &fixture.cases);
        let mut subject = if self.cases.is_empty() && names.is_empty() {
            let hint = "judge it by those of another model with --references NAME, or by a captured case with --case DIR";
            return Err(Error::input(format!("{}: no references to judge it by", model.name), hint));
        } else if self.cases.iter().all(|case| names.contains(case)) {
            let cases = if self.cases.is_empty() { names } else { &self.cases };
            Subject::new(model, cases, device, dtype, &paths)?
        } else {
            let cases = self.cases.iter().map(|case| read(model, case)).collect::<Result<Vec<_>>>()?;
            Subject::of_cases(model, cases, device, dtype, &paths)?
        };
        subject.feed = self.feed.map(Feed::from);
        Ok(subject)
    }

    /// Runs the checkpoints and prints each as it ends.
    fn judge(
        &self,
        subject: &mut Subject<'_>,
        checkpoints: &[&'static Checkpoint],
        progress: &Progress,
        out: &mut Out,
    ) -> Result<Vec<Outcome>> {
        let mut coming =
            checkpoints.iter().map(|checkpoint| format!("{} {}", checkpoint.id, checkpoint.name));
        let mut next = || coming.next().map_or((), |name| progress.now(&name));
        next();
        let mut printed = Ok(());
        let outcomes = judge::run_all(subject, checkpoints, |outcome| {
            next();
            let text = told(outcome, self.common.verbose);
            let all_well = std::mem::replace(&mut printed, Ok(()));
            printed = all_well.and_then(|()| progress.aside(|| out.text(&text)));
        })?;
        printed.map(|()| outcomes)
    }
}

/// `dense`, `dense and quantized`.
fn matmuls_named(matmuls: &[model::Matmul]) -> String {
    matmuls.iter().map(|matmul| matmul.name()).collect::<Vec<_>>().join(" and ")
}

/// A case of the model's by its name, or any by its folder.
fn read(model: &Model, case: &str) -> Result<Reference> {
    match &model.fixture {
        Some(fixture) if fixture.cases.iter().any(|name| name == case) => fixture.case(case),
        _ if std::path::Path::new(case).join("manifest.json").is_file() => {
            Reference::read(&Source::Folder(case.into()), "")
        }
        Some(fixture) => {
            let hint = format!(
                "{} has {}; or give a folder with a manifest.json",
                model.name,
                fixture.cases.join(", ")
            );
            Err(Error::input(format!("--case {case}: no such case"), hint))
        }
        None => Err(Error::input(
            format!("--case {case}: no manifest.json there"),
            "give the folder of a captured case",
        )),
    }
}

/// The line of a checkpoint, and as much of what stands behind it as is wanted.
pub fn told(outcome: &Outcome, verbose: u8) -> String {
    let mut text = format!("  {}\n", paint::status(&report::line(outcome), outcome.status()));
    if verbose > 0 {
        text += &report::verbose(outcome);
    }
    if verbose > 1 {
        text.extend(outcome.findings.iter().map(|finding| format!("      {}\n", report::finding(finding))));
    }
    text
}

/// The worst of it. Where nothing passed nothing was judged, whatever was skipped.
fn ending(outcomes: &[Outcome]) -> Ending {
    let any = |status| outcomes.iter().any(|outcome| outcome.status() == status);
    if any(Status::Failed) {
        Ending::Failed
    } else if any(Status::NotJudged) || !any(Status::Passed) {
        Ending::NotJudged
    } else {
        Ending::Passed
    }
}
