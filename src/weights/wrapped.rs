//! Recognises tensor names that other modules were wrapped around: `_orig_mod.model.layers.0…` (torch.compile),
//! `module.…` (data parallelism), `base_model.model.…` (PEFT), `language_model.…` (the text part of a larger
//! model), and `layers.0…` without `model.` (a model that was saved without its head).

use std::collections::{BTreeMap, BTreeSet};

use crate::files::short_name;

/// Parts of a name that wrappers insert at any place.
const WRAPPERS: [&str; 6] =
    ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "module", "base_layer", "_module"];

/// The first tensor of the first layer; the part of its name before this is that of the whole model.
const FIRST: &str = "layers.0.input_layernorm.weight";

/// The Hugging Face name of each tensor, by its name in the file.
///
/// # Errors
/// Two tensors would have the same name, or the file contains two models. The text says which, in one line.
pub(super) fn unwrapped<'a>(
    names: impl Iterator<Item = &'a str>,
) -> Result<BTreeMap<&'a str, String>, String> {
    let plain: BTreeMap<&str, String> = names.map(|name| (name, without_wrappers(name))).collect();
    let models: BTreeSet<&str> = plain.values().filter_map(|name| model_of(name)).collect();
    let prefix = match models.iter().copied().collect::<Vec<_>>().as_slice() {
        // Without a first layer, tensors are missing, and that is reported.
        [] => "model.",
        _ if models.contains("model.") => "model.",
        [only] => only,
        [first, second, ..] => {
            return Err(format!(
                "contains two models: tensor names begin with `{first}` and with `{second}`"
            ));
        }
    };
    let head = ancestors(prefix)
        .map(|outer| format!("{outer}lm_head."))
        .find(|head| plain.values().any(|name| name.starts_with(head.as_str())));
    let mut named: BTreeMap<String, &str> = BTreeMap::new();
    for (&stored, name) in &plain {
        let name = match (name.strip_prefix(prefix), head.as_deref().and_then(|head| name.strip_prefix(head)))
        {
            (_, Some(rest)) => format!("lm_head.{rest}"),
            (Some(rest), None) => format!("model.{rest}"),
            (None, None) => name.clone(),
        };
        if let Some(other) = named.insert(name.clone(), stored) {
            let [other, stored, name] = [other, stored, &name].map(short_name);
            return Err(format!("`{other}` and `{stored}` are both `{name}` of the model"));
        }
    }
    Ok(named.into_iter().map(|(name, stored)| (stored, name)).collect())
}

/// A note about tensors that have other names in the file than in the model, if there are any.
pub(super) fn note(names: &BTreeMap<&str, String>) -> Option<String> {
    let mut renamed = names.iter().filter(|(stored, name)| **stored != name.as_str());
    let (stored, name) = renamed.next()?;
    let count = 1 + renamed.count();
    let plural = if count == 1 { "1 tensor name was" } else { &format!("{count} tensor names were") };
    let (stored, name) = (short_name(stored), short_name(name));
    Some(format!("{plural} adapted: for example, `{stored}` is read as `{name}`"))
}

fn without_wrappers(name: &str) -> String {
    name.split('.').filter(|part| !WRAPPERS.contains(part)).collect::<Vec<_>>().join(".")
}

/// The part of the name before the layers, if it is that of a tensor of the first layer: `model.`, `language_model.model.`.
fn model_of(name: &str) -> Option<&str> {
    name.strip_suffix(FIRST).filter(|prefix| prefix.is_empty() || prefix.ends_with('.'))
}

/// Every module around the one with this prefix, the nearest first, and then itself: for `a.model.`, `a.`, ``
/// and `a.model.`.
fn ancestors(prefix: &str) -> impl Iterator<Item = &str> {
    let parts = prefix.trim_end_matches('.');
    let outer = parts.rmatch_indices('.').map(|(at, _)| &prefix[..=at]);
    outer.chain(["", prefix])
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const PARTS: [&str; 3] =
        ["embed_tokens.weight", "layers.0.input_layernorm.weight", "layers.1.self_attn.q_proj.weight"];

    #[rstest]
    #[case::as_usual("model.", "lm_head.weight")]
    #[case::compiled("_orig_mod.model.", "_orig_mod.lm_head.weight")]
    #[case::data_parallel("module.model.", "module.lm_head.weight")]
    #[case::both("module._orig_mod.model.", "module._orig_mod.lm_head.weight")]
    #[case::inside("model._fsdp_wrapped_module.", "lm_head.weight")]
    #[case::peft("base_model.model.model.", "base_model.model.lm_head.weight")]
    #[case::text_part("language_model.model.", "language_model.lm_head.weight")]
    #[case::text_part_of_transformers_5("model.language_model.", "lm_head.weight")]
    #[case::without_a_head("", "lm_head.weight")]
    #[case::an_unknown_wrapper("student.llm.", "student.lm_head.weight")]
    #[case::the_head_inside("model.", "model.lm_head.weight")]
    fn wrapped_names_become_those_of_the_model(#[case] prefix: &str, #[case] head: &str) {
        let mut stored: Vec<String> = PARTS.iter().map(|part| format!("{prefix}{part}")).collect();
        stored.push(head.to_owned());
        let names = unwrapped(stored.iter().map(String::as_str)).unwrap();
        for (stored, part) in stored.iter().zip(PARTS) {
            assert_eq!(names[stored.as_str()], format!("model.{part}"));
        }
        assert_eq!(names[head], "lm_head.weight");
        let usual = prefix == "model." && head == "lm_head.weight";
        assert_eq!(note(&names).is_none(), usual);
    }

    #[test]
    fn the_note_counts_the_names_and_shows_one() {
        let names = unwrapped(["layers.0.input_layernorm.weight", "norm.weight"].into_iter()).unwrap();
        let text = "2 tensor names were adapted: for example, `layers.0.input_layernorm.weight` is read as `model.layers.0.input_layernorm.weight`";
        assert_eq!(note(&names).as_deref(), Some(text));
    }

    #[test]
    fn wrapped_layers_and_adapters_are_taken_apart() {
        let stored = [
            "model.layers.0._orig_mod.input_layernorm.weight",
            "model.layers.0.self_attn.q_proj.base_layer.weight",
            "model.layers.0.self_attn.q_proj.lora_A.default.weight",
        ];
        let names = unwrapped(stored.into_iter()).unwrap();
        let names: Vec<&str> = stored.iter().map(|stored| names[stored].as_str()).collect();
        let want = [
            "model.layers.0.input_layernorm.weight",
            "model.layers.0.self_attn.q_proj.weight",
            "model.layers.0.self_attn.q_proj.lora_A.default.weight",
        ];
        assert_eq!(names, want);
    }

    #[rstest]
    #[case::two_models(
        &["a.layers.0.input_layernorm.weight", "b.layers.0.input_layernorm.weight"],
        "contains two models: tensor names begin with `a.` and with `b.`"
    )]
    #[case::twice_the_same(
        &["model.norm.weight", "module.model.norm.weight"],
        "`model.norm.weight` and `module.model.norm.weight` are both `model.norm.weight` of the model"
    )]
    fn ambiguous_names_are_refused(#[case] stored: &[&str], #[case] why: &str) {
        assert_eq!(unwrapped(stored.iter().copied()).unwrap_err(), why);
    }

    #[test]
    fn another_model_beside_the_usual_names_is_left_alone() {
        let names = unwrapped(
            ["ema.model.layers.0.input_layernorm.weight", "model.layers.0.input_layernorm.weight"]
                .into_iter(),
        )
        .unwrap();
        assert_eq!(note(&names), None);
    }
}
