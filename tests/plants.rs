//! Seven mistakes made for real. Each declares the checkpoints that it must turn red; exactly those
//! must be, on every path, and the first wrong site must be the one where the mistake is.

#[allow(dead_code, reason = "each test file plants some of them")]
mod faults;

use std::collections::BTreeSet;
use std::process::ExitCode;

use candle_core::{DType, Device};
use faults::{Driven, Seen};
use libtest_mimic::{Arguments, Failed, Trial};
use rbees_check::checkpoints;
use rbees_check::judge::{self, LlamaPort, Port, Status, Subject};
use rbees_check::model::{Attention, Llama};
use rbees_check::models;
use rbees_check::weights::RopeLayout;

/// A mistake: what it does to a sound model, and what must be seen of it.
struct Plant {
    name: &'static str,
    model: &'static str,
    /// Makes the port that has it.
    port: fn(Llama) -> Box<dyn Port>,
    /// Paths on which it can be made.
    paths: &'static [Attention],
    /// All the checkpoints that turn red.
    red: &'static [&'static str],
    /// The first wrong site.
    first: &'static str,
}

const BOTH: &[Attention] = &[Attention::Plain, Attention::Fused];

const PLANTS: [Plant; 7] = [
    Plant {
        name: "wrong_rope_pairing",
        model: "tiny-llama",
        port: |mut llama| {
            llama.rope.layout = RopeLayout::Interleaved;
            Box::new(LlamaPort::new(llama))
        },
        paths: BOTH,
        red: &["01B", "06", "07", "09"],
        first: "model.layers.0.self_attn.q_rope",
    },
    Plant {
        name: "mask_ignores_the_cache",
        model: "tiny-llama",
        port: |llama| Box::new(Driven::seeing(LlamaPort::new(llama), Seen::MaskFromZero)),
        paths: &[Attention::Plain],
        red: &["04", "09"],
        first: "model.layers.0.self_attn.scores",
    },
    Plant {
        name: "query_head_h_on_kv_head_h_mod_n",
        model: "tiny-llama",
        port: |llama| {
            let (heads, kv_heads) = (llama.config.num_attention_heads, llama.config.num_key_value_heads);
            Box::new(Driven::seeing(LlamaPort::new(llama), Seen::TiledHeads { heads, kv_heads }))
        },
        paths: BOTH,
        red: &["03", "06", "07", "09"],
        first: "model.layers.0.self_attn.scores",
    },
    Plant {
        name: "eps_a_tenth",
        model: "tiny-llama",
        port: |mut llama| {
            llama.norm.eps /= 10.0;
            for block in &mut llama.layers {
                block.input_layernorm.eps /= 10.0;
                block.post_attention_layernorm.eps /= 10.0;
            }
            Box::new(LlamaPort::new(llama))
        },
        paths: BOTH,
        red: &["01", "06", "07"],
        first: "model.layers.0.input_layernorm",
    },
    Plant {
        name: "gate_and_up_swapped",
        model: "tiny-llama",
        port: |mut llama| {
            for block in &mut llama.layers {
                std::mem::swap(&mut block.mlp.gate_proj, &mut block.mlp.up_proj);
            }
            Box::new(LlamaPort::new(llama))
        },
        paths: BOTH,
        red: &["05", "06", "07", "09"],
        first: "model.layers.0.mlp.gate_proj",
    },
    Plant {
        name: "square_o_proj_transposed",
        model: "smollm2-135m",
        port: |mut llama| {
            for block in &mut llama.layers {
                let weight = block.self_attn.o_proj.floats().unwrap().t().and_then(|t| t.contiguous());
                block.self_attn.o_proj = candle_nn::Linear::new(weight.expect("a transpose"), None).into();
            }
            Box::new(LlamaPort::new(llama))
        },
        paths: BOTH,
        red: &["03", "06", "07", "09"],
        first: "model.layers.0.self_attn.o_proj",
    },
    Plant {
        name: "decode_position_stuck",
        model: "tiny-llama",
        port: |llama| Box::new(Driven::stuck(LlamaPort::new(llama))),
        paths: BOTH,
        red: &["04", "09"],
        first: "model.layers.0.self_attn.q_rope",
    },
];

fn main() -> ExitCode {
    let args = Arguments::from_args();
    let trial = |plant: &'static Plant| {
        let absent = models::open(plant.model).is_err();
        Trial::test(format!("plant_{}", plant.name), || caught(plant)).with_ignored_flag(absent)
    };
    libtest_mimic::run(&args, PLANTS.iter().map(trial).collect()).exit_code()
}

fn caught(plant: &Plant) -> Result<(), Failed> {
    let model = models::open(plant.model)?;
    let mut cases = model.fixture.as_ref().ok_or("no references")?.cases.clone();
    cases.retain(|case| case != "long"); // slow, and the short ones show each of these mistakes
    let mut subject = Subject::new(&model, &cases, &Device::Cpu, DType::F32, &[] as &[Attention])?;
    for &path in plant.paths {
        let llama = Llama::load(&model.weights, &Device::Cpu, DType::F32, path)?;
        subject.ports = vec![(plant.port)(llama)];
        let mut red = BTreeSet::new();
        let mut first = None;
        // Each alone: in a run of all of them generation would wait for the others.
        for checkpoint in checkpoints::ALL {
            let outcome = judge::run(&mut subject, checkpoint)?;
            if outcome.status() != Status::Passed {
                red.insert(checkpoint.id);
                first = first.or(outcome.failures().filter_map(|f| f.site).min());
            }
        }
        let declared: BTreeSet<&str> = plant.red.iter().copied().collect();
        let first = first.map(|site| site.to_string()).unwrap_or_default();
        // A fused kernel shows no scores: what is wrong in them is first seen in their context.
        let seen = match path {
            Attention::Plain => plant.first.to_owned(),
            Attention::Fused => plant.first.replace("scores", "context"),
        };
        if red != declared || first != seen {
            return Err(format!(
                "{path:?}: {red:?} are red, first {first}; declared {declared:?}, first {}",
                plant.first
            )
            .into());
        }
    }
    Ok(())
}
