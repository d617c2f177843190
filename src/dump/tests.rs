//! Compares the noise measured by rounded arithmetic on a prompt with the noise captured from PyTorch.

use std::collections::{BTreeSet, HashMap};

use candle_core::{DType, Device, Tensor};
use rstest::rstest;

use super::Against;
use super::replayed::own_noise;
use crate::models;
use crate::probe::{Arithmetic, Site};
use crate::recording::{Recording, Vocabulary};
use crate::reference::Feed;

/// A recording that contains only the token ids of a case (and the hidden size). The measurement needs
/// nothing else.
fn prompt_of(case: &str) -> Recording {
    let ids = models::fixture("tiny-llama").unwrap().case(case).unwrap().manifest.ids[0].clone();
    let ids: Vec<i64> = ids.into_iter().map(i64::from).collect();
    let width = Tensor::zeros((1, ids.len(), 128), DType::F32, &Device::Cpu).unwrap();
    let arrays = HashMap::from([
        ("input_ids", Tensor::new(vec![ids], &Device::Cpu).unwrap()),
        ("model.embed_tokens", width),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ids.safetensors");
    candle_core::safetensors::save(&arrays, &file).unwrap();
    Recording::open(&file, &Vocabulary::default()).unwrap()
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
    let against = Against {
        case: None,
        weights: Some(&model.weights),
        config: Some(model.weights.config()),
        arithmetic: Arithmetic::Dense,
    };
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
