//! The noise measured by rounded arithmetic: on a prompt, compared with the noise captured from PyTorch, and on
//! the rows of a long recording.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use rstest::rstest;

use super::Against;
use super::engine::Engine;
use super::replay::Replay;
use super::replayed::own_noise;
use super::value::Value;
use crate::models::{self, Model};
use crate::probe::{Arithmetic, Site};
use crate::recording::{Recording, Vocabulary};
use crate::reference::Feed;

/// A recording that contains only the token ids of a case (and the hidden size).
fn prompt_of(case: &str) -> Recording {
    recording(case, &[], tempfile::tempdir().unwrap().path())
}

/// A recording, in `folder`, of the token ids of a case and of these sites, whose rows have these widths and random
/// values.
fn recording(case: &str, sites: &[(&'static str, usize)], folder: &Path) -> Recording {
    let ids = models::fixture("tiny-llama").unwrap().case(case).unwrap().manifest.ids[0].clone();
    let ids: Vec<i64> = ids.into_iter().map(i64::from).collect();
    let width = Tensor::zeros((1, ids.len(), 128), DType::F32, &Device::Cpu).unwrap();
    let length = ids.len();
    let mut arrays = HashMap::from([
        ("input_ids", Tensor::new(vec![ids], &Device::Cpu).unwrap()),
        ("model.embed_tokens", width),
    ]);
    for &(site, width) in sites {
        arrays.insert(site, Tensor::randn(0f32, 1f32, (1, length, width), &Device::Cpu).unwrap());
    }
    let file = folder.join("ids.safetensors");
    candle_core::safetensors::save(&arrays, &file).unwrap();
    Recording::open(&file, &Vocabulary::default()).unwrap()
}

fn without_case(model: &Model) -> Against<'_> {
    Against {
        case: None,
        weights: Some(&model.weights),
        config: Some(model.weights.config()),
        arithmetic: Arithmetic::Dense,
    }
}

/// The noise of two adjacent rows of a long recording, from the rows that are measured.
fn noise_at_the_first_two_rows(input: (&'static str, usize), site: &str) -> (f64, f64) {
    let model = models::open("tiny-llama").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (dump, against) = (recording("long", &[input], folder.path()), without_case(&model));
    let engine = Engine::new(&dump, &against, 4).unwrap().unwrap();
    let node = |name: &str| engine.node(name.parse().unwrap()).unwrap();
    let mut replay = Replay::new(&dump, &against, &engine);
    let recorded = dump.fit(input.0.parse().unwrap(), &against).unwrap().unwrap();
    replay.keep(node(input.0), Value::Recorded(recorded));
    let (id, places) = (node(site), replay.places.clone());
    let measured = replay.sampled(id, &replay.way(id).unwrap(), &places).unwrap();
    let noise = replay.noise(id, &measured, &places);
    (noise[&(0, 0)].max, noise[&(0, 1)].max)
}

/// The error of a rotation grows from position to position: position 0 has none. If only some rows were measured,
/// those after it would get its budget, and a correct port would fail.
#[test]
fn rotations_are_measured_at_every_position() {
    let q_proj = ("model.layers.0.self_attn.q_proj", 192);
    let (first, second) = noise_at_the_first_two_rows(q_proj, "model.layers.0.self_attn.q_rope");
    assert!(first == 0.0 && second > 0.0, "{first} {second}");
}

/// A sum has the largest noise of the measured rows everywhere.
#[test]
fn all_rows_of_a_sum_have_the_same_noise() {
    let norm = ("model.layers.0.input_layernorm", 128);
    let (first, second) = noise_at_the_first_two_rows(norm, "model.layers.0.self_attn.q_proj");
    assert!(first > 0.0 && first == second, "{first} {second}");
}

/// The noise measured here over a whole pass must agree with the measured errors of PyTorch's own runs.
/// Larger noise would give too wide a budget; smaller noise would make a correct run fail.
#[rstest]
#[case(DType::F32)]
#[case(DType::BF16)]
#[case(DType::F16)]
fn measured_noise_agrees_with_the_captured_noise(#[case] dtype: DType) {
    let model = models::open("tiny-llama").unwrap();
    let case = models::fixture("tiny-llama").unwrap().case("short").unwrap();
    let mut dump = prompt_of("short");
    dump.dtype = dtype;
    let against = without_case(&model);
    let sites: BTreeSet<Site> = case.sites().collect();
    let measured = own_noise(&dump, &against, 4, &sites).unwrap();
    let mut ratios: Vec<(f64, String)> = Vec::new();
    for (site, noise) in &measured {
        let last = (0, dump.length() - 1);
        let captured = case.noise_on(Arithmetic::Dense, Feed::Own, *site, last, dtype).unwrap();
        if captured.max > 0.0 {
            ratios.push((noise[&last].max / captured.max, site.to_string()));
        }
    }
    ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
    assert!(measured.len() == 71 && ratios.len() >= 70, "{} {}", measured.len(), ratios.len());
    let (least, middle, most) = (&ratios[0], &ratios[ratios.len() / 2], &ratios[ratios.len() - 1]);
    println!("{dtype:?}: {middle:?}, {least:?} to {most:?}");
    assert!((0.9..1.2).contains(&middle.0), "{dtype:?}: {middle:?}");
    assert!(least.0 > 0.5 && most.0 < 5.0, "{dtype:?}: {least:?} {most:?}");
}
