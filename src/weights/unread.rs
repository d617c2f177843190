//! Tensors in the files that the model does not use, and whether a Llama would compute something else with them.

use candle_core::{DType, Device};

use super::{Source, Weights};
use crate::files::short_name;

/// A tensor that the model does not use.
#[derive(Clone, Debug, PartialEq)]
pub struct Unread {
    /// Its name.
    pub name: String,
    /// What would change with it.
    pub meaning: Meaning,
}

/// What a tensor that the model does not use would change.
#[derive(Clone, Debug, PartialEq)]
pub enum Meaning {
    /// The model would compute something else with it. The text says what the tensor is.
    Changes(String),
    /// Nothing: its values are those with which it has no effect, or those that the model computes itself.
    Nothing,
    /// Not known.
    Unknown,
}

/// What a tensor is, by a part of its name.
enum Part {
    /// It has no effect if all its values are 0.
    Added(&'static str),
    /// It has no effect if all its values are 1.
    Multiplied(&'static str),
    /// It always has an effect.
    Used(&'static str),
    /// Frequencies of the rotation.
    Frequencies,
}

/// The largest tensor whose values are looked at, in elements.
const MOST: usize = 1 << 24;

impl Weights {
    /// The tensors in the files that the model does not use, sorted by name.
    pub fn unread(&self) -> Vec<Unread> {
        let used = self.names();
        let unread = |name: &&str| used.binary_search_by(|known| known.as_str().cmp(name)).is_err();
        let names: Vec<&str> = match &*self.source {
            // Read as a part of the configuration.
            Source::Gguf(file) => {
                file.names().filter(|name| *name != "rope_freqs.weight").filter(unread).collect()
            }
            Source::Shards(shards) => shards.names().filter(unread).collect(),
        };
        let unread = |name: &str| Unread { name: name.to_owned(), meaning: self.meaning(name) };
        names.into_iter().map(unread).collect()
    }

    /// A line about the tensors with which the model would compute something else, and a line about those with an
    /// unknown meaning, if there are any.
    pub fn unread_notes(&self) -> Vec<String> {
        let unread = self.unread();
        let of = |test: fn(&Meaning) -> bool| unread.iter().filter(move |tensor| test(&tensor.meaning));
        let changing =
            note(of(|meaning| matches!(meaning, Meaning::Changes(_))), "which would change the result");
        let unknown = note(of(|meaning| *meaning == Meaning::Unknown), "whose meaning is not known");
        changing.into_iter().chain(unknown).collect()
    }

    fn meaning(&self, name: &str) -> Meaning {
        // Another matrix with other values makes the model untied when it is opened.
        if name == "lm_head.weight" && self.config.tie_word_embeddings {
            return Meaning::Nothing;
        }
        let layers = self.config.num_hidden_layers;
        let layer = name.strip_prefix("model.layers.").and_then(|rest| rest.split('.').next()?.parse().ok());
        if layer.is_some_and(|layer: usize| layer >= layers) {
            return Meaning::Changes(format!("a part of a layer beyond the {layers} of the config"));
        }
        let unless = |harmless: f32, what: &str| match self.values(name) {
            Some(values) if values.iter().all(|value| *value == harmless) => Meaning::Nothing,
            _ => Meaning::Changes(what.to_owned()),
        };
        match part(name) {
            None => Meaning::Unknown,
            Some(Part::Used(what)) => Meaning::Changes(what.to_owned()),
            Some(Part::Added(what)) => unless(0.0, what),
            Some(Part::Multiplied(what)) => unless(1.0, what),
            Some(Part::Frequencies) => {
                self.other_frequencies(name).map_or(Meaning::Nothing, Meaning::Changes)
            }
        }
    }

    fn values(&self, name: &str) -> Option<Vec<f32>> {
        let elements = self.shape(name)?.iter().product::<usize>();
        let tensor = || {
            self.tensor(name, DType::F32, &Device::Cpu)?
                .flatten_all()?
                .to_vec1::<f32>()
                .map_err(crate::Error::from)
        };
        (elements <= MOST).then(tensor)?.ok()
    }

    /// How these stored frequencies differ from those of the config, if they do.
    fn other_frequencies(&self, name: &str) -> Option<String> {
        let own = self.config.frequencies();
        let Some(values) = self.values(name).filter(|values| values.len() == own.len()) else {
            return Some(format!(
                "frequencies of a rotation with another number of pairs than {}",
                own.len()
            ));
        };
        // One unit in the last place of the stored type, relative and, for tiny f16 values, absolute; PyTorch's
        // powers in f32 differ from ours by a few units.
        let (relative, absolute) = match self.stored(name)?.0.as_str() {
            "F16" => (2f64.powi(-10), 2f64.powi(-24)),
            "BF16" => (2f64.powi(-7), 0.0),
            _ => (2f64.powi(-20), 0.0),
        };
        let differs = |(_, (got, want)): &(usize, (f32, &f64))| {
            let error = (f64::from(*got) - **want).abs();
            error.is_nan() || error > relative * **want + absolute
        };
        let (pair, (got, want)) = values.into_iter().zip(&own).enumerate().find(differs)?;
        Some(format!(
            "frequencies of another rotation: that of pair {pair} is {got:e}, but the config gives {want:e}"
        ))
    }
}

/// A line about these tensors, with the names of a few of them; `what` is a relative clause.
fn note<'a>(tensors: impl Iterator<Item = &'a Unread>, what: &str) -> Option<String> {
    /// How many names are printed.
    const NAMES: usize = 3;
    let names: Vec<&str> = tensors.map(|tensor| tensor.name.as_str()).collect();
    let short = |name: &&str| format!("`{}`", short_name(name));
    let listed = names.iter().take(NAMES).map(short).collect::<Vec<_>>().join(", ");
    let more = if names.len() > NAMES { ", …" } else { "" };
    let count = if names.len() == 1 { "1 tensor" } else { &format!("{} tensors", names.len()) };
    (!names.is_empty()).then(|| format!("the model does not use {count} of the file, {what}: {listed}{more}"))
}

/// What the tensor is, if its name says so.
fn part(name: &str) -> Option<Part> {
    use Part::{Added, Frequencies, Multiplied, Used};
    const QUANTIZED: Part = Used("a part of quantised weights");
    let parts: Vec<&str> = name.split('.').collect();
    let any = |test: &dyn Fn(&str) -> bool| parts.iter().any(|part| test(part));
    let is = |names: &'static [&'static str]| any(&|part| names.contains(&part));
    let last = parts.last().copied().unwrap_or_default();
    let in_layer = name.starts_with("model.layers.") || name.starts_with("blk.");
    match last {
        "inv_freq" => return Some(Frequencies),
        "weight_scale" | "weight_scale_inv" | "scale_inv" | "scale" | "input_scale" | "output_scale" => {
            return Some(Multiplied("a scale of quantised weights"));
        }
        "k_scale" | "v_scale" => return Some(Multiplied("a scale of cached keys or values")),
        "weight_g" | "weight_v" => return Some(Used("a part of a normalised weight")),
        _ => {}
    }
    if any(&|part| part.starts_with("lora_")) {
        return Some(Used("an adapter (LoRA), which is added to its matrix"));
    }
    if is(&["modules_to_save"]) {
        return Some(Used("a trained copy of its module (PEFT)"));
    }
    if is(&[
        "qweight",
        "qzeros",
        "scales",
        "g_idx",
        "absmax",
        "nested_absmax",
        "quant_map",
        "nested_quant_map",
    ]) || is(&[
        "SCB",
        "weight_packed",
        "weight_shape",
        "weight_zero_point",
        "quant_state",
        "biases",
        "zeros",
    ]) {
        return Some(QUANTIZED);
    }
    if is(&["sinks", "attn_sinks"]) {
        return Some(Used("attention sinks, which take part in the softmax"));
    }
    if any(&|part| {
        part.contains("expert") || part.contains("moe") || part.ends_with("_exps") || part.ends_with("_shexp")
    }) || is(&["router", "ffn_gate_inp"])
    {
        return Some(Used("a part of a mixture of experts"));
    }
    if last == "bias" {
        return Some(Added("a bias, which is added to the output of its module"));
    }
    if is(&["q_norm", "k_norm", "q_layernorm", "k_layernorm", "attn_q_norm", "attn_k_norm"]) {
        return Some(Used("a norm of queries or keys"));
    }
    if is(&[
        "wpe",
        "embed_positions",
        "position_embeddings",
        "position_embd",
        "pos_embed",
        "relative_attention_bias",
    ]) {
        return Some(Used("embeddings of positions"));
    }
    if is(&["rope_factors_long", "rope_factors_short"]) {
        return Some(Used("factors of the rotation's frequencies"));
    }
    if any(&|part| part.contains("norm")) && (in_layer || name.starts_with("model.")) {
        return Some(Used("a norm"));
    }
    let matrix =
        any(&|part| part.ends_with("_proj") || part.starts_with("attn_") || part.starts_with("ffn_"));
    (in_layer && matrix).then_some(Used("a matrix of its layer"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("model.layers.0.self_attn.q_proj.bias", "a bias")]
    #[case("model.layers.0.self_attn.q_norm.weight", "a norm of queries or keys")]
    #[case("blk.0.attn_k_norm.weight", "a norm of queries or keys")]
    #[case("model.layers.0.self_attn.q_proj.lora_A.default.weight", "an adapter")]
    #[case("model.layers.0.mlp.down_proj.weight_scale_inv", "a scale of quantised weights")]
    #[case("model.layers.0.mlp.down_proj.weight.absmax", "a part of quantised weights")]
    #[case("model.layers.0.self_attn.sinks", "attention sinks")]
    #[case("model.layers.0.mlp.experts.3.up_proj.weight", "a part of a mixture of experts")]
    #[case("blk.0.ffn_gate_exps.weight", "a part of a mixture of experts")]
    #[case("model.layers.0.post_feedforward_layernorm.weight", "a norm")]
    #[case("model.layers.0.self_attn.gate_proj.weight", "a matrix of its layer")]
    fn the_name_says_what_a_tensor_is(#[case] name: &str, #[case] what: &str) {
        let Some(Part::Added(text) | Part::Multiplied(text) | Part::Used(text)) = part(name) else {
            panic!("{name} is not known")
        };
        assert!(text.starts_with(what), "{text}");
    }

    #[rstest]
    #[case("v_head.summary.weight")]
    #[case("vision_tower.encoder.layers.0.fc1.weight")]
    #[case("model.layers.0.adapter")]
    fn other_tensors_have_no_known_meaning(#[case] name: &str) {
        assert!(part(name).is_none());
    }
}
