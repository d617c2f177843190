//! `generate`: generates text, after the path that generates it has passed its checkpoints.

use std::collections::BTreeMap;

use clap::Args;
use rbees_check::generate::{Sampling, Stops};
use rbees_check::judge::{Gate, GeneratingPath, Status};
use rbees_check::model::Llama;
use rbees_check::models::Model;
use rbees_check::tokenizer::chat::Message;
use rbees_check::{Error, Result};

use super::choices::{AttentionChoice, MatmulChoice};
use super::common::Common;
use super::ending::Ending;
use super::escape::one_line;
use super::gate::judge_path;
use super::paint::Out;
use super::progress::Progress;
use super::settings::Settings;
use super::stderr::say;
use super::timed_text::{Request, TimedText};
use super::{device, interrupt, paths, threads, token_lines};

#[derive(Args, Debug)]
pub struct Generate {
    /// Text to continue
    prompt: String,
    #[command(flatten)]
    common: Common,
    /// Treat the prompt as a user's message and apply the model's chat template
    #[arg(long)]
    chat: bool,
    /// Maximum number of tokens to generate
    #[arg(long, value_name = "N", default_value_t = 128)]
    max_tokens: usize,
    /// Randomness of the choice; 0 always takes the most likely token
    #[arg(long, value_name = "T", default_value_t = 0.8)]
    temperature: f64,
    /// Sample only from the K most likely tokens
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Sample only from the smallest set of most likely tokens whose total probability reaches P
    #[arg(long, value_name = "P")]
    top_p: Option<f64>,
    /// Sample only from tokens at least P times as likely as the most likely one
    #[arg(long, value_name = "P")]
    min_p: Option<f64>,
    /// Make tokens that already occurred less likely; 1 turns this off
    #[arg(long, value_name = "R", default_value_t = 1.0)]
    repetition_penalty: f64,
    /// Subtract P from the logit of a generated token for each time that it was generated
    #[arg(long, value_name = "P", default_value_t = 0.0, allow_negative_numbers = true)]
    frequency_penalty: f64,
    /// Subtract P from the logit of every token that was generated before
    #[arg(long, value_name = "P", default_value_t = 0.0, allow_negative_numbers = true)]
    presence_penalty: f64,
    /// Add VALUE to the logit of token ID, before everything else; -inf excludes the token; repeatable
    #[arg(long, value_name = "ID=VALUE", value_parser = bias)]
    logit_bias: Vec<(u32, f64)>,
    /// Stop before TEXT, which is not printed; repeatable
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Random seed; the same seed gives the same text
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Print one JSON object per token, with its log-probabilities, and one at the end
    #[arg(long)]
    json: bool,
    /// With --json: also print the N most likely tokens at each position
    #[arg(long, value_name = "N", default_value_t = 0, requires = "json")]
    top_logprobs: usize,
    /// Attention path to generate with [default: plain]
    #[arg(long, value_name = "PATH", value_enum)]
    attention: Option<AttentionChoice>,
    /// Multiply by float weights, or by the blocks of a quantised file
    /// [default: quantized for a quantised file, otherwise dense]
    #[arg(long, value_name = "PATH", value_enum)]
    matmul: Option<MatmulChoice>,
    /// Generate without checking the path first
    #[arg(long, conflicts_with = "require_checks")]
    unchecked: bool,
    /// Refuse to generate if the model has no stored references
    #[arg(long)]
    require_checks: bool,
}

impl Generate {
    pub fn perform(mut self, out: &mut Out) -> Result<Ending> {
        let sampling = self.sampling()?;
        let stops = Stops::new(self.stop.clone())?;
        threads::start(self.common.threads)?;
        interrupt::heed();
        let settings = Settings::find()?;
        self.common.settle(&settings);
        let device = device::open(&self.common.device)?;
        let progress = Progress::start("reading the model");
        let model = self.common.open()?;
        let prompt = self.ids(&model)?;
        refuse_ids_beyond(&prompt, &model)?;
        sampling.fits(model.weights.config().vocab_size)?;
        drop(progress);

        self.attention = self.attention.or(settings.attention);
        let (dtype, path) = (self.common.dtype(), paths::generating(self.attention, self.matmul, &model));
        if !self.unchecked {
            let path = GeneratingPath { model: &model, device: &device, dtype, path };
            if let Some(refused) = self.refused(&path, &prompt)? {
                return Ok(refused);
            }
        }
        let progress = Progress::start("loading the weights");
        let llama = Llama::load(&model.weights, &device, dtype, path)?;
        drop(progress);
        let request = Request { prompt, sampling, stops, max_tokens: self.max_tokens };
        self.write(TimedText::begin(&llama, model.tokenizer()?, request)?, &model, out)?;
        Ok(Ending::Passed)
    }

    /// How the command ends if the path must not generate text.
    fn refused(&self, path: &GeneratingPath<'_>, prompt: &[u32]) -> Result<Option<Ending>> {
        let name = &path.model.name;
        match judge_path(path, prompt, self.common.verbose)? {
            Gate::Open => Ok(None),
            Gate::Shut(status, what) => Ok(Some(self.refuse(status, &what))),
            Gate::Own if self.require_checks => {
                let what = format!("{name}: no stored references, and --require-checks needs some");
                Err(Error::input(what, "capture references with scripts/capture_reference.py"))
            }
            Gate::Own => {
                say(&format!(
                    "own: {name} has no references; its cache is consistent, and three layers agree with this program's \
                     own oracle"
                ));
                Ok(None)
            }
        }
    }

    /// Prints the text and how long it took.
    fn write(&self, text: TimedText<'_>, model: &Model, out: &mut Out) -> Result<()> {
        let timings = if self.json {
            token_lines::write(text, model.tokenizer()?, self.top_logprobs, out)?
        } else {
            out.text(if self.chat { "" } else { self.prompt.as_str() })?;
            let timings = text.write(out)?;
            out.line("")?;
            timings
        };
        say(&format!(
            "prompt of {} in {:.2} s; {}",
            timings.prompt,
            timings.before_first.as_secs_f64(),
            timings.speed()
        ));
        Ok(())
    }

    fn sampling(&self) -> Result<Sampling> {
        let mut logit_bias = BTreeMap::new();
        for &(token, bias) in &self.logit_bias {
            if logit_bias.insert(token, bias).is_some() {
                let hint = "give --logit-bias once per token";
                return Err(Error::input(format!("--logit-bias: token {token} has two biases"), hint));
            }
        }
        let sampling = Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            logit_bias,
            seed: self.seed,
        };
        sampling.validate()?;
        Ok(sampling)
    }

    /// The prompt as token ids.
    fn ids(&self, model: &Model) -> Result<Vec<u32>> {
        if !self.chat {
            return model.tokenizer()?.encode(&self.prompt, true);
        }
        let message = Message { role: "user".into(), content: self.prompt.clone() };
        let prompt = model.chat_template()?.render(&[message], true)?;
        model.tokenizer()?.encode(&prompt, false) // the template itself writes BOS
    }

    fn refuse(&self, status: Status, what: &str) -> Ending {
        let model = self.common.model();
        say(&format!("refused: {}", one_line(what)));
        say(&format!("hint: run `rbees-check run all --model {model}` for details, or add --unchecked"));
        if status == Status::Failed { Ending::Failed } else { Ending::NotJudged }
    }
}

/// Every id must be a row of the embedding.
fn refuse_ids_beyond(prompt: &[u32], model: &Model) -> Result<()> {
    let rows = model.weights.config().vocab_size;
    match prompt.iter().find(|&&id| id as usize >= rows) {
        None => Ok(()),
        Some(id) => {
            let what = format!(
                "{}: its tokenizer gives the token id {id}, but the embedding has {rows} rows",
                model.name
            );
            Err(Error::input(what, "use the tokenizer that belongs to these weights"))
        }
    }
}

/// `42=-3.5`.
fn bias(text: &str) -> Result<(u32, f64), String> {
    let parsed = text.split_once('=').and_then(|(id, value)| Some((id.parse().ok()?, value.parse().ok()?)));
    parsed.ok_or_else(|| "give a token id, `=` and a number, for example 42=-3.5".into())
}
