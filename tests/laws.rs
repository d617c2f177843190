//! What can be said of a port without any reference: the laws of its cache, by the rounding noise
//! that the port itself shows.

mod silent;

use candle_core::{DType, Device};
use rbees_check::judge::{LlamaPort, Port, Status, laws_alone};
use rbees_check::model::{Attention, Llama};
use rbees_check::models;
use rbees_check::plants::{self, Sound};
use rstest::rstest;
use silent::Silent;

const PROMPT: &str = "And the king said unto the children of Israel";
const FACTOR: f64 = 16.0;

/// What is broken of tiny-llama as `port` makes it, each thing once.
fn broken(attention: Attention, port: impl Fn(&Sound<'_>) -> Box<dyn Port>) -> Vec<String> {
    let model = models::open("tiny-llama").unwrap();
    let ids = model.tokenizer.encode(PROMPT, true).unwrap();
    let llama = Llama::load(&model.weights, &Device::Cpu, DType::F32, attention).unwrap();
    let mut port = port(&Sound { model: &model, llama: &llama });
    let findings = laws_alone(&mut *port, &ids, FACTOR).unwrap();
    let wrong = findings.into_iter().filter(|f| f.verdict.status() != Status::Passed);
    let mut about: Vec<String> = wrong.map(|f| f.about).collect();
    about.dedup();
    about
}

/// What is broken of it under a plant.
fn broken_by(plant: &str) -> Vec<String> {
    let plant = plants::find(plant).unwrap();
    broken(Attention::Plain, |sound| (plant.make)(sound).unwrap().port)
}

fn sound_port(sound: &Sound<'_>) -> LlamaPort {
    LlamaPort::new(sound.llama.clone())
}

#[rstest]
fn a_sound_port_keeps_every_law(#[values(Attention::Plain, Attention::Fused)] attention: Attention) {
    assert_eq!(broken(attention, |sound| Box::new(sound_port(sound))), [] as [&str; 0]);
}

#[test]
fn a_position_that_is_stuck_in_decoding_shows_first_in_the_rotated_queries() {
    let broken = broken_by("decode-position");
    assert_eq!(broken[0], "model.layers.0.self_attn.q_rope");
}

#[test]
fn a_mask_that_forgets_the_cache_shows_first_in_the_scores() {
    let broken = broken_by("mask-square");
    assert_eq!(broken[0], "model.layers.0.self_attn.scores");
}

#[test]
fn a_port_that_hands_nothing_over_has_not_kept_them() {
    assert_eq!(broken(Attention::Plain, |sound| Box::new(Silent(sound_port(sound)))), ["sites"]);
}

#[test]
fn a_cache_that_is_never_emptied_breaks_a_b_a() {
    let broken = broken_by("cache-kept");
    assert!(broken.iter().any(|about| about == "A, B, A"), "{broken:?}");
}
