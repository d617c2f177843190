//! The kernel for every processor, in plain Rust.

use super::activations::{Needs, Rounded, round};
use super::kernel::Kernel;
use super::packed::{GROUP, Group};

/// Plain Rust.
#[derive(Clone, Copy, Debug)]
pub(super) struct Portable;

impl Kernel for Portable {
    fn round(self, x: &[f32], to: &mut [Rounded], needs: Needs) {
        round(x, to, needs);
    }

    fn product<const ROWS: usize>(self, group: Group<'_>, rows: [&[Rounded]; ROWS]) -> [[f32; GROUP]; ROWS] {
        let lines = if group.halves { 4 } else { 8 };
        let mut sums = [[0f32; GROUP]; ROWS];
        for (block, levels) in group.levels.chunks_exact(lines).enumerate() {
            let scales = group.scales[block].map(f32::from);
            for (row, sums) in rows.iter().zip(&mut sums) {
                let x = &row[block];
                let mut totals = [x.start; GROUP];
                for (n, line) in levels.iter().enumerate() {
                    let mut add = |steps: u32, of: fn(u8) -> u8| {
                        let steps = steps.to_le_bytes().map(|step| i32::from(step as i8));
                        for (total, bytes) in totals.iter_mut().zip(&line.0) {
                            *total += bytes
                                .iter()
                                .zip(steps)
                                .map(|(&level, step)| i32::from(of(level)) * step)
                                .sum::<i32>();
                        }
                    };
                    if group.halves {
                        add(x.words[n], |byte| byte & 15);
                        add(x.words[n + 4], |byte| byte >> 4);
                    } else {
                        add(x.words[n], |byte| byte);
                    }
                }
                for (place, sum) in sums.iter_mut().enumerate() {
                    *sum = (totals[place] as f32).mul_add(scales[place] * x.scale, *sum);
                    if let Some(minima) = group.minima {
                        *sum = minima[block][place].to_f32().mul_add(x.sum, *sum);
                    }
                }
            }
        }
        sums
    }
}
