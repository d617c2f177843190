//! Every kernel is compared with the exact product of the same rounded values.

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{Device, Tensor};
use half::f16;
use proptest::prelude::*;
use rstest::rstest;

use super::activations::Rounded;
use super::kernel::Kernel;
use super::packed::Packed;
use super::portable::Portable;
use super::stored::{BLOCK, BlockType};

const TYPES: [GgmlDType; 5] =
    [GgmlDType::Q4_0, GgmlDType::Q4_1, GgmlDType::Q5_0, GgmlDType::Q5_1, GgmlDType::Q8_0];

/// The product by every kernel that this processor can run, with its name.
fn products(matrix: &Packed, x: &[f32]) -> Vec<(&'static str, Vec<f32>)> {
    let mut all = vec![("portable", matrix.product_by(Portable, x))];
    #[cfg(target_arch = "x86_64")]
    {
        use super::x86::{Avx2, Avx512};
        all.extend(Avx2::detect().map(|kernel| ("avx2", matrix.product_by(kernel, x))));
        all.extend(Avx512::detect().map(|kernel| ("avx512vnni", matrix.product_by(kernel, x))));
    }
    all
}

/// A matrix with these bytes, repeated as often as needed; scales and minima are the numbers that `halves` gives.
fn matrix(dtype: GgmlDType, (out, width): (usize, usize), bytes: &[u8], halves: &[f16]) -> QTensor {
    let stored = BlockType::of(dtype).unwrap();
    let mut data: Vec<u8> = bytes.iter().copied().cycle().take(out * width / BLOCK * stored.bytes).collect();
    let mut halves = halves.iter().cycle();
    for block in data.chunks_exact_mut(stored.bytes) {
        for at in 0..=usize::from(stored.minimum) {
            block[2 * at..2 * at + 2].copy_from_slice(&halves.next().unwrap().to_le_bytes());
        }
    }
    let storage = QStorage::from_data(data.into(), &Device::Cpu, dtype).unwrap();
    QTensor::new(storage, (out, width)).unwrap()
}

fn random(out: usize, width: usize, dtype: GgmlDType) -> QTensor {
    let weight = (Tensor::randn(0f32, 1f32, (out, width), &Device::Cpu).unwrap() + 0.5).unwrap();
    QTensor::quantize(&weight, dtype).unwrap()
}

fn row(length: usize, seed: usize) -> Vec<f32> {
    (0..length).map(|j| ((seed * 131 + j) as f32 * 0.61).sin() * 3.0 + 0.4).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| if value.is_nan() { f32::NAN.to_bits() } else { value.to_bits() }).collect()
}

/// The product of a row with each row of the matrix in float64, from the rounded activations, and the sum of the
/// absolute values of its terms. Rounds activations by the formula, not by the code under test.
fn exact(weight: &QTensor, x: &[f32]) -> Vec<(f64, f64)> {
    let stored = BlockType::of(weight.dtype()).unwrap();
    let data = weight.data().unwrap();
    let of_block = |(block, x): (&[u8], &[f32])| {
        let largest = x.iter().fold(0f32, |most, x| most.max(x.abs()));
        let scale = largest / 127.0;
        let step = |x: f32| {
            if scale == 0.0 { 0.0 } else { f64::from((x * (1.0 / scale)).round()).clamp(-128.0, 127.0) }
        };
        let (dw, minimum) = stored.scale(block);
        let dx = f16::from_f32(scale);
        let d = dw.to_f64() * dx.to_f64();
        let terms = stored
            .unsigned(block)
            .into_iter()
            .zip(x)
            .map(|(level, &x)| (f64::from(level) - f64::from(stored.centre())) * step(x) * d);
        let (levels, size) = terms.fold((0.0, 0.0), |(sum, size), term: f64| (sum + term, size + term.abs()));
        let total: f64 = x.iter().map(|&x| step(x)).sum();
        let sum = (f16::from_f64(total) * dx).to_f64(); // infinite if it exceeds f16
        let of_minimum = if stored.minimum { minimum.to_f64() * sum } else { 0.0 };
        (levels + of_minimum, size + of_minimum.abs())
    };
    let row = |row: &[u8]| {
        let blocks = row.chunks_exact(stored.bytes).zip(x.chunks_exact(BLOCK)).map(of_block);
        blocks.fold((0.0, 0.0), |(sum, size), (s, z)| (sum + s, size + z))
    };
    data.chunks_exact(stored.bytes * (x.len() / BLOCK)).map(row).collect()
}

/// All kernels give the same bits, within the error of as many f32 additions as there are blocks.
fn assert_exact(weight: &QTensor, x: &[f32]) {
    let matrix = Packed::of(weight).unwrap().unwrap();
    let all = products(&matrix, x);
    let roundings = (2 * x.len() / BLOCK + 2) as f64 * f64::from(f32::EPSILON) / 2.0;
    for (n, (want, size)) in exact(weight, x).into_iter().enumerate() {
        let (got, least) = (f64::from(all[0].1[n]), f64::from(f32::MIN_POSITIVE));
        let infinite = size > f64::from(f32::MAX) / 2.0;
        assert!(
            infinite || (got - want).abs() <= size * roundings + least,
            "output {n}: {got} is not {want}"
        );
    }
    for (name, product) in &all[1..] {
        assert_eq!(bits(product), bits(&all[0].1), "{name} and {}", all[0].0);
    }
}

#[rstest]
fn every_kernel_gives_the_exact_product_of_the_rounded_values(
    #[values(0, 1, 2, 3, 4)] dtype: usize,
    #[values((16, 32), (1, 64), (40, 256), (33, 1536))] shape: (usize, usize),
) {
    assert_exact(&random(shape.0, shape.1, TYPES[dtype]), &row(shape.1, 7));
}

#[rstest]
#[case::largest_levels_and_steps(0xff, 1e3, 1.0)]
#[case::smallest_levels(0x80, -1e3, 1.0)]
#[case::zero_levels(0, 1e3, -1.0)]
#[case::alternating(0x7f, 1e3, -1.0)]
#[case::a_denormal_scale_of_weights(0xff, 1.0, 6e-8)]
#[case::a_denormal_scale_of_activations(0xff, 7.6e-6, 1.0)]
#[case::activations_too_small_for_a_scale(0xff, 1e-8, 1.0)]
#[case::denormal_activations(0xff, 1e-40, 1.0)]
#[case::activations_of_zero(0xff, 0.0, 1.0)]
#[case::the_largest_scales(0xff, 8.3e6, 65504.0)]
fn extreme_blocks_are_multiplied_exactly(
    #[values(0, 1, 2, 3, 4)] dtype: usize,
    #[case] byte: u8,
    #[case] x: f32,
    #[case] scale: f32,
) {
    let scales = [scale, -scale].map(f16::from_f32);
    for (bytes, signs) in [(vec![byte], [1.0, 1.0]), (vec![byte, 0x11, 0x88, !byte], [1.0, -1.0])] {
        let weight = matrix(TYPES[dtype], (17, 128), &bytes, &scales);
        let x: Vec<f32> = (0..128).map(|j| x * signs[j % 2]).collect();
        assert_exact(&weight, &x);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_blocks_are_multiplied_exactly(
        dtype in 0..TYPES.len(),
        bytes in prop::collection::vec(any::<u8>(), 1..400),
        halves in prop::collection::vec((-2000i16..2000, -24i32..5), 1..9),
        x in prop::collection::vec((-1f32..1.0, -20i32..20), 96),
    ) {
        let halves: Vec<f16> = halves.iter().map(|&(m, e)| f16::from_f32(f32::from(m) * 2f32.powi(e))).collect();
        let x: Vec<f32> = x.iter().map(|&(x, e)| x * 2f32.powi(e)).collect();
        assert_exact(&matrix(TYPES[dtype], (19, 96), &bytes, &halves), &x);
    }
}

#[rstest]
fn a_row_gives_the_same_bits_alone_and_with_any_number_of_others(
    #[values(0, 1, 2, 3, 4)] dtype: usize,
    #[values(1, 2, 3)] threads: usize,
) {
    let (out, width) = (72, 576);
    let matrix = Packed::of(&random(out, width, TYPES[dtype])).unwrap().unwrap();
    let x: Vec<f32> = (0..512).flat_map(|seed| row(width, seed)).collect();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    for (alone_by, with_others_by) in pool.install(|| {
        let of = |rows: usize| products(&matrix, &x[..rows * width]);
        let first: Vec<_> = of(1).into_iter().zip(of(512)).collect();
        let eighth = products(&matrix, &x[7 * width..8 * width]).into_iter().zip(of(8));
        let last = products(&matrix, &x[511 * width..]).into_iter().zip(of(512));
        let ends = eighth.chain(last).map(|(one, all)| {
            let start = all.1.len() - out;
            (one, (all.0, all.1[start..].to_vec()))
        });
        first
            .into_iter()
            .map(|(one, all)| (one, (all.0, all.1[..out].to_vec())))
            .chain(ends)
            .collect::<Vec<_>>()
    }) {
        assert_eq!(bits(&alone_by.1), bits(&with_others_by.1), "{}", alone_by.0);
    }
}

#[rstest]
#[case(f32::NAN)]
#[case(f32::INFINITY)]
#[case(f32::NEG_INFINITY)]
fn a_row_that_is_not_finite_gives_nan_in_every_output_and_no_other_row_does(
    #[values(0, 1, 2, 3, 4)] dtype: usize,
    #[case] value: f32,
) {
    let matrix = Packed::of(&random(20, 64, TYPES[dtype])).unwrap().unwrap();
    let mut x = [row(64, 1), row(64, 2)].concat();
    x[37] = value;
    for (name, product) in products(&matrix, &x) {
        assert!(product[..20].iter().all(|y| y.is_nan()), "{name}");
        assert!(product[20..].iter().all(|y| y.is_finite()), "{name}");
    }
}

#[rstest]
fn kernels_round_activations_alike(#[values(1.0, 1e-4, 1e-39, 1e30, 0.0)] size: f32) {
    let mut x: Vec<f32> = (0..320).map(|j| ((j * j) as f32 * 0.37).cos() * size).collect();
    (x[3], x[64], x[65]) = (127.0 * size, 127.0 * size, -0.5 * size); // exact ties
    let weight = Packed::of(&random(1, 32, GgmlDType::Q5_1)).unwrap().unwrap();
    let of = |kernel: &dyn Fn(&mut [Rounded])| {
        let mut to = vec![Rounded::default(); 10];
        kernel(&mut to);
        to
    };
    let portable = of(&|to| Portable.round(&x, to, weight.needs()));
    if size == 1.0 {
        assert_eq!(portable[2].words[0] >> 8 & 0xff, 0xff); // −0.5 is rounded to −1
    }
    #[cfg(target_arch = "x86_64")]
    {
        use super::x86::{Avx2, Avx512};
        if let Some(kernel) = Avx2::detect() {
            assert_eq!(of(&|to| kernel.round(&x, to, weight.needs())), portable);
        }
        if let Some(kernel) = Avx512::detect() {
            assert_eq!(of(&|to| kernel.round(&x, to, weight.needs())), portable);
        }
    }
}

#[rstest]
fn dequantised_rows_are_those_of_candle(#[values(0, 1, 2, 3, 4)] dtype: usize) {
    let weight = random(24, 96, TYPES[dtype]);
    let candle = weight.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(Packed::of(&weight).unwrap().unwrap().rows(), candle);
}

#[test]
fn other_types_are_not_packed() {
    let weight = random(16, 256, GgmlDType::Q4K);
    assert!(Packed::of(&weight).unwrap().is_none());
}
