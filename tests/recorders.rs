//! The recorders that users copy into their code (`scripts/tap.rs`, `scripts/tap.hpp`). Their files contain
//! the computed tensors under the names and in the shapes of docs/dump-format.md.

#[path = "../scripts/tap.rs"]
mod tap;

use std::path::Path;
use std::process::{Command, Output};

use candle_core::{DType, Device, Tensor, safetensors};
use rbees_check::Result;
use rbees_check::checkpoints;
use rbees_check::dump::{Against, Passes};
use rbees_check::judge::{Status, Verdict};
use rbees_check::model::{Attention, Input, Llama};
use rbees_check::models;
use rbees_check::probe::{Arithmetic, Kind, Probe, Site};
use rbees_check::recording::{Recording, Vocabulary, passes_in};
use rbees_check::reference::Reference;
use rstest::rstest;

fn short() -> Reference {
    models::fixture("tiny-llama").unwrap().case("short").unwrap()
}

fn ids() -> Vec<u32> {
    short().manifest.ids[0].clone()
}

/// Asserts that the dump contains every stored site, equal to the reference up to rounding, and nothing else.
fn equals_reference(file: &Path) {
    let mut dump = safetensors::load(file, &Device::Cpu).unwrap();
    let mut take = |name: &str| dump.remove(name).unwrap_or_else(|| panic!("no {name}"));
    let integers = |tensor: Tensor| tensor.squeeze(0).unwrap().to_vec1::<i64>().unwrap();
    let ids = ids();
    assert_eq!(integers(take("input_ids")), ids.iter().map(|&id| i64::from(id)).collect::<Vec<_>>());
    assert_eq!(integers(take("position_ids")), (0..ids.len() as i64).collect::<Vec<_>>());
    let case = short();
    for site in case.sites() {
        let got = take(&site.to_string()).squeeze(0).unwrap();
        let rows = if site.kind.by_head() { got.transpose(0, 1).unwrap() } else { got };
        let reference = case.rows(site).unwrap();
        assert_eq!(rows.dims(), [&[ids.len()], &reference.row_shape[..]].concat(), "{site}");
        for row in 0..ids.len() {
            let got = rows.get(row).unwrap().flatten_all().unwrap().to_dtype(DType::F64).unwrap();
            near(&got.to_vec1().unwrap(), reference.row(row), site);
        }
    }
    assert!(dump.is_empty(), "{:?}", dump.keys());
}

/// Asserts that the dump is complete and passes every checkpoint.
fn passes(file: &Path) {
    let (model, case) = (models::open("tiny-llama").unwrap(), short());
    let dump = Recording::open(file, &Vocabulary::default()).unwrap();
    let config = Some(model.weights.config());
    let against = Against { case: Some(&case), weights: Some(&model.weights), config, ..Against::default() };
    let judged = dump.judge(&against, &checkpoints::ALL, true).unwrap();
    let wrong: Vec<_> = judged.outcomes.iter().filter(|outcome| outcome.status() > Status::Skipped).collect();
    assert!(wrong.is_empty() && judged.first_wrong.is_none(), "{wrong:?}");
    assert_eq!((judged.coverage.recorded, judged.unjudged.len()), (71, 0));
}

/// Recordings of llama.cpp on four tokens, in floats and on quantised blocks, must stay under a quarter of
/// every budget of their arithmetic.
#[rstest]
#[case::floats("tiny-llama", "f32", Arithmetic::Dense)]
#[case::blocks("tiny-llama:q8_0", "q8_0", Arithmetic::Blocks32)]
fn llama_cpp_recordings_pass_in_their_own_arithmetic(
    #[case] model: &str,
    #[case] file: &str,
    #[case] expected: Arithmetic,
) {
    let model = models::open(model).unwrap();
    let file = format!("{}/fixtures/dumps/llama-cpp-{file}.safetensors", env!("CARGO_MANIFEST_DIR"));
    let dump = Recording::open(Path::new(&file), &Vocabulary::default()).unwrap();
    let arithmetic = dump.arithmetic().unwrap();
    assert_eq!(arithmetic, expected);
    let weights = models::right_weights(&model).unwrap();
    let config = Some(weights.config());
    let judged_in = |arithmetic| {
        let against = Against { weights: Some(&weights), config, arithmetic, ..Against::default() };
        dump.judge(&against, &checkpoints::ALL, false).unwrap()
    };
    let judged = judged_in(arithmetic);
    assert_eq!(
        (judged.coverage.recorded, judged.unjudged.len(), judged.first_wrong.is_some()),
        (21, 0, false)
    );
    for outcome in &judged.outcomes {
        let worst = outcome.worst().map(|finding| finding.verdict.clone());
        let correct = worst.is_none_or(|verdict| matches!(verdict, Verdict::Pass(share) if share < 0.25));
        assert!(outcome.status() <= Status::Skipped && correct, "{}: {outcome:?}", outcome.checkpoint.id);
    }
    // Block products fail when they are judged as dense products. A file of floats has no block products,
    // so judging it on blocks changes nothing.
    let other =
        judged_in(if expected == Arithmetic::Dense { Arithmetic::Blocks32 } else { Arithmetic::Dense });
    assert_eq!(other.first_wrong.is_some(), expected != Arithmetic::Dense);
}

/// Asserts that two rows agree to 1e-5 of the row's scale. A plain f32 loop errs by up to 2e-6 here.
fn near(got: &[f64], want: &[f64], site: Site) {
    let scale = want.iter().filter(|v| v.is_finite()).fold(0f64, |most, v| most.max(v.abs()));
    for (got, want) in got.iter().zip(want) {
        let same = if want.is_finite() { (got - want).abs() <= 1e-5 * scale } else { got == want };
        assert!(same, "{site}: {got} is not {want}");
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Passes every site to the recorder, as a port with `tap` lines would.
struct Tapped;

impl Probe for Tapped {
    fn wants(&self, _: Kind) -> bool {
        true
    }

    fn tap(&mut self, site: Site, tensor: Tensor) -> Result<Tensor> {
        let name = site.to_string();
        match (site.kind, site.layer) {
            (Kind::Act, _) => tap::tap("mlp.act", &tensor)?,
            (Kind::Block, _) => tap::tap("", &tensor)?,
            (Kind::Gate, Some(2)) => {
                tap::layer(2);
                tap::tap("mlp.gate_proj", &tensor)?;
            }
            _ => tap::tap(&name, &tensor)?,
        }
        Ok(tensor)
    }
}

/// The test runs itself again in a new process, in which RBEES_DUMP is set from the start.
#[test]
fn the_rust_recorder_writes_the_file_named_by_rbees_dump() {
    let model = models::open("tiny-llama").unwrap();
    let llama = Llama::load(&model.weights, &Device::Cpu, DType::F32, Attention::Plain).unwrap();
    let forward = |ids: &[u32]| {
        tap::tokens(&Tensor::new(ids, &Device::Cpu).unwrap()).unwrap();
        llama.forward(&Input::single(ids, 0), &mut llama.new_cache(), &mut Tapped).unwrap();
    };
    forward(&ids());
    forward(&ids()[..3]); // a later pass, which must not be recorded
    if std::env::var_os("RBEES_DUMP").is_some() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dump.safetensors");
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "the_rust_recorder_writes_the_file_named_by_rbees_dump"]);
    let output = again.env("RBEES_DUMP", &file).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    equals_reference(&file);
    passes(&file);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
}

/// A prompt, a step that is not named, and another step; and logits of a run before, which the recorder does not see.
#[rstest]
#[case::some("0,2", &[0, 2])]
#[case::all("all", &[0, 1, 2])]
fn the_rust_recorder_writes_the_passes_named_by_rbees_dump_passes(
    #[case] passes: &str,
    #[case] numbers: &[usize],
) {
    let model = models::open("tiny-llama").unwrap();
    let llama = Llama::load(&model.weights, &Device::Cpu, DType::F32, Attention::Plain).unwrap();
    if std::env::var_os("RBEES_DUMP").is_some() {
        let ids = ids();
        let prompt = Input::single(&ids[..8], 0);
        tap::unrecorded(|| Ok(llama.forward(&prompt, &mut llama.new_cache(), &mut Tapped).unwrap())).unwrap();
        let mut cache = llama.new_cache();
        for (part, start) in [(&ids[..8], 0), (&ids[8..9], 8), (&ids[9..10], 9)] {
            tap::tokens_at(&Tensor::new(part, &Device::Cpu).unwrap(), start).unwrap();
            llama.forward(&Input::single(part, start), &mut cache, &mut Tapped).unwrap();
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("dump");
    let mut again = Command::new(std::env::current_exe().unwrap());
    let case = if passes == "all" { "case_2_all" } else { "case_1_some" };
    let name = format!("the_rust_recorder_writes_the_passes_named_by_rbees_dump_passes::{case}");
    again.args(["--exact", &name]);
    let output = again.env("RBEES_DUMP", &dump).env("RBEES_DUMP_PASSES", passes).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let found = passes_in(&dump).unwrap();
    assert_eq!(found.iter().map(|(number, _)| *number).collect::<Vec<_>>(), numbers);
    let config = Some(model.weights.config());
    let against = Against { weights: Some(&model.weights), config, ..Against::default() };
    let mut all = Passes::default();
    for (number, file) in found {
        all.add(number, Recording::open(&file, &Vocabulary::default()).unwrap(), &against).unwrap();
    }
    for (number, dump) in all.iter() {
        let judged = dump.judge(&against, &checkpoints::ALL, true).unwrap();
        // Without pass 1, the keys that pass 2 attends to are unknown.
        let expected = if number == 2 && numbers.len() == 2 { 4 } else { 0 };
        assert_eq!((judged.first_wrong, judged.unjudged.len()), (None, expected), "pass {number}");
    }
    let laws = all.laws(&against, true).unwrap();
    assert!(laws.iter().all(|law| matches!(law.verdict, Verdict::Pass(_))), "{laws:?}");
    assert_eq!(laws.len(), if numbers.len() == 3 { 3 } else { 0 });
}

#[test]
fn the_cpp_recorder_writes_the_file_named_by_rbees_dump() {
    let folder = tempfile::tempdir().unwrap();
    let (program, file) = (folder.path().join("llama"), folder.path().join("dump.safetensors"));
    let mut build = Command::new("c++");
    build.args(["-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-sign-compare", "-I", "scripts"]);
    build.args(["examples/cpp/llama.cpp", "-o"]).arg(&program).current_dir(env!("CARGO_MANIFEST_DIR"));
    let built = build.output().expect("a C++17 compiler, `c++`");
    assert!(built.status.success(), "{}", stderr(&built));

    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-llama");
    let run = |dump: Option<&Path>| {
        let mut run = Command::new(&program);
        run.arg(&model).args(ids().iter().map(u32::to_string)).env_remove("RBEES_DUMP");
        run.envs(dump.map(|file| ("RBEES_DUMP", file))).output().unwrap()
    };
    let quiet = run(None);
    assert!(quiet.status.success() && !file.exists(), "{}", stderr(&quiet));
    let recorded = run(Some(&file));
    assert_eq!((recorded.status.success(), &recorded.stdout), (true, &quiet.stdout), "{}", stderr(&recorded));
    equals_reference(&file);
    passes(&file);
    let several = folder.path().join("passes");
    std::fs::create_dir(&several).unwrap();
    let mut named = Command::new(&program);
    named.arg(&model).args(ids().iter().map(u32::to_string));
    let output = named.env("RBEES_DUMP", &several).env("RBEES_DUMP_PASSES", "1,0-0").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    passes(&several.join("pass-0.safetensors"));
    let refused = run(Some(Path::new("/nowhere/dump.safetensors")));
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("/nowhere/dump.safetensors"), "{}", stderr(&refused));
}
