//! Candle's operations on the CPU: what is wrong with them, in numbers, and which of them this project uses.

mod caches;
mod documents;
mod fused;
mod half;
mod norms;
mod products;
mod rotations;

use std::collections::BTreeSet;

use candle_core::{DType, Device, Tensor};
use rbees_check::bench::row::{Row, State};
use rbees_check::bench::{check, known, operations};

/// A tensor on the CPU.
fn tensor(values: &[f32], dims: &[usize], dtype: DType) -> Tensor {
    Tensor::from_slice(values, dims, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

/// Its numbers in float32, which is exact for half precision.
fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Numbers between −1 and 1 that look random, the same in every run.
fn spread(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + 13) % 2003) as f32 / 1001.5 - 1.0).collect()
}

/// The largest absolute difference.
fn farthest(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    got.iter().zip(want).map(|(got, want)| (f64::from(*got) - want).abs()).fold(0.0, f64::max)
}

/// Every case of every operation: a defect that is not in the table fails, and so does one in the table that no longer
/// appears.
#[test]
fn the_defects_of_all_cases_are_those_of_the_table() {
    let cases = operations::cases(|_| true);
    let mut rows: Vec<Row> = cases.iter().map(|case| check::check(case, &Device::Cpu)).collect();
    let stale = known::recognise(&mut rows, known::KNOWN);
    let new: Vec<&Row> = rows.iter().filter(|row| row.state() == State::New).collect();
    assert!(new.is_empty(), "new defects: {new:#?}");
    assert!(stale.is_empty(), "{stale:#?}");
    let named: BTreeSet<&str> = rows.iter().map(|row| row.operation).collect();
    assert_eq!(named, operations::names().collect());
    assert!(rows.len() > 800, "only {} cases", rows.len());
    assert!(rows.iter().filter(|row| row.state() == State::Right).count() > 500);
}
