//! `serve`: serves a model over HTTP, after the path that it uses has passed its checkpoints.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rbees_check::engine::{Engine, Limits};
use rbees_check::judge::GeneratingPath;
use rbees_check::model::Llama;
use rbees_check::models::Model;
use rbees_check::{Error, Result};

use super::choices::{AttentionChoice, MatmulChoice};
use super::common::{self, Common};
use super::ending::Ending;
use super::paint::Out;
use super::progress::Progress;
use super::serving::{Judged, Opening, run};
use super::settings::Settings;
use super::stderr::say;
use super::{device, interrupt, paths, threads, version};
use crate::serve::{Key, Options, ServedModel, Standing, TokenTexts};

#[derive(Args, Debug)]
pub struct Serve {
    #[command(flatten)]
    common: Common,
    /// Attention path to serve with [default: plain]
    #[arg(long, value_name = "PATH", value_enum)]
    attention: Option<AttentionChoice>,
    /// Multiply by float weights, or by the blocks of a quantised file
    /// [default: quantized for a quantised file, otherwise dense]
    #[arg(long, value_name = "PATH", value_enum)]
    matmul: Option<MatmulChoice>,
    /// Address to listen on; one that other machines reach needs --api-key-file
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    host: IpAddr,
    /// Port to listen on; 0 takes a free one
    #[arg(long, value_name = "N", default_value_t = 8080)]
    port: u16,
    /// Number of sequences that run at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = at_least_one)]
    max_batch: usize,
    /// Number of sequences that wait for a place; further requests are refused
    #[arg(long, value_name = "N", default_value_t = 64)]
    max_queue: usize,
    /// Number of tokens in all caches together [default: as many contexts as --max-batch]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    cache_tokens: Option<usize>,
    /// Number of tokens that go through the model together, prompts included. With more, a long prompt is read
    /// faster, and other sequences wait longer for each token [default: 16 more than --max-batch]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    step_tokens: Option<usize>,
    /// Number of connections; further ones wait
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = at_least_one)]
    max_connections: usize,
    /// Largest request, in bytes
    #[arg(long, value_name = "N", default_value_t = 1 << 20, value_parser = at_least_one)]
    max_body: usize,
    /// Time in seconds that a client may take to send a request, or to take a part of the answer
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86400))]
    patience: u64,
    /// Time in seconds after which the text of a request ends
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86400))]
    deadline: u64,
    /// File with the key that clients must send, as `Authorization: Bearer KEY`
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Accept requests whose `Host` is NAME, besides `localhost` and IP addresses; repeatable
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
    /// Serve without checking the path first; every answer says so
    #[arg(long, conflicts_with = "require_checks")]
    unchecked: bool,
    /// Refuse to serve if the model has no stored references
    #[arg(long)]
    require_checks: bool,
    /// Check one of every N served requests again, when nothing else runs; 0 checks none
    #[arg(long, value_name = "N", default_value_t = 0)]
    spot_check: usize,
    /// Log the prompt of each request
    #[arg(long)]
    log_prompts: bool,
}

impl Serve {
    pub fn perform(mut self, out: &mut Out) -> Result<Ending> {
        let options = self.options()?;
        threads::start(self.common.threads)?;
        interrupt::heed();
        let settings = Settings::find()?;
        self.common.settle(&settings);
        self.attention = self.attention.or(settings.attention);
        let device = device::open(&self.common.device)?;
        let progress = Progress::start("reading the model");
        let model = self.common.open()?;
        common::refuse_weights_that_are_not_finite(&model.weights)?;
        model.tokenizer()?;
        drop(progress);
        let (dtype, path) = (self.common.dtype(), paths::generating(self.attention, self.matmul, &model));
        let path = GeneratingPath { model: &model, device: &device, dtype, path };
        let opening = Opening {
            path: &path,
            flags: &self.flags(),
            require_checks: self.require_checks,
            verbose: self.common.verbose,
        };
        let judged = if self.unchecked { Judged::Serve(Standing::Unchecked) } else { opening.judge()? };
        let standing = match judged {
            Judged::Serve(standing) => standing,
            Judged::Refuse(ending) => return Ok(ending),
        };
        let progress = Progress::start("loading the weights");
        let llama = Llama::load(&model.weights, &device, dtype, path.path)?;
        drop(progress);
        let served = self.served(&model, llama, standing)?;
        let listener = TcpListener::bind(options.address).map_err(|error| {
            let what = format!("--host {} --port {}: {error}", self.host, self.port);
            Error::input(what, "use another port; 0 takes a free one")
        })?;
        run(listener, served, options, out)?;
        Ok(Ending::Passed)
    }

    /// Everything that can be wrong before the model is read.
    fn options(&self) -> Result<Options> {
        let key = self.api_key_file.as_deref().map(Key::read).transpose()?;
        if key.is_none() && !self.host.is_loopback() {
            let what = format!("--host {}: other machines could use the server without a key", self.host);
            return Err(Error::input(what, "add --api-key-file FILE, or use 127.0.0.1"));
        }
        self.limits(1).validate()?;
        Ok(Options {
            address: SocketAddr::new(self.host, self.port),
            key,
            hosts: self.allow_host.clone(),
            connections: self.max_connections,
            body: self.max_body,
            patience: Duration::from_secs(self.patience),
            deadline: Duration::from_secs(self.deadline),
            log: (self.common.verbose > 0).then_some(say),
            log_prompts: self.log_prompts.then_some(say),
            commit: version::COMMIT,
        })
    }

    /// The engine's limits, for a context of so many tokens.
    fn limits(&self, context: usize) -> Limits {
        Limits {
            running: self.max_batch,
            waiting: self.max_queue,
            step_tokens: self.step_tokens.unwrap_or(self.max_batch.saturating_add(16)),
            cache_tokens: self.cache_tokens.unwrap_or(self.max_batch.saturating_mul(context)),
            kept: self.max_batch,
        }
    }

    /// Starts the engine.
    fn served(&self, model: &Model, llama: Llama, standing: Standing) -> Result<ServedModel> {
        let tokenizer = model.tokenizer()?;
        let config = llama.config.clone();
        let context = config.max_position_embeddings;
        let tokenizer = Arc::new(tokenizer.clone());
        let engine = Engine::start(Arc::new(llama), tokenizer.clone(), self.limits(context))?;
        engine.spot_check(self.spot_check);
        Ok(ServedModel {
            name: short(&model.name),
            engine,
            texts: TokenTexts::new(&tokenizer)?,
            tokenizer,
            template: model.chat_template(),
            vocab: config.vocab_size,
            context,
            end: config.eos_token_ids.clone(),
            standing,
        })
    }

    /// The flags that judge the same path with `run`.
    fn flags(&self) -> String {
        let mut flags = super::rerun::Flags::of(&self.common);
        flags.choice("attention", self.attention);
        flags.choice("matmul", self.matmul);
        flags.line()
    }
}

/// The last part of a path, without `.gguf`; clients need not know the folders of this machine.
fn short(name: &str) -> String {
    let last = name.trim_end_matches('/').rsplit('/').next().unwrap_or(name);
    last.strip_suffix(".gguf").unwrap_or(last).to_owned()
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| "give a whole number from 1 on".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_model_has_no_folders() {
        for (name, want) in [
            ("tiny-llama", "tiny-llama"),
            ("/home/me/models/x.gguf", "x"),
            ("models/x/", "x"),
            ("hf:owner/name", "name"),
        ] {
            assert_eq!(short(name), want);
        }
    }
}
