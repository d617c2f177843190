//! `inspect`: shows what a model's files contain.

use clap::Args;
use rbees_check::models::Model;
use rbees_check::weights::{Config, LayerType, Meaning, RopeLayout};
use rbees_check::{Error, Result};

use super::common;
use super::ending::Ending;
use super::escape::escaped;
use super::paint::{self, Out};
use super::tensor_rows::{self, StoredTensor};

#[derive(Args, Debug)]
pub struct Inspect {
    /// tiny-llama, tiny-llama2, smollm2-135m, a .gguf file, or a Hugging Face directory
    #[arg(value_name = "NAME|PATH", default_value = "tiny-llama")]
    model: String,
    /// List every tensor, instead of one line per kind of tensor and range of layers
    #[arg(short, long)]
    verbose: bool,
}

impl Inspect {
    pub fn perform(self, out: &mut Out) -> Result<Ending> {
        let model = common::open(&self.model)?;
        out.line(format!("{} · {}", escaped(&model.name), model.weights.describe()))?;
        section("config", config(model.weights.config()), out)?;
        section("tokenizer", tokenizer(&model), out)?;
        section("references", references(&model), out)?;
        section("tensors", tensors(&model, self.verbose), out)?;
        Ok(Ending::Passed)
    }
}

fn section(name: &str, rows: Vec<String>, out: &mut Out) -> Result<()> {
    out.line(format!("\n{}", paint::heading(name)))?;
    rows.into_iter().try_for_each(|row| out.line(format!("  {row}")))
}

fn config(config: &Config) -> Vec<String> {
    let rope = match config.rope_layout {
        RopeLayout::HalfSplit => "half-split: element i is rotated with i + head_dim/2",
        RopeLayout::Interleaved => "interleaved: element 2i is rotated with 2i + 1",
    };
    let id = |id: Option<u32>| id.map_or("none".to_owned(), |id| id.to_string());
    let modules: Vec<&str> = config.biases.iter().map(String::as_str).collect();
    let of_layers = |of: LayerType| config.layer_types.iter().filter(|own| **own == of).count();
    let number = |number: Option<f64>| number.map_or("none".to_owned(), |number| (number as f32).to_string());
    let mut rows = vec![
        ("model_type", config.family.name().to_owned()),
        ("hidden_size", config.hidden_size.to_string()),
        ("intermediate_size", config.intermediate_size.to_string()),
        ("num_hidden_layers", config.num_hidden_layers.to_string()),
        ("num_attention_heads", config.num_attention_heads.to_string()),
        ("num_key_value_heads", config.num_key_value_heads.to_string()),
        ("head_dim", config.head_dim.to_string()),
        ("vocab_size", config.vocab_size.to_string()),
        ("max_position_embeddings", config.max_position_embeddings.to_string()),
        // Values from GGUF are exact float32 values; formatting them as f32 prints 1e-5 as 1e-5.
        ("rms_norm_eps", format!("{:e}", config.rms_norm_eps as f32)),
        ("rope_theta", (config.rope_theta as f32).to_string()),
        ("rope_scaling", config.rope_scaling.to_string()),
        ("sliding_window", config.sliding_window.map_or("none".into(), |window| window.to_string())),
        ("tie_word_embeddings", config.tie_word_embeddings.to_string()),
        ("biases", if config.biases.is_empty() { "none".into() } else { modules.join(", ") }),
        ("bos_token_id", id(config.bos_token_id)),
        ("eos_token_ids", format!("{:?}", config.eos_token_ids)),
        ("rotation", rope.to_owned()),
    ];
    // What only some models have.
    let full = of_layers(LayerType::Full);
    let more = [
        ("layers without a window", (config.sliding_window.is_some() && full > 0).then(|| full.to_string())),
        ("rope_local_base_freq", config.local_rope_theta.map(|theta| number(Some(theta)))),
        ("query_pre_attn_scalar", config.query_pre_attn_scalar.map(|scalar| number(Some(scalar)))),
        ("attn_logit_softcapping", config.attn_logit_softcapping.map(|cap| number(Some(cap)))),
        ("final_logit_softcapping", config.final_logit_softcapping.map(|cap| number(Some(cap)))),
    ];
    rows.extend(more.into_iter().filter_map(|(key, value)| Some((key, value?))));
    rows.into_iter().map(|(key, value)| format!("{key:<24} {value}")).collect()
}

fn tokenizer(model: &Model) -> Vec<String> {
    let config = model.weights.config();
    let tokenizer = match &model.tokenizer {
        Ok(tokenizer) => tokenizer,
        Err(error) => return vec![format!("cannot be read: {}", escaped(&error.to_string()))],
    };
    let spelled = |id: u32| match tokenizer.token(id) {
        Some(token) => format!("{id} {}", escaped(&token)),
        None => format!("{id} (not in the vocabulary)"),
    };
    let ends: Vec<String> = config.eos_token_ids.iter().map(|&id| spelled(id)).collect();
    let chat = match model.chat_template() {
        Ok(_) => "has a template".to_owned(),
        Err(Error::Missing { .. }) => "no template".to_owned(),
        Err(error) => format!("cannot be read: {}", escaped(&error.to_string())),
    };
    let rows = [
        ("tokens", tokenizer.vocab_size().to_string()),
        ("begins with", config.bos_token_id.map_or("nothing".to_owned(), spelled)),
        ("ends at", if ends.is_empty() { "nothing".to_owned() } else { ends.join(", ") }),
        ("chat", chat),
    ];
    rows.map(|(key, value)| format!("{key:<24} {value}")).into()
}

fn references(model: &Model) -> Vec<String> {
    match &model.fixture {
        Some(fixture) => vec![escaped(&fixture.cases.join(", "))],
        None => vec!["none".into()],
    }
}

/// The tensors that the model uses, then those that it does not use. With `each`, one row per tensor.
fn tensors(model: &Model, each: bool) -> Vec<String> {
    let weights = &model.weights;
    let stored = |name: String| {
        let shape = weights.shape(&name).unwrap_or_default().to_vec();
        let (dtype, bytes) = weights.stored(&name).unwrap_or_default();
        StoredTensor { name, shape, dtype, bytes }
    };
    let list = if each { tensor_rows::each } else { tensor_rows::ranges };
    let rows = |names: Vec<String>| list(names.into_iter().map(stored).collect());
    let unread = weights.unread().into_iter().filter(|tensor| tensor.meaning != Meaning::Nothing);
    let noted = rows(unread.map(|tensor| tensor.name).collect()).into_iter();
    let noted = noted.map(|row| row + ", unexpected: the model does not use it");
    rows(weights.names()).into_iter().chain(noted).collect()
}
