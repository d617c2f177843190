use std::sync::{Arc, Mutex};

use rstest::rstest;

use super::*;
use crate::judge::judged_rows::input;
use crate::judge::sites::judge_sites;
use crate::judge::watch::{Expect, Watch};
use crate::judge::{Finding, Verdict};
use crate::model::Matmul;
use crate::reference::{Feed, Place};

/// References are stored for real tokens only. At padding, what a query could attend to is the port's own.
#[test]
fn keys_and_values_of_padding_are_kept() {
    let model = tiny();
    let case = model.fixture.as_ref().unwrap().case("batch-left").unwrap();
    let handed: Arc<Mutex<Vec<(Site, Tensor)>>> = Arc::default();
    let seen = handed.clone();
    let bend = move |site: Site, tensor: Tensor| {
        seen.lock().unwrap().push((site, tensor.clone()));
        Ok(Some(tensor))
    };
    let mut port = Bent { port: LlamaPort::new(llama(&model, Attention::Plain)), bend: Box::new(bend) };
    let traits = port.traits();
    let expect = Expect { reference: &|_| None, judges: &|_, _| true, noise: &|_, _| None, factor: &|_| 8.0 };
    let (fed, window) = (Some((&case, Feed::Site)), 0..case.length());
    let mut watch = Watch::new(expect, fed, &traits, case.batch(), window);
    port.begin();
    port.forward(&input(&case), &mut watch).unwrap();

    // Rows of lengths 3, 5 and 2, padded on the left to 5.
    let padded: [Place; 5] = [(0, 0), (0, 1), (2, 0), (2, 1), (2, 2)];
    let kinds = [Kind::KRope, Kind::VProj];
    let sites: Vec<Site> = (0..4).flat_map(|layer| kinds.map(|kind| Site::layer(layer, kind))).collect();
    let mut kept: Vec<Site> = watch.diagnosis.padding.keys().copied().collect();
    kept.sort_by_key(|kept| sites.iter().position(|site| site == kept));
    assert_eq!(kept, sites);
    for (site, tensor) in handed.lock().unwrap().iter().filter(|(site, _)| sites.contains(site)) {
        let places: Vec<Place> = watch.diagnosis.padding[site].iter().map(|(place, _)| *place).collect();
        assert_eq!(places, padded);
        for ((b, s), row) in &watch.diagnosis.padding[site] {
            let of_place = match site.kind {
                Kind::KRope => tensor.narrow(0, *b, 1).unwrap().narrow(2, *s, 1).unwrap(), // [1, heads, 1, d]
                _ => tensor.narrow(0, *b, 1).unwrap().narrow(1, *s, 1).unwrap(), // [1, 1, heads × d]
            };
            let want: Vec<f32> = of_place.flatten_all().unwrap().to_vec1().unwrap();
            assert_eq!(*row, want.iter().map(|v| f64::from(*v)).collect::<Vec<_>>(), "{site}");
        }
    }
}

/// Heads that are concatenated in one axis are reported separately: as many as the rotated form has.
#[rstest]
#[case("self_attn.q_proj", "02", 6)]
#[case("self_attn.k_proj", "02", 2)]
#[case("self_attn.v_proj", "02", 2)]
#[case("self_attn.context", "03", 6)]
fn a_wrong_head_of_a_projection_is_identified(#[case] name: &str, #[case] id: &str, #[case] heads: usize) {
    let last = 32 * (heads - 1) + 5;
    let bend = at(&format!("model.layers.1.{name}"), move |x| Ok(Some(nudged(&x, last, 0.5)?)));
    let outcome = judged(id, Attention::Plain, bend);
    let shares = outcome.failures().next().unwrap().shares.as_ref().unwrap();
    let wrong: Vec<usize> = (0..shares.heads).filter(|&head| shares.at(0, head) > 1.0).collect();
    assert_eq!((shares.heads, wrong), (heads, vec![heads - 1]));
}

/// Findings at each q_proj of this port, at a factor that makes every budget larger than its row.
fn too_wide(model: &str, matmul: Matmul, dtype: DType) -> Vec<Finding> {
    let model = models::open(model).unwrap();
    let path = Path { attention: Attention::Plain, matmul };
    let mut port = LlamaPort::new(Llama::load(&model.weights, &Device::Cpu, dtype, path).unwrap());
    let case = model.fixture.as_ref().unwrap().case("short").unwrap();
    let factor = |kind| (kind == Kind::QProj).then_some(1e9);
    judge_sites(&mut port, &case, Feed::Site, &factor, None).unwrap()
}

/// Only in f32 does such a budget mean that the reference is broken.
#[rstest]
#[case::fine("tiny-llama", Matmul::Dense, DType::F32, Verdict::TooWide { rows: 13 })]
#[case::half("tiny-llama", Matmul::Dense, DType::BF16, Verdict::Incomparable)]
#[case::rounded("tiny-llama:q8_0", Matmul::Quantized, DType::F32, Verdict::Incomparable)]
fn a_budget_larger_than_its_row_is_an_error_only_in_f32(
    #[case] model: &str,
    #[case] matmul: Matmul,
    #[case] dtype: DType,
    #[case] want: Verdict,
) {
    let findings = too_wide(model, matmul, dtype);
    assert_eq!(findings.len(), 4);
    assert!(findings.iter().all(|finding| finding.verdict == want), "{findings:?}");
}
