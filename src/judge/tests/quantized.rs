use super::*;
use crate::judge::all_judged;
use crate::model::Matmul;
use crate::probe::Arithmetic;
use crate::reference::Feed;

const PLAIN: Attention = Attention::Plain;

/// The outcome of checkpoint `id` for tiny-llama in Q8_0, on each of `paths`.
fn judged(id: &str, paths: &[Path]) -> Outcome {
    let model = models::open("tiny-llama:q8_0").unwrap();
    let mut subject = Subject::new(&model, &["short".into()], &Device::Cpu, DType::F32, paths).unwrap();
    run(&mut subject, checkpoints::find(id).unwrap()).unwrap()
}

fn path(matmul: Matmul) -> Path {
    Path { attention: PLAIN, matmul }
}

#[test]
fn each_path_uses_its_own_matmul() {
    let model = models::open("tiny-llama:q8_0").unwrap();
    let paths = [path(Matmul::Dense), path(Matmul::Quantized), path(Matmul::Dense)];
    let subject = Subject::new(&model, &["short".into()], &Device::Cpu, DType::F32, &paths).unwrap();
    let dense = subject.ports.iter().map(|port| port.traits().arithmetic == Arithmetic::Dense);
    assert_eq!(dense.collect::<Vec<_>>(), [true, false, true]);
}

/// The note about the largest difference between the quantised and the dense reference of q, k and v, as a
/// share of the largest value in the dense row.
fn distance() -> String {
    let model = models::open("tiny-llama:q8_0").unwrap();
    let arithmetic = LlamaPort::new(llama(&model, path(Matmul::Quantized))).traits().arithmetic;
    let case = model.fixture.unwrap().case("short").unwrap();
    let mut farthest = (0.0, String::new());
    for site in case.sites().filter(|site| matches!(site.kind, Kind::QProj | Kind::KProj | Kind::VProj)) {
        let rounded = case.rows_on(arithmetic, Feed::Site, site).unwrap();
        let plain = case.rows(site).unwrap();
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
        "the {} reference differs from the dense one by up to {far:.2}% of a row's scale: {site} (short)",
        arithmetic.name()
    )
}

#[test]
fn quantised_products_are_compared_with_the_quantised_reference_and_noted_once() {
    let outcome = judged("02", &[path(Matmul::Quantized), path(Matmul::Quantized)]);
    assert_eq!((outcome.status(), outcome.findings.len()), (Status::Passed, 2 * 12));
    assert_eq!(outcome.notes, [distance()]);
    // Compared with the dense reference it would fail: the budget is far smaller than that difference.
    let dense = judged("02", &[path(Matmul::Dense)]);
    assert_eq!((dense.status(), dense.notes.len()), (Status::Passed, 0));
}

/// A quantised reference of a product whose inputs are not stored cannot be judged.
#[test]
fn a_quantised_reference_must_be_used_by_a_checkpoint() {
    let model = models::open("tiny-llama:q8_0").unwrap();
    let mut traits = LlamaPort::new(llama(&model, path(Matmul::Quantized))).traits();
    let case = || model.fixture.as_ref().unwrap().case("short").unwrap();
    assert!(all_judged(&case(), &traits).is_ok());
    let orphaned = case().keeping(|site, _| site.kind != Kind::Act && site.kind != Kind::Down);
    let refused = all_judged(&orphaned, &traits).unwrap_err().to_string();
    assert!(refused.contains("mlp.down_proj under feed site on "), "{refused}");
    traits.arithmetic = Arithmetic::Dense; // dense arithmetic does not use it
    assert!(all_judged(&orphaned, &traits).is_ok());
}
