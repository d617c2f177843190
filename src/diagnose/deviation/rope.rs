//! Deviations in rotations: other positions, and tables in half precision.

use candle_core::DType;

use crate::diagnose::round;
use crate::oracle::RowPlaces;

/// The positions by which the port rotates rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::diagnose) enum Positions {
    /// All positions are higher by this number.
    Shifted(i64),
    /// Each position is the row's slot in the padded sequence.
    Slots,
    /// All positions are this number.
    All(usize),
    /// Positions are counted from the end.
    Reversed,
    /// Positions do not exceed this number.
    AtMost(usize),
    /// Positions modulo this number.
    Modulo(usize),
}

impl Positions {
    /// The position of row `r`.
    pub fn of(self, at: &RowPlaces<'_>, r: usize) -> f64 {
        let own = at.position(r);
        match self {
            Self::Shifted(by) => own as f64 + by as f64,
            Self::Slots => at.places.get(r).map_or(own, |&(_, slot)| slot) as f64,
            Self::All(position) => position as f64,
            Self::Reversed => at.pass.length().saturating_sub(1 + own) as f64,
            Self::AtMost(most) => own.min(most) as f64,
            Self::Modulo(n) => (own % n.max(1)) as f64,
        }
    }
}

/// Which values are rounded in the computation of cosines and sines.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::diagnose) struct LowTables {
    /// The dtype that they are rounded to.
    pub dtype: DType,
    /// The frequencies are rounded.
    pub frequencies: bool,
    /// The positions are rounded.
    pub positions: bool,
    /// The angles are rounded.
    pub angles: bool,
    /// The cosines and sines are rounded.
    pub cosines: bool,
}

impl LowTables {
    /// Sine and cosine of position · frequency.
    pub fn sin_cos(self, position: f64, frequency: f64) -> (f64, f64) {
        let low = |yes: bool, v: f64| if yes { round(v, self.dtype) } else { v };
        let angle = low(self.positions, position) * low(self.frequencies, frequency);
        let (sin, cos) = low(self.angles, angle).sin_cos();
        (low(self.cosines, sin), low(self.cosines, cos))
    }
}
