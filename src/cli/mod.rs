//! The command line: one file a verb, and what they share.

mod device;
mod explain;
mod gate;
mod generate;
mod inspect;
mod list;
mod paint;
mod progress;
mod run;
mod selftest;
mod speech;
mod threads;
mod token_lines;
mod verdicts;

use std::io::Write;
use std::process::ExitCode;

use clap::{ArgAction, Args, ColorChoice, Parser, Subcommand, ValueEnum};
use rbees_check::model::Attention;
use rbees_check::models::{self, Model};
use rbees_check::{Error, Result};

use self::paint::Out;

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
    after_help = "Exit codes: 0 all passed; 1 something differs or was never reached; 2 could not judge."
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

/// What `run` and `generate` have in common.
#[derive(Args, Debug)]
struct Common {
    /// tiny-llama, tiny-llama2, smollm2-135m, a .gguf file, or a Hugging Face directory
    #[arg(long, value_name = "NAME|PATH", default_value = "tiny-llama")]
    model: String,
    /// Judge it by the references of this model, or by those in a folder [default: its own]
    #[arg(long, value_name = "NAME|DIR")]
    references: Option<String>,
    /// cpu, cuda[:N], metal[:N], or auto: the best that is compiled in and present
    #[arg(long, value_name = "NAME", default_value = "cpu")]
    device: String,
    /// What the model computes in
    #[arg(long, value_name = "TYPE", value_enum, default_value = "f32")]
    dtype: Dtype,
    /// Threads to compute with; all cores by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Say more: the worst site of each checkpoint; twice, every site
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Dtype {
    F32,
    Bf16,
    F16,
}

impl Common {
    /// The model that was asked for, with the references that were.
    fn open(&self) -> Result<Model> {
        let mut model = models::open(&self.model)?;
        if let Some(name) = &self.references {
            model.fixture = Some(models::references(name)?);
        }
        Ok(model)
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
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
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
        match self {
            Self::Passed => ExitCode::SUCCESS,
            Self::Failed => ExitCode::from(1),
            Self::NotJudged => ExitCode::from(2),
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
