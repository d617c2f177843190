//! Names: those of other projects, with prefixes and other separators; unknown and ambiguous ones.

use candle_core::{Device, Tensor};
use rbees_check::models;
use rbees_check::weights::Config;
use rstest::rstest;

use crate::alter::{only, site, without};
use crate::layouts::{fused_by_group, fused_gate_up, fused_qkv, heads_of};
use crate::recorded::{Arrays, ids, pass, short};
use crate::run::{Run, is_refused, is_stated, run, stating};

/// The names of a project: a kind's own name, and how the project calls it in layer `{N}`, or outside of the layers.
pub type Table = &'static [(&'static str, &'static str)];

const META: Table = &[
    ("model.embed_tokens", "tok_embeddings"),
    ("input_layernorm", "layers.{N}.attention_norm"),
    ("self_attn.q_proj", "layers.{N}.attention.wq"),
    ("self_attn.k_proj", "layers.{N}.attention.wk"),
    ("self_attn.v_proj", "layers.{N}.attention.wv"),
    ("self_attn.o_proj", "layers.{N}.attention"),
    ("post_attention_layernorm", "layers.{N}.ffn_norm"),
    ("mlp.gate_proj", "layers.{N}.feed_forward.w1"),
    ("mlp.up_proj", "layers.{N}.feed_forward.w3"),
    ("mlp.down_proj", "layers.{N}.feed_forward.w2"),
    ("", "layers.{N}"),
    ("model.norm", "norm"),
    ("lm_head", "output"),
];

const TORCHTUNE: Table = &[
    ("model.embed_tokens", "tok_embeddings"),
    ("input_layernorm", "layers.{N}.sa_norm"),
    ("self_attn.q_proj", "layers.{N}.attn.q_proj"),
    ("self_attn.k_proj", "layers.{N}.attn.k_proj"),
    ("self_attn.v_proj", "layers.{N}.attn.v_proj"),
    ("self_attn.o_proj", "layers.{N}.attn.output_proj"),
    ("post_attention_layernorm", "layers.{N}.mlp_norm"),
    ("mlp.gate_proj", "layers.{N}.mlp.w1"),
    ("mlp.up_proj", "layers.{N}.mlp.w3"),
    ("mlp.down_proj", "layers.{N}.mlp.w2"),
    ("", "layers.{N}"),
    ("model.norm", "norm"),
    ("lm_head", "output"),
];

const LENS: Table = &[
    ("model.embed_tokens", "hook_embed"),
    ("self_attn.q_proj", "blocks.{N}.attn.hook_q"),
    ("self_attn.k_proj", "blocks.{N}.attn.hook_k"),
    ("self_attn.v_proj", "blocks.{N}.attn.hook_v"),
    ("self_attn.q_rope", "blocks.{N}.attn.hook_rot_q"),
    ("self_attn.k_rope", "blocks.{N}.attn.hook_rot_k"),
    ("self_attn.scores", "blocks.{N}.attn.hook_attn_scores"),
    ("self_attn.probs", "blocks.{N}.attn.hook_pattern"),
    ("self_attn.context", "blocks.{N}.attn.hook_z"),
    ("self_attn.o_proj", "blocks.{N}.hook_attn_out"),
    ("post_attention_layernorm.input", "blocks.{N}.hook_resid_mid"),
    ("mlp.gate_proj", "blocks.{N}.mlp.hook_pre"),
    ("mlp.up_proj", "blocks.{N}.mlp.hook_pre_linear"),
    ("mlp.act", "blocks.{N}.mlp.hook_post"),
    ("mlp.down_proj", "blocks.{N}.hook_mlp_out"),
    ("", "blocks.{N}.hook_resid_post"),
    ("model.norm", "ln_final.hook_normalized"),
    ("lm_head", "unembed.hook_out"),
];

const BURN: Table = &[
    ("model.embed_tokens", "tok_embeddings"),
    ("input_layernorm", "layers.{N}.attention_norm"),
    ("self_attn.q_proj", "layers.{N}.attention.wq"),
    ("self_attn.o_proj", "layers.{N}.attention.wo"),
    ("post_attention_layernorm", "layers.{N}.ffn_norm"),
    ("mlp.gate_proj", "layers.{N}.feed_forward.swiglu.linear_inner"),
    ("mlp.up_proj", "layers.{N}.feed_forward.swiglu.linear_outer"),
    ("mlp.act", "layers.{N}.feed_forward.swiglu"),
    ("mlp.down_proj", "layers.{N}.feed_forward.w2"),
    ("lm_head", "output"),
];

const CANDLE: Table = &[
    ("model.embed_tokens", "wte"),
    ("input_layernorm", "blocks.{N}.rms_1"),
    ("self_attn.q_proj", "blocks.{N}.attn.q_proj"),
    ("self_attn.o_proj", "blocks.{N}.attn"),
    ("post_attention_layernorm", "blocks.{N}.rms_2"),
    ("mlp.gate_proj", "blocks.{N}.mlp.c_fc1"),
    ("mlp.up_proj", "blocks.{N}.mlp.c_fc2"),
    ("mlp.down_proj", "blocks.{N}.mlp"),
    ("", "blocks.{N}"),
    ("model.norm", "ln_f"),
    ("lm_head", "logits"),
];

const GGUF: Table = &[
    ("model.embed_tokens", "token_embd"),
    ("input_layernorm", "blk.{N}.attn_norm"),
    ("self_attn.v_proj", "blk.{N}.attn_v"),
    ("self_attn.o_proj", "blk.{N}.attn_output"),
    ("mlp.gate_proj", "blk.{N}.ffn_gate"),
    ("mlp.up_proj", "blk.{N}.ffn_up"),
    ("mlp.down_proj", "blk.{N}.ffn_down"),
    ("model.norm", "output_norm"),
    ("lm_head", "output"),
];

const LITGPT: Table = &[
    ("model.embed_tokens", "transformer.wte"),
    ("input_layernorm", "transformer.h.{N}.norm_1"),
    ("self_attn.qkv", "transformer.h.{N}.attn.qkv"),
    ("self_attn.o_proj", "transformer.h.{N}.attn.proj"),
    ("post_attention_layernorm", "transformer.h.{N}.norm_2"),
    ("mlp.gate_proj", "transformer.h.{N}.mlp.fc_1"),
    ("mlp.up_proj", "transformer.h.{N}.mlp.fc_2"),
    ("mlp.down_proj", "transformer.h.{N}.mlp.proj"),
    ("", "transformer.h.{N}"),
    ("model.norm", "transformer.ln_f"),
    ("lm_head", "lm_head"),
];

const OLD_LITGPT: Table = &[
    ("input_layernorm", "transformer.h.{N}.norm_1"),
    ("self_attn.qkv_by_group", "transformer.h.{N}.attn.attn"),
    ("self_attn.o_proj", "transformer.h.{N}.attn"),
    ("", "transformer.h.{N}"),
];

const MEGATRON: Table = &[
    ("model.embed_tokens", "embedding.word_embeddings"),
    ("input_layernorm", "decoder.layers.{N}.input_layernorm"),
    ("self_attn.qkv_by_group", "decoder.layers.{N}.self_attention.linear_qkv"),
    ("self_attn.context", "decoder.layers.{N}.self_attention.core_attention"),
    ("self_attn.o_proj", "decoder.layers.{N}.self_attention.linear_proj"),
    ("post_attention_layernorm", "decoder.layers.{N}.pre_mlp_layernorm"),
    ("mlp.gate_up", "decoder.layers.{N}.mlp.linear_fc1"),
    ("mlp.down_proj", "decoder.layers.{N}.mlp.linear_fc2"),
    ("", "decoder.layers.{N}"),
    ("model.norm", "decoder.final_layernorm"),
    ("lm_head", "output_layer"),
];

const VLLM: Table = &[
    ("model.embed_tokens", "model.embed_tokens"),
    ("input_layernorm", "model.layers.{N}.input_layernorm"),
    ("self_attn.qkv", "model.layers.{N}.self_attn.qkv_proj"),
    ("self_attn.context", "model.layers.{N}.self_attn.attn"),
    ("self_attn.o_proj", "model.layers.{N}.self_attn.o_proj"),
    ("post_attention_layernorm", "model.layers.{N}.post_attention_layernorm"),
    ("mlp.gate_up", "model.layers.{N}.mlp.gate_up_proj"),
    ("mlp.act", "model.layers.{N}.mlp.act_fn"),
    ("mlp.down_proj", "model.layers.{N}.mlp.down_proj"),
    ("model.norm", "model.norm"),
    ("lm_head", "lm_head"),
];

/// The arrays under the names of a project. Arrays for which it has no name are left out.
fn renamed(arrays: &Arrays, table: Table) -> Arrays {
    let mut renamed = Arrays::new();
    for (own, theirs) in table {
        match arrays.get(*own) {
            Some(tensor) => _ = renamed.insert((*theirs).to_owned(), tensor.clone()),
            None => {
                for layer in 0..4 {
                    let tensor = arrays[&site(layer, own)].clone();
                    renamed.insert(theirs.replace("{N}", &layer.to_string()), tensor);
                }
            }
        }
    }
    renamed.insert("input_ids".into(), arrays["input_ids"].clone());
    renamed
}

/// A pass with every array that a table may name.
fn all(arrays: Arrays) -> Arrays {
    let mut all = arrays;
    for layer in 0..4 {
        let made = [
            ("self_attn.qkv", fused_qkv(&all, layer)),
            ("self_attn.qkv_by_group", fused_by_group(&all, layer)),
            ("mlp.gate_up", fused_gate_up(&all, layer)),
        ];
        made.into_iter().for_each(|(name, tensor)| _ = all.insert(site(layer, name), tensor));
    }
    all
}

/// The sites that the output counts as recorded.
pub fn covered(run: &Run) -> usize {
    let line = run.text.lines().find_map(|line| line.strip_prefix("coverage: ")).unwrap();
    line.split(' ').next().unwrap().parse().unwrap()
}

#[rstest]
#[case::meta(META, "meta", 43)]
#[case::burn(BURN, "meta", 34)]
#[case::torchtune(TORCHTUNE, "torchtune", 43)]
#[case::candle(CANDLE, "candle", 35)]
#[case::gguf(GGUF, "gguf", 27)]
#[case::litgpt(LITGPT, "litgpt", 43)]
#[case::old_litgpt(OLD_LITGPT, "litgpt", 24)]
#[case::lens(LENS, "transformer-lens", 63)]
#[case::megatron(MEGATRON, "megatron", 47)]
fn names_of_other_projects_are_recognised(#[case] table: Table, #[case] id: &str, #[case] sites: usize) {
    let arrays = renamed(&all(short()), table);
    let found = run(&arrays);
    assert_eq!((found.code, found.notes().len(), covered(&found)), (0, 1, sites), "{}", found.text);
    let note = found.notes()[0];
    assert!(note.starts_with("names are those of "), "{note}");
    assert!(note.ends_with(&format!("; to state it: \"names\": \"{id}\" in the metadata")), "{note}");
    is_stated(&arrays, &[("names", id)]);
    is_refused(
        &arrays,
        &format!("hint: state it: \"names\": \"{id}\" in the metadata; or leave out --strict"),
    );
}

/// The same mistake is named as with Hugging Face's names.
#[rstest]
#[case::meta(META)]
#[case::torchtune(TORCHTUNE)]
#[case::litgpt(LITGPT)]
#[case::megatron(MEGATRON)]
#[case::lens(LENS)]
fn a_mistake_under_the_names_of_another_project_fails(#[case] table: Table) {
    let wrong = pass(&ids("short"), |config: &mut Config| config.rope_theta = 1e4);
    let run = run(&renamed(&all(wrong), table));
    assert_eq!((run.code, run.notes().len()), (1, 1), "{}", run.text);
    assert!(run.named().contains(&"rope-theta"), "{}", run.text);
}

/// vLLM's `act_fn` multiplies with up.
#[test]
fn the_fused_modules_of_vllm_are_recognised() {
    let arrays = renamed(&all(short()), VLLM);
    let found = run(&arrays);
    assert_eq!((found.code, found.notes().len(), covered(&found)), (0, 2, 47), "{}", found.text);
    assert!(
        found.notes()[1].starts_with("model.layers.0.mlp.act_fn is silu(gate) · up, as model.layers.0.mlp.down_proj shows; to state it: \"act_fn\": \"silu(gate) * up\" in the metadata"),
        "{}",
        found.text
    );
    is_stated(&arrays, &[("names", "vllm, transformers"), ("act_fn", "silu(gate) * up")]);
}

#[rstest]
#[case::compiled(|name: &str| format!("_orig_mod.{name}"))]
#[case::data_parallel(|name: &str| format!("module.{name}"))]
#[case::lora(|name: &str| format!("base_model.model.{name}"))]
#[case::multimodal(|name: &str| format!("language_model.{name}"))]
#[case::several(|name: &str| format!("module._orig_mod.{name}"))]
#[case::below(|name: &str| name.trim_start_matches("model.").to_owned())]
#[case::slashes(|name: &str| name.replace('.', "/"))]
#[case::underscores(|name: &str| name.replace('.', "_"))]
#[case::outputs(|name: &str| format!("{name}.output"))]
fn prefixes_and_separators_are_recognised(#[case] name: fn(&str) -> String) {
    // A file may contain `/` in the name of an array only if it is a safetensors file or an archive.
    let arrays: Arrays = short()
        .into_iter()
        .map(|(own, tensor)| (if own == "input_ids" { own } else { name(&own) }, tensor))
        .collect();
    let found = run(&arrays);
    assert_eq!((found.code, found.notes().len(), covered(&found)), (0, 1, 71), "{}", found.text);
    is_stated(&arrays, &[("names", "transformers")]);
}

/// Hooks on every module record the output of the last one of a module twice.
#[test]
fn equal_arrays_of_one_site_are_accepted_and_different_ones_refused() {
    let mut arrays = short();
    for layer in 0..4 {
        let name = |name: &str| site(layer, name);
        arrays.insert(name("self_attn"), arrays[&name("self_attn.o_proj")].clone());
        arrays.insert(name("mlp"), arrays[&name("mlp.down_proj")].clone());
        arrays.insert(name("self_attn.o_proj.input"), arrays[&name("self_attn.context")].clone());
    }
    let found = run(&arrays);
    assert_eq!((found.code, covered(&found)), (0, 71), "{}", found.text);
    let other = (&arrays["model.layers.2.mlp"] * 1.5).unwrap();
    arrays.insert("model.layers.2.mlp".into(), other);
    let found = run(&arrays);
    assert_eq!(found.code, 2, "{}", found.text);
    let said = "`model.layers.2.mlp.down_proj` and `model.layers.2.mlp` both name model.layers.2.mlp.down_proj, and their values differ\nhint: leave the wrong one out: pass `--map` with a file that has \"model.layers.2.mlp\" = \"\" under [names]";
    assert!(found.text.contains(said), "{}", found.text);
}

#[test]
fn unknown_arrays_are_counted_and_left_out() {
    let mut arrays = short();
    arrays.insert("loss".into(), Tensor::new(1.5f32, &Device::Cpu).unwrap());
    let found = run(&arrays);
    let note = "`loss` is left out, because its name is unknown; to state it: \"loss\" = \"\" under [names] in a --map file";
    assert_eq!((found.code, found.notes(), covered(&found)), (0, vec![note], 71), "{}", found.text);
    for n in 0..9 {
        arrays.insert(format!("extra.{n}"), Tensor::new(&[1i64, 2], &Device::Cpu).unwrap());
    }
    let found = run(&arrays);
    let note = "10 arrays are left out, because their names are unknown: `extra.0`, `extra.1`, `extra.2` and 7 more; ";
    assert!(found.code == 0 && found.notes()[0].starts_with(note), "{}", found.text);
    is_refused(&arrays, "10 arrays are left out, because their names are unknown");
}

#[test]
fn a_misspelt_name_is_left_out_and_the_right_one_suggested() {
    let mut arrays = short();
    let act = arrays.remove("model.layers.1.mlp.act").unwrap();
    arrays.insert("model.layers.1.mpl.act".into(), act);
    let found = run(&arrays);
    let note = "`model.layers.1.mpl.act` is left out, because its name is unknown; did you mean `model.layers.1.mlp.act`?; to state it: ";
    assert!(found.code == 0 && found.notes()[0].starts_with(note), "{}", found.text);
    assert_eq!(covered(&found), 70, "{}", found.text);
}

#[test]
fn a_file_without_a_known_name_is_refused() {
    let arrays = only(short(), &[]);
    let arrays: Arrays =
        arrays.into_iter().chain([("loss".to_owned(), short()["lm_head"].clone())]).collect();
    let found = run(&arrays);
    assert_eq!(found.code, 2, "{}", found.text);
    assert!(
        found.text.contains("`loss` is not a known site name, and no other name is one\nhint: map it"),
        "{}",
        found.text
    );
}

/// transformers' `hidden_states` and `attentions`.
#[test]
fn the_outputs_of_a_model_of_transformers_are_recognised() {
    let own = short();
    let mut arrays = only(short(), &[]);
    for layer in 0..4 {
        let input = if layer == 0 { "model.embed_tokens".to_owned() } else { site(layer - 1, "") };
        arrays.insert(format!("hidden_states.{layer}"), own[&input].clone());
        arrays.insert(format!("attentions.{layer}"), own[&site(layer, "self_attn.probs")].clone());
    }
    arrays.insert("hidden_states.4".into(), own["model.norm"].clone());
    arrays.insert("logits".into(), own["lm_head"].clone());
    let found = run(&arrays);
    assert_eq!((found.code, found.notes().len(), covered(&found)), (0, 2, 10), "{}", found.text);
    is_stated(&arrays, &[("names", "transformers"), ("hidden_states", "inputs, normed")]);
    let wrong = (&arrays["attentions.2"] * 1.01).unwrap();
    arrays.insert("attentions.2".into(), wrong);
    let found = run(&arrays);
    assert_eq!((found.code, found.failed()[0]), (1, "03"), "{}", found.text);
}

/// llama2.c reuses its buffers.
#[rstest]
#[case(
    "xb",
    "input_layernorm",
    "`layers.0.xb` may be model.layers.0.input_layernorm or model.layers.0.self_attn.context or model.layers.0.post_attention_layernorm or model.layers.0.mlp.down_proj: llama2.c uses this name for each"
)]
#[case(
    "q",
    "self_attn.q_proj",
    "`layers.0.q` may be model.layers.0.self_attn.q_proj or model.layers.0.self_attn.q_rope: llama2.c uses this name for each"
)]
#[case(
    "hb",
    "mlp.gate_proj",
    "`layers.0.hb` may be model.layers.0.mlp.gate_proj or model.layers.0.mlp.act: llama2.c uses this name for each"
)]
fn a_name_with_several_meanings_is_refused_with_the_line_to_write(
    #[case] name: &str,
    #[case] own: &str,
    #[case] what: &str,
) {
    let mut arrays = without(short(), &[own]);
    arrays.insert(format!("layers.0.{name}"), short()[&site(0, own)].clone());
    let found = run(&arrays);
    assert_eq!(found.code, 2, "{}", found.text);
    let line = format!("\"layers.{{N}}.{name}\" = \"model.layers.{{N}}.{own}\"");
    let hint = format!("hint: say which it is in a --map file, under [names]: {line}; or leave it out: ");
    assert!(found.text.contains(what) && found.text.contains(&hint), "{}", found.text);
    // The line is right.
    let found = Run::with_map(&arrays, &format!("[names]\n{line}"));
    assert_eq!((found.code, found.notes().len()), (0, 0), "{}", found.text);
}

#[test]
fn the_names_of_an_unknown_project_are_refused() {
    let found = stating(&short(), &[("names", "vllm, tinygrad")]);
    assert_eq!(found.code, 2, "{}", found.text);
    let said = "unknown names `tinygrad` in the metadata\nhint: use one or several of these: transformers, vllm, candle, ";
    assert!(found.text.contains(said), "{}", found.text);
}

/// TransformerLens records queries before heads are moved, and candle-mi after.
#[rstest]
fn the_axes_of_lens_and_candle_mi_are_recognised(#[values(true, false)] positions_first: bool) {
    let mut arrays = renamed(&all(short()), LENS);
    for (name, kv) in [("hook_q", false), ("hook_k", true), ("hook_v", true), ("hook_z", false)] {
        for layer in 0..4 {
            let name = format!("blocks.{layer}.attn.{name}");
            let heads = heads_of(&arrays[&name], if kv { 2 } else { 6 });
            let heads =
                if positions_first { heads } else { heads.transpose(1, 2).unwrap().contiguous().unwrap() };
            arrays.insert(name, heads);
        }
    }
    for layer in 0..4 {
        for name in ["hook_rot_q", "hook_rot_k"] {
            let name = format!("blocks.{layer}.attn.{name}");
            let moved = arrays[&name].transpose(1, 2).unwrap().contiguous().unwrap();
            arrays.extend(positions_first.then_some((name, moved)));
        }
    }
    let found = run(&arrays);
    assert_eq!((found.code, found.notes().len(), covered(&found)), (0, 1, 63), "{}", found.text);
}

/// TransformerLens records norms before their weight is applied; others record the result under the same name.
#[rstest]
fn norms_of_lens_are_read_with_and_without_their_weight(#[values(true, false)] weighted: bool) {
    let (own, model) = (short(), models::open("tiny-llama").unwrap());
    let mut arrays = renamed(&all(short()), LENS);
    let mut insert = |name: String, site: String| {
        let weight = model.weights.canonical(&format!("{site}.weight")).unwrap();
        let norm = own[&site].clone();
        arrays.insert(name, if weighted { norm } else { norm.broadcast_div(&weight).unwrap() });
    };
    for layer in 0..4 {
        insert(format!("blocks.{layer}.ln1.hook_normalized"), site(layer, "input_layernorm"));
        insert(format!("blocks.{layer}.ln2.hook_normalized"), site(layer, "post_attention_layernorm"));
    }
    insert("ln_final.hook_normalized".into(), "model.norm".into());
    let found = run(&arrays);
    assert_eq!((found.code, found.notes().len(), covered(&found)), (0, 1, 71), "{}", found.text);
    // A norm that is wrong in either reading.
    let wrong = (&arrays["blocks.2.ln2.hook_normalized"] * 1.01).unwrap();
    arrays.insert("blocks.2.ln2.hook_normalized".into(), wrong);
    let found = run(&arrays);
    assert_eq!((found.code, found.failed()[0]), (1, "01"), "{}", found.text);
}
