use super::*;
use crate::judge::all_claimed;
use crate::model::Matmul;
use crate::probe::Arithmetic;

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

#[test]
fn products_are_held_to_rounded_truth_whose_distance_is_told_once() {
    let outcome = judged("02", &[path(Matmul::Quantized), path(Matmul::Quantized)]);
    assert_eq!((outcome.status(), outcome.findings.len()), (Status::Passed, 2 * 12));
    let [far] = outcome.notes.as_slice() else { panic!("{:?}", outcome.notes) };
    assert!(far.contains("truth lies up to ") && far.contains("self_attn."), "{far}");
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
