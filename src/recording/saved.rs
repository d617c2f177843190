//! Tensors that were saved in another dtype than the port computes in.

use std::fmt;

use candle_core::DType;
use half::{bf16, f16};

use crate::compare::{Noise, spacing, ulp};

/// How a port's tensors were converted when they were saved. The recorded values then differ from those that
/// the port computed with by one conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The dtype of the saved values, bf16 or f16.
    pub dtype: DType,
    /// How they were converted.
    pub conversion: Conversion,
}

/// A conversion to fewer bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conversion {
    /// To the nearest number.
    Rounded,
    /// Bits were cut off.
    Truncated,
}

impl Saved {
    /// Parses `bf16`, `f16`, `bf16 truncated`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (dtype, conversion) = match text.split_once(' ') {
            None => (text, Conversion::Rounded),
            Some((dtype, "truncated")) => (dtype, Conversion::Truncated),
            Some(_) => return None,
        };
        let dtype = [DType::BF16, DType::F16].into_iter().find(|known| known.as_str() == dtype)?;
        Some(Self { dtype, conversion })
    }

    /// A value as it is saved.
    pub(crate) fn convert(self, value: f64) -> f64 {
        let nearest = |value: f64| match self.dtype {
            DType::F16 => f16::from_f64(value).to_f64(),
            _ => bf16::from_f64(value).to_f64(),
        };
        match self.conversion {
            Conversion::Rounded => nearest(value),
            Conversion::Truncated if value.is_finite() => {
                let spacing = spacing(value, self.dtype);
                (value / spacing).trunc() * spacing
            }
            Conversion::Truncated => value,
        }
    }

    /// A value that the port may have had if `value` was saved; `share` from 0 to 1 selects one of them. A 0
    /// stays 0: it is a masked probability, or exact.
    pub(crate) fn before(self, value: f64, share: f64) -> f64 {
        if value == 0.0 || !value.is_finite() {
            return value;
        }
        let spacing = spacing(value, self.dtype);
        match self.conversion {
            Conversion::Rounded => value + (share - 0.5) * spacing,
            Conversion::Truncated => value + share * spacing * value.signum(),
        }
    }

    /// The largest error of the conversion, and its root mean square, relative to the scale of a row.
    pub(crate) fn noise(self) -> Noise {
        let ulp = ulp(self.dtype);
        match self.conversion {
            Conversion::Rounded => Noise { max: ulp / 2.0, rms: ulp / 12f64.sqrt() },
            Conversion::Truncated => Noise { max: ulp, rms: ulp / 3f64.sqrt() },
        }
    }
}

impl fmt::Display for Saved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.conversion {
            Conversion::Rounded => f.write_str(self.dtype.as_str()),
            Conversion::Truncated => write!(f, "{} truncated", self.dtype.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("bf16", Some(1.015625))]
    #[case("bf16 truncated", Some(1.0078125))]
    #[case("f16", Some(1.013671875))]
    #[case("f16 truncated", Some(1.0126953125))]
    #[case("f32", None)]
    #[case("bf16 up", None)]
    fn a_value_is_converted_as_stated(#[case] text: &str, #[case] want: Option<f64>) {
        let saved = Saved::parse(text);
        assert_eq!(saved.map(|saved| saved.convert(1.0135)), want);
        assert!(saved.is_none_or(|saved| saved.to_string() == text));
    }

    #[rstest]
    fn every_value_before_is_saved_as_the_same_value(
        #[values("bf16", "bf16 truncated", "f16", "f16 truncated")] text: &str,
        #[values(1.3359375, -0.09375, 12.0)] value: f64,
        #[values(0.01, 0.5, 0.99)] share: f64,
    ) {
        let saved = Saved::parse(text).unwrap();
        assert_eq!(saved.convert(saved.before(value, share)), value);
    }
}
