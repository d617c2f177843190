//! Small models built for tests, as GGUF files and as Hugging Face directories.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;
use std::path::Path;

/// All widths differ: hidden 32, q 4 · 6, kv 2 · 6, FFN 64, vocabulary 11.
pub const HEADS: usize = 4;
pub const KV_HEADS: usize = 2;
pub const HEAD_DIM: usize = 6;

pub const CONFIG: &str = r#"{
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 6, "vocab_size": 11, "max_position_embeddings": 128,
    "rms_norm_eps": 3e-5, "rope_theta": 30000.0, "tie_word_embeddings": false,
    "attention_bias": false, "bos_token_id": null, "eos_token_id": 2
}"#;

/// `CONFIG` with one key added or changed.
pub fn config_with(key: &str, value: &str) -> String {
    let mut config: serde_json::Map<String, serde_json::Value> = serde_json::from_str(CONFIG).unwrap();
    config.insert(key.into(), serde_json::from_str(value).unwrap());
    serde_json::to_string(&config).unwrap()
}

/// The shape and values of each tensor, by Hugging Face name. All values differ.
pub fn tensors() -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let (q, kv) = (HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM);
    let mut shapes =
        vec![("model.embed_tokens", vec![11, 32]), ("model.norm", vec![32]), ("lm_head", vec![11, 32])]
            .into_iter()
            .map(|(name, shape)| (name.to_owned(), shape))
            .collect::<Vec<_>>();
    for n in 0..2 {
        for (part, shape) in [
            ("input_layernorm", vec![32]),
            ("self_attn.q_proj", vec![q, 32]),
            ("self_attn.k_proj", vec![kv, 32]),
            ("self_attn.v_proj", vec![kv, 32]),
            ("self_attn.o_proj", vec![32, q]),
            ("post_attention_layernorm", vec![32]),
            ("mlp.gate_proj", vec![64, 32]),
            ("mlp.up_proj", vec![64, 32]),
            ("mlp.down_proj", vec![32, 64]),
        ] {
            shapes.push((format!("model.layers.{n}.{part}"), shape));
        }
    }
    let mut next = 0.0;
    let mut fill = |shape: Vec<usize>| {
        let values = (0..shape.iter().product()).map(|_| {
            next += 0.125;
            next
        });
        (shape.clone(), values.collect())
    };
    shapes.into_iter().map(|(name, shape)| (format!("{name}.weight"), fill(shape))).collect()
}

/// The bytes of a safetensors file with these tensors.
pub fn safetensors(tensors: &BTreeMap<String, (Vec<usize>, Vec<f32>)>) -> Vec<u8> {
    use safetensors::tensor::{Dtype, TensorView, serialize};
    let bytes: BTreeMap<&String, Vec<u8>> = tensors
        .iter()
        .map(|(name, (_, values))| (name, values.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let view = |(name, (shape, _)): (&String, &(Vec<usize>, Vec<f32>))| {
        (name.clone(), TensorView::new(Dtype::F32, shape.clone(), &bytes[name]).unwrap())
    };
    serialize(tensors.iter().map(view), None).unwrap()
}

/// Writes a model directory.
pub fn write_directory(dir: &Path, config: &str, tensors: &BTreeMap<String, (Vec<usize>, Vec<f32>)>) {
    std::fs::write(dir.join("config.json"), config).unwrap();
    std::fs::write(dir.join("model.safetensors"), safetensors(tensors)).unwrap();
}

/// A tensor of a GGUF file. Tests may falsify any field.
#[derive(Clone)]
pub struct GgufTensor {
    pub name: String,
    /// The fastest dimension first, as in the file.
    pub dims: Vec<u64>,
    pub code: u32,
    pub data: Vec<u8>,
    /// The offset in the header, if it should differ from the actual one.
    pub offset: Option<u64>,
}

/// The contents of a GGUF file. Tests may falsify any field.
#[derive(Clone)]
pub struct GgufFile {
    pub magic: [u8; 4],
    pub version: u32,
    pub tensor_count: Option<u64>,
    pub value_count: Option<u64>,
    /// Each key, with its type code and value as bytes.
    pub metadata: Vec<(String, Vec<u8>)>,
    pub tensors: Vec<GgufTensor>,
}

pub fn text(value: &str) -> Vec<u8> {
    [&(value.len() as u64).to_le_bytes()[..], value.as_bytes()].concat()
}

pub fn value_u32(value: u32) -> Vec<u8> {
    [4u32.to_le_bytes(), value.to_le_bytes()].concat()
}

pub fn value_f32(value: f32) -> Vec<u8> {
    [6u32.to_le_bytes(), value.to_le_bytes()].concat()
}

pub fn value_bool(value: bool) -> Vec<u8> {
    [&7u32.to_le_bytes()[..], &[u8::from(value)]].concat()
}

pub fn value_text(value: &str) -> Vec<u8> {
    [&8u32.to_le_bytes()[..], &text(value)].concat()
}

pub fn value_array(code: u32, count: u64, elements: &[u8]) -> Vec<u8> {
    [&9u32.to_le_bytes()[..], &code.to_le_bytes(), &count.to_le_bytes(), elements].concat()
}

pub fn value_texts(values: &[&str]) -> Vec<u8> {
    value_array(8, values.len() as u64, &values.iter().flat_map(|v| text(v)).collect::<Vec<_>>())
}

impl GgufFile {
    /// The model of `tensors()` with llama.cpp's names and row order and a small vocabulary. All tensors are
    /// F32, except for a Q8_0 `ffn_down` of layer 1.
    pub fn tiny() -> Self {
        let metadata = [
            ("general.architecture", value_text("llama")),
            ("llama.embedding_length", value_u32(32)),
            ("llama.feed_forward_length", value_u32(64)),
            ("llama.block_count", value_u32(2)),
            ("llama.attention.head_count", value_u32(HEADS as u32)),
            ("llama.attention.head_count_kv", value_u32(KV_HEADS as u32)),
            ("llama.attention.key_length", value_u32(HEAD_DIM as u32)),
            ("llama.context_length", value_u32(128)),
            ("llama.attention.layer_norm_rms_epsilon", value_f32(3e-5)),
            ("llama.rope.freq_base", value_f32(30000.0)),
            ("tokenizer.ggml.model", value_text("gpt2")),
            ("tokenizer.ggml.pre", value_text("smollm")),
            (
                "tokenizer.ggml.tokens",
                value_texts(&["a", "b", "<|im_end|>", "ab", "Ġ", "1", "Ã", "©", "Ċ", "aba", "<|endoftext|>"]),
            ),
            (
                "tokenizer.ggml.token_type",
                value_array(5, 11, &[1i32, 1, 3, 1, 1, 1, 1, 1, 1, 1, 3].map(i32::to_le_bytes).concat()),
            ),
            ("tokenizer.ggml.merges", value_texts(&["a b", "ab a"])),
        ];
        let metadata = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let tensors =
            tensors().into_iter().map(|(name, (shape, values))| GgufTensor::of(&name, &shape, &values));
        let mut file = Self {
            magic: *b"GGUF",
            version: 3,
            tensor_count: None,
            value_count: None,
            metadata,
            tensors: tensors.collect(),
        };
        let down = file.tensor("blk.1.ffn_down.weight");
        // 64 blocks of 32 values, each a scale of 1 in f16 and the values −16 to 15.
        let block = [&[0x00, 0x3c][..], &(-16i8..16).map(|v| v as u8).collect::<Vec<_>>()].concat();
        (down.code, down.data) = (8, block.repeat(64));
        file
    }

    pub fn tensor(&mut self, name: &str) -> &mut GgufTensor {
        self.tensors.iter_mut().find(|tensor| tensor.name == name).unwrap()
    }

    pub fn set(&mut self, key: &str, value: Vec<u8>) -> &mut Self {
        self.metadata.retain(|(known, _)| known != key);
        self.metadata.push((key.to_owned(), value));
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = [&self.magic[..], &self.version.to_le_bytes()].concat();
        out.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(self.value_count.unwrap_or(self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            out.extend(text(key));
            out.extend(value);
        }
        let mut offset = 0;
        for tensor in &self.tensors {
            out.extend(text(&tensor.name));
            out.extend((tensor.dims.len() as u32).to_le_bytes());
            out.extend(tensor.dims.iter().flat_map(|dim| dim.to_le_bytes()));
            out.extend(tensor.code.to_le_bytes());
            out.extend(tensor.offset.unwrap_or(offset).to_le_bytes());
            offset += (tensor.data.len() as u64).next_multiple_of(32);
        }
        for tensor in &self.tensors {
            out.resize(out.len().next_multiple_of(32), 0);
            out.extend(&tensor.data);
        }
        out
    }

    pub fn write(&self, dir: &Path) -> std::path::PathBuf {
        let path = dir.join("model.gguf");
        std::fs::write(&path, self.bytes()).unwrap();
        path
    }
}

impl GgufTensor {
    /// An F32 tensor with llama.cpp's name. Rows of q and k are permuted as by its converter.
    /// A tensor as llama.cpp's converter writes it. The rows of matrices of q and k are permuted, the entries of vectors not.
    pub fn of(name: &str, shape: &[usize], values: &[f32]) -> Self {
        let row = shape[shape.len() - 1];
        let mut values = values.to_vec();
        if name.contains("q_proj") || name.contains("k_proj") {
            let source = values.clone();
            for (to, into) in values.chunks_mut(row).enumerate() {
                // Row 2·pair + member of a head is row member·half + pair of the source.
                let (head, within) = (to / HEAD_DIM, to % HEAD_DIM);
                let from = head * HEAD_DIM + (within % 2) * (HEAD_DIM / 2) + within / 2;
                into.copy_from_slice(&source[from * row..][..row]);
            }
        }
        let renamed = [
            ("model.layers.", "blk."),
            ("model.embed_tokens", "token_embd"),
            ("model.norm", "output_norm"),
            ("lm_head", "output"),
            ("input_layernorm", "attn_norm"),
            ("post_attention_layernorm", "ffn_norm"),
            ("self_attn.q_proj", "attn_q"),
            ("self_attn.k_proj", "attn_k"),
            ("self_attn.v_proj", "attn_v"),
            ("self_attn.o_proj", "attn_output"),
            ("mlp.gate_proj", "ffn_gate"),
            ("mlp.up_proj", "ffn_up"),
            ("mlp.down_proj", "ffn_down"),
        ];
        let name = renamed.iter().fold(name.to_owned(), |name, (from, to)| name.replace(from, to));
        let dims = shape.iter().rev().map(|&dim| dim as u64).collect();
        let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { name, dims, code: 0, data, offset: None }
    }
}
