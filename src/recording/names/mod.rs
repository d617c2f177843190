//! Known names of arrays: Hugging Face's module paths, and the names that other projects use. The tables are data;
//! this module compares a name with them, whatever separates its parts and comes before it.

mod content;
mod gemma;
mod ports;
mod trainers;
mod transformers;

use std::collections::HashMap;
use std::sync::LazyLock;

pub(crate) use self::content::{Content, Project};
use crate::probe::{Kind, Site};

/// Every project.
pub(super) const PROJECTS: [&Project; 13] = [
    &transformers::TRANSFORMERS,
    &transformers::VLLM,
    &ports::CANDLE,
    &ports::LLAMA_CPP,
    &gemma::GEMMA2,
    &gemma::GEMMA3,
    &ports::GGUF,
    &ports::LLAMA2_C,
    &trainers::META,
    &trainers::LITGPT,
    &trainers::TORCHTUNE,
    &trainers::MEGATRON,
    &transformers::LENS,
];

/// Words before a name that say only where in a program the model is: `base_model.model.`, `language_model.`.
const BEFORE: [&str; 6] = ["module", "base", "model", "language", "text", "transformer"];

/// Wrappers, whose names occur anywhere in a path: those of `torch.compile`, FSDP and activation checkpointing.
const WRAPPERS: [&[&str]; 3] =
    [&["orig", "mod"], &["fsdp", "wrapped", "module"], &["checkpoint", "wrapped", "module"]];

/// What may follow the name of a module: its output, or the first of its outputs.
const BEHIND: [&[&str]; 5] = [&["output", "0"], &["out", "0"], &["output"], &["out"], &["0"]];

/// Longer names are unknown.
const LONGEST: usize = 300;

/// What a name means in one project.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Meaning {
    /// Its index in [`PROJECTS`].
    pub project: usize,
    /// The layer, if the name has one.
    pub layer: Option<u16>,
    /// What the array contains.
    pub content: &'static Content,
}

/// What each known name means, by its parts joined with `_`.
static KNOWN: LazyLock<HashMap<String, Vec<(usize, &'static Content)>>> = LazyLock::new(|| {
    let mut known: HashMap<String, Vec<(usize, &'static Content)>> = HashMap::new();
    for (project, table) in PROJECTS.iter().enumerate() {
        for (pattern, content) in table.names {
            known.entry(key(&path(pattern), None)).or_default().push((project, content));
        }
    }
    known
});

/// Everything that `name` means.
pub(super) fn meanings(name: &str) -> Vec<Meaning> {
    if name.len() > LONGEST {
        return vec![];
    }
    let whole = path(name);
    let ends = |behind: &&[&str]| whole.len() > behind.len() && whole.ends_with(behind);
    let shorter = BEHIND.iter().copied().filter(ends).map(|behind| &whole[..whole.len() - behind.len()]);
    let mut paths = std::iter::once(&whole[..]).chain(shorter);
    paths.find_map(|path| Some(of_path(path)).filter(|found| !found.is_empty())).unwrap_or_default()
}

fn of_path(path: &[&str]) -> Vec<Meaning> {
    let numbers = path.iter().enumerate().filter_map(|(at, part)| Some((at, layer(part)?)));
    let keys = numbers.map(|(at, layer)| (key(path, Some(at)), Some(layer)));
    let found = std::iter::once((key(path, None), None)).chain(keys).flat_map(|(key, layer)| {
        let known = KNOWN.get(&key).map_or(&[][..], Vec::as_slice);
        known.iter().map(move |&(project, content)| Meaning { project, layer, content })
    });
    found.collect()
}

/// The project with this name in metadata.
pub(super) fn project(id: &str) -> Option<usize> {
    PROJECTS.iter().position(|project| project.id == id)
}

/// The name with `{N}` in the place of the layer's number.
pub(super) fn with_placeholder(name: &str, layer: u16) -> String {
    let number = layer.to_string();
    let digit = |at: usize| name[at..].chars().next().is_some_and(|c| c.is_ascii_digit());
    let alone = |at: usize| {
        let before = name[..at].chars().next_back();
        !digit(at + number.len()) && !before.is_some_and(|c| c.is_ascii_alphanumeric())
    };
    match name.match_indices(&number).map(|(at, _)| at).find(|&at| alone(at)) {
        Some(at) => format!("{}{{N}}{}", &name[..at], &name[at + number.len()..]),
        None => name.to_owned(),
    }
}

/// The parts of a name, without what comes before it.
fn path(name: &str) -> Vec<&str> {
    // `{N}` of a pattern is a part.
    let separates = |c: char| !c.is_alphanumeric() && c != '{' && c != '}';
    let mut parts: Vec<&str> = name.split(separates).filter(|part| !part.is_empty()).collect();
    for wrapper in WRAPPERS {
        while let Some(at) = parts.windows(wrapper.len()).position(|parts| parts == wrapper) {
            parts.drain(at..at + wrapper.len());
        }
    }
    let mut parts: Vec<&str> = parts.into_iter().flat_map(layer_letter).collect();
    let before = parts.iter().take_while(|part| BEFORE.contains(part)).count();
    parts.split_off(before)
}

/// `l12`, as in llama.cpp's `cache_k_l12`, is the letter and the number.
fn layer_letter(part: &str) -> Vec<&str> {
    match part.strip_prefix('l').filter(|number| *number == "{N}" || layer(number).is_some()) {
        Some(number) => vec!["l", number],
        None => vec![part],
    }
}

/// The parts joined with `_`, and `{N}` in the place of the one `at` this index.
fn key(path: &[&str], at: Option<usize>) -> String {
    let parts: Vec<&str> =
        path.iter().enumerate().map(|(n, part)| if Some(n) == at { "{N}" } else { part }).collect();
    parts.join("_")
}

/// The number of a layer.
fn layer(part: &str) -> Option<u16> {
    let digits = part.bytes().all(|b| b.is_ascii_digit()) && part.len() <= 5;
    part.parse().ok().filter(|_| digits)
}

/// The number at `{N}` if `name` matches `pattern`.
pub(super) fn layer_of(pattern: &str, name: &str) -> Option<usize> {
    let (before, behind) = pattern.split_once("{N}")?;
    let number = name.strip_prefix(before)?.strip_suffix(behind)?;
    layer(number).map(usize::from)
}

/// The known name that `name` was probably meant to be.
pub(super) fn nearest(name: &str) -> Option<String> {
    if name.len() > LONGEST {
        return None;
    }
    let layers: Vec<u16> = path(name).iter().filter_map(|part| layer(part)).collect();
    let sites = Kind::ALL.iter().flat_map(|&kind| {
        if kind.in_layer() {
            layers.iter().map(|&layer| Site { layer: Some(layer), kind }.to_string()).collect()
        } else {
            vec![kind.name().to_owned()]
        }
    });
    let patterns = PROJECTS.iter().flat_map(|project| project.names).map(|(pattern, _)| *pattern);
    let others = patterns.flat_map(|pattern| {
        if pattern.contains("{N}") {
            layers.iter().map(|layer| pattern.replace("{N}", &layer.to_string())).collect()
        } else {
            vec![pattern.to_owned()]
        }
    });
    let far = |known: String| (strsim::damerau_levenshtein(name, &known), known);
    let (far, known) = sites.chain(others).map(far).min()?;
    (far * 4 <= name.chars().count()).then_some(known)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// The site of each meaning.
    fn sites(name: &str) -> Vec<String> {
        let site = |meaning: &Meaning| match meaning.content {
            Content::Tensor(kind) | Content::HeadsFirst(kind) | Content::Normalized(kind) => {
                Site { layer: meaning.layer, kind: *kind }.to_string()
            }
            other => format!("{other:?} {:?}", meaning.layer),
        };
        let mut sites: Vec<String> = meanings(name).iter().map(site).collect();
        sites.sort();
        sites.dedup();
        sites
    }

    #[rstest]
    #[case::below_model("layers.3.mlp.up_proj", "model.layers.3.mlp.up_proj")]
    #[case::compiled("_orig_mod.model.layers.3.mlp.up_proj", "model.layers.3.mlp.up_proj")]
    #[case::compiled_layer("model.layers.3._orig_mod.mlp.up_proj", "model.layers.3.mlp.up_proj")]
    #[case::data_parallel("module.model.norm", "model.norm")]
    #[case::lora("base_model.model.model.layers.3.mlp.up_proj", "model.layers.3.mlp.up_proj")]
    #[case::multimodal("model.language_model.layers.3.mlp.up_proj", "model.layers.3.mlp.up_proj")]
    #[case::multimodal_too("language_model.lm_head", "lm_head")]
    #[case::slashes("model/layers/3/mlp/up_proj", "model.layers.3.mlp.up_proj")]
    #[case::underscores("model_layers_3_mlp_up_proj", "model.layers.3.mlp.up_proj")]
    #[case::output("model.layers.3.mlp.up_proj.output", "model.layers.3.mlp.up_proj")]
    #[case::first_output("model.layers.3.self_attn.0", "model.layers.3.self_attn.o_proj")]
    #[case::input("model.layers.3.self_attn.o_proj.input", "model.layers.3.self_attn.context")]
    #[case::module("model.layers.3.self_attn", "model.layers.3.self_attn.o_proj")]
    #[case::vllm("model.layers.3.self_attn.attn", "model.layers.3.self_attn.context")]
    #[case::candle("blocks.2.mlp.c_fc1", "model.layers.2.mlp.gate_proj")]
    #[case::candle_block("blocks.2", "model.layers.2")]
    #[case::meta("layers.0.feed_forward.w2", "model.layers.0.mlp.down_proj")]
    #[case::quantized_candle("layers.0.attention_wq", "model.layers.0.self_attn.q_proj")]
    #[case::burn("layers.0.feed_forward.swiglu.linear_inner", "model.layers.0.mlp.gate_proj")]
    #[case::gguf("blk.11.attn_output", "model.layers.11.self_attn.o_proj")]
    #[case::llama_cpp("attn_norm-0", "model.layers.0.input_layernorm")]
    #[case::by_operation("Qcur-0 (MUL_MAT)", "model.layers.0.self_attn.q_proj")]
    #[case::by_operation_too("Qcur-0.ROPE", "model.layers.0.self_attn.q_rope")]
    #[case::heads_split("Qcur-0 (reshaped)", "model.layers.0.self_attn.q_proj")]
    #[case::residual(
        "model.layers.3.post_attention_layernorm.1",
        "model.layers.3.post_attention_layernorm.input"
    )]
    #[case::torchtune_scale("layers.0.mlp_scale", "model.layers.0.mlp.down_proj")]
    #[case::lens("blocks.1.attn.hook_rot_q", "model.layers.1.self_attn.q_rope")]
    #[case::litgpt("transformer.h.0.mlp.fc_1", "model.layers.0.mlp.gate_proj")]
    #[case::litgpt_block("transformer.h.0", "model.layers.0")]
    #[case::torchtune("layers.0.mlp.w3", "model.layers.0.mlp.up_proj")]
    #[case::megatron("decoder.layers.0.pre_mlp_layernorm", "model.layers.0.post_attention_layernorm")]
    #[case::llama2_c("layers.0.hb2", "model.layers.0.mlp.up_proj")]
    fn a_known_name_means_one_site(#[case] name: &str, #[case] site: &str) {
        assert_eq!(sites(name), [site]);
    }

    /// In llama.cpp's graphs of Gemma 2 and 3, scores are named before the softcap and logits are capped.
    #[rstest]
    #[case("kq-0", ["NotASite Some(0)", "model.layers.0.self_attn.scores"])]
    #[case("result_output", ["lm_head", "lm_head.softcap"])]
    fn the_meaning_of_some_names_depends_on_the_family(#[case] name: &str, #[case] meanings: [&str; 2]) {
        assert_eq!(sites(name), meanings);
    }

    #[rstest]
    #[case("model.layers.3.mlp.acts")]
    #[case("blocks.x.rms_1")]
    #[case("layers.70000.ffn_norm")]
    #[case("model.layers.0.self_attn.q_proj.weight")]
    #[case("loss")]
    #[case("model")]
    #[case("")]
    fn an_unknown_name_has_no_meaning(#[case] name: &str) {
        assert_eq!(meanings(name), []);
    }

    /// Otherwise a name would depend on the order of the table.
    #[test]
    fn no_project_uses_a_name_twice() {
        for project in PROJECTS {
            let mut keys: Vec<String> =
                project.names.iter().map(|(name, _)| key(&path(name), None)).collect();
            keys.sort();
            let all = keys.len();
            keys.dedup();
            assert_eq!(keys.len(), all, "{}", project.id);
        }
    }

    /// A site's own name means that site.
    #[test]
    fn every_own_name_is_in_the_first_table() {
        for &kind in Kind::ALL {
            let site = Site { layer: kind.in_layer().then_some(7), kind };
            assert_eq!(sites(&site.to_string()), [site.to_string()]);
        }
    }

    #[rstest]
    #[case("layers.0.xb", 0, "layers.{N}.xb")]
    #[case("h10.x1.1.q", 1, "h10.x1.{N}.q")]
    #[case("Qcur-12", 12, "Qcur-{N}")]
    fn the_layer_of_a_name_is_replaced(#[case] name: &str, #[case] layer: u16, #[case] pattern: &str) {
        assert_eq!(with_placeholder(name, layer), pattern);
    }

    #[rstest]
    #[case("model.layers.1.mpl.act", Some("model.layers.1.mlp.act"))]
    #[case("loss", None)]
    fn the_nearest_name_is_suggested(#[case] name: &str, #[case] near: Option<&str>) {
        assert_eq!(nearest(name).as_deref(), near);
    }
}
