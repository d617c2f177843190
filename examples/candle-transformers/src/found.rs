//! Reproduces findings 1 to 7 of `docs/candle-findings.md`, each in its smallest form.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{self, Content, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Result, Tensor};
use rbees_check::models;
use rbees_check::probe::Arithmetic::Dense;
use rbees_check::reference::Reference;
use rbees_check::weights::Weights;

use crate::driving::{WAYS, description, judge_logits};
use crate::ports::{Float, LastLogits, Quantized, parse, tensors};
use crate::{fixtures, smollm2};

/// The config as transformers 4 wrote it, with θ at the top level.
pub const SMOLLM2: &str = r#"{"hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9,
    "num_key_value_heads": 3, "num_hidden_layers": 30, "vocab_size": 49152, "rms_norm_eps": 1e-5,
    "max_position_embeddings": 8192, "tie_word_embeddings": true, "rope_theta": 100000.0}"#;

const IDS: [u32; 9] = [1, 300, 261, 320, 381, 270, 44, 12, 301];

/// transformers 5 writes θ and scaling only to `rope_parameters`.
pub fn rope_parameters() -> Result<()> {
    let new = SMOLLM2.replace(
        "\"rope_theta\": 100000.0",
        "\"rope_parameters\": {\"rope_theta\": 100000.0, \"rope_type\": \"default\"}",
    );
    println!(
        "\n1  config.json of transformers 5: θ read as {}, the file says {}",
        parse(&new).rope_theta,
        100000.0
    );
    let llama3 = SMOLLM2.replace(
        "\"rope_theta\": 100000.0",
        "\"rope_parameters\": {\"rope_theta\": 500000.0, \"rope_type\": \"llama3\", \"factor\": 32.0, \
         \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 8192}",
    );
    println!(
        "   with llama3 scaling: θ read as {}, scaling {:?}",
        parse(&llama3).rope_theta,
        parse(&llama3).rope_scaling
    );
    if smollm2().is_some() {
        let weights = models::open("smollm2-135m")?.weights;
        let mut port = Float::on(&weights, &new, DType::F32)?;
        let case = Reference::open(fixtures("smollm2-135m/short"))?;
        println!(
            "   SmolLM2 with that config, in one pass: {}",
            description(&judge_logits(&mut port, &case, (DType::F32, Dense), WAYS[0])?)
        );
    }
    Ok(())
}

/// A file that is cut off in a tensor that the reader treats as optional.
pub fn output_weight() -> Result<()> {
    let whole = fixtures("tiny-llama2/gguf/tiny-llama2-f16.gguf");
    let bytes = std::fs::read(&whole)?;
    let path = scratch("truncated.gguf");
    std::fs::write(&path, &bytes[..bytes.len() - 1])?;
    let case = Reference::open(fixtures("tiny-llama2/short"))?;
    println!("\n2  a GGUF file without its last byte, which belongs to output.weight:");
    match Quantized::open(&path) {
        Err(error) => println!("   refused: {}", first_line(&error)),
        Ok(mut port) => {
            println!(
                "   opens; in one pass: {}",
                description(&judge_logits(&mut port, &case, (DType::F32, Dense), WAYS[0])?)
            )
        }
    }
    match Weights::open(&path) {
        Err(error) => println!("   this project: {error}"),
        Ok(_) => println!("   this project opens it too"),
    }
    std::fs::remove_file(&path)?;
    Ok(())
}

/// The tensor with the wavelengths of Llama 3.1's scaling, as llama.cpp's converter writes it.
pub fn rope_freqs() -> Result<()> {
    let plain = fixtures("tiny-llama2/gguf/tiny-llama2-f16.gguf");
    let scaled = scratch("rope-freqs.gguf");
    let eights = QTensor::quantize(&Tensor::full(8f32, 16, &Device::Cpu)?, GgmlDType::F32)?;
    with_tensor(&plain, &scaled, "rope_freqs.weight", eights)?;
    let of = |path: &Path| Quantized::open(path)?.last(&IDS, 0);
    println!("\n3  rope_freqs.weight of 8 in every pair: logits {}", same(&of(&plain)?, &of(&scaled)?));
    std::fs::remove_file(&scaled)?;
    Ok(())
}

/// A model with `attention_bias` in its Hugging Face config.
pub fn biases(weights: &Weights, config: &str) -> Result<()> {
    let biased = config.replace("\"attention_bias\": false", "\"attention_bias\": true");
    let mut with: HashMap<String, Tensor> = tensors(weights)?;
    for (name, width) in [("q_proj", 128), ("k_proj", 128), ("v_proj", 128), ("o_proj", 128)] {
        let bias = Tensor::full(1f32, width, &Device::Cpu)?;
        (0..3).for_each(|layer| {
            _ = with.insert(format!("model.layers.{layer}.self_attn.{name}.bias"), bias.clone())
        });
    }
    let plain = Float::on(weights, config, DType::F32)?.last(&IDS, 0)?;
    let biased = Float::new(with, parse(&biased), DType::F32)?.last(&IDS, 0)?;
    println!("\n4  attention_bias: true, biases of 1 in every projection: logits {}", same(&plain, &biased));
    Ok(())
}

/// A `head_dim` that is not width / heads: `tiny-llama` has 6 heads of 32 and a width of 128.
pub fn head_dim() -> Result<()> {
    let weights = models::open("tiny-llama")?.weights;
    let config = std::fs::read_to_string(fixtures("tiny-llama/config.json"))?;
    let loaded = quietly(|| Float::on(&weights, &config, DType::F32).map(drop));
    println!("\n5  head_dim 32 on width 128 with 6 heads\n   llama: {loaded}");
    let file = fixtures("tiny-llama/gguf/tiny-llama-f16.gguf");
    println!("   quantized_llama: {}", quietly(|| Quantized::open(&file)?.last(&IDS, 0).map(drop)));
    Ok(())
}

/// A token at the first position after the end of the context.
pub fn context(weights: &Weights, config: &str) -> Result<()> {
    println!("\n6  the end of the context");
    let mut port = Float::on(weights, config, DType::F32)?;
    println!("   llama, 1024 positions, a token at 1023: {}", quietly(|| port.last(&[5], 1023).map(drop)));
    port.begin()?;
    println!("   llama, 1024 positions, a token at 1024: {}", quietly(|| port.last(&[5], 1024).map(drop)));
    let mut port = Quantized::open(&fixtures("tiny-llama2/gguf/tiny-llama2-f16.gguf"))?;
    for at in [1024, 4095, 4096] {
        port.begin()?;
        println!(
            "   quantized_llama, 1024 positions, a token at {at}: {}",
            quietly(|| port.last(&[5], at).map(drop))
        );
    }
    if let Some(file) = smollm2() {
        let mut port = Quantized::open(&file)?;
        println!(
            "   quantized_llama, 8192 positions, a token at 4096: {}",
            quietly(|| port.last(&[5], 4096).map(drop))
        );
    }
    Ok(())
}

/// A cache that still holds another sequence, or a token that is fed twice at the same position.
pub fn cache(weights: &Weights, config: &str) -> Result<()> {
    println!("\n7  a used cache");
    let mut float = Float::on(weights, config, DType::F32)?;
    let mut quantized = Quantized::open(&fixtures("tiny-llama2/gguf/tiny-llama2-f16.gguf"))?;
    let ports: [(&str, &mut dyn LastLogits); 2] =
        [("llama", &mut float), ("quantized_llama", &mut quantized)];
    for (name, port) in ports {
        port.begin()?;
        let alone = port.last(&[1], 0)?;
        port.last(&IDS[1..], 1)?;
        println!("   {name}, one token at 0 on a used cache: logits {}", same(&alone, &port.last(&[1], 0)?));
        port.begin()?;
        port.last(&IDS, 0)?;
        println!(
            "   {name}, two tokens at 0 on a used cache: {}",
            quietly(|| port.last(&IDS[..2], 0).map(drop))
        );
        port.begin()?;
        port.last(&IDS[..4], 0)?;
        let next = port.last(&IDS[4..5], 4)?;
        println!("   {name}, the same token at 4 again: logits {}", same(&next, &port.last(&IDS[4..5], 4)?));
    }
    Ok(())
}

/// Writes a copy of a GGUF file with one more tensor.
fn with_tensor(from: &Path, to: &Path, name: &str, tensor: QTensor) -> Result<()> {
    let mut file = BufReader::new(File::open(from)?);
    let content = Content::read(&mut file)?;
    let mut held = vec![(name.to_owned(), tensor)];
    for known in content.tensor_infos.keys() {
        held.push((known.clone(), content.tensor(&mut file, known, &Device::Cpu)?));
    }
    let tensors: Vec<(&str, &QTensor)> = held.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let metadata: Vec<(&str, &Value)> =
        content.metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    gguf_file::write(&mut File::create(to)?, &metadata, &tensors)
}

pub fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("rbees-{}-{name}", std::process::id()))
}

/// `are bit-identical`, or how far they differ.
pub fn same(a: &[f32], b: &[f32]) -> String {
    let apart = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    let largest = a.iter().fold(0f32, |largest, v| largest.max(v.abs()));
    if a == b {
        "are bit-identical".into()
    } else if apart < 0.0005 {
        format!("differ by up to {apart:.0e} (largest {largest:.3})")
    } else {
        format!("differ by up to {apart:.3} (largest {largest:.3})")
    }
}

/// The result of `run`: `computed`, an error, or a panic.
pub fn quietly(run: impl FnOnce() -> Result<()>) -> String {
    std::panic::set_hook(Box::new(|_| ()));
    let done = catch_unwind(AssertUnwindSafe(run));
    _ = std::panic::take_hook();
    match done {
        Ok(Ok(())) => "computed".into(),
        Ok(Err(error)) => format!("error: {}", first_line(&error)),
        Err(panic) => {
            let message = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            format!("panic: {}", message.lines().next().unwrap_or_default())
        }
    }
}

fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
