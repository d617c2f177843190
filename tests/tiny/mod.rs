//! A Llama with random weights in which all widths differ: hidden 48, FFN 80, 6 query heads and 2 key heads
//! with head_dim 16, a vocabulary of 97, a context of 300.

use std::collections::HashMap;
use std::fs;

use candle_core::{DType, Device, Tensor};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rbees_check::model::{Attention, Llama};
use rbees_check::weights::Weights;

const CONFIG: &str = r#"{
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "float32",
    "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 6,
    "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 97, "max_position_embeddings": 300,
    "rms_norm_eps": 3e-5, "rope_theta": 30000.0, "tie_word_embeddings": false, "hidden_act": "silu",
    "attention_bias": false, "mlp_bias": false, "rope_scaling": null, "bos_token_id": 1, "eos_token_id": 2
}"#;

/// The model in f32.
pub fn llama(attention: Attention) -> Llama {
    llama_in(DType::F32, attention)
}

/// The model in any dtype, always with the same weights.
pub fn llama_in(dtype: DType, attention: Attention) -> Llama {
    Llama::load(&weights(), &Device::Cpu, dtype, attention).unwrap()
}

/// Writes the weights to a Hugging Face directory and opens it.
pub fn weights() -> Weights {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.json"), CONFIG).unwrap();
    candle_core::safetensors::save(&tensors(), dir.path().join("model.safetensors")).unwrap();
    Weights::open(dir.path()).unwrap()
}

fn tensors() -> HashMap<String, Tensor> {
    let mut rng = StdRng::seed_from_u64(7);
    let mut matrix = |rows: usize, columns: usize| {
        let spread = (3.0 / columns as f32).sqrt();
        let values: Vec<f32> = (0..rows * columns).map(|_| rng.random_range(-spread..spread)).collect();
        Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
    };
    let norm = |salt: usize| {
        let values: Vec<f32> = (0..48).map(|i| 0.5 + ((i * 7 + salt) % 11) as f32 / 10.0).collect();
        Tensor::from_vec(values, 48, &Device::Cpu).unwrap()
    };
    let mut named = HashMap::new();
    named.insert("model.embed_tokens.weight".into(), matrix(97, 48));
    named.insert("lm_head.weight".into(), matrix(97, 48));
    named.insert("model.norm.weight".into(), norm(0));
    for layer in 0..3 {
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        named.insert(name("input_layernorm"), norm(layer + 1));
        named.insert(name("post_attention_layernorm"), norm(layer + 5));
        for (part, rows, columns) in [
            ("self_attn.q_proj", 96, 48),
            ("self_attn.k_proj", 32, 48),
            ("self_attn.v_proj", 32, 48),
            ("self_attn.o_proj", 48, 96),
            ("mlp.gate_proj", 80, 48),
            ("mlp.up_proj", 80, 48),
            ("mlp.down_proj", 48, 80),
        ] {
            named.insert(name(part), matrix(rows, columns));
        }
    }
    named
}
