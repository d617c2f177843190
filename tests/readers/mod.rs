//! The readers of files that a user brings. `tests/mutated.rs` gives them changed files, and `fuzz/` those that
//! libFuzzer makes.

#![allow(dead_code, reason = "the fuzz targets use one part, the tests another")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rbees_check::recording::{NameMap, Recording, Vocabulary};
use rbees_check::reference::{Fixture, Reference, Source};
use rbees_check::report::baseline;
use rbees_check::report::json::Report;
use rbees_check::report::merge::merge;
use rbees_check::tokenizer::Tokenizer;
use rbees_check::tokenizer::chat::{ChatTemplate, Message};
use rbees_check::weights::Weights;
use rbees_check::{Error, Result};

use crate::made::{self, GgufFile, GgufTensor};

/// A reader: the name of its file, what is beside it in a folder, and how the folder is read.
pub struct Reader {
    pub file: &'static str,
    pub beside: Vec<(&'static str, Vec<u8>)>,
    pub read: fn(&Path) -> Result<()>,
}

impl Reader {
    /// The size of the files beside its own.
    pub fn beside_bytes(&self) -> usize {
        self.beside.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    /// Writes the files beside its own.
    pub fn prepare(&self, folder: &Path) {
        for (name, bytes) in
            self.beside.iter().map(|(name, bytes)| (*name, &bytes[..])).chain([(self.file, &[][..])])
        {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
}

/// A model so small that most of its file is header: hidden 4, one head of 6, FFN 8, one layer, vocabulary 11.
pub const SMALL: &str = r#"{
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": 4,
    "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 6,
    "vocab_size": 11, "max_position_embeddings": 16, "rms_norm_eps": 3e-5, "rope_theta": 30000.0,
    "tie_word_embeddings": false, "bos_token_id": null, "eos_token_id": 2
}"#;

/// The tensors of [`SMALL`].
fn tensors() -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let layer = [
        ("input_layernorm", vec![4]),
        ("self_attn.q_proj", vec![6, 4]),
        ("self_attn.k_proj", vec![6, 4]),
        ("self_attn.v_proj", vec![6, 4]),
        ("self_attn.o_proj", vec![4, 6]),
        ("post_attention_layernorm", vec![4]),
        ("mlp.gate_proj", vec![8, 4]),
        ("mlp.up_proj", vec![8, 4]),
        ("mlp.down_proj", vec![4, 8]),
    ];
    let layer = layer.into_iter().map(|(part, shape)| (format!("model.layers.0.{part}.weight"), shape));
    let ends = [("model.embed_tokens", vec![11, 4]), ("model.norm", vec![4]), ("lm_head", vec![11, 4])];
    let ends = ends.into_iter().map(|(part, shape)| (format!("{part}.weight"), shape));
    let values = |shape: &[usize]| (0..shape.iter().product()).map(|n: usize| n as f32 / 8.0 + 0.5).collect();
    layer.chain(ends).map(|(name, shape)| (name, (shape.clone(), values(&shape)))).collect()
}

/// The weights of [`SMALL`].
pub fn small_safetensors() -> Vec<u8> {
    made::safetensors(&tensors())
}

/// [`SMALL`] as a GGUF file.
pub fn small_gguf() -> Vec<u8> {
    let mut file = GgufFile::tiny();
    for (key, value) in [
        ("llama.embedding_length", 4),
        ("llama.feed_forward_length", 8),
        ("llama.block_count", 1),
        ("llama.attention.head_count", 1),
        ("llama.attention.head_count_kv", 1),
        ("llama.context_length", 16),
    ] {
        file.set(key, made::value_u32(value));
    }
    file.set(
        "tokenizer.chat_template",
        made::value_text("{% for m in messages %}{{ m.content }}{% endfor %}"),
    );
    file.tensors =
        tensors().iter().map(|(name, (shape, values))| GgufTensor::of(name, shape, values)).collect();
    file.bytes()
}

fn model(path: &Path) -> Result<()> {
    let weights = Weights::open(path)?;
    weights.not_finite()?;
    weights.unread_notes();
    weights.contradictions();
    weights.describe();
    weights.sha256().map(drop)
}

fn chat() -> [Message; 2] {
    [("system", "Be brief."), ("user", " hi ")]
        .map(|(role, content)| Message { role: role.into(), content: content.into() })
}

pub fn gguf() -> Reader {
    let read = |folder: &Path| {
        let path = folder.join("model.gguf");
        model(&path)?;
        let weights = Weights::open(&path)?;
        let Some(file) = weights.gguf() else { return Ok(()) };
        let tokenizer = Tokenizer::from_gguf(&|key| file.metadata(key), "test")?;
        tokenizer.hashes()?;
        tokenizer.decode(&tokenizer.encode("ab aé 11 <|im_end|>", true)?)?;
        ChatTemplate::from_gguf(&|key| file.metadata(key), "test")?.render(&chat(), true).map(drop)
    };
    Reader { file: "model.gguf", beside: vec![], read }
}

/// A file of the directory of [`SMALL`].
fn in_directory(file: &'static str) -> Reader {
    let all = [("config.json", SMALL.as_bytes().to_vec()), ("model.safetensors", small_safetensors())];
    Reader { file, beside: all.into_iter().filter(|(name, _)| *name != file).collect(), read: model }
}

pub fn safetensors() -> Reader {
    in_directory("model.safetensors")
}

pub fn config() -> Reader {
    in_directory("config.json")
}

pub fn generation_config() -> Reader {
    in_directory("generation_config.json")
}

pub fn index() -> Reader {
    let beside = vec![("config.json", SMALL.as_bytes().to_vec()), ("a.safetensors", small_safetensors())];
    Reader { file: "model.safetensors.index.json", beside, read: model }
}

pub fn tokenizer() -> Reader {
    let read = |folder: &Path| {
        let tokenizer = Tokenizer::from_dir(folder)?;
        tokenizer.hashes()?;
        tokenizer.decode(&tokenizer.encode("the king <|im_end|> é½ 11", true)?).map(drop)
    };
    Reader { file: "tokenizer.json", beside: vec![], read }
}

pub fn template() -> Reader {
    let read = |folder: &Path| ChatTemplate::from_dir(folder)?.render(&chat(), true).map(drop);
    let config = br#"{"bos_token": "<s>", "eos_token": {"content": "</s>"}}"#.to_vec();
    Reader { file: "chat_template.jinja", beside: vec![("tokenizer_config.json", config)], read }
}

fn opened(path: &Path) -> Result<()> {
    Recording::open(path, &Vocabulary::default()).map(drop)
}

pub fn npz() -> Reader {
    Reader { file: "a.npz", beside: vec![], read: |folder| opened(&folder.join("a.npz")) }
}

pub fn recording() -> Reader {
    Reader { file: "a.safetensors", beside: vec![], read: |folder| opened(&folder.join("a.safetensors")) }
}

pub fn torch() -> Reader {
    Reader { file: "a.pt", beside: vec![], read: |folder| opened(&folder.join("a.pt")) }
}

/// An array of zeros of this type and shape, as `numpy.save` writes it.
pub fn array(descr: &str, shape: &str, bytes: usize) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}\n");
    let length = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\0", &length[..], header.as_bytes(), &vec![0; bytes]].concat()
}

pub fn npy() -> Reader {
    // Ids of one text of three tokens.
    let ids = array("<i8", "(1, 3)", 24);
    let read = |folder: &Path| opened(&folder.join("a"));
    Reader { file: "a/lm_head.npy", beside: vec![("a/input_ids.npy", ids)], read }
}

/// A file of a case, with the others beside it.
fn in_case(file: &'static str) -> Reader {
    let all = [
        ("manifest.json", &include_bytes!("../../fixtures/tiny-llama/single/manifest.json")[..]),
        ("reference.npz", include_bytes!("../../fixtures/tiny-llama/single/reference.npz")),
        ("noise.npz", include_bytes!("../../fixtures/tiny-llama/single/noise.npz")),
    ];
    let beside =
        all.into_iter().filter(|(name, _)| *name != file).map(|(name, bytes)| (name, bytes.to_vec()));
    let read = |folder: &Path| Reference::read(&Source::Folder(folder.into()), "").map(drop);
    Reader { file, beside: beside.collect(), read }
}

pub fn manifest() -> Reader {
    in_case("manifest.json")
}

pub fn reference() -> Reader {
    in_case("reference.npz")
}

pub fn noise() -> Reader {
    in_case("noise.npz")
}

/// A file of facts, with the others beside it.
fn in_facts(file: &'static str) -> Reader {
    let all = [
        ("facts.json", &include_bytes!("../../fixtures/tiny-llama2/facts.json")[..]),
        ("tokens.json", include_bytes!("../../fixtures/tiny-llama2/tokens.json")),
        ("greedy.json", include_bytes!("../../fixtures/tiny-llama2/greedy.json")),
        ("sampling.json", include_bytes!("../../fixtures/tiny-llama2/sampling.json")),
        ("sampling.npz", include_bytes!("../../fixtures/tiny-llama2/sampling.npz")),
    ];
    let beside =
        all.into_iter().filter(|(name, _)| *name != file).map(|(name, bytes)| (name, bytes.to_vec()));
    let read = |folder: &Path| {
        let fixture = Fixture { source: Source::Folder(folder.into()), cases: vec![] };
        fixture.facts()?;
        fixture.tokens()?;
        fixture.greedy()?;
        fixture.sampling().map(drop)
    };
    Reader { file, beside: beside.collect(), read }
}

pub fn facts() -> Reader {
    in_facts("facts.json")
}

pub fn tokens() -> Reader {
    in_facts("tokens.json")
}

pub fn greedy() -> Reader {
    in_facts("greedy.json")
}

pub fn sampling() -> Reader {
    in_facts("sampling.json")
}

pub fn distributions() -> Reader {
    in_facts("sampling.npz")
}

pub fn map() -> Reader {
    let read = |folder: &Path| {
        let bytes =
            fs::read(folder.join("map.toml")).map_err(|error| Error::input(error.to_string(), "none"))?;
        match toml::from_str::<NameMap>(&String::from_utf8_lossy(&bytes)) {
            Ok(map) => map.vocabulary().map(drop),
            Err(_) => Ok(()),
        }
    };
    Reader { file: "map.toml", beside: vec![], read }
}

/// A report, as `--baseline` and `merge` read it.
pub fn report() -> Reader {
    let read = |folder: &Path| {
        let path = folder.join("report.json");
        let report = Report::read(&path)?;
        let _ = baseline::changes(&report, &report).to_string();
        merge(vec![("report.json".into(), report)]).map(drop)
    };
    Reader { file: "report.json", beside: vec![], read }
}
