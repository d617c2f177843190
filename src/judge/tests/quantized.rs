use super::*;
use crate::judge::all_claimed;
use crate::model::Matmul;
use crate::probe::Arithmetic;
use crate::reference::Feed;

const PLAIN: Attention = Attention::Plain;

/// tiny-llama in blocks of 8-bit numbers, judged by `id` on each of `paths`.
fn judged(id: &str, paths: &[Path]) -> Outcome {
    let model = models::open("tiny-llama:q8_0").unwrap();
    let mut subject = Subject::new(&model, &["short".into()], &Device::Cpu, DType::F32, paths).unwrap();
    run(&mut subject, checkpoints::find(id).unwrap()).unwrap()
}

fn path(matmul: Matmul) -> Path {
    Path { attention: PLAIN, matmul }
}

#[test]
fn each_path_multiplies_as_it_says() {
    let model = models::open("tiny-llama:q8_0").unwrap();
    let paths = [path(Matmul::Dense), path(Matmul::Quantized), path(Matmul::Dense)];
    let subject = Subject::new(&model, &["short".into()], &Device::Cpu, DType::F32, &paths).unwrap();
    let dense = subject.ports.iter().map(|port| port.traits().arithmetic == Arithmetic::Dense);
    assert_eq!(dense.collect::<Vec<_>>(), [true, false, true]);
}

/// How far rounded truth of q, k and v lies from plain truth at its farthest, as a share of the plain row's
/// largest value.
fn distance() -> String {
    let model = models::open("tiny-llama:q8_0").unwrap();
    let arithmetic = LlamaPort::new(llama(&model, path(Matmul::Quantized))).traits().arithmetic;
    let case = model.fixture.unwrap().case("short").unwrap();
    let mut farthest = (0.0, String::new());
    for site in case.sites().filter(|site| matches!(site.kind, Kind::QProj | Kind::KProj | Kind::VProj)) {
        let rounded = case.truth_on(arithmetic, Feed::Site, site).unwrap();
        let plain = case.truth(site).unwrap();
        for r in 0..plain.places.len() {
            let largest = plain.row(r).iter().fold(0f64, |largest, v| largest.max(v.abs()));
            for (a, b) in plain.row(r).iter().zip(rounded.row(r)) {
                if (a - b).abs() / largest > farthest.0 {
                    farthest = ((a - b).abs() / largest, site.to_string());
                }
            }
        }
    }
    let (far, site) = (farthest.0 * 100.0, farthest.1);
    format!(
        "{} truth lies up to {far:.2}% of a row's scale from dense truth: {site} (short)",
        arithmetic.name()
    )
}

#[test]
fn products_are_held_to_rounded_truth_whose_distance_is_told_once() {
    let outcome = judged("02", &[path(Matmul::Quantized), path(Matmul::Quantized)]);
    assert_eq!((outcome.status(), outcome.findings.len()), (Status::Passed, 2 * 12));
    assert_eq!(outcome.notes, [distance()]);
    // Held to plain truth it would be red: the budget is far under that distance.
    let dense = judged("02", &[path(Matmul::Dense)]);
    assert_eq!((dense.status(), dense.notes.len()), (Status::Passed, 0));
}

/// Rounded truth of a product that is computed from nothing stored is judged by nobody.
#[test]
fn rounded_truth_must_be_judged_by_someone_too() {
    let model = models::open("tiny-llama:q8_0").unwrap();
    let mut traits = LlamaPort::new(llama(&model, path(Matmul::Quantized))).traits();
    let case = || model.fixture.as_ref().unwrap().case("short").unwrap();
    assert!(all_claimed(&case(), &traits).is_ok());
    let orphaned = case().keeping(|site, _| site.kind != Kind::Act && site.kind != Kind::Down);
    let refused = all_claimed(&orphaned, &traits).unwrap_err().to_string();
    assert!(refused.contains("mlp.down_proj under feed site on "), "{refused}");
    traits.arithmetic = Arithmetic::Dense; // which never looks at it
    assert!(all_claimed(&orphaned, &traits).is_ok());
}
