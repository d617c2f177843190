//! `run --stream`: the same verdicts as with the whole model in memory, one layer at a time.

mod program;

use std::fs;

use candle_core::{DType, Device};
use program::{home, masked, rbees_in, stderr, stdout, wrong_theta};
use rbees_check::judge::{self, Stream, Verdict};
use rbees_check::model::Attention;
use rbees_check::probe::{Arithmetic, StageName};
use rbees_check::record::{Layered, OwnCase, Tokens};
use rbees_check::reference::{Feed, Reference};
use rbees_check::{checkpoints, models};
use rstest::rstest;

/// Enough rows for Candle to sum a product over the rows of one feed as it sums one over the rows of three: few rows are
/// summed in another order.
const TOKENS: u32 = 64;

fn ids() -> Vec<u32> {
    (0..TOKENS).map(|n| 1 + n * 37 % 250).collect()
}

/// The case that a model's stages give, one after the other.
fn stages(model: &models::Model, dtype: DType) -> Vec<Reference> {
    let weights = &model.weights;
    let mut oracle = Layered::new(weights, "model", &ids(), dtype).unwrap();
    let of_stage = |name| {
        let held = match name {
            StageName::Layer(layer) => weights.held(&format!("model.layers.{layer}.")).unwrap(),
            StageName::Embedding | StageName::Head => weights.clone(),
        };
        oracle.stage(name, &held.held_in_order().unwrap()).unwrap()
    };
    StageName::all(weights.config().num_hidden_layers).into_iter().map(of_stage).collect()
}

/// A Hugging Face directory, a GGUF file with permuted rows, and a family with biases.
#[rstest]
#[case("tiny-llama")]
#[case("tiny-llama:q8_0")]
#[case("tiny-qwen2")]
fn the_stages_have_the_values_and_the_noise_of_the_whole_case(
    #[case] name: &str,
    #[values(DType::F32, DType::BF16)] dtype: DType,
) {
    let model = models::open(name).unwrap();
    let tokens = Tokens::prompt(&ids()).unwrap();
    let whole = OwnCase::of_prompt(&model.weights, "model", tokens, vec![dtype]).compute().unwrap();
    let stages = stages(&model, dtype);
    let mut seen = 0;
    for site in whole.sites() {
        // A stage also stores its input.
        let stage = stages.iter().find(|stage| stage.rows(site).is_some()).unwrap();
        let (got, want) = (stage.rows(site).unwrap(), whole.rows(site).unwrap());
        assert_eq!((&got.places, &got.row_shape), (&want.places, &want.row_shape), "{site}");
        for r in 0..want.places.len() {
            let most = 1e-12 * want.scale(r).max;
            let same = |(a, b): (&f64, &f64)| a == b || (a - b).abs() <= most;
            assert!(got.row(r).iter().zip(want.row(r)).all(same), "{site}");
        }
        for feed in [Feed::Site, Feed::Block, Feed::Own] {
            let noise =
                |case: &Reference| case.noise_on(Arithmetic::Dense, feed, site, (0, 3), dtype).unwrap().max;
            let (got, want) = (noise(stage), noise(&whole));
            let ratio = if got == want { 1.0 } else { got / want };
            // After several operations, a last bit more or less may move many values to the next number of the dtype.
            let bounds = if feed == Feed::Site { 0.999..1.001 } else { 0.5..2.0 };
            assert!(bounds.contains(&ratio), "{site} {feed:?}: {got:e} and {want:e}");
            seen += 1;
        }
    }
    assert!(seen > 100);
}

#[test]
fn a_prompt_longer_than_what_is_shown_is_judged_at_some_places() {
    let model = models::open("tiny-llama").unwrap();
    let ids: Vec<u32> = (0..150).map(|n| n * 7 % 300 + 3).collect();
    let attentions = [Attention::Plain, Attention::Fused];
    let (device, dtype) = (&Device::Cpu, DType::F32);
    let stream = Stream { model: &model, ids: &ids, device, dtype, attentions: &attentions, feed: None };
    let streamed = stream.judge(&checkpoints::ALL, |_, _| ()).unwrap();
    assert_eq!((streamed.times.len(), streamed.paths.as_slice()), (4, &["plain", "fused"][..]));
    let outcomes = judge::merged(&checkpoints::ALL, streamed.units, None, |_| Ok(())).unwrap();
    let mut judged = 0;
    for finding in outcomes.iter().flat_map(|outcome| &outcome.findings) {
        assert!(matches!(finding.verdict, Verdict::Pass(share) if share < 0.5), "{finding:?}");
        let rows = finding.shares.as_ref().map_or(0, |shares| shares.places.len());
        assert!([0, 64, 150].contains(&rows), "{}: {rows} rows", finding.about);
        judged += 1;
    }
    assert!(judged > 300, "{judged}");
}

#[test]
fn a_streamed_run_prints_what_an_ordinary_run_prints() {
    let run = |extra: &[&str]| {
        let args =
            ["run", "all", "--model", "tiny-llama2", "--reference", "oracle", "--prompt", "Once upon a time"];
        let output = rbees_in(home().path(), &home(), &[&args[..], extra].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        (masked(&stdout(&output), "% of budget"), stderr(&output))
    };
    let ((ordinary, _), (streamed, times)) = (run(&[]), run(&["--stream"]));
    let words = |text: &str| {
        let words: Vec<&str> = text.split_whitespace().filter(|word| *word != "under").collect();
        words.join(" ")
    };
    // One layer at a time, no scheduler can run steps that several sequences share.
    assert_eq!(words(&streamed), words(&ordinary).replace("3 laws", "2 laws"));
    assert!(times.starts_with("3 layers: "), "{times}");
    let (noted, _) = run(&["--stream", "-v"]);
    assert!(noted.contains("note   steps shared by several sequences are not judged: "), "{noted}");
}

/// The port and the oracle read the same config, so a mistake in it does not show.
#[test]
fn the_report_of_a_streamed_run_says_where_its_references_come_from() {
    let folder = home();
    wrong_theta(&folder.path().join("wrong"));
    let args = [
        "run",
        "1B",
        "--model",
        "wrong",
        "--reference",
        "oracle",
        "--prompt",
        "Once",
        "--stream",
        "--report",
        "json=r.json",
    ];
    let output = rbees_in(folder.path(), &home(), &args).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report = fs::read_to_string(folder.path().join("r.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["references"]["cases"][0]["provenance"]["truth"], "own oracle");
    assert_eq!(report["summary"]["own"], 1);
}

#[rstest]
#[case::quantized(&["--reference", "oracle", "--prompt", "a", "--stream", "--matmul", "quantized"], "--stream checks dense products only")]
#[case::stored(&["--stream"], "--reference")]
#[case::a_part(&["--reference", "oracle", "--prompt", "a", "--stream", "--shard", "1/2"], "cannot be used with")]
fn what_cannot_be_streamed_is_refused(#[case] args: &[&str], #[case] what: &str) {
    let output = rbees_in(home().path(), &home(), &[&["run", "1"], args].concat()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains(what), "{}", stderr(&output));
}
