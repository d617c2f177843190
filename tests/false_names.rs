//! Mistakes that are not in the catalogue. The judge must still find the first wrong site. If it names a
//! mistake, the sentence must be true of the port: a false name sends its reader to the wrong line of code.

mod recorded;
mod wrong_port;

use std::collections::BTreeSet;

use candle_core::{DType, Device};
use rbees_check::checkpoints;
use rbees_check::dump::{Against, Judged};
use rbees_check::judge::{self, Outcome, Subject};
use rbees_check::model::{Attention, Llama};
use rbees_check::models;
use rbees_check::probe::{Kind, Site};
use rbees_check::recording::{Recording, Vocabulary};
use recorded::{input_of, pass_over, write};
use rstest::rstest;
use tempfile::tempdir;
use wrong_port::Make;

const CASES: [&str; 2] = ["short", "batch-left"];

/// A mistake that is not in the catalogue.
struct Wrong {
    make: Make,
    /// The operation with the mistake. If every layer has it, the one in layer 0.
    operation: Site,
    /// Phrases that are true of the port. A sentence of a diagnosis that contains one is accepted.
    true_phrases: &'static [&'static str],
}

const KEYS_NOT_ROTATED: Wrong = Wrong {
    make: wrong_port::keys_not_rotated,
    operation: Site::layer(0, Kind::KRope),
    true_phrases: &["keys are not rotated", "do not rotate keys"],
};

const ROTATED_TWICE: Wrong = Wrong {
    make: wrong_port::rotated_twice,
    operation: Site::layer(0, Kind::QRope),
    true_phrases: &["rotate queries twice", "rotate keys twice", "multiply every position"],
};

const ONE_PAIR_LATE: Wrong = Wrong {
    make: wrong_port::frequencies_one_pair_late,
    operation: Site::layer(0, Kind::QRope),
    true_phrases: &["one pair late", "θ^(−2(i + 1)/head_dim)"],
};

const HALF_A_PAIR_LATE: Wrong = Wrong {
    make: wrong_port::frequencies_half_a_pair_late,
    operation: Site::layer(0, Kind::QRope),
    true_phrases: &["half a pair late", "θ^(−(2i + 1)/head_dim)"],
};

const PAIR_BEFORE: Wrong = Wrong {
    make: wrong_port::frequencies_of_the_pair_before,
    operation: Site::layer(0, Kind::QRope),
    true_phrases: &["the pair before"],
};

const EVERY_OTHER_ROW: Wrong = Wrong {
    make: wrong_port::halves_split_at_every_other_row,
    operation: Site::layer(0, Kind::Gate),
    true_phrases: &["every other row"],
};

const ALTERNATING_ROWS: Wrong = Wrong {
    make: wrong_port::alternating_rows_split_into_halves,
    operation: Site::layer(0, Kind::Gate),
    true_phrases: &["every other row", "alternating rows"],
};

const HIDDEN_EMBEDDING_SCALED: Wrong = Wrong {
    make: wrong_port::hidden_embedding_scaled,
    operation: Site::model(Kind::Embed),
    true_phrases: &["embedding is scaled", "scale the embedding", "multiply the embedding by √hidden_size"],
};

/// Which sites a port records.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Taps {
    All,
    /// Rotated queries and keys, context, each layer's output and the logits.
    Five,
    /// The outputs of the norms and the logits.
    Norms,
}

impl Taps {
    fn has(self, kind: Kind) -> bool {
        use Kind::{Block, Context, FinalNorm, InputNorm, KRope, Logits, PostNorm, QRope};
        match self {
            Self::All => true,
            Self::Five => matches!(kind, QRope | KRope | Context | Block | Logits),
            Self::Norms => matches!(kind, InputNorm | PostNorm | FinalNorm | Logits),
        }
    }
}

/// The outcomes of the checkpoints `ids` for a live port.
fn judged_live(wrong: &Wrong, dtype: DType, path: Attention, ids: &[&str]) -> Vec<Outcome> {
    let model = models::open("tiny-llama").unwrap();
    let no_paths: &[Attention] = &[];
    let mut subject = Subject::new(&model, &CASES.map(str::to_owned), &Device::Cpu, dtype, no_paths).unwrap();
    // One prompt is enough: the others show nothing more.
    subject.model.as_mut().unwrap().greedy.prompts.truncate(1);
    let llama = Llama::load(&model.weights, &Device::Cpu, dtype, path).unwrap();
    subject.ports = vec![(wrong.make)(llama).unwrap()];
    ids.iter().map(|id| judge::run(&mut subject, checkpoints::find(id).unwrap()).unwrap()).collect()
}

/// Records passes of that port and judges them. Returns, for each case, the first recorded site that the
/// mistake can affect, and the judgement.
fn judged_recorded(wrong: &Wrong, dtype: DType, taps: Taps) -> Vec<(Site, Judged)> {
    let model = models::open("tiny-llama").unwrap();
    let llama = Llama::load(&model.weights, &Device::Cpu, dtype, Attention::Plain).unwrap();
    let mut port = (wrong.make)(llama).unwrap();
    let judged = CASES.map(|case| {
        let case = model.fixture.as_ref().unwrap().case(case).unwrap();
        let mut arrays = pass_over(&mut *port, &input_of(&case), &case);
        arrays.retain(|name, _| name.parse().map_or(true, |site: Site| taps.has(site.kind)));
        let sites: BTreeSet<Site> = arrays.keys().filter_map(|name| name.parse().ok()).collect();
        let reached = *sites.range(wrong.operation..).next().unwrap();

        let folder = tempdir().unwrap();
        let dump = Recording::open(&write(folder.path(), &arrays), &Vocabulary::default()).unwrap();
        let (weights, config) = (Some(&model.weights), Some(model.weights.config()));
        let against = Against { case: Some(&case), weights, config, ..Against::default() };
        (reached, dump.judge(&against, &checkpoints::ALL, false).unwrap())
    });
    judged.into()
}

/// Every named mistake whose sentence is not true of the port.
fn false_names(wrong: &Wrong, outcomes: &[Outcome]) -> Vec<String> {
    let mut names = Vec::new();
    for finding in outcomes.iter().flat_map(|outcome| &outcome.findings) {
        for named in finding.explained.iter().flat_map(|diagnosis| &diagnosis.named) {
            if !wrong.true_phrases.iter().any(|words| named.says.contains(words)) {
                names.push(format!("{}: {}: {}", finding.about, named.mistake, named.says));
            }
        }
    }
    names
}

/// The checkpoints that judge individual sites. The cache laws, whole passes and generation fail as a
/// consequence.
const STAGES: &[&str] = &["00B", "01", "01B", "02", "03", "05", "06"];

/// In half precision, rounding hides ε, so a norm's output no longer depends on the scale of its input. A
/// scaled embedding is then first visible at the residual addition.
#[rstest]
#[case::keys_not_rotated(KEYS_NOT_ROTATED, "self_attn.k_rope", "self_attn.k_rope")]
#[case::rotated_twice(ROTATED_TWICE, "self_attn.q_rope", "self_attn.q_rope")]
#[case::one_pair_late(ONE_PAIR_LATE, "self_attn.q_rope", "self_attn.q_rope")]
#[case::half_a_pair_late(HALF_A_PAIR_LATE, "self_attn.q_rope", "self_attn.q_rope")]
#[case::pair_before(PAIR_BEFORE, "self_attn.q_rope", "self_attn.q_rope")]
#[case::every_other_row(EVERY_OTHER_ROW, "mlp.gate_proj", "mlp.gate_proj")]
#[case::alternating_rows(ALTERNATING_ROWS, "mlp.gate_proj", "mlp.gate_proj")]
#[case::embedding_scaled(HIDDEN_EMBEDDING_SCALED, "input_layernorm", "post_attention_layernorm.input")]
fn an_uncatalogued_mistake_of_a_live_port_first_fails_at_its_own_site(
    #[case] wrong: Wrong,
    #[case] in_f32: &str,
    #[case] in_half: &str,
    #[values(DType::F32, DType::BF16, DType::F16)] dtype: DType,
    #[values(Attention::Plain, Attention::Fused)] path: Attention,
) {
    let outcomes = judged_live(&wrong, dtype, path, STAGES);
    let first = outcomes.iter().flat_map(Outcome::failures).filter_map(|finding| finding.site).min();
    let expected = if dtype == DType::F32 { in_f32 } else { in_half };
    assert_eq!(first.unwrap().to_string(), format!("model.layers.0.{expected}"));
}

/// The wrong operation must be among those blamed. In float32 it must be blamed at the first recorded site
/// that it affects. In half precision, rounding may hide it there.
#[rstest]
fn an_uncatalogued_mistake_in_a_recording_is_blamed_on_its_operation(
    #[values(
        KEYS_NOT_ROTATED,
        ROTATED_TWICE,
        ONE_PAIR_LATE,
        HALF_A_PAIR_LATE,
        PAIR_BEFORE,
        EVERY_OTHER_ROW,
        ALTERNATING_ROWS,
        HIDDEN_EMBEDDING_SCALED
    )]
    wrong: Wrong,
    #[values(Taps::All, Taps::Five, Taps::Norms)] taps: Taps,
    #[values(DType::F32, DType::BF16, DType::F16)] dtype: DType,
) {
    for (reached, judged) in judged_recorded(&wrong, dtype, taps) {
        let first_wrong = judged.first_wrong.unwrap();
        assert!(first_wrong.among.iter().any(|site| site.kind == wrong.operation.kind), "{first_wrong:?}");
        assert!(dtype != DType::F32 || first_wrong.site == reached, "{first_wrong:?} at {reached}");
    }
}

#[rstest]
fn an_uncatalogued_mistake_of_a_live_port_gets_no_false_name(
    #[values(
        KEYS_NOT_ROTATED,
        ROTATED_TWICE,
        ONE_PAIR_LATE,
        HALF_A_PAIR_LATE,
        PAIR_BEFORE,
        EVERY_OTHER_ROW,
        ALTERNATING_ROWS,
        HIDDEN_EMBEDDING_SCALED
    )]
    wrong: Wrong,
    #[values(DType::F32, DType::BF16, DType::F16)] dtype: DType,
) {
    let ids = checkpoints::ALL.map(|checkpoint| checkpoint.id);
    assert_eq!(false_names(&wrong, &judged_live(&wrong, dtype, Attention::Plain, &ids)), [""; 0]);
    assert_eq!(false_names(&wrong, &judged_live(&wrong, dtype, Attention::Fused, STAGES)), [""; 0]);
}

#[rstest]
fn an_uncatalogued_mistake_in_a_recording_gets_no_false_name(
    #[values(
        KEYS_NOT_ROTATED,
        ROTATED_TWICE,
        ONE_PAIR_LATE,
        HALF_A_PAIR_LATE,
        PAIR_BEFORE,
        EVERY_OTHER_ROW,
        ALTERNATING_ROWS,
        HIDDEN_EMBEDDING_SCALED
    )]
    wrong: Wrong,
    #[values(Taps::All, Taps::Five, Taps::Norms)] taps: Taps,
    #[values(DType::F32, DType::BF16, DType::F16)] dtype: DType,
) {
    for (_, judged) in judged_recorded(&wrong, dtype, taps) {
        assert_eq!(false_names(&wrong, &judged.outcomes), [""; 0]);
    }
}
