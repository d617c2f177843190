//! Statements in a model's files that contradict each other, although the model can be read.

use std::collections::BTreeMap;

use candle_core::quantized::GgmlDType;

use super::{Source, Weights};

/// The type of most matrices, for the values of `general.file_type` (`llama_ftype` in llama.h) that mean one type.
const FILE_TYPES: [(u64, GgmlDType); 9] = [
    (0, GgmlDType::F32),
    (1, GgmlDType::F16),
    (2, GgmlDType::Q4_0),
    (3, GgmlDType::Q4_1),
    (7, GgmlDType::Q8_0),
    (8, GgmlDType::Q5_0),
    (9, GgmlDType::Q5_1),
    (18, GgmlDType::Q6K),
    (32, GgmlDType::BF16),
];

impl Weights {
    /// Contradictions between the configuration and the tensors, one line each, with both values and where each is
    /// from. Those with which the model cannot be read are errors of [`Weights::open`].
    pub fn contradictions(&self) -> Vec<String> {
        self.layers().into_iter().chain(self.file_type()).collect()
    }

    /// Where a number of the configuration is stated, and its value: `vocab_size is 12 in config.json`.
    pub fn stated(&self, key: &str, value: impl std::fmt::Display) -> String {
        format!("{} is {value} in {}", self.key(key), self.place())
    }

    /// The name of the file, or part of the file, that contains the configuration.
    pub(super) fn place(&self) -> &'static str {
        if self.gguf().is_some() { "the metadata" } else { "config.json" }
    }

    /// A key of the configuration, as the file names it.
    pub(super) fn key(&self, key: &str) -> String {
        let Some(own) = self.gguf().and(super::gguf_key(key)) else { return key.to_owned() };
        let architecture = self.gguf().and_then(|file| file.metadata("general.architecture"));
        let architecture = architecture.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default();
        format!("`{architecture}.{own}`")
    }

    fn layers(&self) -> Option<String> {
        let layer = |name: &str| name.strip_prefix("model.layers.")?.split('.').next()?.parse::<usize>().ok();
        let layers = match &*self.source {
            Source::Gguf(file) => file.names().filter_map(layer).max(),
            Source::Shards(shards) => shards.names().filter_map(layer).max(),
        };
        let (stated, stored) = (self.config.num_hidden_layers, layers?.saturating_add(1));
        (stored > stated).then(|| {
            format!(
                "{}, but the tensors are those of {stored} layers: `model.layers.{}` is the last",
                self.stated("num_hidden_layers", stated),
                stored - 1
            )
        })
    }

    fn file_type(&self) -> Option<String> {
        let file = self.gguf()?;
        let number = file.metadata("general.file_type")?.as_u64()?;
        let (_, stated) = FILE_TYPES.into_iter().find(|(known, _)| *known == number)?;
        let mut elements: BTreeMap<String, usize> = BTreeMap::new();
        for name in file.names() {
            let (shape, dtype) = (file.shape(name)?, file.dtype(name)?);
            if shape.len() > 1 {
                *elements.entry(format!("{dtype:?}")).or_default() += shape.iter().product::<usize>();
            }
        }
        let (most, _) = elements.into_iter().max_by_key(|(_, count)| *count)?;
        (most != format!("{stated:?}")).then(|| {
            format!(
                "general.file_type is {number} in the metadata, which means {stated:?}, but most weights are {most} in the tensors"
            )
        })
    }
}
