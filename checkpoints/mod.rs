//! The registry of numbered checkpoints, in order. Each file says which sites its checkpoint compares, how
//! far they may differ from the reference and why, and which mistakes ports make there.
//!
//! To add a checkpoint, add its file, its `mod` line, and its line in [`ALL`].

use crate::probe::Kind;
use crate::reference::Feed;

#[path = "03_attention.rs"]
mod attention;
#[path = "06_block.rs"]
mod block;
#[path = "05_ffn.rs"]
mod ffn;
#[path = "09_generation.rs"]
mod generation;
#[path = "04_kv_cache.rs"]
mod kv_cache;
#[path = "07_model.rs"]
mod model;
#[path = "02_qkv.rs"]
mod qkv;
#[path = "01_rms_norm.rs"]
mod rms_norm;
#[path = "01b_rope.rs"]
mod rope;
#[path = "08_sampling.rs"]
mod sampling;
#[path = "00b_tokens.rs"]
mod tokens;
#[path = "00_weights.rs"]
mod weights;

/// Every checkpoint, in the order in which they run.
pub const ALL: [&Checkpoint; 12] = [
    &weights::CHECKPOINT,
    &tokens::CHECKPOINT,
    &rms_norm::CHECKPOINT,
    &rope::CHECKPOINT,
    &qkv::CHECKPOINT,
    &attention::CHECKPOINT,
    &kv_cache::CHECKPOINT,
    &ffn::CHECKPOINT,
    &block::CHECKPOINT,
    &model::CHECKPOINT,
    &sampling::CHECKPOINT,
    &generation::CHECKPOINT,
];

/// A numbered stage of the forward pass, and how it is judged.
#[derive(Debug, PartialEq)]
pub struct Checkpoint {
    /// `00`, `01B`, as printed.
    pub id: &'static str,
    /// `rope`: lower case, no spaces.
    pub name: &'static str,
    /// What is judged, in one line.
    pub judges: &'static str,
    /// How it is judged.
    pub how: How,
    /// Common mistakes in this stage, one per line, addressed to the user in the second person.
    pub trips: &'static [&'static str],
    /// Names of the mistakes of the catalogue that this checkpoint shows first. Checkpoint 06 runs other
    /// stages, so it fails when they do and has no mistakes of its own.
    pub suspects: &'static [&'static str],
}

/// How a checkpoint is judged. The `judge` module implements each way.
#[derive(Debug, PartialEq)]
pub enum How {
    /// Config and weight bytes, exactly.
    Weights,
    /// Token ids and text exactly, and the sites of the view.
    Tokens(View, Factor),
    /// Sites, compared with the stored reference.
    Sites(&'static [View], Factor),
    /// Properties that a cache must have: the port compared with itself.
    Laws(Factor),
    /// Distributions after the logits processors.
    Sampling,
    /// Greedy tokens.
    Greedy(NearTie),
}

/// Some kinds of site, compared under one feed.
#[derive(Debug, PartialEq)]
pub struct View {
    /// Where reference tensors replace the port's own.
    pub feed: Feed,
    /// The kinds of site that are compared.
    pub kinds: &'static [Kind],
}

/// How many times the measured noise is allowed, and why.
#[derive(Debug, PartialEq)]
pub struct Factor {
    /// The factor.
    pub times: f64,
    /// The reason for it.
    pub because: &'static str,
}

/// When either of two tokens counts as right.
#[derive(Debug, PartialEq)]
pub struct NearTie {
    /// A step is a near-tie if its top-2 gap is within this many times the noise of that gap.
    pub times: f64,
    /// The noise: this percentile of PyTorch's own error of the gap, over all steps.
    pub percentile: f64,
    /// With a smaller share of decisive steps than this, the checkpoint is inconclusive.
    pub decisive: f64,
    /// The reason for these numbers.
    pub because: &'static str,
}

impl Checkpoint {
    /// The views of sites that it compares with the reference.
    pub fn views(&self) -> &[View] {
        match &self.how {
            How::Tokens(view, _) => std::slice::from_ref(view),
            How::Sites(views, _) => views,
            How::Weights | How::Laws(_) | How::Sampling | How::Greedy(_) => &[],
        }
    }

    /// How many times the measured noise it allows at a site; `None` where it compares no values at sites.
    pub fn factor(&self) -> Option<f64> {
        match &self.how {
            How::Tokens(_, factor) | How::Sites(_, factor) | How::Laws(factor) => Some(factor.times),
            How::Weights | How::Sampling | How::Greedy(_) => None,
        }
    }

    /// `CHECKPOINT_01B_ROPE`.
    pub fn constant_name(&self) -> String {
        format!("CHECKPOINT_{}_{}", self.id, self.name.to_uppercase())
    }
}

/// The checkpoint that compares a kind of site fed reference inputs, and how many times the noise it allows.
pub fn judge_of(kind: Kind) -> (&'static Checkpoint, f64) {
    let judges = |view: &View| view.feed == Feed::Site && view.kinds.contains(&kind);
    let found = ALL.into_iter().find(|checkpoint| checkpoint.views().iter().any(judges));
    let found = found.and_then(|checkpoint| Some((checkpoint, checkpoint.factor()?)));
    found.expect("a test ensures that every kind of site is judged by a checkpoint")
}

/// The checkpoint that judges the laws of a cache.
pub fn of_laws() -> &'static Checkpoint {
    &kv_cache::CHECKPOINT
}

/// The checkpoint with the id or name `text`: `3`, `03`, `attention`, `1b`, `01B`, `CHECKPOINT_01B_ROPE`.
pub fn find(text: &str) -> Option<&'static Checkpoint> {
    let text = text.to_ascii_lowercase();
    let number = |id: &str| id.trim_start_matches('0').to_ascii_lowercase();
    ALL.into_iter().find(|checkpoint| {
        let id = checkpoint.id.to_ascii_lowercase();
        // Without its zeros, 00 is empty and 00B is `b`; the check for a digit keeps `0` and `0b` valid and
        // rejects the empty text and `b`.
        let short = text.starts_with(|c: char| c.is_ascii_digit())
            && text.len() <= id.len()
            && number(&text) == number(&id);
        text == id
            || short
            || text == checkpoint.name
            || text == checkpoint.constant_name().to_ascii_lowercase()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("3", "03")]
    #[case("03", "03")]
    #[case("attention", "03")]
    #[case("Attention", "03")]
    #[case("1b", "01B")]
    #[case("1B", "01B")]
    #[case("01B", "01B")]
    #[case("CHECKPOINT_01B_ROPE", "01B")]
    #[case("checkpoint_00_weights", "00")]
    #[case("0", "00")]
    #[case("00", "00")]
    #[case("0b", "00B")]
    fn find_accepts_ids_and_names(#[case] text: &str, #[case] id: &str) {
        assert_eq!(find(text).map(|c| c.id), Some(id));
    }

    #[rstest]
    #[case("")]
    #[case("3x")]
    #[case("b")]
    #[case("0003")]
    #[case("10")]
    #[case("rope ")]
    fn find_rejects_other_text(#[case] text: &str) {
        assert_eq!(find(text), None);
    }

    #[test]
    fn every_file_in_the_folder_is_in_the_registry() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/checkpoints");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "mod.rs")
            .collect();
        files.sort();
        let mut registry: Vec<String> =
            ALL.iter().map(|c| format!("{}_{}.rs", c.id.to_ascii_lowercase(), c.name)).collect();
        registry.sort();
        assert_eq!(files, registry);
    }

    #[test]
    fn exactly_one_checkpoint_judges_each_kind_of_site_fed_reference_inputs() {
        for &kind in Kind::ALL {
            let judges = ALL
                .iter()
                .flat_map(|c| c.views())
                .filter(|v| v.feed == Feed::Site && v.kinds.contains(&kind));
            assert_eq!(judges.count(), 1, "{kind:?}");
        }
    }

    #[test]
    fn every_checkpoint_states_its_reasons() {
        for checkpoint in ALL {
            let because = match &checkpoint.how {
                How::Tokens(_, factor) | How::Sites(_, factor) | How::Laws(factor) => factor.because,
                How::Greedy(near_tie) => near_tie.because,
                How::Weights | How::Sampling => "exact",
            };
            assert!(
                !because.is_empty() && !checkpoint.judges.is_empty() && !checkpoint.trips.is_empty(),
                "{}",
                checkpoint.id
            );
        }
    }
}
