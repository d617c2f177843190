//! The names of llama.cpp, its axes, and its order of q and k, in every family.

use std::collections::HashMap;

use candle_core::{DType, Device};
use rbees_check::model::{Attention, Input, Llama};
use rbees_check::models;
use rstest::rstest;
use tempfile::tempdir;

use crate::alter::{only, site};
use crate::layouts::{heads_of, silu_of};
use crate::names::{Table, covered};
use crate::recorded::{Arrays, Recorded, short, with_ids, write_stating};
use crate::run::{Run, is_stated, run};

/// llama.cpp's `kq` is neither scaled nor masked, `kqv` has heads before positions, and `ffn_silu` is silu(gate).
#[test]
fn the_intermediate_tensors_of_llama_cpp_are_recognised() {
    let own = short();
    let names: HashMap<&str, &str> = [
        ("self_attn.probs", "kq_soft_max"),
        ("self_attn.v_proj", "Vcur"),
        ("self_attn.o_proj", "attn_out"),
        ("post_attention_layernorm.input", "ffn_inp"),
        ("post_attention_layernorm", "ffn_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.act", "ffn_swiglu"),
        ("mlp.down_proj", "ffn_out"),
        ("", "l_out"),
    ]
    .into();
    let mut arrays = only(short(), &[]);
    for layer in 0..4 {
        for (own_name, name) in &names {
            arrays.insert(format!("{name}-{layer}"), own[&site(layer, own_name)].squeeze(0).unwrap());
        }
        let context = heads_of(&own[&site(layer, "self_attn.context")], 6).transpose(1, 2).unwrap();
        arrays.insert(format!("kqv-{layer}"), context.contiguous().unwrap());
        arrays.insert(format!("ffn_silu-{layer}"), silu_of(&own, layer));
    }
    arrays.insert("inp_embd".into(), own["model.embed_tokens"].squeeze(0).unwrap());
    arrays.insert("result_norm".into(), own["model.norm"].squeeze(0).unwrap());
    arrays.insert("result_output".into(), own["lm_head"].squeeze(0).unwrap());
    let found = run(&arrays);
    assert_eq!((found.code, found.notes().len(), covered(&found)), (0, 1, 47), "{}", found.text);
    is_stated(&arrays, &[("names", "llama.cpp")]);
    // silu(gate) is judged too.
    let half = (silu_of(&own, 2) * 1.25).unwrap().to_dtype(DType::F32).unwrap();
    arrays.insert("ffn_silu-2".into(), half);
    let found = run(&arrays);
    assert_eq!((found.code, found.failed()), (1, vec!["05"]), "{}", found.text);
    assert!(found.text.contains("FAIL 05 ffn · model.layers.2.mlp.act_fn"), "{}", found.text);
}

/// llama.cpp's names that mean the same in every family. Some sites have no name there.
const COMMON: Table = &[
    ("input_layernorm", "attn_norm-{N}"),
    ("self_attn.q_proj", "Qcur-{N} (MUL_MAT)"),
    ("self_attn.k_proj", "Kcur-{N} (MUL_MAT)"),
    ("self_attn.v_proj", "Vcur-{N} (MUL_MAT)"),
    ("self_attn.q_rope", "Qcur-{N} (ROPE)"),
    ("self_attn.k_rope", "Kcur-{N} (ROPE)"),
    ("self_attn.probs", "kq_soft_max-{N}"),
    ("self_attn.context", "kqv_out-{N}"),
    ("mlp.gate_proj", "ffn_gate-{N}"),
    ("mlp.up_proj", "ffn_up-{N}"),
    ("mlp.down_proj", "ffn_out-{N}"),
    ("", "l_out-{N}"),
    ("model.norm", "result_norm"),
];
const GEMMA: Table = &[
    ("model.embed_tokens", "inp_scaled"),
    ("post_attention_layernorm", "attn_post_norm-{N}"),
    ("pre_feedforward_layernorm.input", "sa_out-{N}"),
    ("pre_feedforward_layernorm", "ffn_norm-{N}"),
    ("mlp.act", "ffn_geglu-{N}"),
];
const GEMMA2: Table = &[("self_attn.scores", "kq_scaled_2-{N}"), ("lm_head.softcap", "result_output")];
const GEMMA3: Table = &[
    ("self_attn.q_norm", "Qcur_normed-{N}"),
    ("self_attn.k_norm", "Kcur_normed-{N}"),
    ("post_feedforward_layernorm", "ffn_post_norm-{N}"),
    ("lm_head", "result_output"),
];
const LLAMA: Table = &[
    ("model.embed_tokens", "inp_embd"),
    ("self_attn.o_proj", "attn_out-{N}"),
    ("post_attention_layernorm.input", "ffn_inp-{N}"),
    ("post_attention_layernorm", "ffn_norm-{N}"),
    ("mlp.act", "ffn_swiglu-{N}"),
    ("lm_head", "result_output"),
];
const QWEN3: Table = &[("self_attn.q_norm", "Qcur_normed-{N}"), ("self_attn.k_norm", "Kcur_normed-{N}")];

/// A pass of `model` with llama.cpp's names and axes: positions before heads, no axis of a batch.
fn as_llama_cpp_names_it(model: &str, tables: [Table; 3]) -> Arrays {
    let model = models::open(model).unwrap();
    let ids = model.fixture.as_ref().unwrap().case("short").unwrap().manifest.ids[0].clone();
    let llama = Llama::load(&model.weights, &Device::Cpu, DType::F32, Attention::Plain).unwrap();
    let mut recorded = Recorded::default();
    llama.forward(&Input::single(&ids, 0), &mut llama.new_cache(), &mut recorded).unwrap();
    let mut arrays = Arrays::new();
    for (site, tensor) in recorded.0 {
        let (layer, kind) = match site.strip_prefix("model.layers.") {
            Some(rest) => rest.split_once('.').unwrap_or((rest, "")),
            None => ("", &*site),
        };
        let Some((_, name)) = tables.into_iter().flatten().find(|(known, _)| *known == kind) else {
            continue;
        };
        let tensor = if kind.ends_with("_rope") { tensor.transpose(1, 2).unwrap() } else { tensor };
        arrays.insert(name.replace("{N}", layer), tensor.squeeze(0).unwrap().contiguous().unwrap());
    }
    with_ids(arrays, &ids)
}

fn judged(model: &str, arrays: &Arrays, metadata: &[(&str, &str)]) -> Run {
    let folder = tempdir().unwrap();
    Run::of(&write_stating(folder.path(), arrays, metadata), &["--model", model])
}

/// The converter of GGUF files permutes q and k of a Llama, and of no other family.
#[rstest]
#[case::qwen2("tiny-qwen2", &[])]
#[case::qwen3("tiny-qwen3", QWEN3)]
fn q_and_k_under_llama_cpp_s_names_have_the_order_of_the_family_s_gguf_files(
    #[case] model: &str,
    #[case] own: Table,
) {
    let mut arrays = as_llama_cpp_names_it(model, [COMMON, LLAMA, own]);
    let found = judged(model, &arrays, &[]);
    assert_eq!(
        (found.code, found.notes().len(), covered(&found)),
        (0, 1, arrays.len() - 1),
        "{}",
        found.text
    );
    let wrong = (&arrays["Qcur-1 (ROPE)"] * 1.25).unwrap();
    arrays.insert("Qcur-1 (ROPE)".into(), wrong);
    let found = judged(model, &arrays, &[]);
    assert_eq!((found.code, found.failed()[0]), (1, "01B"), "{}", found.text);
}

/// A port that read its weights from a Hugging Face directory, and uses llama.cpp's names.
#[test]
fn under_llama_cpp_s_names_the_order_of_hugging_face_is_recognised_too() {
    let arrays = as_llama_cpp_names_it("tiny-llama", [COMMON, LLAMA, &[]]);
    let found = judged("tiny-llama", &arrays, &[("names", "llama.cpp")]);
    assert_eq!((found.code, covered(&found)), (0, arrays.len() - 1), "{}", found.text);
    assert_eq!(
        found.notes(),
        [
            "elements of q and k are in the order of Hugging Face's weights, not in that of this model's GGUF files; model.layers.0.self_attn.probs was computed from them; to state it: \"layout\": \"half-split\" in the metadata"
        ],
        "{}",
        found.text
    );
    let few = only(arrays, &["attn_norm-0", "Qcur-0 (MUL_MAT)", "Kcur-0 (MUL_MAT)", "Qcur-0 (ROPE)"]);
    let found = judged("tiny-llama", &few, &[("names", "llama.cpp")]);
    assert_eq!(found.code, 2, "{}", found.text);
    assert!(found.text.contains("state it: \"layout\": \"half-split\" in the metadata"), "{}", found.text);
}

/// `ffn_norm` and `result_output` mean other sites than in a Llama; names that only Gemma has say which.
#[rstest]
#[case::gemma2("tiny-gemma2", GEMMA2, "llama.cpp-gemma2", "llama.cpp's Gemma 2")]
#[case::gemma3("tiny-gemma3", GEMMA3, "llama.cpp-gemma3", "llama.cpp's Gemma 3")]
fn the_names_of_llama_cpp_in_a_gemma_are_recognised(
    #[case] model: &str,
    #[case] own: Table,
    #[case] id: &str,
    #[case] name: &str,
) {
    let mut arrays = as_llama_cpp_names_it(model, [COMMON, GEMMA, own]);
    let judged = |arrays: &Arrays, metadata: &[(&str, &str)]| judged(model, arrays, metadata);
    let found = judged(&arrays, &[]);
    assert_eq!((found.code, covered(&found)), (0, arrays.len() - 1), "{}", found.text);
    assert!(found.notes()[0].contains(&format!("names are those of {name}, ")), "{}", found.text);
    let stated = judged(&arrays, &[("names", id)]);
    assert!(stated.code == 0 && !stated.text.contains("names are those of"), "{}", stated.text);
    let wrong = (&arrays["sa_out-1"] * 1.25).unwrap();
    arrays.insert("sa_out-1".into(), wrong);
    let found = judged(&arrays, &[]);
    assert_eq!((found.code, found.failed()[0]), (1, "06"), "{}", found.text);
}
