//! How fast a model reads a prompt and generates text, where the time goes, and how close that is to what the machine
//! can do.

mod cost;
mod request;
mod speeds;
mod stopwatch;

use std::time::Instant;

use candle_core::{DType, Device};

use super::machine::{self, Limits};
use super::values::below;
use crate::generate::{Decoder, OnCache};
use crate::model::{Input, Llama};
use crate::models;
use crate::{Error, Result};

use cost::Cost;
use stopwatch::Stopwatch;

pub use request::Request;
pub use speeds::{FORMAT, Phase, Speeds};
pub use stopwatch::Part;

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
            assert!(phase.seconds > 0.0 && phase.share_of_limit > 0.0, "{phase:?}");
            let total: f64 = phase.parts.iter().map(|part| part.share).sum();
            assert!((total - 1.0).abs() < 1e-9);
            assert!(phase.parts.iter().any(|part| part.site == "self_attn.q_proj"));
        }
        assert!(speeds.limits.bandwidth > 1e8 && speeds.limits.flops > 1e8);
        let too_many = Request { prompt_tokens: 1 << 20, ..request };
        let error = measure("tiny-llama2", &Device::Cpu, &too_many, |_| {}).unwrap_err();
        assert!(error.to_string().contains("do not fit"), "{error}");
    }
}
