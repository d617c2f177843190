//! The cache laws, checked without any reference. The tolerance is the rounding noise that the port itself
//! shows.

mod untapped;

use candle_core::{DType, Device};
use rbees_check::judge::{LlamaPort, Port, Status, laws_alone};
use rbees_check::model::{Attention, Llama};
use rbees_check::models;
use rbees_check::plants::{self, Correct};
use rstest::rstest;
use untapped::Untapped;

const PROMPT: &str = "And the king said unto the children of Israel";
const FACTOR: f64 = 16.0;

/// The laws and sites that a port of tiny-llama violates, without consecutive repeats.
fn broken(attention: Attention, port: impl Fn(&Correct<'_>) -> Box<dyn Port>) -> Vec<String> {
    let model = models::open("tiny-llama").unwrap();
    let ids = model.tokenizer().unwrap().encode(PROMPT, true).unwrap();
    let llama = Llama::load(&model.weights, &Device::Cpu, DType::F32, attention).unwrap();
    let mut port = port(&Correct { model: &model, llama: &llama });
    let findings = laws_alone(&mut *port, &ids, FACTOR).unwrap();
    let wrong = findings.into_iter().filter(|f| f.verdict.status() != Status::Passed);
    let mut about: Vec<String> = wrong.map(|f| f.about).collect();
    about.dedup();
    about
}

/// The same for tiny-llama with a planted mistake.
fn broken_by(plant: &str) -> Vec<String> {
    let plant = plants::find(plant).unwrap();
    broken(Attention::Plain, |correct| (plant.make)(correct).unwrap().port)
}

fn correct_port(correct: &Correct<'_>) -> LlamaPort {
    LlamaPort::new(correct.llama.clone())
}

#[rstest]
fn a_correct_port_satisfies_every_cache_law(
    #[values(Attention::Plain, Attention::Fused)] attention: Attention,
) {
    assert_eq!(broken(attention, |correct| Box::new(correct_port(correct))), [] as [&str; 0]);
}

#[test]
fn a_constant_decode_position_is_detected_at_the_rotated_queries() {
    let broken = broken_by("decode-position");
    assert_eq!(broken[0], "model.layers.0.self_attn.q_rope");
}

#[test]
fn a_mask_that_ignores_cached_keys_is_detected_at_the_scores() {
    let broken = broken_by("mask-square");
    assert_eq!(broken[0], "model.layers.0.self_attn.scores");
}

#[test]
fn a_port_that_taps_no_sites_fails_the_cache_laws() {
    assert_eq!(broken(Attention::Plain, |correct| Box::new(Untapped(correct_port(correct)))), ["sites"]);
}

#[test]
fn a_cache_that_is_never_emptied_violates_the_a_b_a_law() {
    let broken = broken_by("cache-kept");
    assert!(broken.iter().any(|about| about == "A, B, A"), "{broken:?}");
}
