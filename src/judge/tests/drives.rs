use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rstest::rstest;

use super::laws::COUNTER;
use super::*;
use crate::compare::Noise;
use crate::judge::laws::rows_alone;
use crate::judge::laws_alone;
use crate::judge::pieces::{Criteria, Sequence, record};
use crate::model::Matmul;

/// The outcome of 04 for tiny-llama with this dtype and matmul on one case, after its sites went through
/// `bend`.
fn kept(model: &str, case: &str, dtype: DType, matmul: Matmul, bend: Bend) -> Outcome {
    let model = models::open(model).unwrap();
    let path = Path { attention: Attention::Plain, matmul };
    let mut subject = subject(&model, &[case]);
    let llama = Llama::load(&model.weights, &Device::Cpu, dtype, path).unwrap();
    subject.ports = vec![Box::new(Bent { port: LlamaPort::new(llama), bend })];
    run(&mut subject, checkpoints::find("04").unwrap()).unwrap()
}

/// How many findings each drive has.
fn drives(outcome: &Outcome) -> Vec<(String, usize)> {
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    outcome.findings.iter().for_each(|f| *count.entry(f.drive.to_string()).or_default() += 1);
    count.into_iter().collect()
}

/// In f32 the port runs on its own values; in coarser arithmetic each block starts from the reference. Every
/// site is compared; in single rows of a batch, all except scores and probs, whose keys are those of the
/// batch.
#[rstest]
#[case::fine("tiny-llama", "short", DType::F32, Matmul::Dense, "own", &[])]
#[case::half("tiny-llama", "short", DType::BF16, Matmul::Dense, "block", &[])]
#[case::quantized("tiny-llama:q8_0", "short", DType::F32, Matmul::Quantized, "block", &[])]
#[case::last_rows_only("tiny-llama", "long", DType::F32, Matmul::Dense, "own", &[])]
#[case::last_rows_in_half("tiny-llama", "long", DType::BF16, Matmul::Dense, "block", &[])]
#[case::batch("tiny-llama", "batch-left", DType::F32, Matmul::Dense, "own", &[0, 1, 2])]
#[case::batch_in_half("tiny-llama", "batch-left", DType::BF16, Matmul::Dense, "block", &[0, 1, 2])]
fn every_law_is_checked_at_every_site_and_ignores_mistakes_outside_the_cache(
    #[case] model: &str,
    #[case] case: &str,
    #[case] dtype: DType,
    #[case] matmul: Matmul,
    #[case] feed: &str,
    #[case] rows: &[usize],
) {
    let bend = at("model.layers.0.mlp.down_proj", |down| Ok(Some((down * 1.5)?)));
    let outcome = kept(model, case, dtype, matmul, bend);
    assert_eq!(outcome.status(), Status::Passed, "{:?}", wrong(&outcome));
    let path = Path { attention: Attention::Plain, matmul }.name();
    let sites = 1 + 4 * 17 + 2;
    let mut want: Vec<(String, usize)> = vec![(path.into(), 2)];
    for pieces in ["in chunks", "token by token"] {
        want.extend(["site", feed].map(|feed| (format!("{pieces}, {path}, feed {feed}"), sites)));
    }
    want.extend(rows.iter().map(|row| (format!("row {row} alone, {path}"), sites - 2 * 4)));
    want.sort();
    assert_eq!(drives(&outcome), want);
}

/// One token cannot be split; two tokens give two pieces.
#[test]
fn a_sequence_of_one_piece_is_not_compared_with_itself() {
    let outcome = kept("tiny-llama", "single", DType::F32, Matmul::Dense, unbent());
    assert_eq!(drives(&outcome), [("plain".to_owned(), 2)]);
    let findings = laws_alone(&mut { COUNTER }, &[1, 2], 16.0).unwrap();
    let sites = findings.iter().filter(|f| f.site.is_some());
    let judged: Vec<String> = sites.map(|f| f.drive.to_string()).collect();
    assert_eq!(judged, ["in chunks, plain, feed own", "token by token, plain, feed own"]);
}

#[test]
fn each_row_of_a_batch_is_run_alone() {
    let (rows, want) = ([[1, 70, 3], [200, 5, 9]], ["row 0 alone, plain", "row 1 alone, plain"]);
    let model = tiny();
    let ids: Vec<Vec<u32>> = rows.iter().map(|row| row.to_vec()).collect();
    let input =
        Input { positions: vec![vec![0, 1, 2]; ids.len()], real: vec![vec![true; 3]; ids.len()], ids };
    let places = (0..rows.len()).flat_map(|b| [0, 1, 2].map(|position| (b, position))).collect();
    let noise = |_, _| Some(Noise { max: 1e-6, rms: 1e-6 });
    let criteria = Criteria { fed: None, judges: &|_, _| true, noise: &noise, factor: 16.0, context: None };
    let mut port = LlamaPort::new(llama(&model, Attention::Plain));
    let whole = Sequence { name: "made", input, places };
    let in_batch = record(&mut port, &whole, &criteria).unwrap();
    let findings = rows_alone(&mut port, &whole, &in_batch, &criteria).unwrap();
    assert!(findings.iter().all(|f| f.status() == Status::Passed), "{findings:?}");
    // Scores and probabilities are left out, because they are over the batch's keys.
    let sites = |drive: &&str| findings.iter().filter(|f| f.drive.to_string() == **drive).count();
    assert_eq!((findings.len(), want.iter().map(sites).sum::<usize>()), (63 * want.len(), 63 * want.len()));
}

/// How often checkpoint 04 runs a port with a probe.
fn runs(case: &str, dtype: DType) -> usize {
    let runs = Arc::new(AtomicUsize::new(0));
    let count = runs.clone();
    let bend = at("model.embed_tokens", move |tensor| {
        count.fetch_add(1, Ordering::Relaxed);
        Ok(Some(tensor))
    });
    kept("tiny-llama", case, dtype, Matmul::Dense, bend);
    runs.load(Ordering::Relaxed)
}

/// A port's own sensitivity is measured only if something differs: it costs nine runs, plus a repeat of all
/// comparisons.
#[test]
fn sensitivity_is_not_measured_if_all_laws_hold() {
    let length = 13;
    // With reference inputs and on its own values: one whole run, three chunks, then token by token. A, B, A
    // and the context check use no probe.
    assert_eq!(runs("short", DType::F32), 2 * (1 + 3 + length));
}

/// For a case of 300 tokens, all keys and values are stored, and the last eight rows of everything else. If
/// blocks start from the reference, only these rows are judged, and the eight tokens before them are decoded
/// one by one; the rest goes in one piece.
#[test]
fn only_rows_whose_block_input_is_stored_are_judged() {
    let (site_by_site, from_blocks) = (1 + 3 + 300, 1 + 3 + 1 + 8 + 8);
    assert_eq!(runs("long", DType::BF16), site_by_site + from_blocks);
}
