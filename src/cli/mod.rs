//! The command line: one file per command, and the code that they share.

mod bench;
mod bench_ops;
mod bundle;
mod cases;
mod choices;
mod common;
mod completions;
mod description;
mod device;
mod dumped;
mod ending;
mod escape;
mod expect;
mod explain;
mod files;
mod gate;
mod generate;
#[cfg(feature = "hub")]
mod hub;
mod inputs;
mod inspect;
mod interrupt;
mod known_model;
mod list;
mod merge;
mod own;
mod paint;
mod part;
mod passes;
mod paths;
mod progress;
mod record;
mod recording_text;
mod reports;
mod rerun;
mod results;
mod run;
mod selftest;
#[cfg(feature = "serve")]
mod serve;
#[cfg(feature = "serve")]
mod served_verdict;
#[cfg(feature = "serve")]
mod serving;
mod settings;
mod sibling;
mod stderr;
mod stream;
mod suggest;
mod tensor_rows;
mod threads;
mod timed_text;
mod token_lines;
mod verdicts;
mod version;

pub use ending::Ending;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ColorChoice, CommandFactory, Parser, Subcommand};
use rbees_check::{Error, Result};

use self::escape::one_line;
use self::paint::Out;
use self::stderr::say;

/// Finds the first wrong stage of a Llama port on Candle, by comparing it with float64 references
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
    /// When to colour the output
    #[arg(long, value_name = "WHEN", default_value = "auto", global = true, display_order = 900)]
    color: ColorChoice,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check a model against its references, checkpoint by checkpoint
    Run(run::RunArgs),
    /// Put the parts of a run together, which several machines judged with `run --shard`
    Merge(merge::Merge),
    /// Compute references with this program's own float64 oracle, for a model without references
    Record(record::Record),
    /// List checkpoints, known mistakes, models, cases and devices
    List(list::List),
    /// Explain what a checkpoint checks and how, or what a mistake is and how to fix it
    Explain(explain::Explain),
    /// Generate text, after checking the model
    Generate(generate::Generate),
    /// Serve a model over HTTP, after checking it
    #[cfg(feature = "serve")]
    Serve(serve::Serve),
    /// Show a model's config, tensors and tokenizer
    Inspect(inspect::Inspect),
    /// Measure how fast a model is, or check and time Candle's operations
    Bench(bench::Bench),
    /// Plant every known mistake into a correct model and check that each one is caught
    Selftest(selftest::Selftest),
    /// Print a completion script for a shell
    Completions(completions::Completions),
}

/// Parses the arguments; handles `--help` and `--version` itself.
///
/// # Errors
/// The arguments cannot be used.
pub fn arguments() -> Result<Arguments> {
    Arguments::try_parse().map_err(|error| match error.kind() {
        ErrorKind::DisplayVersion if version::is_long(std::env::args()) => match version::print() {
            Ok(()) => std::process::exit(0),
            Err(error) => error,
        },
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => error.exit(),
        _ => usage(&error.render().to_string()),
    })
}

/// One line that says what is wrong with the arguments, and a hint. In clap's text, paragraphs say what is wrong, which
/// value may be meant, how the command is used, and that `--help` explains it.
fn usage(text: &str) -> Error {
    let paragraph = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut paragraphs = text.split("\n\n").map(paragraph);
    let what = paragraphs.next().unwrap_or_default();
    let rest: Vec<String> = paragraphs.collect();
    let tip = rest.iter().find_map(|text| text.strip_prefix("tip: "));
    let help = rest.iter().find_map(|text| text.strip_prefix("For more information, "));
    let hint = tip.or(help).unwrap_or("try '--help'.").trim_end_matches('.');
    Error::input(what.strip_prefix("error: ").unwrap_or(&what), hint)
}

/// Runs the command.
pub fn perform(arguments: Arguments) -> Result<Ending> {
    let mut out = Out::new(arguments.color);
    match arguments.verb {
        Verb::Run(run) => run.perform(&mut out),
        Verb::Record(record) => record.perform(&mut out),
        Verb::Merge(merge) => merge.perform(&mut out),
        Verb::List(list) => list.perform(&mut out),
        Verb::Explain(explain) => explain.perform(&mut out),
        Verb::Generate(generate) => generate.perform(&mut out),
        #[cfg(feature = "serve")]
        Verb::Serve(serve) => serve.perform(&mut out),
        Verb::Inspect(inspect) => inspect.perform(&mut out),
        Verb::Bench(bench) => bench.perform(&mut out),
        Verb::Selftest(selftest) => selftest.perform(&mut out),
        Verb::Completions(completions) => completions.perform(Arguments::command()),
    }
}

/// Prints two lines on stderr: what went wrong, and what to do about it.
pub fn give_up(error: &Error) -> ExitCode {
    let what = error.to_string();
    let hint = error
        .hint()
        .unwrap_or("try `--device cpu`; if it still fails, this is a bug of rbees-check: please report it");
    // A message may quote a file.
    say(&format!("error: {}", one_line(&what)));
    say(&format!("hint: {}", one_line(hint)));
    Ending::NotJudged.code()
}
