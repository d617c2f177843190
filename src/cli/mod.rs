//! The command line: one file a verb, and what they share.

mod again;
mod bundle;
mod device;
mod dump_known;
mod dump_report;
mod dumped;
mod expect;
mod explain;
mod files;
mod gate;
mod generate;
mod inspect;
mod interrupt;
mod list;
mod paint;
mod progress;
mod reports;
mod run;
mod selftest;
mod settings;
mod speech;
mod threads;
mod token_lines;
mod told;
mod verdicts;

use std::io::Write;
use std::process::ExitCode;

use clap::{ArgAction, Args, ColorChoice, Parser, Subcommand, ValueEnum};
use rbees_check::model::{self, Attention};
use rbees_check::models::{self, Model};
use rbees_check::{Error, Result};
use serde::Deserialize;

use self::paint::Out;
use self::settings::Settings;

/// Finds the first wrong stage of a Llama port on Candle, against float64 references
#[derive(Debug, Parser)]
#[command(
    name = "rbees-check",
    bin_name = "rbees-check",
    version,
    max_term_width = 100,
    disable_help_subcommand = true
)]
#[command(
    after_help = "Exit codes: 0 all passed; 1 something differs or was never reached; 2 could not judge; 130 interrupted."
)]
pub struct Arguments {
    /// Colour in the output
    #[arg(long, value_name = "WHEN", default_value = "auto", global = true, display_order = 900)]
    color: ColorChoice,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Judge a model, checkpoint by checkpoint
    Run(run::Run),
    /// List checkpoints, mistakes, models, cases and devices
    List(list::List),
    /// Say what a checkpoint judges and how, or what a mistake is and how to fix it
    Explain(explain::Explain),
    /// Generate text, once the model's own path has passed
    Generate(generate::Generate),
    /// Show a model's config, tensors and tokenizer
    Inspect(inspect::Inspect),
    /// Plant every known mistake into a model and see that it is caught
    Selftest(selftest::Selftest),
}

/// The model that is meant where none is named.
const DEFAULT_MODEL: &str = "tiny-llama";

/// What `run` and `generate` have in common.
#[derive(Args, Debug)]
struct Common {
    /// tiny-llama, tiny-llama2, smollm2-135m, a .gguf file, or a Hugging Face directory [default:
    /// tiny-llama]
    #[arg(long, value_name = "NAME|PATH")]
    model: Option<String>,
    /// Judge it by the references of this model, or by those in a folder [default: its own]
    #[arg(long, value_name = "NAME|DIR")]
    references: Option<String>,
    /// cpu, cuda[:N], metal[:N], or auto: the best that is compiled in and present
    #[arg(long, value_name = "NAME", default_value = "cpu")]
    device: String,
    /// What the model computes in [default: f32]
    #[arg(long, value_name = "TYPE", value_enum)]
    dtype: Option<Dtype>,
    /// Threads to compute with; all cores by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Say more: the worst site of each checkpoint; twice, every site
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Dtype {
    F32,
    Bf16,
    F16,
}

impl Common {
    /// The model that was asked for, with the references that were.
    fn open(&self) -> Result<Model> {
        let mut model = models::open(self.model())?;
        if let Some(name) = &self.references {
            model.fixture = Some(models::references(name)?);
        }
        Ok(model)
    }

    /// What the flags leave open is as the settings say.
    fn settle(&mut self, settings: &Settings) {
        if let (Some(file), 1..) = (&settings.file, self.verbose) {
            say(&format!("settings: {}", file.display()));
        }
        self.model = self.model.take().or_else(|| settings.model.clone());
        self.references = self.references.take().or_else(|| settings.references.clone());
        self.dtype = self.dtype.or(settings.dtype);
    }

    fn model(&self) -> &str {
        self.model.as_deref().unwrap_or(DEFAULT_MODEL)
    }

    fn dtype(&self) -> candle_core::DType {
        self.dtype.unwrap_or(Dtype::F32).into()
    }
}

impl From<Dtype> for candle_core::DType {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::Bf16 => Self::BF16,
            Dtype::F16 => Self::F16,
        }
    }
}

/// Scores and probabilities are tensors, or one kernel never makes them.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Path {
    Plain,
    Fused,
}

impl From<Path> for Attention {
    fn from(path: Path) -> Self {
        match path {
            Path::Plain => Self::Plain,
            Path::Fused => Self::Fused,
        }
    }
}

/// Floats, or the blocks of a quantised file.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Matmul {
    Dense,
    Quantized,
}

impl From<Matmul> for model::Matmul {
    fn from(matmul: Matmul) -> Self {
        match matmul {
            Matmul::Dense => Self::Dense,
            Matmul::Quantized => Self::Quantized,
        }
    }
}

/// How it ended, once everything is said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ending {
    /// Nothing differs.
    Passed,
    /// Something differs or was never reached.
    Failed,
    /// Something could not be judged.
    NotJudged,
}

impl Ending {
    /// For the shell.
    pub fn code(self) -> ExitCode {
        ExitCode::from(self.number())
    }

    fn number(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Failed => 1,
            Self::NotJudged => 2,
        }
    }
}

/// What was asked for; answers `--help`, `--version` and bad usage itself.
pub fn arguments() -> Arguments {
    Arguments::parse()
}

/// Does it.
pub fn perform(arguments: Arguments) -> Result<Ending> {
    let mut out = Out::new(arguments.color);
    match arguments.verb {
        Verb::Run(run) => run.perform(&mut out),
        Verb::List(list) => list.perform(&mut out),
        Verb::Explain(explain) => explain.perform(&mut out),
        Verb::Generate(generate) => generate.perform(&mut out),
        Verb::Inspect(inspect) => inspect.perform(&mut out),
        Verb::Selftest(selftest) => selftest.perform(&mut out),
    }
}

/// Two lines on stderr: what went wrong, and what to do about it.
pub fn give_up(error: &Error) -> ExitCode {
    let what = error.to_string();
    let hint = error
        .hint()
        .unwrap_or("try `--device cpu`; if it still fails, this is a bug of rbees-check: please report it");
    // Candle's errors may carry a backtrace.
    say(&format!("error: {}", what.lines().next().unwrap_or_default()));
    say(&format!("hint: {hint}"));
    Ending::NotJudged.code()
}

/// A line on stderr. If nobody listens there, there is nobody to tell.
fn say(line: &str) {
    let _ = writeln!(anstream::stderr(), "{line}");
}

/// The nearest of `names` to what was typed, if any is near.
fn nearest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_ascii_lowercase();
    names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&typed, &name.to_ascii_lowercase()), name))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
