//! Kernels for x86 processors: AVX-512 with VNNI, and AVX2.
//!
//! Besides memory maps and the allocator, this is the only module with unsafe code. There are two reasons for it. A function
//! compiled for instructions that not every processor has may only be called where they exist: [`Avx512`] and [`Avx2`]
//! are proofs of that, which only `detect` makes. And a vector is loaded through a pointer, which here always comes from
//! a reference to as many bytes as the vector has.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use half::f16;

use super::activations::{Needs, Rounded, round};
use super::kernel::Kernel;
use super::packed::{GROUP, Group, Line};

/// This processor has AVX-512 with VNNI.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx512(());

/// This processor has AVX2, FMA and conversions of f16.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx2(());

impl Avx512 {
    /// Whether it has.
    pub fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        has.then_some(Self(()))
    }
}

impl Avx2 {
    /// Whether it has.
    pub fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        has.then_some(Self(()))
    }
}

impl Kernel for Avx512 {
    fn round(self, x: &[f32], to: &mut [Rounded], needs: Needs) {
        // SAFETY: `self` proves that the processor has these instructions.
        unsafe { round_512(x, to, needs) }
    }

    fn product<const ROWS: usize>(self, group: Group<'_>, rows: [&[Rounded]; ROWS]) -> [[f32; GROUP]; ROWS] {
        // SAFETY: `self` proves that the processor has these instructions.
        unsafe {
            match (group.halves, group.minima) {
                (true, None) => product_512::<ROWS, true, false>(group, rows),
                (true, Some(_)) => product_512::<ROWS, true, true>(group, rows),
                (false, None) => product_512::<ROWS, false, false>(group, rows),
                (false, Some(_)) => product_512::<ROWS, false, true>(group, rows),
            }
        }
    }
}

impl Kernel for Avx2 {
    fn round(self, x: &[f32], to: &mut [Rounded], needs: Needs) {
        // SAFETY: `self` proves that the processor has these instructions.
        unsafe { round_256(x, to, needs) }
    }

    fn product<const ROWS: usize>(self, group: Group<'_>, rows: [&[Rounded]; ROWS]) -> [[f32; GROUP]; ROWS] {
        let mut products = [[0f32; GROUP]; ROWS];
        for half in 0..2 {
            // SAFETY: `self` proves that the processor has these instructions.
            let of_half = unsafe {
                if group.halves {
                    product_256::<ROWS, true>(group, rows, half)
                } else {
                    product_256::<ROWS, false>(group, rows, half)
                }
            };
            for (product, of_half) in products.iter_mut().zip(of_half) {
                product[half * 8..half * 8 + 8].copy_from_slice(&of_half);
            }
        }
        products
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn round_512(x: &[f32], to: &mut [Rounded], needs: Needs) {
    round(x, to, needs);
}

#[target_feature(enable = "avx2,fma,f16c")]
fn round_256(x: &[f32], to: &mut [Rounded], needs: Needs) {
    round(x, to, needs);
}

/// 16 outputs in a register, for each row. `vpdpbusd` adds four products of an unsigned and a signed byte to each of
/// 16 integers, without rounding or saturation.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn product_512<const ROWS: usize, const HALVES: bool, const MINIMA: bool>(
    group: Group<'_>,
    rows: [&[Rounded]; ROWS],
) -> [[f32; GROUP]; ROWS] {
    let lines = if HALVES { 4 } else { 8 };
    let blocks = group.scales.len();
    let minima = group.minima.unwrap_or_default();
    let rows = rows.map(|row| &row[..blocks]);
    let mut sums = [_mm512_setzero_ps(); ROWS];
    for block in 0..blocks {
        let stored = &group.levels[block * lines..][..lines];
        let mut levels = [_mm512_setzero_si512(); 8];
        for (n, line) in stored.iter().enumerate() {
            let bytes = line_512(line);
            if HALVES {
                let low = _mm512_set1_epi8(15);
                levels[n] = _mm512_and_si512(bytes, low);
                levels[n + 4] = _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), low);
            } else {
                levels[n] = bytes;
            }
        }
        let scales = halves_512(&group.scales[block]);
        let minima = if MINIMA { halves_512(&minima[block]) } else { _mm512_setzero_ps() };
        for (row, sum) in rows.iter().zip(&mut sums) {
            let x = &row[block];
            let mut total = _mm512_set1_epi32(x.start);
            for (levels, word) in levels.iter().zip(x.words) {
                total = _mm512_dpbusd_epi32(total, *levels, _mm512_set1_epi32(word as i32));
            }
            let scale = _mm512_mul_ps(scales, _mm512_set1_ps(x.scale));
            *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(total), scale, *sum);
            if MINIMA {
                *sum = _mm512_fmadd_ps(minima, _mm512_set1_ps(x.sum), *sum);
            }
        }
    }
    sums.map(|sum| {
        let mut to = [0f32; GROUP];
        // SAFETY: `to` has room for 16 floats; no alignment is required.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), sum) };
        to
    })
}

#[target_feature(enable = "avx512f")]
fn line_512(line: &Line) -> __m512i {
    // SAFETY: a line has 64 bytes, and is aligned to 64.
    unsafe { _mm512_load_si512(std::ptr::from_ref(line).cast()) }
}

#[target_feature(enable = "avx512f")]
fn halves_512(halves: &[f16; GROUP]) -> __m512 {
    // SAFETY: 16 numbers of two bytes; no alignment is required.
    let bits = unsafe { _mm256_loadu_si256(halves.as_ptr().cast()) };
    _mm512_cvtph_ps(bits)
}

/// The lower or upper eight outputs of a group in a register, for each row.
///
/// `vpmaddubsw` adds two products of an unsigned and a signed byte in 16 bits. Its sums fit without saturation: levels
/// of four bits give at most 15 · 127 · 2 for each pair, and eight pairs fit too; other levels are less than or equal
/// to 128 in absolute value, and 128 · 127 · 2 fits.
#[target_feature(enable = "avx2,fma,f16c")]
fn product_256<const ROWS: usize, const HALVES: bool>(
    group: Group<'_>,
    rows: [&[Rounded]; ROWS],
    half: usize,
) -> [[f32; 8]; ROWS] {
    let lines = if HALVES { 4 } else { 8 };
    let blocks = group.scales.len();
    let rows = rows.map(|row| &row[..blocks]);
    let mut sums = [_mm256_setzero_ps(); ROWS];
    for block in 0..blocks {
        let stored = &group.levels[block * lines..][..lines];
        let mut levels = [_mm256_setzero_si256(); 8];
        for (n, line) in stored.iter().enumerate() {
            let bytes = line_256(line, half);
            if HALVES {
                let low = _mm256_set1_epi8(15);
                levels[n] = _mm256_and_si256(bytes, low);
                levels[n + 4] = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), low);
            } else {
                levels[n] = _mm256_sub_epi8(bytes, _mm256_set1_epi8(group.centre as i8)); // signed
            }
        }
        let scales = halves_256(&group.scales[block], half);
        let minima = group.minima.map(|minima| halves_256(&minima[block], half));
        for (row, sum) in rows.iter().zip(&mut sums) {
            let x = &row[block];
            let total = if HALVES {
                let mut pairs = _mm256_setzero_si256();
                for (levels, word) in levels.iter().zip(x.words) {
                    let steps = _mm256_set1_epi32(word as i32);
                    pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(*levels, steps));
                }
                let total = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
                _mm256_add_epi32(total, _mm256_set1_epi32(x.start))
            } else {
                let mut total = _mm256_setzero_si256();
                for (levels, word) in levels.iter().zip(x.words) {
                    let steps = _mm256_sign_epi8(_mm256_set1_epi32(word as i32), *levels);
                    let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(*levels), steps);
                    total = _mm256_add_epi32(total, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
                }
                total
            };
            let scale = _mm256_mul_ps(scales, _mm256_set1_ps(x.scale));
            *sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(total), scale, *sum);
            if let Some(minima) = minima {
                *sum = _mm256_fmadd_ps(minima, _mm256_set1_ps(x.sum), *sum);
            }
        }
    }
    sums.map(|sum| {
        let mut to = [0f32; 8];
        // SAFETY: `to` has room for 8 floats; no alignment is required.
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), sum) };
        to
    })
}

/// The bytes of the lower or upper eight rows.
#[target_feature(enable = "avx2")]
fn line_256(line: &Line, half: usize) -> __m256i {
    let rows: &[[u8; 4]] = &line.0[half * 8..half * 8 + 8];
    // SAFETY: eight times four bytes; no alignment is required.
    unsafe { _mm256_loadu_si256(rows.as_ptr().cast()) }
}

#[target_feature(enable = "avx,f16c")]
fn halves_256(halves: &[f16; GROUP], half: usize) -> __m256 {
    let halves: &[f16] = &halves[half * 8..half * 8 + 8];
    // SAFETY: eight numbers of two bytes; no alignment is required.
    let bits = unsafe { _mm_loadu_si128(halves.as_ptr().cast()) };
    _mm256_cvtph_ps(bits)
}
