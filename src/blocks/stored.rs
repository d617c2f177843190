//! How GGUF files store blocks of 32 weights.

use candle_core::quantized::GgmlDType;
use half::f16;

/// Weights of a block.
pub(super) const BLOCK: usize = 32;

/// A type of block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockType {
    /// Bytes of a block.
    pub bytes: usize,
    /// Is there a minimum after the scale?
    pub minimum: bool,
    /// How levels are stored.
    pub levels: Levels,
}

/// How the levels of a block are stored, after the scale and the minimum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Levels {
    /// 16 bytes, of which byte j has level j in its lower half and level j + 16 in its upper half.
    Four,
    /// The same, after 32 bits that are the fifth bits of the levels.
    Five,
    /// 32 signed bytes.
    Eight,
}

impl BlockType {
    /// The type with this name; `None` for types with another number of weights, and for floats.
    pub const fn of(dtype: GgmlDType) -> Option<Self> {
        use Levels::{Eight, Five, Four};
        Some(match dtype {
            GgmlDType::Q4_0 => Self { bytes: 18, minimum: false, levels: Four },
            GgmlDType::Q4_1 => Self { bytes: 20, minimum: true, levels: Four },
            GgmlDType::Q5_0 => Self { bytes: 22, minimum: false, levels: Five },
            GgmlDType::Q5_1 => Self { bytes: 24, minimum: true, levels: Five },
            GgmlDType::Q8_0 => Self { bytes: 34, minimum: false, levels: Eight },
            _ => return None,
        })
    }

    /// The level that stands for the weight 0, or for the minimum if there is one; levels are unsigned here.
    pub const fn centre(&self) -> u8 {
        match self.levels {
            _ if self.minimum => 0,
            Levels::Four => 8,
            Levels::Five => 16,
            Levels::Eight => 128,
        }
    }

    /// The scale of a block, and its minimum or 0.
    pub fn scale(&self, block: &[u8]) -> (f16, f16) {
        let half = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]);
        (half(0), if self.minimum { half(2) } else { f16::ZERO })
    }

    /// The stored levels of a block: the bytes after its scale and minimum.
    pub fn stored<'a>(&self, block: &'a [u8]) -> &'a [u8] {
        &block[if self.minimum { 4 } else { 2 }..]
    }

    /// The levels of a block as unsigned bytes.
    pub fn unsigned(&self, block: &[u8]) -> [u8; BLOCK] {
        let stored = self.stored(block);
        let four = |low: &[u8], j: usize| if j < BLOCK / 2 { low[j] & 15 } else { low[j - BLOCK / 2] >> 4 };
        match (self.levels, stored.split_first_chunk()) {
            (Levels::Eight, _) => std::array::from_fn(|j| stored[j] ^ 0x80),
            (Levels::Five, Some((&bits, low))) => {
                let fifth = u32::from_le_bytes(bits);
                std::array::from_fn(|j| four(low, j) | ((fifth >> j & 1) << 4) as u8)
            }
            _ => std::array::from_fn(|j| four(stored, j)),
        }
    }
}
