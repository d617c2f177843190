//! How fast a model reads a prompt and generates text, where the time goes, and how close that is to what the machine
//! can do.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use serde::Serialize;

use super::machine::{self, Limits};
use super::values::below;
use crate::generate::{Decoder, OnCache};
use crate::model::{Input, Llama, Matmul, Path};
use crate::models::{self, Model};
use crate::probe::{Kind, Probe, Site};
use crate::{Error, Result};

/// The version of the JSON report. A field that is removed or changes its meaning needs a new one.
pub const FORMAT: u32 = 1;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Request {
    /// The dtype that the model computes in.
    pub dtype: DType,
    /// Its attention and products.
    pub path: Path,
    /// Number of tokens of the prompt.
    pub prompt_tokens: usize,
    /// Number of tokens that are generated after it.
    pub new_tokens: usize,
    /// How often prefill and decode are measured; the fastest run counts.
    pub runs: usize,
}

/// The time of one kind of operation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// The site that it computes, by its name inside a layer.
    pub site: &'static str,
    /// Seconds over all layers.
    pub seconds: f64,
    /// Its share of the pass.
    pub share: f64,
}

/// A measured phase.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Phase {
    /// Number of tokens.
    pub tokens: usize,
    /// Seconds of the fastest run.
    pub seconds: f64,
    /// Tokens per second.
    pub tokens_per_second: f64,
    /// Bytes of weights, keys and values that must be read.
    pub bytes: f64,
    /// Additions and multiplications of all products.
    pub flops: f64,
    /// The share of the tokens per second that the machine's bandwidth or its float32 products allow, whichever is less.
    pub share_of_limit: f64,
    /// What limits it: `memory` or `products`.
    pub limit: &'static str,
    /// The time by operation, largest first, from a separate pass.
    pub parts: Vec<Part>,
}

/// Everything that was measured of a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Speeds {
    /// [`FORMAT`].
    pub format: u32,
    /// The model's name.
    pub model: String,
    /// The dtype.
    pub dtype: &'static str,
    /// The path.
    pub path: &'static str,
    /// Number of threads.
    pub threads: usize,
    /// Architecture and instruction sets.
    pub processor: String,
    /// Seconds to open the file and load the weights.
    pub load_seconds: f64,
    /// Seconds from then to the first token of a first prompt, which also prepares weights that are prepared late.
    pub first_token_seconds: f64,
    /// The prompt.
    pub prefill: Phase,
    /// One token at a time after it.
    pub decode: Phase,
    /// The most memory that the process used, in bytes, where the system says it.
    pub peak_memory: Option<u64>,
    /// What the machine can do, measured in the same run.
    pub limits: Limits,
}

/// Measures the model `name`. `say` is told what is done now.
///
/// # Errors
/// The model cannot be opened or loaded, or the tokens do not fit into its context.
pub fn measure(name: &str, device: &Device, request: &Request, say: impl Fn(&str)) -> Result<Speeds> {
    say("loading the model");
    let begin = Instant::now();
    let model = models::open(name)?;
    let llama = Llama::load(&model.weights, device, request.dtype, request.path)?;
    let load_seconds = begin.elapsed().as_secs_f64();
    let room = llama.config.max_position_embeddings;
    let wanted = request.prompt_tokens + request.new_tokens;
    if wanted > room {
        let what =
            format!("{wanted} tokens do not fit into the context of {name}, which has {room} positions");
        return Err(Error::input(what, "use fewer --prompt-tokens or --new-tokens"));
    }
    let prompt: Vec<u32> =
        below(request.prompt_tokens, llama.config.vocab_size, 1).into_iter().map(|id| id as u32).collect();
    say("a first prompt");
    let begin = Instant::now();
    OnCache::new(&llama).feed(&prompt)?;
    let first_token_seconds = begin.elapsed().as_secs_f64();

    let (mut prefill, mut decode) = (f64::INFINITY, f64::INFINITY);
    for run in 1..=request.runs.max(1) {
        say(&format!("run {run} of {}", request.runs));
        let (one, two) = timed(&llama, &prompt, request.new_tokens)?;
        (prefill, decode) = (prefill.min(one), decode.min(two));
    }
    // Before the limits are measured, which takes memory too.
    let peak_memory = machine::peak_memory();
    say("the share of each operation");
    let parts = shares(&llama, &prompt, request.new_tokens.min(16))?;
    say("the limits of this machine");
    let limits = machine::limits(device)?;
    let cost = Cost::of(&model, &llama, request);
    let [prefill_parts, decode_parts] = parts;
    let (p, n) = (request.prompt_tokens, request.new_tokens);
    Ok(Speeds {
        format: FORMAT,
        model: name.to_owned(),
        dtype: request.dtype.as_str(),
        path: request.path.name(),
        threads: rayon::current_num_threads(),
        processor: machine::processor(),
        load_seconds,
        first_token_seconds,
        prefill: phase(p, prefill, cost.prefill(p), limits, prefill_parts),
        decode: phase(n, decode, cost.decode(p, n), limits, decode_parts),
        peak_memory,
        limits,
    })
}

/// Seconds of one prefill, and of the tokens after it, each of which is the most likely one.
fn timed(llama: &Llama, prompt: &[u32], tokens: usize) -> Result<(f64, f64)> {
    let mut decoder = OnCache::new(llama);
    let begin = Instant::now();
    let mut logits = decoder.feed(prompt)?;
    let prefill = begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    for _ in 0..tokens {
        logits = decoder.feed(&[most_likely(&logits)])?;
    }
    Ok((prefill, begin.elapsed().as_secs_f64()))
}

fn most_likely(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(id, _)| id as u32)
}

/// A phase, with its distance from the limits.
fn phase(tokens: usize, seconds: f64, (bytes, flops): (f64, f64), limits: Limits, parts: Vec<Part>) -> Phase {
    let (by_memory, by_products) = (bytes / limits.bandwidth, flops / limits.flops);
    Phase {
        tokens,
        seconds,
        tokens_per_second: tokens as f64 / seconds,
        bytes,
        flops,
        share_of_limit: by_memory.max(by_products) / seconds,
        limit: if by_memory > by_products { "memory" } else { "products" },
        parts,
    }
}

/// What a pass must read and compute at least.
struct Cost {
    /// Entries of all matrices of the layers.
    in_layers: f64,
    /// Entries of the last matrix.
    head: f64,
    /// Bytes of all of them, as the products read them.
    weight_bytes: f64,
    /// Bytes of the keys and values of one token.
    cache_bytes: f64,
    /// Additions and multiplications for one query and one key.
    attention: f64,
}

impl Cost {
    fn of(model: &Model, llama: &Llama, request: &Request) -> Self {
        let config = &llama.config;
        let weights = &model.weights;
        let (mut in_layers, mut head, mut weight_bytes) = (0.0, 0.0, 0.0);
        for name in weights.names() {
            let Some(&[rows, width]) = weights.shape(&name) else { continue };
            let embedding = name == "model.embed_tokens.weight";
            if embedding && !config.tie_word_embeddings {
                continue;
            }
            let entries = (rows * width) as f64;
            if embedding || name == "lm_head.weight" {
                head += entries;
            } else {
                in_layers += entries;
            }
            let dense = entries * request.dtype.size_in_bytes() as f64;
            weight_bytes += match (request.path.matmul, weights.stored(&name)) {
                (Matmul::Quantized, Some((_, bytes))) => bytes as f64,
                _ => dense,
            };
        }
        let (layers, head_dim) = (config.num_hidden_layers, config.head_dim);
        let kv = 2 * layers * config.num_key_value_heads * head_dim * request.dtype.size_in_bytes();
        let attention = 4 * layers * config.num_attention_heads * head_dim;
        Self { in_layers, head, weight_bytes, cache_bytes: kv as f64, attention: attention as f64 }
    }

    /// Bytes and operations of a prompt of `tokens`, whose logits are computed for the last token only.
    fn prefill(&self, tokens: usize) -> (f64, f64) {
        let n = tokens as f64;
        let products = 2.0 * (self.in_layers * n + self.head);
        (self.weight_bytes + self.cache_bytes * n, products + self.attention * n * (n + 1.0) / 2.0)
    }

    /// The same of `tokens` tokens one by one, after `past`.
    fn decode(&self, past: usize, tokens: usize) -> (f64, f64) {
        let n = tokens as f64;
        let keys = n * past as f64 + n * (n + 1.0) / 2.0;
        let products = 2.0 * (self.in_layers + self.head) * n;
        (self.weight_bytes * n + self.cache_bytes * keys, products + self.attention * keys)
    }
}

/// Measures the time from each site to the next.
struct Stopwatch {
    last: Instant,
    by_kind: BTreeMap<&'static str, Duration>,
}

impl Stopwatch {
    fn new() -> Self {
        Self { last: Instant::now(), by_kind: BTreeMap::new() }
    }

    /// The parts, largest first.
    fn parts(self) -> Vec<Part> {
        let total: f64 = self.by_kind.values().map(Duration::as_secs_f64).sum();
        let part = |(site, time): (&'static str, Duration)| Part {
            site,
            seconds: time.as_secs_f64(),
            share: time.as_secs_f64() / total,
        };
        let mut parts: Vec<Part> = self.by_kind.into_iter().map(part).collect();
        parts.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        parts
    }
}

impl Probe for Stopwatch {
    fn wants(&self, _: Kind) -> bool {
        true
    }

    fn tap(&mut self, site: Site, tensor: Tensor) -> Result<Tensor> {
        // A device computes later than it is called.
        tensor.device().synchronize()?;
        let now = Instant::now();
        *self.by_kind.entry(site.kind.name()).or_default() += now - self.last;
        self.last = now;
        Ok(tensor)
    }
}

/// The parts of a prefill, and of `tokens` tokens after it.
fn shares(llama: &Llama, prompt: &[u32], tokens: usize) -> Result<[Vec<Part>; 2]> {
    let mut cache = llama.new_cache();
    let mut feed = |ids: &[u32], start: usize, watch: &mut Stopwatch| -> Result<u32> {
        let input = Input::single(ids, start);
        watch.last = Instant::now();
        let hidden = llama.hidden(&input, &mut cache, watch)?; // [1, s, hidden]
        let last = hidden.narrow(1, ids.len() - 1, 1)?; // [1, 1, hidden]
        let logits = llama.logits(&last, watch)?; // [1, 1, vocab]
        Ok(most_likely(&logits.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?))
    };
    let (mut prefill, mut decode) = (Stopwatch::new(), Stopwatch::new());
    let mut token = feed(prompt, 0, &mut prefill)?;
    for n in 0..tokens {
        token = feed(&[token], prompt.len() + n, &mut decode)?;
    }
    Ok([prefill.parts(), decode.parts()])
}

impl Speeds {
    /// The figures as text.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{} {} {}, {} thread{} ({})\n",
            self.model,
            self.dtype,
            self.path,
            self.threads,
            if self.threads == 1 { "" } else { "s" },
            self.processor
        );
        text += &format!("  load        {:>9.3} s\n", self.load_seconds);
        text += &format!("  first token {:>9.3} s after loading\n", self.first_token_seconds);
        for (name, phase) in [("prefill", &self.prefill), ("decode", &self.decode)] {
            text += &format!(
                "  {name:<11} {:>9.1} tokens/s  {} tokens in {:.3} s; {:.0}% of what {} allow{}\n",
                phase.tokens_per_second,
                phase.tokens,
                phase.seconds,
                100.0 * phase.share_of_limit,
                if phase.limit == "memory" { "reading the weights" } else { "float32 products" },
                if phase.limit == "memory" { "s" } else { "" },
            );
        }
        if let Some(bytes) = self.peak_memory {
            text += &format!("  memory      {:>9.1} MiB at most\n", bytes as f64 / f64::from(1 << 20));
        }
        text += &format!(
            "  machine     {:>9.1} GB/s from memory, {:.1} GFLOP/s in a float32 product\n\n",
            self.limits.bandwidth / 1e9,
            self.limits.flops / 1e9
        );
        text += &format!("  {:<34} {:>16} {:>16}\n", "time from the site before to", "prefill", "decode");
        for part in &self.prefill.parts {
            let decode = self.decode.parts.iter().find(|of| of.site == part.site);
            let cell = |part: &Part| format!("{:.1}%", 100.0 * part.share);
            let decode = decode.map_or_else(String::new, cell);
            text += &format!("  {:<34} {:>16} {decode:>16}\n", part.site, cell(part));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Attention;

    #[test]
    fn every_phase_is_measured_and_its_parts_are_the_whole() {
        let request = Request {
            dtype: DType::F32,
            path: Attention::Plain.into(),
            prompt_tokens: 8,
            new_tokens: 2,
            runs: 1,
        };
        let speeds = measure("tiny-llama2", &Device::Cpu, &request, |_| {}).unwrap();
        for phase in [&speeds.prefill, &speeds.decode] {
            assert!(
                phase.seconds > 0.0 && phase.share_of_limit > 0.0 && phase.share_of_limit < 1.5,
                "{phase:?}"
            );
            let total: f64 = phase.parts.iter().map(|part| part.share).sum();
            assert!((total - 1.0).abs() < 1e-9);
            assert!(phase.parts.iter().any(|part| part.site == "self_attn.q_proj"));
        }
        assert!(speeds.limits.bandwidth > 1e8 && speeds.limits.flops > 1e8);
        let too_many = Request { prompt_tokens: 1 << 20, ..request };
        let error = measure("tiny-llama2", &Device::Cpu, &too_many, |_| {}).unwrap_err();
        assert!(error.to_string().contains("do not fit"), "{error}");
    }

    /// Two layers of 2 x 3 matrices and a head of 10 x 2 in float32.
    #[test]
    fn the_cost_of_a_pass_counts_each_weight_once_per_token() {
        let cost =
            Cost { in_layers: 12.0, head: 20.0, weight_bytes: 128.0, cache_bytes: 16.0, attention: 4.0 };
        assert_eq!(cost.prefill(3), (128.0 + 48.0, 2.0 * (36.0 + 20.0) + 4.0 * 6.0));
        assert_eq!(cost.decode(3, 2), (256.0 + 16.0 * 9.0, 2.0 * 32.0 * 2.0 + 4.0 * 9.0));
    }
}
