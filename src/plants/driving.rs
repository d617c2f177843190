//! Planted mistakes in callers and in the use of logits: rows 6, 8 and 33 to 38 of the catalogue.

use std::collections::BTreeMap;

use candle_core::Tensor;
use serde_json::{Value, json};

use super::faulty::{Fault, Faulty};
use super::making::demand;
use super::plant::{PLANT, Plant};
use crate::model::{Cache, Input, Llama};
use crate::port::{LlamaPort, Port, Traits};
use crate::probe::{Kind, Probe, Site};
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};

pub const PLANTS: &[Plant] = &[
    Plant {
        name: "decode-position",
        does: "decodes every token at position 0",
        make: |correct| correct.driven(|llama| Faulty::new(LlamaPort::new(llama), Stuck)),
        fails: &["04", "09"],
        first: Some("model.layers.0.self_attn.q_rope"),
        ..PLANT
    },
    Plant {
        name: "cache-kept",
        does: "keeps one cache per batch size, and empties it only when it is full",
        make: |correct| correct.driven(|llama| KeptCaches { llama, caches: BTreeMap::new() }),
        fails: &["03", "04", "06", "07", "09"],
        first: Some("model.layers.0.self_attn.scores"),
        ..PLANT
    },
    Plant {
        name: "pad-positions",
        does: "counts padding on the left as positions",
        make: |correct| correct.driven(|llama| Faulty::new(LlamaPort::new(llama), SlotNumbers { fed: 0 })),
        fails: &["01B", "04"],
        first: Some("model.layers.0.self_attn.q_rope"),
        shows: |setting| setting.padded_left(),
        ..PLANT
    },
    Plant {
        name: "logit-row",
        does: "takes each row of logits from the row before",
        make: |correct| correct.driven(|llama| Faulty::new(LlamaPort::new(llama), RowBefore)),
        fails: &["04", "07", "09"],
        first: Some("lm_head"),
        ..PLANT
    },
    Plant {
        name: "special-tokens",
        does: "puts one more BOS before every text than the model needs",
        make: |correct| {
            correct.misread(|files| {
                let bos = files.config.bos_token_id.unwrap_or_default();
                files.tokenizer = with_another(&files.tokenizer, bos)?;
                Ok(())
            })
        },
        fails: &["00", "00B"],
        ..PLANT
    },
    Plant {
        name: "one-eos",
        does: "stops only at the first of several end-of-sequence tokens",
        make: |correct| {
            correct.misread(|files| {
                files.config.eos_token_ids.truncate(1);
                Ok(())
            })
        },
        fails: &["00", "09"],
        shows: |setting| {
            demand(setting.config.eos_token_ids.len() > 1, "this model has only one end-of-sequence token")
        },
        ..PLANT
    },
    Plant {
        name: "sampler-default",
        does: "applies a repetition penalty of 1.1 that nobody asked for",
        make: |correct| correct.driven(|llama| Faulty::new(LlamaPort::new(llama), Penalty { ids: vec![] })),
        fails: &["09"],
        ..PLANT
    },
];

struct Stuck;

impl Fault for Stuck {
    fn input(&mut self, input: &Input) -> Input {
        let mut input = input.clone();
        if input.len() == 1 {
            input.positions.iter_mut().flatten().for_each(|position| *position = 0);
        }
        input
    }
}

struct SlotNumbers {
    fed: usize,
}

impl Fault for SlotNumbers {
    fn begin(&mut self) {
        self.fed = 0;
    }

    fn input(&mut self, input: &Input) -> Input {
        let mut input = input.clone();
        let (from, len) = (self.fed, input.len());
        // Only padding on the left counts: padding after the text changes no position.
        let left = input.real.iter().any(|row| !row[0]) || from > 0;
        if left {
            input.positions.iter_mut().for_each(|row| *row = (from..from + len).collect());
        }
        self.fed += len;
        input
    }
}

struct RowBefore;

impl Fault for RowBefore {
    fn tap(&mut self, site: Site, tensor: Tensor, probe: &mut dyn Probe) -> Result<Tensor> {
        if site.kind != Kind::Logits {
            return probe.tap(site, tensor);
        }
        let rows = tensor.dim(1)?;
        let before: Vec<u32> = (0..rows as u32).map(|row| row.saturating_sub(1)).collect();
        let before = Tensor::new(before, tensor.device())?;
        probe.tap(site, tensor.index_select(&before, 1)?)
    }
}

/// The default penalty of Candle's examples.
const PENALTY: f32 = 1.1;

struct Penalty {
    /// The tokens fed so far, one list per row.
    ids: Vec<Vec<u32>>,
}

impl Fault for Penalty {
    fn begin(&mut self) {
        self.ids.clear();
    }

    fn input(&mut self, input: &Input) -> Input {
        self.ids.resize(input.batch(), vec![]);
        self.ids.iter_mut().zip(&input.ids).for_each(|(all, new)| all.extend(new));
        input.clone()
    }

    fn logits(&mut self, logits: Tensor) -> Result<Tensor> {
        let (b, s, vocab) = logits.dims3()?;
        let mut factors = vec![1f32; b * vocab];
        for (row, ids) in self.ids.iter().enumerate() {
            ids.iter().for_each(|&id| factors[row * vocab + id as usize] = PENALTY);
        }
        let factors = Tensor::from_vec(factors, (b, 1, vocab), logits.device())?.to_dtype(logits.dtype())?;
        let (up, down) = (logits.broadcast_mul(&factors)?, logits.broadcast_div(&factors)?);
        debug_assert_eq!(up.dims(), [b, s, vocab]);
        Ok(logits.lt(0f32)?.where_cond(&up, &down)?)
    }
}

/// A port that keeps its caches between prompts and empties one only when it is full.
struct KeptCaches {
    llama: Llama,
    /// One cache per batch size.
    caches: BTreeMap<usize, Cache>,
}

impl Port for KeptCaches {
    fn traits(&self) -> Traits {
        LlamaPort::new(self.llama.clone()).traits()
    }

    fn begin(&mut self) {}

    fn forward(&mut self, input: &Input, mut probe: &mut dyn Probe) -> Result<Tensor> {
        let cache = self.caches.entry(input.batch()).or_insert_with(|| self.llama.new_cache());
        if cache.room() < input.len() {
            cache.reset();
        }
        self.llama.forward(input, cache, &mut probe)
    }
}

/// The same tokenizer, which adds one more BOS before a text.
fn with_another(tokenizer: &Tokenizer, bos: u32) -> Result<Tokenizer> {
    let mut json = tokenizer.json()?;
    let token = tokenizer.token(bos).unwrap_or_default();
    let special = json!({ "SpecialToken": { "id": token, "type_id": 0 } });
    let text = json!({ "Sequence": { "id": "A", "type_id": 0 } });
    let post = &mut json["post_processor"];
    match post.get_mut("single").and_then(Value::as_array_mut) {
        Some(single) => single.insert(0, special),
        None => {
            let pair = json!([special, text, { "Sequence": { "id": "B", "type_id": 1 } }]);
            let template = json!({
                "type": "TemplateProcessing",
                "single": [special, text],
                "pair": pair,
                "special_tokens": { token.as_str(): { "id": token, "ids": [bos], "tokens": [token] } },
            });
            *post = match post.take() {
                Value::Null => template,
                first => json!({ "type": "Sequence", "processors": [first, template] }),
            };
        }
    }
    let bytes = serde_json::to_vec(&json).map_err(|e| Error::input(e.to_string(), "report the tokenizer"))?;
    Tokenizer::from_json(&bytes, "a tokenizer that adds one more BOS")
}
