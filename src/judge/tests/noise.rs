use super::*;
use crate::judge::noise::{shaken, spread};
use crate::probe::Kinds;

#[test]
fn the_spread_of_two_tensors_is_the_largest_over_their_rows() {
    let a = Tensor::new(&[[3f32, -4.0], [0.0, 0.0], [1.0, 1.0]], &Device::Cpu).unwrap();
    let b = Tensor::new(&[[3f32, -4.5], [9.0, 9.0], [1.1, 1.0]], &Device::Cpu).unwrap();
    let noise = spread(&a, &b).unwrap();
    // 0.5 / 4, and (0.5/√2) / √12.5; a row of zeros has no scale and is ignored.
    approx::assert_relative_eq!(noise.max, 0.125, max_relative = 1e-6);
    approx::assert_relative_eq!(noise.rms, 0.1, max_relative = 1e-6);
}

/// At the embedding nothing has been perturbed yet. After four layers the effect of an ulp has grown, but not
/// to the size of the values.
#[test]
fn an_ulp_at_every_site_affects_every_later_site() {
    let model = tiny();
    let mut port = Bent { port: LlamaPort::new(llama(&model, Attention::Plain)), bend: unbent() };
    let noise = shaken(&mut port, &Input::single(&[1, 70, 3], 0)).unwrap();
    assert_eq!(noise.len(), 1 + 4 * 17 + 2);
    assert_eq!(noise[&site("model.embed_tokens")].max, 0.0);
    let logits = noise[&site("lm_head")];
    assert!(logits.max > 1e-7 && logits.max < 1e-4 && logits.rms < 1e-4, "{logits:?}");
}

/// Counts in each run how many of its ones were returned larger, and how many smaller.
struct Ones(Vec<[usize; 2]>);

impl Port for Ones {
    fn traits(&self) -> Traits {
        let (path, hides, layouts, arithmetic) = ("plain", &[][..], vec![], Default::default());
        Traits {
            path,
            arithmetic,
            dtype: DType::F32,
            layers: 0,
            kinds: Kinds::LLAMA,
            vocab: 8,
            context: 16,
            hides,
            layouts,
        }
    }

    fn begin(&mut self) {}

    fn forward(&mut self, _: &Input, probe: &mut dyn Probe) -> Result<Tensor> {
        let ones = Tensor::ones((1, 1, 4096), DType::F32, &Device::Cpu)?;
        let back = probe.tap(Site::model(Kind::Embed), ones)?;
        let values: Vec<f32> = back.flatten_all()?.to_vec1()?;
        assert!(values.iter().all(|value| (value - 1.0).abs() <= f32::EPSILON));
        let count = |way: fn(f32) -> bool| values.iter().filter(|value| way(**value)).count();
        self.0.push([count(|value| value > 1.0), count(|value| value < 1.0)]);
        Ok(back)
    }
}

/// Above 1, neighbouring numbers are one ulp apart, below it half an ulp. If values move by up to an ulp
/// either way, a quarter come out larger and three eighths smaller.
#[test]
fn perturbations_go_both_ways_and_are_at_most_an_ulp() {
    let mut port = Ones(vec![]);
    shaken(&mut port, &Input::single(&[1], 0)).unwrap();
    assert_eq!(port.0[0], [0, 0], "the first run is not perturbed");
    assert_eq!(port.0.len(), 1 + 8);
    for [larger, smaller] in &port.0[1..] {
        assert!((900..1150).contains(larger) && (1400..1670).contains(smaller), "{larger} {smaller}");
    }
}
