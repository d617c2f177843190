//! Products of rows of activations with a matrix in blocks of 32 quantised weights: Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0.
//!
//! Candle multiplies such blocks too, but its result depends on the processor and on the shape (blocks of 256
//! activations share a scale in some cases), it has no fast product for several types on x86, and its threads wait
//! for each other in a busy loop. Here the arithmetic is always the same, on every processor, with any number of rows
//! and of threads:
//!
//! ```text
//! y = Σ over blocks  dw · dx · Σ (level − c) · step  +  m · s
//! ```
//!
//! - Each block of 32 activations is rounded to 8-bit steps of `dx = largest / 127`, as in ggml's Q8_0 and Q8_1:
//!   ties are rounded away from zero, and `dx` is kept in f16.
//! - The sum over a block is an integer of less than 24 bits, so it is exact in any order and exact in f32.
//! - `dw · dx` is a product of two f16 numbers, exact in f32. `s` is the sum of the block's steps times `dx`, rounded to
//!   f16 as in ggml's Q8_1, and enters only for types with a minimum `m`.
//! - Each output has one f32 accumulator, to which blocks are added from the first to the last, by fused
//!   multiply-add.
//!
//! So every kernel (`x86.rs` with AVX-512 VNNI or AVX2, and `portable.rs`) gives the same bits, and a row's result does
//! not depend on which rows share the call.

mod activations;
mod kernel;
mod packed;
mod portable;
mod product;
mod stored;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(test)]
mod tests;

pub use packed::Packed;
