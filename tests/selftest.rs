//! The self-test: each mistake is shown by some case, at its own stage and by far; the matrix as it is
//! printed.
#![cfg(feature = "cli")]

use std::process::Command;

use candle_core::DType;
use insta::assert_snapshot;
use rbees_check::checkpoints::{self, Checkpoint, How};
use rbees_check::mistakes;
use rbees_check::model::{Attention, Matmul};
use rbees_check::models;
use rbees_check::plants::{self, Plant, Standing};
use rbees_check::selftest::{Bench, Caught, Tally};
use rstest::rstest;

/// The checkpoints in whose own stage the mistake is made.
fn stages(plant: &Plant) -> Vec<&'static Checkpoint> {
    let at = mistakes::find(plant.name).unwrap().at;
    checkpoints::ALL.into_iter().filter(|c| at.contains(&c.id) && plant.red.contains(&c.id)).collect()
}

/// `mask-square  04  short`: which of these cases show each plant, each alone, on plain attention; or
/// the stages that need no case.
fn told_apart(model: &str, cases: &[&str]) -> String {
    let model = models::open(model).unwrap();
    let mut bench = Bench::by(&model, DType::F32, Matmul::Dense, cases).unwrap();
    let mut lines = String::new();
    for row in bench.rows() {
        let Standing::Planted(plant) = row.standing else { continue };
        let stages = stages(plant);
        if stages.is_empty() {
            continue; // no mistake: nothing may show it
        }
        let by_case = |stage: &&Checkpoint| matches!(stage.how, How::Sites(..) | How::Laws(_));
        let (stages, facts): (Vec<_>, Vec<_>) = stages.into_iter().partition(by_case);
        let ids = |stages: &[&Checkpoint]| stages.iter().map(|stage| stage.id).collect::<Vec<_>>().join(" ");
        if !facts.is_empty() {
            let caught = bench.catch_by(plant, &[Attention::Plain], &[], &facts).unwrap();
            assert_eq!(caught.paths[0].red.len(), facts.len(), "{}", plant.name);
            lines += &format!("{:<19} {:<8} needs no case\n", plant.name, ids(&facts));
        }
        if stages.is_empty() {
            continue;
        }
        let mut shown = Vec::new();
        for case in cases {
            let caught = bench.catch_by(plant, &[Attention::Plain], &[case.to_string()], &stages).unwrap();
            if stages.iter().any(|stage| caught.paths[0].red.contains(stage.id)) {
                let margin = caught.margin().unwrap_or(f64::INFINITY);
                assert!(margin >= 10.0, "{} by {case}: {margin} budgets", plant.name);
                shown.push(*case);
            }
        }
        assert!(!shown.is_empty(), "no case shows {}", plant.name);
        let only = if shown.len() == 1 { "  (alone)" } else { "" };
        lines += &format!("{:<19} {:<8} {}{only}\n", plant.name, ids(&stages), shown.join(", "));
    }
    lines
}

#[test]
fn every_plant_is_shown_by_some_case() {
    assert_snapshot!(told_apart("tiny-llama", &["batch-left", "short", "single"]));
}

/// Every mistake of the catalogue on tiny-llama in f32: what turns red, by how much, and its name. How near
/// the name's own prediction comes is rounding, and differs from processor to processor.
#[test]
fn every_mistake_is_caught_and_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_rbees-check")).arg("selftest").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    insta::with_settings!({ filters => vec![(r"residual \S+?e\S+?(,|\n)", "residual ..$1"), (r"(next \S+) \S+", "$1 ..")] }, {
        assert_snapshot!(String::from_utf8(output.stdout).unwrap());
    });
}

/// What is known to be wrong in f32 is wrong in every other arithmetic too, and is nothing else there. What
/// drowns in the noise of one says so: an ε of a tenth moves a row by less than bf16 or f16 rounds it.
#[rstest]
#[case::bf16("tiny-llama", DType::BF16, Matmul::Dense, &["norm-eps"])]
#[case::f16("tiny-llama", DType::F16, Matmul::Dense, &["norm-eps"])]
#[case::quantized("tiny-llama:q8_0", DType::F32, Matmul::Quantized, &[])]
fn mistakes_stay_red_in_other_arithmetic(
    #[case] model: &str,
    #[case] dtype: DType,
    #[case] matmul: Matmul,
    #[case] unseen: &[&str],
) {
    let model = models::open(model).unwrap();
    let mut bench = Bench::by(&model, dtype, matmul, &["short"]).unwrap();
    let names = ["rope-pairing", "mask-square", "head-map", "norm-eps", "gate-up-swapped", "decode-position"];
    for name in names {
        let plant = plants::find(name).unwrap();
        let caught = bench.catch_by(plant, &[Attention::Plain], &["short".into()], &stages(plant)).unwrap();
        let none: [String; 0] = [];
        assert_eq!(caught.faults(), none, "{name}");
        assert_eq!(caught.misnamed(), none, "{name}");
        assert_eq!(caught.paths[0].red.is_empty(), unseen.contains(&name), "{name}");
    }
}

/// In bf16 a sum of 700 probabilities loses some of them, as Candle's own softmax does.
#[test]
fn a_softmax_summed_in_bf16_is_named_where_texts_are_long() {
    let model = models::open("tiny-llama").unwrap();
    let mut bench = Bench::by(&model, DType::BF16, Matmul::Dense, &["short", "far"]).unwrap();
    let plant = plants::find("softmax-half").unwrap();
    let stage = [checkpoints::find("03").unwrap()];
    let mut by = |case: &str| bench.catch_by(plant, plant.paths, &[case.into()], &stage).unwrap();
    let (short, far) = (by("short"), by("far"));
    assert!(short.paths.iter().all(|on| on.red.is_empty()));
    assert!(far.paths.iter().all(|on| on.red.contains("03")) && far.named());
}

#[test]
fn an_unknown_mistake_is_answered_with_the_one_that_was_meant() {
    let output = Command::new(env!("CARGO_BIN_EXE_rbees-check"))
        .args(["selftest", "--only", "rope-paring"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_snapshot!(String::from_utf8(output.stderr).unwrap());
}

/// What the case `short` makes of rope-pairing under another declaration.
fn declared_as(name: &'static str, red: &'static [&'static str]) -> Caught {
    let declared = Plant { name, red, ..*plants::find("rope-pairing").unwrap() };
    let plant: &'static Plant = Box::leak(Box::new(declared));
    let model = models::open("tiny-llama").unwrap();
    let mut bench = Bench::by(&model, DType::F32, Matmul::Dense, &["short"]).unwrap();
    let stages = [checkpoints::find("01").unwrap(), checkpoints::find("01B").unwrap()];
    bench.catch_by(plant, plant.paths, &["short".to_owned()], &stages).unwrap()
}

#[rstest]
#[case::as_it_is("rope-pairing", &["01B"], true, "planted: 1  caught: 1  named: 1")]
#[case::missed_at_a_checkpoint("rope-pairing", &["01", "01B"], false, "planted: 1  caught: 0  named: 1")]
#[case::misnamed("rope-theta", &["01B"], false, "planted: 1  caught: 1  named: 0")]
#[case::no_mistake_and_yet_red("fma", &[], false, "planted: 0  caught: 0  named: 0")]
fn a_mistake_that_is_missed_or_misnamed_fails(
    #[case] name: &'static str,
    #[case] red: &'static [&'static str],
    #[case] holds: bool,
    #[case] last_line: &str,
) {
    let mut tally = Tally::default();
    tally.count(Some(&declared_as(name, red)));
    assert_eq!((tally.holds(), tally.to_string().as_str()), (holds, last_line));
}

#[test]
fn what_no_model_shows_is_not_counted() {
    let mut tally = Tally::default();
    tally.count(None);
    assert_eq!((tally.ran(), tally.to_string().as_str()), (0, "planted: 0  caught: 0  named: 0"));
}

#[test]
fn every_stage_lists_the_mistakes_that_are_made_at_it() {
    for checkpoint in checkpoints::ALL {
        for mistake in mistakes::at(checkpoint.id) {
            assert!(checkpoint.suspects.contains(&mistake.name), "{}: {}", checkpoint.id, mistake.name);
        }
        assert!(checkpoint.suspects.iter().all(|name| mistakes::find(name).is_some()), "{}", checkpoint.id);
    }
}

#[test]
fn every_mistake_is_listed_by_some_stage() {
    let listed = |name: &str| checkpoints::ALL.iter().any(|checkpoint| checkpoint.suspects.contains(&name));
    assert!(mistakes::all().all(|mistake| listed(mistake.name)));
}

#[test]
fn a_planted_mistake_is_listed_where_it_turns_red_first() {
    for plant in plants::all() {
        let Some(first) = checkpoints::ALL.iter().find(|checkpoint| plant.red.contains(&checkpoint.id))
        else {
            continue;
        };
        assert!(first.suspects.contains(&plant.name), "{}: {}", plant.name, first.id);
    }
}

/// `docs/margins.md` is made by hand, for it takes long: it has every row, and in f32 none under 10.
#[test]
fn stored_margins_are_of_all_mistakes_and_far_past_their_budgets() {
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
            let far = ["inf", "exact", "green", "–"].contains(&margin)
                || margin.parse().is_ok_and(|m: f64| m >= 10.0);
            assert!(far, "{}: {margin}", row[2]);
        }
    }
}
