//! `generate`: text, once the path that makes it has passed its checkpoints.

use clap::Args;
use rbees_check::generate::Sampling;
use rbees_check::judge::Status;
use rbees_check::model::{Attention, Llama};
use rbees_check::models::Model;
use rbees_check::tokenizer::chat::Message;
use rbees_check::{Error, Result};

use super::gate::{self, Gate};
use super::paint::Out;
use super::progress::Progress;
use super::settings::Settings;
use super::{Common, Ending, Path, device, interrupt, say, speech, threads};

#[derive(Args, Debug)]
pub struct Generate {
    /// What the text begins with
    prompt: String,
    #[command(flatten)]
    common: Common,
    /// The prompt is what a user says: put it through the model's own chat template
    #[arg(long)]
    chat: bool,
    /// Length of the continuation, at most
    #[arg(long, value_name = "N", default_value_t = 128)]
    max_tokens: usize,
    /// How freely to choose; 0 takes the likeliest token each time
    #[arg(long, value_name = "T", default_value_t = 0.8)]
    temperature: f64,
    /// Choose among the K likeliest tokens only
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Choose among the likeliest tokens that together have probability P
    #[arg(long, value_name = "P")]
    top_p: Option<f64>,
    /// Choose among tokens at least P times as likely as the likeliest
    #[arg(long, value_name = "P")]
    min_p: Option<f64>,
    /// Make tokens that were there before less likely; 1 does not
    #[arg(long, value_name = "R", default_value_t = 1.0)]
    repetition_penalty: f64,
    /// The same seed chooses the same text
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// The path that generates [default: plain]
    #[arg(long, value_name = "PATH", value_enum)]
    attention: Option<Path>,
    /// Do not judge the path first
    #[arg(long, conflicts_with = "require_checks")]
    unchecked: bool,
    /// No text from a model without references
    #[arg(long)]
    require_checks: bool,
}

impl Generate {
    pub fn perform(mut self, out: &mut Out) -> Result<Ending> {
        let sampling = self.sampling();
        sampling.validate()?;
        threads::limit(self.common.threads)?;
        interrupt::heed();
        let settings = Settings::find()?;
        self.common.settle(&settings);
        let device = device::open(&self.common.device)?;
        let progress = Progress::start("reading the model");
        let model = self.common.open()?;
        let ids = self.ids(&model)?;
        drop(progress);

        let path = self.attention.or(settings.attention).unwrap_or(Path::Plain);
        let (dtype, attention) = (self.common.dtype(), Attention::from(path));
        if !self.unchecked {
            let path = gate::Path { model: &model, device: &device, dtype, attention };
            match gate::judge(&path, &ids, self.common.verbose)? {
                Gate::Open => {}
                Gate::Shut(status, what) => return Ok(self.refuse(status, &what)),
                Gate::Unjudged if self.require_checks => {
                    let what = format!("{}: no references, and --require-checks", model.name);
                    return Err(Error::input(what, "capture references with scripts/capture_reference.py"));
                }
                Gate::Unjudged => {
                    say(&format!(
                        "unjudged: {} has no references; only the laws of the cache hold",
                        model.name
                    ));
                }
            }
        }
        let progress = Progress::start("loading the weights");
        let llama = Llama::load(&model.weights, &device, dtype, attention)?;
        drop(progress);
        let first = if self.chat { "" } else { self.prompt.as_str() };
        let spoken = speech::stream(&llama, &model.tokenizer, ids, first, sampling, self.max_tokens, out)?;
        out.line("")?;
        say(&format!(
            "prompt of {} in {:.2} s; {}",
            spoken.prompt,
            spoken.reading.as_secs_f64(),
            spoken.speed()
        ));
        Ok(Ending::Passed)
    }

    fn sampling(&self) -> Sampling {
        Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            seed: self.seed,
        }
    }

    /// The prompt as the model is to read it.
    fn ids(&self, model: &Model) -> Result<Vec<u32>> {
        if !self.chat {
            return model.tokenizer.encode(&self.prompt, true);
        }
        let said = Message { role: "user".into(), content: self.prompt.clone() };
        let prompt = model.chat_template()?.render(&[said], true)?;
        model.tokenizer.encode(&prompt, false) // the template writes BOS itself
    }

    fn refuse(&self, status: Status, what: &str) -> Ending {
        let model = self.common.model();
        say(&format!("refused: {what}"));
        say(&format!("hint: see `rbees-check run all --model {model}`, or say --unchecked"));
        if status == Status::Failed { Ending::Failed } else { Ending::NotJudged }
    }
}
