//! Reproduces findings 8 to 19 of `docs/candle-findings.md`, each in its smallest form. `expected` is what this project's
//! own model does, `got` what candle-transformers does.

use candle_core::quantized::gguf_file::{self, Content, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Result, Tensor};
use rbees_check::model::{Attention, Llama};
use rbees_check::probe::Arithmetic::{Blocks32, Dense};
use rbees_check::reference::Reference;
use rbees_check::weights::Weights;
use serde_json::json;

use crate::driving::{WAYS, Way, description, judge_logits};
use crate::families::{Ours, Port, Tiny};
use crate::fixtures;
use crate::found::{quietly, same, scratch};
use crate::ports::LastLogits;

const IN_ONE_PASS: Way = WAYS[0];
const IN_CHUNKS: Way = WAYS[1];
/// The only way in which `gemma3` runs: see finding 13.
const TOKEN_BY_TOKEN: Way = WAYS[2];

/// The same question to both sides, about two inputs or two models.
fn ask(what: &str, of: impl Fn(bool, bool) -> Result<Vec<f32>>) -> Result<()> {
    let answer = |ours: bool| Ok::<_, candle_core::Error>(same(&of(ours, false)?, &of(ours, true)?));
    println!("   {what}: logits\n      expected: {}\n      got:      {}", answer(true)?, answer(false)?);
    Ok(())
}

/// The logits of the last of `ids`, fed in this way, by this project's model or by candle-transformers'.
fn logits(ours: bool, tiny: &Tiny, dtype: DType, way: Way, ids: &[u32]) -> Result<Vec<f32>> {
    if ours { way.1(&mut tiny.ours(dtype)?, ids) } else { way.1(&mut tiny.port(dtype)?, ids) }
}

/// The first of the tokens is another one if `exchanged`.
fn ids(count: u32, exchanged: bool) -> Vec<u32> {
    let first = if exchanged { 99 } else { 7 };
    std::iter::once(first).chain(8..7 + count).collect()
}

/// One layer with a window of 5: the logits after six tokens must not depend on the first one.
pub fn window() -> Result<()> {
    println!("\n8  a window of 5 in the only layer; the first of six tokens is exchanged, in one pass");
    for family in ["mistral", "gemma2", "gemma3"] {
        let tiny = Tiny::open(family)?.cut(1);
        let of = |ours, other| logits(ours, &tiny, DType::F32, IN_ONE_PASS, &ids(6, other));
        ask(family, of)?;
    }
    Ok(())
}

pub fn cached_keys() -> Result<()> {
    println!("\n9  the same, token by token");
    for family in ["mistral", "gemma2", "gemma3"] {
        let tiny = Tiny::open(family)?.cut(1);
        let of = |ours, other| logits(ours, &tiny, DType::F32, TOKEN_BY_TOKEN, &ids(6, other));
        ask(family, of)?;
    }
    Ok(())
}

pub fn scale() -> Result<()> {
    println!("\n10 query_pre_attn_scalar 4 and 400");
    for family in ["gemma2", "gemma3"] {
        let tiny = Tiny::open(family)?;
        let of = |ours, other| {
            let told = tiny.with("query_pre_attn_scalar", json!(if other { 400 } else { 4 }));
            logits(ours, &told, DType::F32, TOKEN_BY_TOKEN, &ids(4, false))
        };
        ask(family, of)?;
    }
    Ok(())
}

/// In gemma2's first two layers, layer 1 has no window. Layer 0 attends to nothing, so that only layer 1 reaches the
/// first token.
pub fn layer_types() -> Result<()> {
    println!("\n11 which layers have the window");
    let only = Tiny::open("gemma2")?.cut(2).altered(|name, tensor| match name {
        "model.layers.0.self_attn.o_proj.weight" => tensor.zeros_like(),
        _ => Ok(tensor.clone()),
    })?;
    let of = |ours, other| logits(ours, &only, DType::F32, IN_ONE_PASS, &ids(8, other));
    ask("gemma2, only layer 1 attends, and it has no window; the first of eight tokens is exchanged", of)?;
    let qwen2 = Tiny::open("qwen2")?;
    let of = |ours, other| {
        let told = qwen2.with("sliding_window", json!(if other { 4096 } else { 5 }));
        logits(ours, &told, DType::F32, IN_ONE_PASS, &(20..40).collect::<Vec<_>>())
    };
    ask("qwen2, use_sliding_window false, sliding_window 5 and 4096", of)
}

pub fn bf16_chunks() -> Result<()> {
    println!("\n12 qwen2 in bf16, five tokens in two chunks");
    let tiny = Tiny::open("qwen2")?;
    for (side, ours) in [("expected", true), ("got     ", false)] {
        let run = || logits(ours, &tiny, DType::BF16, IN_CHUNKS, &ids(5, false)).map(drop);
        println!("      {side}: {}", quietly(run));
    }
    Ok(())
}

pub fn two_key_heads() -> Result<()> {
    println!("\n13 gemma3, one layer without a window, 3 kv heads, two tokens");
    let tiny = Tiny::open("gemma3")?;
    let global =
        tiny.cut(1).with("sliding_window_pattern", json!(1)).with("layer_types", json!(["full_attention"]));
    for (side, ours) in [("expected", true), ("got     ", false)] {
        let run = || logits(ours, &global, DType::F32, IN_ONE_PASS, &ids(2, false)).map(drop);
        println!("      {side}: {}", quietly(run));
    }
    Ok(())
}

/// The layers without a window rotate by θ and a linear scaling.
pub fn scaling() -> Result<()> {
    println!("\n14 gemma3, with a linear scaling of factor 8 in the layers without a window, and without");
    let tiny = Tiny::open("gemma3")?;
    let of = |ours, other| {
        let told = if other { tiny.unscaled() } else { tiny.clone() };
        logits(ours, &told, DType::F32, TOKEN_BY_TOKEN, &ids(12, false))
    };
    ask("gemma3", of)?;
    // What is left of the difference if this project's model makes the mistakes of findings 10 and 14 too.
    let told = tiny.unscaled().with("query_pre_attn_scalar", json!(18));
    let theirs = logits(false, &tiny, DType::F32, TOKEN_BY_TOKEN, &ids(12, false))?;
    let right = logits(true, &tiny, DType::F32, TOKEN_BY_TOKEN, &ids(12, false))?;
    let wrong = logits(true, &told, DType::F32, TOKEN_BY_TOKEN, &ids(12, false))?;
    println!("   got and the right logits {}", same(&theirs, &right));
    println!("   got and this project's model without scaling, with √head_dim {}", same(&theirs, &wrong));
    Ok(())
}

/// transformers adds 1 and multiplies in float32: a w of 2⁻⁹ makes every normed value larger by 0.2%.
pub fn one_plus_weight() -> Result<()> {
    println!("\n15 the weights of all norms are 0, or 2^-9: 1 + w is 1 in bf16");
    for family in ["gemma2", "gemma3"] {
        let tiny = Tiny::open(family)?;
        for dtype in [DType::F32, DType::BF16] {
            let of = |ours, other| {
                let set = |name: &str, tensor: &Tensor| match name.ends_with("norm.weight") {
                    true => tensor.zeros_like()? + if other { 2f64.powi(-9) } else { 0.0 },
                    false => Ok(tensor.clone()),
                };
                logits(ours, &tiny.altered(set)?, dtype, TOKEN_BY_TOKEN, &ids(4, false))
            };
            ask(&format!("{family} {}", dtype.as_str()), of)?;
        }
    }
    Ok(())
}

/// The activation of `quantized_gemma3`, in a model that has nothing else that is wrong there.
pub fn silu() -> Result<()> {
    println!("\n16 quantized_gemma3 on a file of one layer in F32, one token");
    let file = scratch("gemma3.gguf");
    one_layer_in_f32("tiny-gemma3/gguf/tiny-gemma3-f16.gguf", &file)?;
    let mut theirs = Port::of_gguf("gemma3", &file)?;
    let weights = Weights::open(&file).map_err(candle_core::Error::from)?;
    let right = Llama::load(&weights, &Device::Cpu, DType::F32, Attention::Plain)?;
    let mut wrong = right.clone();
    wrong.layers[0].mlp.activation = rbees_check::weights::Activation::Silu;
    let of = |port: &mut dyn LastLogits| port.last(&[7], 0);
    let got = of(&mut theirs)?;
    println!("   got and the right logits {}", same(&got, &of(&mut Ours::new(right))?));
    println!(
        "   got and this project's model with SiLU in the place of GELU {}",
        same(&got, &of(&mut Ours::new(wrong))?)
    );
    std::fs::remove_file(&file)?;
    Ok(())
}

/// Two tokens after cached ones.
pub fn gguf_chunks() -> Result<()> {
    println!("\n17 quantized_gemma3, six tokens, then two more");
    let path = fixtures("tiny-gemma3/gguf/tiny-gemma3-f16.gguf");
    let weights = Weights::open(&path).map_err(candle_core::Error::from)?;
    let mut right = Ours::new(Llama::load(&weights, &Device::Cpu, DType::F32, Attention::Plain)?);
    let run = |port: &mut dyn LastLogits| {
        port.last(&ids(6, false), 0)?;
        port.last(&[40, 41], 6).map(drop)
    };
    println!("      expected: {}", quietly(|| run(&mut right)));
    println!("      got     : {}", quietly(|| run(&mut Port::of_gguf("gemma3", &path)?)));
    Ok(())
}

/// The tables of sines and cosines are in f16, unless a file has a key that llama.cpp does not write.
pub fn half_angles() -> Result<()> {
    println!(
        "\n18 quantized_qwen3, 100 tokens in one pass, and a copy of the file with general.dtype 0, which means f32"
    );
    let (path, copy) = (fixtures("tiny-qwen3/gguf/tiny-qwen3-f16.gguf"), scratch("qwen3.gguf"));
    let mut file = std::io::BufReader::new(std::fs::File::open(&path)?);
    let mut content = Content::read(&mut file)?;
    content.metadata.insert("general.dtype".into(), Value::U32(0));
    rewritten(&content, &mut file, &copy, |_| true, None)?;
    let weights = Weights::open(&path).map_err(candle_core::Error::from)?;
    let mut right = Ours::new(Llama::load(&weights, &Device::Cpu, DType::F32, Attention::Plain)?);
    let right = right.last(&ids(100, false), 0)?;
    let of = |path: &std::path::Path| Port::of_gguf("qwen3", path)?.last(&ids(100, false), 0);
    println!("   got and the right logits {}", same(&of(&path)?, &right));
    println!("   got from the copy and the right logits {}", same(&of(&copy)?, &right));
    Ok(std::fs::remove_file(&copy)?)
}

/// A single token is cached in another place than several: several tokens after it do not see it.
pub fn qwen3_chunks() -> Result<()> {
    println!("\n19 quantized_qwen3, three tokens in one pass, and one and two");
    let path = fixtures("tiny-qwen3/gguf/tiny-qwen3-f16.gguf");
    let weights = Weights::open(&path).map_err(candle_core::Error::from)?;
    let right = Llama::load(&weights, &Device::Cpu, DType::F32, Attention::Plain)?;
    let of = |ours: bool, chunks: bool| {
        let mut port: Box<dyn LastLogits> =
            if ours { Box::new(Ours::new(right.clone())) } else { Box::new(Port::of_gguf("qwen3", &path)?) };
        let ids = ids(3, false);
        if !chunks {
            return port.last(&ids, 0);
        }
        port.last(&ids[..1], 0)?;
        port.last(&ids[1..], 1)
    };
    ask("quantized_qwen3", of)
}

/// Writes a copy of a GGUF file with its first layer only, in F32.
fn one_layer_in_f32(from: &str, to: &std::path::Path) -> Result<()> {
    let mut file = std::io::BufReader::new(std::fs::File::open(fixtures(from))?);
    let mut content = Content::read(&mut file)?;
    content.metadata.insert("gemma3.block_count".into(), Value::U32(1));
    // One layer with a window, and the scale that this model has.
    content
        .metadata
        .retain(|key, _| !key.starts_with("gemma3.rope.scaling") && key != "gemma3.attention.scale");
    let first = |name: &str| !name.starts_with("blk.") || name.starts_with("blk.0.");
    rewritten(&content, &mut file, to, first, Some(GgmlDType::F32))
}

/// Writes a copy of a GGUF file with these metadata and the tensors that `keep` accepts, as `kind` if it is given.
fn rewritten(
    content: &Content,
    file: &mut std::io::BufReader<std::fs::File>,
    to: &std::path::Path,
    keep: impl Fn(&str) -> bool,
    kind: Option<GgmlDType>,
) -> Result<()> {
    let mut held = Vec::new();
    for name in content.tensor_infos.keys().filter(|name| keep(name)) {
        let tensor = content.tensor(file, name, &Device::Cpu)?;
        let tensor = match kind {
            None => tensor,
            Some(kind) => QTensor::quantize(&tensor.dequantize(&Device::Cpu)?, kind)?,
        };
        held.push((name.clone(), tensor));
    }
    let tensors: Vec<(&str, &QTensor)> = held.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let metadata: Vec<(&str, &Value)> =
        content.metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    gguf_file::write(&mut std::fs::File::create(to)?, &metadata, &tensors)
}

/// Logits at every stored position, in every way.
pub fn tables() -> Result<()> {
    println!("\nother families");
    for family in ["mistral", "qwen2", "qwen3", "gemma2", "gemma3"] {
        let tiny = Tiny::open(family)?;
        for (dtype, name) in [(DType::F32, "f32"), (DType::BF16, "bf16")] {
            println!("\n{family} {name}");
            for case in ["short", "long"] {
                judged(&format!("tiny-{family}/{case}"), (dtype, Dense), &mut || tiny.port(dtype))?;
            }
        }
    }
    println!("\nmistral f32, told a window of 4 (it is 5)");
    let told = Tiny::open("mistral")?.with("sliding_window", json!(4));
    for case in ["short", "long"] {
        judged(&format!("tiny-mistral/{case}"), (DType::F32, Dense), &mut || told.port(DType::F32))?;
    }
    for family in ["qwen2", "qwen3", "gemma3"] {
        let f16 = format!("tiny-{family}/gguf/tiny-{family}-f16.gguf");
        println!("\nquantized_{family} F16");
        judged(&format!("tiny-{family}/short"), (DType::F32, Dense), &mut || {
            Port::of_gguf(family, &fixtures(&f16))
        })?;
        let q8_0 = format!("tiny-{family}-q8_0/tiny-{family}-q8_0.gguf");
        println!("\nquantized_{family} Q8_0");
        judged(&format!("tiny-{family}-q8_0/short"), (DType::F32, Blocks32), &mut || {
            Port::of_gguf(family, &fixtures(&q8_0))
        })?;
    }
    Ok(())
}

fn judged(
    case: &str,
    run: (DType, rbees_check::probe::Arithmetic),
    open: &mut dyn FnMut() -> Result<Port>,
) -> Result<()> {
    let reference = Reference::open(fixtures(case)).map_err(candle_core::Error::from)?;
    let name = case.rsplit('/').next().unwrap_or(case);
    for way in WAYS {
        let judged = judge_logits(&mut open()?, &reference, run, way)?;
        println!("  {name:<6} {:<24} {}", way.0, description(&judged));
    }
    Ok(())
}
