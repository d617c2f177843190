//! `bench`: how fast a model is, and which of Candle's operations are right and fast.

use clap::{Args, Subcommand};
use rbees_check::bench::text::{self, Request};
use rbees_check::model::{Attention, Matmul, Path};
use rbees_check::models;
use rbees_check::{Error, Result};

use super::bench_ops::Ops;
use super::choices::{AttentionChoice, Dtype, MatmulChoice};
use super::common::DEFAULT_MODEL;
use super::ending::Ending;
use super::paint::Out;
use super::progress::Progress;
use super::{device, interrupt, threads};

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Bench {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    text: TextSpeed,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Check Candle's operations against float64, and time them
    Ops(Ops),
}

#[derive(Args, Debug)]
struct TextSpeed {
    /// Model to use: its name, a .gguf file or a Hugging Face directory [default: tiny-llama]
    #[arg(long, value_name = "NAME|PATH")]
    model: Option<String>,
    /// Number of prompt tokens; they are random
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = at_least_one)]
    prompt_tokens: usize,
    /// Number of tokens to generate
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = at_least_one)]
    new_tokens: usize,
    /// Number of runs, of which the fastest counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = at_least_one)]
    runs: usize,
    /// Data type that the model computes in
    #[arg(long, value_name = "TYPE", value_enum, default_value = "f32")]
    dtype: Dtype,
    /// Attention path
    #[arg(long, value_name = "PATH", value_enum, default_value = "plain")]
    attention: AttentionChoice,
    /// Multiply by float weights, or by the blocks of a quantised file
    /// [default: quantized for a quantised file, otherwise dense]
    #[arg(long, value_name = "PATH", value_enum)]
    matmul: Option<MatmulChoice>,
    /// Device to run on: cpu, cuda[:N], metal[:N], or auto
    #[arg(long, value_name = "NAME", default_value = "cpu")]
    device: String,
    /// Number of threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

impl Bench {
    pub fn perform(self, out: &mut Out) -> Result<Ending> {
        match self.what {
            Some(What::Ops(ops)) => ops.perform(out),
            None => self.text.perform(out),
        }
    }
}

impl TextSpeed {
    fn perform(self, out: &mut Out) -> Result<Ending> {
        threads::start(self.threads)?;
        interrupt::heed();
        let device = device::open(&self.device)?;
        let name = self.model.as_deref().unwrap_or(DEFAULT_MODEL);
        let quantized = models::open(name)?.weights.is_quantized();
        let default = if quantized { Matmul::Quantized } else { Matmul::Dense };
        let path = Path {
            attention: Attention::from(self.attention),
            matmul: self.matmul.map_or(default, Matmul::from),
        };
        let request = Request {
            dtype: self.dtype.into(),
            path,
            prompt_tokens: self.prompt_tokens,
            new_tokens: self.new_tokens,
            runs: self.runs,
        };
        let progress = Progress::start("measuring");
        let speeds = text::measure(name, &device, &request, |what| progress.now(what))?;
        drop(progress);
        if self.json {
            let json = serde_json::to_string_pretty(&speeds);
            out.line(json.map_err(|error| Error::internal(format!("JSON: {error}")))?)?;
        } else {
            out.text(&speeds.text())?;
        }
        Ok(Ending::Passed)
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n: &usize| n > 0).ok_or_else(|| "give a whole number above 0".to_owned())
}
