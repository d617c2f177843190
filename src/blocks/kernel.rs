//! What a processor must compute by instructions of its own.

use super::activations::{Needs, Rounded};
use super::packed::{GROUP, Group};

/// An implementation for one set of instructions. All of them give the same bits.
pub(super) trait Kernel: Copy + Sync {
    /// Rounds x into as many blocks as there are in `to`, see [`round`](super::activations::round).
    fn round(self, x: &[f32], to: &mut [Rounded], needs: Needs);

    /// The products of rounded rows with the 16 rows of a group. Every row has a block for each block of the group.
    fn product<const ROWS: usize>(self, group: Group<'_>, rows: [&[Rounded]; ROWS]) -> [[f32; GROUP]; ROWS];
}
