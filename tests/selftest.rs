//! The self-test: some case catches each planted mistake, at its own checkpoint and by a wide margin. Also
//! the matrix that `rbees-check selftest` prints.
#![cfg(feature = "cli")]

use std::process::Command;

use candle_core::DType;
use insta::assert_snapshot;
use rbees_check::checkpoints::{self, Checkpoint, How};
use rbees_check::mistakes;
use rbees_check::model::{Attention, Matmul};
use rbees_check::models;
use rbees_check::plants::{self, Availability, Plant};
use rbees_check::selftest::{Bench, Caught, Tally};
use rstest::rstest;

/// The checkpoints that judge the operation with the mistake, and that the mistake fails.
fn stages(plant: &Plant) -> Vec<&'static Checkpoint> {
    let at = mistakes::find(plant.name).unwrap().at;
    checkpoints::ALL.into_iter().filter(|c| at.contains(&c.id) && plant.fails.contains(&c.id)).collect()
}

/// One line per planted mistake, such as `mask-square  04  short`: its checkpoints, and which of these
/// cases, run alone on plain attention, catch it. Checkpoints that need no case are listed as such.
fn catching_cases(model: &str, cases: &[&str]) -> String {
    let model = models::open(model).unwrap();
    let bench = Bench::by(&model, DType::F32, Matmul::Dense, cases).unwrap();
    let mut lines = String::new();
    for row in bench.rows() {
        let Availability::Planted(plant) = row.availability else { continue };
        let stages = stages(plant);
        if stages.is_empty() {
            continue; // not a mistake: nothing may fail
        }
        let by_case = |stage: &&Checkpoint| matches!(stage.how, How::Sites(..) | How::Laws(_));
        let (stages, facts): (Vec<_>, Vec<_>) = stages.into_iter().partition(by_case);
        let ids = |stages: &[&Checkpoint]| stages.iter().map(|stage| stage.id).collect::<Vec<_>>().join(" ");
        if !facts.is_empty() {
            let caught = bench.catch_by(plant, &[Attention::Plain], &[], &facts).unwrap();
            assert_eq!(caught.paths[0].failed.len(), facts.len(), "{}", plant.name);
            lines += &format!("{:<19} {:<8} needs no case\n", plant.name, ids(&facts));
        }
        if stages.is_empty() {
            continue;
        }
        let mut shown = Vec::new();
        for case in cases {
            let caught = bench.catch_by(plant, &[Attention::Plain], &[case.to_string()], &stages).unwrap();
            if stages.iter().any(|stage| caught.paths[0].failed.contains(stage.id)) {
                let margin = caught.margin().unwrap_or(f64::INFINITY);
                assert!(margin >= 10.0, "{} by {case}: {margin} budgets", plant.name);
                shown.push(*case);
            }
        }
        assert!(!shown.is_empty(), "no case catches {}", plant.name);
        let only = if shown.len() == 1 { "  (alone)" } else { "" };
        lines += &format!("{:<19} {:<8} {}{only}\n", plant.name, ids(&stages), shown.join(", "));
    }
    lines
}

#[test]
fn every_planted_mistake_is_caught_by_some_case() {
    assert_snapshot!(catching_cases("tiny-llama", &["batch-left", "short", "single"]));
}

/// Every mistake of the catalogue on tiny-llama in f32: what fails, by how much, and what is named.
/// Residuals are filtered out, because they are rounding errors and differ between processors.
#[test]
fn every_mistake_is_caught_and_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_rbees-check")).arg("selftest").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    insta::with_settings!({ filters => vec![(r"residual \S+?e\S+?(,|\n)", "residual ..$1"), (r"(next \S+) \S+", "$1 ..")] }, {
        assert_snapshot!(String::from_utf8(output.stdout).unwrap());
    });
}

/// The mistakes that only this family or these settings invite: caught at exactly the declared checkpoints, and named.
/// `rbees-check selftest --model NAME` plants those of the catalogue too, which takes up to a minute a model.
#[rstest]
#[case::llama3("tiny-llama3", 4)]
#[case::linear("tiny-linear", 1)]
#[case::qwen2("tiny-qwen2", 1)]
#[case::mistral("tiny-mistral", 2)]
#[case::qwen3("tiny-qwen3", 4)]
#[case::gemma2("tiny-gemma2", 10)]
#[case::gemma3("tiny-gemma3", 14)]
fn the_mistakes_that_a_family_invites_are_caught_and_named(#[case] model: &str, #[case] of_family: usize) {
    let model = models::open(model).unwrap();
    let bench = Bench::new(&model, DType::F32, Matmul::Dense).unwrap();
    let rows = bench.rows_of_family();
    assert_eq!(rows.len(), of_family);
    let mut tally = Tally::default();
    for row in rows {
        let Availability::Planted(plant) = row.availability else { continue };
        let caught = bench.catch(plant).unwrap();
        let wrong: Vec<String> = [caught.faults(), caught.misnamed()].concat();
        assert!(wrong.is_empty(), "{} ({}): {wrong:#?}", plant.name, plant.does);
        tally.count(Some(&caught));
    }
    assert!(tally.holds() && tally.ran() == of_family, "{tally}");
}

/// A mistake that is caught in f32 must also be caught in other arithmetic, without a wrong name. `unseen`
/// lists those hidden by rounding: an ε of a tenth changes a row by less than bf16 or f16 rounding does.
#[rstest]
#[case::bf16("tiny-llama", DType::BF16, Matmul::Dense, &["norm-eps"])]
#[case::f16("tiny-llama", DType::F16, Matmul::Dense, &["norm-eps"])]
#[case::quantized("tiny-llama:q8_0", DType::F32, Matmul::Quantized, &[])]
fn mistakes_are_caught_in_half_precision_and_on_quantised_blocks(
    #[case] model: &str,
    #[case] dtype: DType,
    #[case] matmul: Matmul,
    #[case] unseen: &[&str],
) {
    let model = models::open(model).unwrap();
    let bench = Bench::by(&model, dtype, matmul, &["short"]).unwrap();
    let names = ["rope-pairing", "mask-square", "head-map", "norm-eps", "gate-up-swapped", "decode-position"];
    for name in names {
        let plant = plants::find(name).unwrap();
        let caught = bench.catch_by(plant, &[Attention::Plain], &["short".into()], &stages(plant)).unwrap();
        let none: [String; 0] = [];
        assert_eq!(caught.faults(), none, "{name}");
        assert_eq!(caught.misnamed(), none, "{name}");
        assert_eq!(caught.paths[0].failed.is_empty(), unseen.contains(&name), "{name}");
    }
}

/// In bf16, a sum of 700 probabilities loses some of them. Candle's own softmax has this error.
#[test]
fn a_softmax_summed_in_bf16_is_caught_on_long_texts_only() {
    let model = models::open("tiny-llama").unwrap();
    let bench = Bench::by(&model, DType::BF16, Matmul::Dense, &["short", "far"]).unwrap();
    let plant = plants::find("softmax-half").unwrap();
    let stage = [checkpoints::find("03").unwrap()];
    let by = |case: &str| bench.catch_by(plant, plant.paths, &[case.into()], &stage).unwrap();
    let (short, far) = (by("short"), by("far"));
    assert!(short.paths.iter().all(|on| on.failed.is_empty()));
    assert!(far.paths.iter().all(|on| on.failed.contains("03")) && far.named());
}

#[test]
fn an_unknown_mistake_name_suggests_the_closest_one() {
    let output = Command::new(env!("CARGO_BIN_EXE_rbees-check"))
        .args(["selftest", "--only", "rope-paring"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_snapshot!(String::from_utf8(output.stderr).unwrap());
}

/// Plants rope-pairing, declared as another mistake or for other checkpoints, and judges it on the case
/// `short`.
fn declared_as(name: &'static str, fails: &'static [&'static str]) -> Caught {
    let declared = Plant { name, fails, ..*plants::find("rope-pairing").unwrap() };
    let plant: &'static Plant = Box::leak(Box::new(declared));
    let model = models::open("tiny-llama").unwrap();
    let bench = Bench::by(&model, DType::F32, Matmul::Dense, &["short"]).unwrap();
    let stages = [checkpoints::find("01").unwrap(), checkpoints::find("01B").unwrap()];
    bench.catch_by(plant, plant.paths, &["short".to_owned()], &stages).unwrap()
}

#[rstest]
#[case::correctly_declared("rope-pairing", &["01B"], true, "planted: 1  caught: 1  named: 1")]
#[case::missed_at_a_checkpoint("rope-pairing", &["01", "01B"], false, "planted: 1  caught: 0  named: 1")]
#[case::misnamed("rope-theta", &["01B"], false, "planted: 1  caught: 1  named: 0")]
#[case::declared_harmless_but_fails("fma", &[], false, "planted: 0  caught: 0  named: 0")]
fn a_missed_or_misnamed_mistake_fails_the_self_test(
    #[case] name: &'static str,
    #[case] fails: &'static [&'static str],
    #[case] holds: bool,
    #[case] last_line: &str,
) {
    let mut tally = Tally::default();
    tally.count(Some(&declared_as(name, fails)));
    assert_eq!((tally.holds(), tally.to_string().as_str()), (holds, last_line));
}

#[test]
fn a_mistake_that_the_model_cannot_show_is_not_counted() {
    let mut tally = Tally::default();
    tally.count(None);
    assert_eq!((tally.ran(), tally.to_string().as_str()), (0, "planted: 0  caught: 0  named: 0"));
}

#[test]
fn every_checkpoint_lists_the_mistakes_made_at_it_as_suspects() {
    for checkpoint in checkpoints::ALL {
        for mistake in mistakes::at(checkpoint.id) {
            assert!(checkpoint.suspects.contains(&mistake.name), "{}: {}", checkpoint.id, mistake.name);
        }
        assert!(checkpoint.suspects.iter().all(|name| mistakes::find(name).is_some()), "{}", checkpoint.id);
    }
}

#[test]
fn every_mistake_is_a_suspect_of_some_checkpoint() {
    let listed = |name: &str| checkpoints::ALL.iter().any(|checkpoint| checkpoint.suspects.contains(&name));
    assert!(mistakes::all().all(|mistake| listed(mistake.name)));
}

#[test]
fn a_planted_mistake_is_a_suspect_of_the_first_checkpoint_it_fails() {
    for plant in plants::all() {
        let Some(first) = checkpoints::ALL.iter().find(|checkpoint| plant.fails.contains(&checkpoint.id))
        else {
            continue;
        };
        assert!(first.suspects.contains(&plant.name), "{}: {}", plant.name, first.id);
    }
}

/// `docs/margins.md` is regenerated by hand, because measuring takes long. It must have a row for every
/// mistake, and no margin under 10 in f32.
#[test]
fn the_stored_margins_cover_every_mistake_and_are_at_least_10_budgets_in_f32() {
    let text = include_str!("../docs/margins.md");
    let cells = |line: &'static str| line.split('|').map(str::trim).collect::<Vec<_>>();
    let table: Vec<Vec<&str>> =
        text.lines().filter(|line| line.starts_with("| ")).map(cells).filter(|row| row[2] != "---").collect();
    let (head, rows) = table.split_first().unwrap();
    assert_eq!(head[3..7], ["f32", "bf16", "f16", "SmolLM2 f32"]);
    let listed: Vec<&str> = rows.iter().map(|row| row[2]).collect();
    let expected: Vec<&str> = mistakes::all().map(|mistake| mistake.name).collect();
    assert_eq!(listed, expected);
    for row in rows {
        for margin in [row[3], row[6]] {
            let far = ["inf", "exact", "pass", "–"].contains(&margin)
                || margin.parse().is_ok_and(|m: f64| m >= 10.0);
            assert!(far, "{}: {margin}", row[2]);
        }
    }
}
