//! The weight reader returns the names, shapes and values that a model's files contain.

mod made;

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use made::{CONFIG, GgufFile, config_with, safetensors, tensors, write_directory};
use rbees_check::weights::{Meaning, Weights, sha256_of};
use rstest::rstest;

const Q: &str = "model.layers.1.self_attn.q_proj.weight";
const DOWN: &str = "model.layers.1.mlp.down_proj.weight";

fn directory(config: &str) -> rbees_check::Result<Weights> {
    let dir = tempfile::tempdir().unwrap();
    write_directory(dir.path(), config, &tensors());
    Weights::open(dir.path())
}

fn gguf(file: &GgufFile) -> rbees_check::Result<Weights> {
    let dir = tempfile::tempdir().unwrap();
    Weights::open(&file.write(dir.path()))
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn refusal<T: std::fmt::Debug>(result: rbees_check::Result<T>) -> String {
    let error = result.unwrap_err();
    let line = error.to_string();
    assert!(!line.contains('\n') && error.hint().is_some_and(|hint| !hint.is_empty()), "{line}");
    line
}

#[test]
fn both_formats_give_the_same_names_shapes_and_canonical_values() {
    let (directory, gguf) = (directory(CONFIG).unwrap(), gguf(&GgufFile::tiny()).unwrap());
    let known = tensors();
    assert_eq!(directory.names(), known.keys().cloned().collect::<Vec<_>>());
    assert_eq!(gguf.names(), directory.names());
    for (name, (shape, want)) in known {
        assert_eq!(directory.shape(&name).unwrap(), shape, "{name}");
        assert_eq!(gguf.shape(&name).unwrap(), shape, "{name}");
        assert_eq!(values(&directory.canonical(&name).unwrap()), want, "{name}");
        if name != DOWN {
            assert_eq!(values(&gguf.canonical(&name).unwrap()), want, "{name}");
        }
    }
}

#[test]
fn gguf_q_rows_keep_their_interleaved_order() {
    let weights = gguf(&GgufFile::tiny()).unwrap();
    let (stored, (_, want)) = (weights.tensor(Q, DType::F32, &Device::Cpu).unwrap(), &tensors()[Q]);
    let stored = values(&stored);
    // Row 1 of a head is its row 3 in Hugging Face's order: pairs are half of head_dim (6) apart there.
    assert_eq!(stored[32..64], want[3 * 32..4 * 32]);
}

#[test]
fn quantised_tensors_are_available_as_blocks_and_as_floats() {
    let weights = gguf(&GgufFile::tiny()).unwrap();
    assert!(weights.is_quantized());
    let dense = values(&weights.canonical(DOWN).unwrap());
    assert_eq!(dense[..32], (-16..16).map(|v| v as f32).collect::<Vec<_>>());
    let blocks = weights.quantized(DOWN, &Device::Cpu).unwrap();
    assert_eq!(values(&blocks.dequantize(&Device::Cpu).unwrap()), dense);
}

#[test]
fn f16_and_bf16_tensors_are_read_with_their_values() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = GgufFile::tiny();
    for (name, code) in [("blk.0.ffn_norm.weight", 1), ("blk.1.ffn_norm.weight", 30)] {
        let norm = file.tensor(name);
        norm.code = code;
        let half =
            if code == 1 { half::f16::from_f32(1.5).to_bits() } else { half::bf16::from_f32(1.5).to_bits() };
        norm.data = half.to_le_bytes().repeat(32);
    }
    let weights = Weights::open(&file.write(dir.path())).unwrap();
    for layer in 0..2 {
        let norm =
            weights.canonical(&format!("model.layers.{layer}.post_attention_layernorm.weight")).unwrap();
        assert_eq!(values(&norm), [1.5; 32]);
    }
}

#[rstest]
#[case::rope_frequencies(
    "rope_freqs.weight",
    "`rope_freqs.weight`: it has shape [32], but a head has 3 pairs"
)]
#[case::bias_of_a_norm(
    "blk.0.attn_norm.bias",
    "`model.layers.0.input_layernorm.bias`: a bias there is not supported"
)]
#[case::bias_of_one_layer(
    "blk.1.attn_q.bias",
    "`model.layers.1.self_attn.q_proj.bias`: a bias there is not supported"
)]
fn a_gguf_tensor_that_changes_the_arithmetic_is_refused(#[case] name: &str, #[case] why: &str) {
    let mut file = GgufFile::tiny();
    let mut extra = file.tensor("output_norm.weight").clone();
    extra.name = name.into();
    file.tensors.push(extra);
    let line = refusal(gguf(&file));
    assert!(line.contains(why), "{line}");
}

/// Row r of q in the file is row `order[r]` of Hugging Face's; the bias has the same order.
#[test]
fn biases_of_a_gguf_file_are_read_in_the_row_order_of_their_matrix() {
    let mut file = GgufFile::tiny();
    for (layer, first) in [(0, 0.0), (1, 100.0)] {
        let bias: Vec<f32> = (0..24).map(|row| first + row as f32).collect();
        let name = format!("model.layers.{layer}.self_attn.q_proj.bias");
        file.tensors.push(made::GgufTensor::of(&name, &[24], &bias));
    }
    let weights = gguf(&file).unwrap();
    assert_eq!(weights.config().biases.iter().collect::<Vec<_>>(), ["self_attn.q_proj"]);
    let stored = weights.tensor("model.layers.1.self_attn.q_proj.bias", DType::F32, &Device::Cpu).unwrap();
    let canonical = weights.canonical("model.layers.1.self_attn.q_proj.bias").unwrap();
    // Heads of 6 rows: halves in Hugging Face's order, neighbours in the file's.
    assert_eq!(values(&canonical)[..6], [0, 2, 4, 1, 3, 5].map(|row| values(&stored)[row]));
}

#[test]
fn a_missing_tensor_is_an_error_that_names_it() {
    for name in tensors().keys().filter(|name| *name != "lm_head.weight") {
        let dir = tempfile::tempdir().unwrap();
        let mut rest = tensors();
        rest.remove(name);
        write_directory(dir.path(), CONFIG, &rest);
        let line = refusal(Weights::open(dir.path()));
        assert!(line.ends_with(&format!("tensor `{name}` is missing")), "{line}");
    }
}

#[test]
fn a_gguf_without_an_output_matrix_ties_the_embeddings() {
    let mut file = GgufFile::tiny();
    file.tensors.retain(|tensor| tensor.name != "output.weight");
    let weights = gguf(&file).unwrap();
    assert!(weights.config().tie_word_embeddings);
    assert!(!weights.names().contains(&"lm_head.weight".to_owned()));
}

/// The model with more tensors, opened.
fn with_more(config: &str, more: &[(&str, Vec<f32>)]) -> Weights {
    let dir = tempfile::tempdir().unwrap();
    let mut all = tensors();
    all.extend(more.iter().map(|(name, values)| ((*name).to_owned(), (vec![values.len()], values.clone()))));
    write_directory(dir.path(), config, &all);
    Weights::open(dir.path()).unwrap()
}

/// θ^(−2i / 6) of the three pairs.
fn frequencies(theta: f64) -> Vec<f32> {
    (0..3).map(|pair| theta.powf(-2.0 * f64::from(pair) / 6.0) as f32).collect()
}

#[rstest]
#[case::a_bias("model.layers.0.self_attn.q_proj.bias", vec![0.5; 24], Some("a bias"))]
#[case::a_bias_of_zeros("model.layers.0.self_attn.q_proj.bias", vec![0.0; 24], None)]
#[case::a_norm_of_queries("model.layers.1.self_attn.q_norm.weight", vec![1.0; 6], Some("a norm of queries or keys"))]
#[case::a_scale("model.layers.1.mlp.up_proj.weight_scale", vec![0.5], Some("a scale of quantised weights"))]
#[case::a_scale_of_1("model.layers.1.mlp.up_proj.weight_scale", vec![1.0], None)]
#[case::a_layer_too_many("model.layers.2.input_layernorm.weight", vec![1.0; 32], Some("a part of a layer beyond the 2 of the config"))]
#[case::the_configs_frequencies("model.layers.0.self_attn.rotary_emb.inv_freq", frequencies(3e4), None)]
#[case::other_frequencies(
    "model.layers.0.self_attn.rotary_emb.inv_freq",
    frequencies(1e4),
    Some("frequencies of another rotation: that of pair 1 is 4.6415")
)]
#[case::more_frequencies("rotary_emb.inv_freq", vec![1.0; 4], Some("frequencies of a rotation with another number of pairs than 3"))]
fn unused_tensors_are_listed_with_what_they_would_change(
    #[case] name: &str,
    #[case] values: Vec<f32>,
    #[case] change: Option<&str>,
) {
    let unread = with_more(CONFIG, &[(name, values)]).unread();
    assert_eq!((unread.len(), unread[0].name.as_str()), (1, name));
    match (&unread[0].meaning, change) {
        (Meaning::Nothing, None) => {}
        (Meaning::Changes(what), Some(why)) => assert!(what.starts_with(why), "{what}"),
        (other, _) => panic!("{other:?}"),
    }
}

#[test]
fn an_unused_tensor_of_a_gguf_file_is_listed() {
    let mut file = GgufFile::tiny();
    let mut extra = file.tensor("output_norm.weight").clone();
    extra.name = "blk.0.attn_q_norm.weight".into();
    file.tensors.push(extra);
    let unread = gguf(&file).unwrap().unread();
    assert_eq!((unread.len(), unread[0].name.as_str()), (1, "model.layers.0.self_attn.q_norm.weight"));
    assert_eq!(unread[0].meaning, Meaning::Changes("a norm of queries or keys".into()));
}

#[test]
fn notes_about_unused_tensors_name_a_few() {
    let more: Vec<String> = (0..4).map(|n| format!("extra.{n}")).collect();
    let mut more: Vec<(&str, Vec<f32>)> = more.iter().map(|name| (name.as_str(), vec![1.0])).collect();
    more.push(("model.layers.0.mlp.up_proj.bias", vec![1.0; 64]));
    let weights = with_more(CONFIG, &more);
    assert_eq!(
        weights.unread_notes(),
        [
            "the model does not use 1 tensor of the file, which would change the result: `model.layers.0.mlp.up_proj.bias`",
            "the model does not use 4 tensors of the file, whose meaning is not known: `extra.0`, `extra.1`, `extra.2`, …",
        ]
    );
}

/// The model with tied embeddings, in whose files `change` has been made.
fn tied(change: impl FnOnce(&mut BTreeMap<String, (Vec<usize>, Vec<f32>)>)) -> Weights {
    let dir = tempfile::tempdir().unwrap();
    let mut all = tensors();
    change(&mut all);
    write_directory(dir.path(), &config_with("tie_word_embeddings", "true"), &all);
    Weights::open(dir.path()).unwrap()
}

/// As transformers 5 does: huggingface/transformers#42612.
#[test]
fn a_tied_model_with_two_different_matrices_uses_both() {
    let weights = tied(|_| ());
    assert!(!weights.config().tie_word_embeddings && weights.unread().is_empty());
    assert_eq!(values(&weights.canonical("lm_head.weight").unwrap()), tensors()["lm_head.weight"].1);
    assert!(weights.notes()[0].ends_with("both are used as they are, as in transformers 5"));
}

#[test]
fn a_tied_model_with_two_equal_matrices_or_one_is_tied() {
    let embedding = tensors()["model.embed_tokens.weight"].clone();
    let equal = tied(|all| drop(all.insert("lm_head.weight".into(), embedding.clone())));
    assert!(equal.config().tie_word_embeddings && equal.notes().is_empty());
    assert_eq!(equal.unread()[0].meaning, Meaning::Nothing);

    let only_head = tied(|all| drop(all.remove("model.embed_tokens.weight")));
    assert!(only_head.config().tie_word_embeddings);
    let used = values(&only_head.canonical("model.embed_tokens.weight").unwrap());
    assert_eq!(used, tensors()["lm_head.weight"].1);
    assert!(only_head.notes()[0].starts_with("`model.embed_tokens.weight` is missing, so `lm_head.weight`"));
}

#[rstest]
#[case::compiled("_orig_mod.")]
#[case::data_parallel("module.")]
#[case::peft("base_model.model.")]
#[case::text_part("language_model.")]
fn wrapped_tensor_names_are_recognised_and_noted(#[case] wrapper: &str) {
    let dir = tempfile::tempdir().unwrap();
    let wrapped = tensors().into_iter().map(|(name, tensor)| (format!("{wrapper}{name}"), tensor)).collect();
    write_directory(dir.path(), CONFIG, &wrapped);
    let weights = Weights::open(dir.path()).unwrap();
    assert_eq!(values(&weights.canonical(Q).unwrap()), tensors()[Q].1);
    let note = format!(
        "21 tensor names were adapted: for example, `{wrapper}lm_head.weight` is read as `lm_head.weight`"
    );
    assert_eq!((weights.notes(), weights.unread()), (&[note][..], vec![]));
}

#[test]
fn names_without_model_in_front_are_recognised() {
    let dir = tempfile::tempdir().unwrap();
    let bare =
        tensors().into_iter().map(|(name, t)| (name.trim_start_matches("model.").to_owned(), t)).collect();
    write_directory(dir.path(), CONFIG, &bare);
    let weights = Weights::open(dir.path()).unwrap();
    assert_eq!(values(&weights.canonical(Q).unwrap()), tensors()[Q].1);
    assert!(weights.notes()[0].starts_with("20 tensor names were adapted"));
}

#[test]
fn shards_are_read_through_their_index_and_must_be_inside_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let mut second = tensors();
    let first = second.split_off("model.layers.1");
    std::fs::write(dir.path().join("config.json"), CONFIG).unwrap();
    std::fs::write(dir.path().join("a.safetensors"), safetensors(&first)).unwrap();
    std::fs::write(dir.path().join("b.safetensors"), safetensors(&second)).unwrap();
    let index = |a: &str, b: &str| {
        let map = first.keys().map(|name| (name, a)).chain(second.keys().map(|name| (name, b)));
        let map: std::collections::BTreeMap<_, _> = map.collect();
        let text = serde_json::json!({ "metadata": {}, "weight_map": map }).to_string();
        std::fs::write(dir.path().join("model.safetensors.index.json"), text).unwrap();
        Weights::open(dir.path())
    };
    let weights = index("a.safetensors", "b.safetensors").unwrap();
    assert_eq!(values(&weights.canonical(Q).unwrap()), tensors()[Q].1);
    for (a, b, why) in [
        ("../a.safetensors", "b.safetensors", "not a plain file name"),
        ("/etc/passwd", "b.safetensors", "not a plain file name"),
        ("c.safetensors", "b.safetensors", "names `c.safetensors`, which does not exist"),
        ("b.safetensors", "a.safetensors", "but it is not there"),
    ] {
        let line = refusal(index(a, b));
        assert!(line.contains(why), "{line}");
    }
}

#[test]
fn paths_that_are_not_a_model_are_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    for (path, why) in [
        (dir.path().join("nowhere"), "No such file"),
        (dir.path().to_owned(), "config.json: No such file"),
        (file("empty.gguf", b""), "is empty"),
        (file("readme.txt", b"hello, this is no model"), "is not a GGUF file"),
        (file("part.safetensors", b"x"), "is only a part of a model"),
    ] {
        let line = refusal(Weights::open(&path));
        assert!(line.contains(why), "{line}");
    }
    std::fs::write(dir.path().join("config.json"), CONFIG).unwrap();
    std::fs::remove_file(dir.path().join("part.safetensors")).unwrap();
    assert!(refusal(Weights::open(dir.path())).contains("has no model.safetensors"));
}

#[test]
fn the_only_shard_of_a_directory_is_read_without_an_index_if_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = tensors();
    std::fs::write(dir.path().join("config.json"), CONFIG).unwrap();
    let shard = dir.path().join("model-00001-of-00001.safetensors");
    std::fs::write(&shard, made::safetensors(&all)).unwrap();
    let weights = Weights::open(dir.path()).unwrap();
    assert_eq!(values(&weights.canonical(Q).unwrap()), all[Q].1);
    assert!(weights.notes()[0].contains("`model-00001-of-00001.safetensors` is read as the whole model"));
    all.remove(Q);
    std::fs::write(&shard, made::safetensors(&all)).unwrap();
    assert!(refusal(Weights::open(dir.path())).contains(&format!("tensor `{Q}` is missing")));
    // Of two shards, neither is the whole model.
    std::fs::copy(&shard, dir.path().join("b.safetensors")).unwrap();
    assert!(refusal(Weights::open(dir.path())).contains("has no model.safetensors"));
}

#[test]
fn replacing_a_tensor_changes_only_that_tensor_and_the_hash() {
    let mut weights = gguf(&GgufFile::tiny()).unwrap();
    let before = weights.sha256().unwrap();
    let norm = "model.norm.weight";
    weights.replace(norm, Tensor::zeros(32, DType::F32, &Device::Cpu).unwrap());
    assert_eq!(values(&weights.canonical(norm).unwrap()), [0.0; 32]);
    assert_eq!(values(&weights.canonical(Q).unwrap()), tensors()[Q].1);
    assert_ne!(weights.sha256().unwrap(), before);
    weights.replace(norm, Tensor::zeros(31, DType::F32, &Device::Cpu).unwrap());
    assert_eq!(
        weights.lint(),
        [format!(
            "tensor `{norm}` has shape [31], but the configuration requires [32]: `llama.embedding_length` is 32 in the metadata"
        )]
    );
}

#[test]
fn the_hash_of_a_tensor_equals_sha256sum() {
    // printf '\0\0\200\077\0\0\0\300' | sha256sum
    let tensor = Tensor::new(&[1f32, -2.0], &Device::Cpu).unwrap();
    let want = "ee4ac73c2bd27756ab82780f27c73a7bc4d3f0bb6acb37e008bc27eccd7e588b";
    assert_eq!(sha256_of(&tensor).unwrap(), want);
}

#[test]
fn the_description_of_a_model_is_one_line() {
    assert_eq!(
        gguf(&GgufFile::tiny()).unwrap().describe(),
        "2 layers, width 32, 4 heads on 2 kv heads · 20 F32, 1 Q8_0"
    );
}
