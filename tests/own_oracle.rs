//! References from the project's own oracle: they equal PyTorch's where both exist, and what agrees with them is `OWN`.
//!
//! `OWN_ORACLE=all` compares every case of every model; `scripts/own_noise.sh` does that and prints the noise.

mod program;

use std::collections::BTreeMap;
use std::fs;

use candle_core::{DType, Device};
use insta::assert_snapshot;
use program::{home, masked, rbees_in, stderr, stdout};
use rbees_check::checkpoints;
use rbees_check::judge::{self, LlamaPort, Status, Subject};
use rbees_check::model::{Attention, Llama};
use rbees_check::models;
use rbees_check::probe::{Arithmetic, Kind};
use rbees_check::record::{OwnCase, Tokens};
use rbees_check::reference::{Feed, Reference};
use rstest::rstest;
use serde_json::Value;
use tempfile::TempDir;

const DTYPES: [DType; 3] = [DType::F32, DType::BF16, DType::F16];
const FEEDS: [Feed; 3] = [Feed::Site, Feed::Block, Feed::Own];

/// The cases that are compared by default: padding, biases, a window, blocks of 8 bits.
const FEW: [(&str, &str); 4] = [
    ("tiny-llama", "batch-left"),
    ("tiny-qwen2", "short"),
    ("tiny-mistral", "short"),
    ("tiny-llama:q8_0", "short"),
];

/// The ratios of the own noise to PyTorch's, by arithmetic, dtype, feed and kind of site.
type Ratios = BTreeMap<(Arithmetic, &'static str, &'static str, Kind), Vec<f64>>;

#[test]
fn own_values_and_noise_agree_with_pytorchs() {
    let all = std::env::var_os("OWN_ORACLE").is_some();
    let mut ratios = Ratios::new();
    for name in models::NAMES {
        let Ok(model) = models::open(name) else { continue };
        let fixture = model.fixture.as_ref().unwrap();
        for case in fixture.cases.iter().filter(|case| all || FEW.contains(&(name, case.as_str()))) {
            let stored = fixture.case(case).unwrap();
            let own = OwnCase::of_prompt(&model.weights, name, Tokens::of(&stored), DTYPES.to_vec());
            let own = if model.weights.is_quantized() { own.on_blocks() } else { own };
            let own = own.compute().unwrap();
            let apart = apart(&own, &stored);
            println!("{name}/{case}: {} sites, {apart:.1e} of scale at most", stored.sites().count());
            assert!(apart <= 1e-9, "{name}/{case}: {apart:e}");
            compare_noise(&own, &stored, &mut ratios);
        }
    }
    assert!(ratios.len() > 100, "{}", ratios.len());
    for ((arithmetic, dtype, feed, kind), ratios) in &mut ratios {
        ratios.sort_by(f64::total_cmp);
        let (least, median, most) = (ratios[0], ratios[ratios.len() / 2], ratios[ratios.len() - 1]);
        let (arithmetic, kind) =
            (arithmetic.name(), if *kind == Kind::Block { "block" } else { kind.name() });
        println!(
            "noise {arithmetic:<13} {dtype:<4} feed {feed:<5} {kind:<31} {median:5.2} ({least:.2} to {most:.2}) of PyTorch's"
        );
        // Less noise would make a false alarm, more would hide a mistake. On blocks, PyTorch's noise under the other
        // feeds contains activations that an order of summation has moved to the next 8-bit step: one more or less of
        // them changes it a hundred times.
        let comparable = arithmetic == Arithmetic::Dense.name() || feed == &Feed::Site.name();
        assert!(
            !comparable || (0.4..2.5).contains(&median),
            "{arithmetic} {dtype} {feed} {kind}: {ratios:?}"
        );
    }
}

/// The largest difference at any stored value, as a share of the scale of its row.
fn apart(own: &Reference, stored: &Reference) -> f64 {
    let mut most = 0f64;
    for site in stored.sites() {
        let (own, stored) = (own.rows(site).unwrap(), stored.rows(site).unwrap());
        assert_eq!(own.row_shape, stored.row_shape, "{site}");
        for (r, place) in stored.places.iter().enumerate() {
            let row = own.row(own.places.iter().position(|other| other == place).unwrap());
            for (a, b) in row.iter().zip(stored.row(r)) {
                let difference = if a == b { 0.0 } else { (a - b).abs() / stored.scale(r).max };
                most = if difference.is_nan() { f64::INFINITY } else { most.max(difference) };
            }
        }
    }
    most
}

fn compare_noise(own: &Reference, stored: &Reference, ratios: &mut Ratios) {
    for arithmetic in [Arithmetic::Dense, Arithmetic::Blocks32].into_iter().filter(|&a| stored.knows(a)) {
        assert!(own.knows(arithmetic));
        for (site, dtype, feed) in
            stored.sites().flat_map(|s| DTYPES.into_iter().flat_map(move |d| FEEDS.map(|f| (s, d, f))))
        {
            let largest = |case: &Reference| {
                let at = |&place| case.noise_on(arithmetic, feed, site, place, dtype).map(|noise| noise.max);
                stored.places().iter().filter_map(at).reduce(f64::max)
            };
            // In f16 a site may be infinite, and a lookup has no noise in f32.
            if let (Some(own), Some(theirs)) = (largest(own), largest(stored))
                && theirs > 0.0
            {
                let key = (arithmetic, dtype.as_str(), feed.name(), site.kind);
                ratios.entry(key).or_default().push(own / theirs);
            }
        }
    }
}

#[test]
fn a_case_is_the_same_before_and_after_it_is_written() {
    let model = models::open("tiny-llama:q8_0").unwrap();
    let tokens = Tokens::prompt(&[1, 70, 3, 200, 5]).unwrap();
    let case =
        OwnCase::of_prompt(&model.weights, "q8_0", tokens, vec![DType::F32]).on_blocks().compute().unwrap();
    let folder = home();
    for (name, bytes) in case.files().unwrap() {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let read = Reference::open(folder.path()).unwrap();
    assert!(read.is_own() && read.sites().eq(case.sites()) && read.tokens().ids.dims() == [1, 5]);
    let place = (0, 4);
    for (arithmetic, feed) in
        [Arithmetic::Dense, Arithmetic::Blocks32].into_iter().flat_map(|a| FEEDS.map(|f| (a, f)))
    {
        for site in case.sites() {
            let rows =
                |case: &Reference| case.rows_on(arithmetic, feed, site).map(|rows| rows.values.clone());
            assert_eq!(rows(&read), rows(&case));
            let noise = |case: &Reference| case.noise_on(arithmetic, feed, site, place, DType::F32);
            assert!(noise(&read).is_some() && noise(&read) == noise(&case), "{site}");
        }
    }
}

/// A port with another θ than its file says.
#[test]
fn a_wrong_port_fails_against_the_own_oracle_and_its_mistake_is_named() {
    let model = models::open("tiny-llama").unwrap();
    let tokens = Tokens::prompt(&[1, 70, 3, 200, 5]).unwrap();
    let case = OwnCase::of_prompt(&model.weights, "tiny-llama", tokens, vec![DType::F32]).compute().unwrap();
    let mut subject =
        Subject::of_cases(&model, vec![case], &Device::Cpu, DType::F32, &[] as &[Attention]).unwrap();
    let mut config = model.weights.config().clone();
    config.rope_theta = 10_000.0;
    let wrong =
        Llama::with_config(config, &model.weights, &Device::Cpu, DType::F32, Attention::Plain).unwrap();
    subject.ports = vec![Box::new(LlamaPort::new(wrong))];
    let rope = judge::run(&mut subject, checkpoints::find("1B").unwrap()).unwrap();
    assert_eq!(rope.status(), Status::Failed);
    assert!(rope.named().iter().any(|named| named.mistake.starts_with("rope-theta")), "{:?}", rope.named());
    let norm = judge::run(&mut subject, checkpoints::find("1").unwrap()).unwrap();
    assert_eq!(norm.status(), Status::Own);
}

/// tiny-llama in a folder, so that it has no references.
fn unknown_model() -> TempDir {
    let (folder, fixture) = (home(), concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny-llama"));
    fs::create_dir(folder.path().join("mine")).unwrap();
    for file in [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ] {
        fs::copy(format!("{fixture}/{file}"), folder.path().join("mine").join(file)).unwrap();
    }
    folder
}

fn printed(folder: &TempDir, args: &[&str]) -> String {
    let output = rbees_in(folder.path(), &home(), args).output().unwrap();
    let text = masked(&stdout(&output), "% of budget");
    format!("{text}--- stderr\n{}--- exit {}\n", stderr(&output), output.status.code().unwrap())
}

#[rstest]
#[case::run_with_the_oracle("run-oracle", &["run", "--model", "mine", "--reference", "oracle", "--prompt", "Once upon a time"])]
#[case::no_prompt("run-oracle-no-prompt", &["run", "--model", "mine", "--reference", "oracle"])]
#[case::no_references("run-no-references", &["run", "--model", "mine"])]
#[case::checks_required("generate-require-checks", &["generate", "Once", "--model", "mine", "--require-checks"])]
fn what_agrees_with_the_own_oracle_is_printed_as_own(#[case] name: &str, #[case] args: &[&str]) {
    assert_snapshot!(name, printed(&unknown_model(), args));
}

#[test]
fn a_recorded_case_is_judged_as_own_and_is_written_once() {
    let folder = unknown_model();
    let record = ["record", "--model", "mine", "--prompt", "Once", "-o", "case"];
    assert_snapshot!("record", printed(&folder, &record));
    assert_snapshot!("record-again", printed(&folder, &record));
    let names = |path: &str| {
        let entries = fs::read_dir(folder.path().join(path)).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names("case"), ["manifest.json", "noise.npz", "reference.npz"]);
    assert_eq!(names("."), ["case", "mine"]);
    let run = ["run", "all", "--model", "mine", "--case", "case", "--report", "json=r.json"];
    let text = printed(&folder, &run);
    assert!(
        text.contains("checkpoints: 0 passed, 0 failed, 3 skipped, 9 own\n--- stderr\n--- exit 0\n"),
        "{text}"
    );
    let report: Value = serde_json::from_slice(&fs::read(folder.path().join("r.json")).unwrap()).unwrap();
    assert_eq!(report["summary"]["own"], 9);
    let case = &report["references"]["cases"][0];
    assert_eq!((&case["case"], &case["provenance"]["truth"]), (&"case".into(), &"own oracle".into()));
    assert_eq!(case["provenance"]["prompt"], "Once");
}

#[test]
fn text_is_generated_after_three_layers_agree_with_the_own_oracle() {
    let text = printed(&unknown_model(), &["generate", "Once", "--model", "mine", "--max-tokens", "2", "-v"]);
    assert!(
        text.contains("\nown: mine has no references; its cache is consistent, and three layers agree"),
        "{text}"
    );
    let judged: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("OWN   ")).collect();
    assert!(judged.len() == 8 && judged[3].starts_with("02  qkv"), "{text}");
}
