//! What this machine can do: memory bandwidth and products of floats, measured, and which instruction sets it has.

use std::hint::black_box;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use serde::Serialize;

use crate::Result;

/// Limits that no model on this machine can exceed, as measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Limits {
    /// Bytes per second that all threads read from memory together.
    pub bandwidth: f64,
    /// Additions and multiplications per second in the fastest float32 product.
    pub flops: f64,
}

/// Bytes that are read to measure the bandwidth: far more than a cache holds.
const BYTES: usize = 512 << 20;

/// Rows, columns and depth of the product.
const SIDE: usize = 1536;

/// Measures for about a second.
///
/// # Errors
/// There is not enough memory.
pub fn limits(device: &Device) -> Result<Limits> {
    Ok(Limits { bandwidth: bandwidth(), flops: flops(device)? })
}

/// Every thread of the pool adds up its part of a large array.
fn bandwidth() -> f64 {
    let words = vec![1u64; BYTES / 8];
    let part = words.len().div_ceil(rayon::current_num_threads());
    fastest(5, || {
        let of_part = |part: &[u64]| part.iter().fold(0u64, |sum, word| sum.wrapping_add(*word));
        black_box(words.par_chunks(part).map(of_part).reduce(|| 0, u64::wrapping_add));
        Ok(())
    })
    .map_or(0.0, |seconds| BYTES as f64 / seconds)
}

fn flops(device: &Device) -> Result<f64> {
    let one = Tensor::ones((SIDE, SIDE), DType::F32, device)?;
    let seconds = fastest(5, || {
        black_box(one.matmul(&one)?).device().synchronize()?;
        Ok(())
    })?;
    Ok(2.0 * (SIDE as f64).powi(3) / seconds)
}

/// The shortest of several calls, in seconds.
fn fastest(calls: usize, mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..calls {
        let begin = Instant::now();
        call()?;
        best = best.min(begin.elapsed().as_secs_f64());
    }
    Ok(best)
}

/// The most memory that this process has used so far, in bytes, where the system says it.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// `x86_64 avx2 avx512f avx512vnni`: what decides which of Candle's kernels run.
pub fn processor() -> String {
    let mut text = std::env::consts::ARCH.to_owned();
    for (name, present) in instruction_sets() {
        if present {
            text += " ";
            text += name;
        }
    }
    text
}

#[cfg(target_arch = "x86_64")]
fn instruction_sets() -> [(&'static str, bool); 4] {
    [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512vnni", is_x86_feature_detected!("avx512vnni")),
        ("f16c", is_x86_feature_detected!("f16c")),
    ]
}

#[cfg(not(target_arch = "x86_64"))]
fn instruction_sets() -> [(&'static str, bool); 0] {
    []
}
