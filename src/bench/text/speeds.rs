//! The figures of a model, as data and as text.

use serde::Serialize;

use super::super::machine::Limits;
use super::stopwatch::Part;

/// The version of the JSON report. A field that is removed or changes its meaning needs a new one.
pub const FORMAT: u32 = 1;

/// A measured phase.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Phase {
    /// Number of tokens.
    pub tokens: usize,
    /// Seconds of the fastest run.
    pub seconds: f64,
    /// Tokens per second.
    pub tokens_per_second: f64,
    /// Bytes of weights, keys and values that must be read.
    pub bytes: f64,
    /// Additions and multiplications of all products.
    pub flops: f64,
    /// The share of the tokens per second that the machine's bandwidth or its float32 products allow, whichever is less.
    pub share_of_limit: f64,
    /// What limits it: `memory` or `products`.
    pub limit: &'static str,
    /// The time by operation, largest first, from a separate pass.
    pub parts: Vec<Part>,
}

/// Everything that was measured of a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Speeds {
    /// [`FORMAT`].
    pub format: u32,
    /// The model's name.
    pub model: String,
    /// The dtype.
    pub dtype: &'static str,
    /// The path.
    pub path: &'static str,
    /// Number of threads.
    pub threads: usize,
    /// Architecture and instruction sets.
    pub processor: String,
    /// Seconds to open the file and load the weights.
    pub load_seconds: f64,
    /// Seconds from then to the first token of a first prompt, which also prepares weights that are prepared late.
    pub first_token_seconds: f64,
    /// The prompt.
    pub prefill: Phase,
    /// One token at a time after it.
    pub decode: Phase,
    /// The most memory that the process used, in bytes, where the system says it.
    pub peak_memory: Option<u64>,
    /// What the machine can do, measured in the same run.
    pub limits: Limits,
}

impl Speeds {
    /// The figures as text.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{} {} {}, {} thread{} ({})\n",
            self.model,
            self.dtype,
            self.path,
            self.threads,
            if self.threads == 1 { "" } else { "s" },
            self.processor
        );
        text += &format!("  load        {:>9.3} s\n", self.load_seconds);
        text += &format!("  first token {:>9.3} s after loading\n", self.first_token_seconds);
        for (name, phase) in [("prefill", &self.prefill), ("decode", &self.decode)] {
            text += &format!(
                "  {name:<11} {:>9.1} tokens/s  {} tokens in {:.3} s; {:.0}% of what {} allow{}\n",
                phase.tokens_per_second,
                phase.tokens,
                phase.seconds,
                100.0 * phase.share_of_limit,
                if phase.limit == "memory" { "reading the weights" } else { "float32 products" },
                if phase.limit == "memory" { "s" } else { "" },
            );
        }
        if let Some(bytes) = self.peak_memory {
            text += &format!("  memory      {:>9.1} MiB at most\n", bytes as f64 / f64::from(1 << 20));
        }
        text += &format!(
            "  machine     {:>9.1} GB/s from memory, {:.1} GFLOP/s in a float32 product\n\n",
            self.limits.bandwidth / 1e9,
            self.limits.flops / 1e9
        );
        text += &format!("  {:<34} {:>16} {:>16}\n", "time from the site before to", "prefill", "decode");
        for part in &self.prefill.parts {
            let decode = self.decode.parts.iter().find(|of| of.site == part.site);
            let cell = |part: &Part| format!("{:.1}%", 100.0 * part.share);
            let decode = decode.map_or_else(String::new, cell);
            text += &format!("  {:<34} {:>16} {decode:>16}\n", part.site, cell(part));
        }
        text
    }
}
