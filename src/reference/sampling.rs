//! The captured distributions of a model: logits, settings of the processors, and the probabilities that result.

use std::collections::BTreeSet;

use serde::Deserialize;

/// `sampling.json`.
#[derive(Deserialize)]
pub(super) struct SamplingFile {
    pub format: u32,
    pub cases: Vec<SamplingCase>,
}

impl SamplingFile {
    pub(super) fn fault(&self) -> Option<String> {
        let keys: BTreeSet<&str> = self.cases.iter().map(|case| case.key.as_str()).collect();
        match keys.len() {
            0 => Some("it contains no cases: `cases` is empty".into()),
            n if n != self.cases.len() => Some("two cases have the same key".into()),
            _ => None,
        }
    }
}

/// `sampling.json` and `sampling.npz`.
#[derive(Clone, Debug)]
pub struct Sampling {
    /// The logits that all cases start from, `[vocab]`.
    pub logits: Vec<f32>,
    /// The settings and the distributions that result.
    pub cases: Vec<SamplingCase>,
}

/// One setting of the processors and its distribution.
#[derive(Clone, Debug, Deserialize)]
pub struct SamplingCase {
    /// Its name.
    pub key: String,
    /// The setting.
    pub processors: Processors,
    /// The ids that a repetition penalty applies to.
    #[serde(default)]
    pub context: Vec<u32>,
    /// Probabilities, `[vocab]`.
    #[serde(skip)]
    pub probabilities: Vec<f64>,
}

/// Settings of transformers' logits processors; absent ones are not applied.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[allow(missing_docs, reason = "transformers' own names")]
pub struct Processors {
    pub temperature: Option<f64>,
    pub top_k: Option<usize>,
    pub top_p: Option<f64>,
    pub min_p: Option<f64>,
    pub repetition_penalty: Option<f64>,
    #[serde(default)]
    pub sequence_bias: Option<Vec<([u32; 1], f64)>>,
}
