//! The measured noise at one site.

use candle_core::DType;

use super::{Feed, Manifest};
use crate::compare::{Noise, ulp};

/// Noise at one site: `[dtype, feed, max|rms]`, optionally with one more axis over places. NaN means not
/// measured.
#[derive(Clone, Debug)]
pub(super) struct SiteNoise {
    pub values: Vec<f64>,
    /// The size of the last axis; 1 if all places share their noise.
    pub places: usize,
}

/// The dtypes in which noise is measured, with their names in a manifest.
const DTYPES: [(&str, DType); 3] = [("f32", DType::F32), ("bf16", DType::BF16), ("f16", DType::F16)];

/// The name of `dtype` in a manifest, if noise is measured in it.
pub(super) fn name_of(dtype: DType) -> Option<&'static str> {
    DTYPES.iter().find(|(_, known)| *known == dtype).map(|(name, _)| *name)
}

/// In f32, no operation on reference inputs has an error of more ulps, whatever its order of summation: the
/// largest measured error is 123 (a product over 1,536 columns). The error of a rotation grows by one ulp of
/// its angle per position.
const MOST_ULPS: f64 = 4096.0;
const MOST_ULPS_A_POSITION: f64 = 4.0;

/// In half precision, an error as large as the row itself cannot be rounding: the largest measured error is
/// 0.14.
const MOST_IN_HALF: f64 = 1.0;

impl SiteNoise {
    /// The noise measured in `dtype` under `feed`; `place` is the place's number, used if each place has its
    /// own noise.
    pub fn at(&self, manifest: &Manifest, dtype: DType, feed: Feed, place: Option<usize>) -> Option<Noise> {
        let (name, _) = DTYPES.iter().find(|(_, known)| *known == dtype)?;
        let d = manifest.noise_dtypes.iter().position(|known| known == name)?;
        let f = manifest.noise_feeds.iter().position(|known| known == feed.name())?;
        let place = match self.places {
            1 => 0,
            places => place.filter(|&place| place < places)?,
        };
        // [dtypes, feeds, 2, places]
        let at = |which: usize| {
            self.values[((d * manifest.noise_feeds.len() + f) * 2 + which) * self.places + place]
        };
        let noise = Noise { max: at(0), rms: at(1) };
        (!noise.max.is_nan() && !noise.rms.is_nan()).then_some(noise)
    }

    /// Why this cannot have been measured with dense arithmetic, in words; `None` if it is plausible.
    pub fn implausible(&self, manifest: &Manifest) -> Option<String> {
        if self.values.iter().any(|value| *value < 0.0 || value.is_infinite()) {
            return Some("noise is negative or infinite".into());
        }
        let farthest = manifest.position_ids.iter().flatten().copied().max().unwrap_or(0) as f64;
        for (name, dtype) in DTYPES {
            let most = match dtype {
                DType::F32 => (MOST_ULPS + MOST_ULPS_A_POSITION * farthest) * ulp(dtype),
                _ => MOST_IN_HALF,
            };
            let places = (0..self.places).filter_map(|p| self.at(manifest, dtype, Feed::Site, Some(p)));
            if let Some(noise) = places.map(|noise| noise.max.max(noise.rms)).find(|&noise| noise > most) {
                return Some(format!(
                    "a noise of {noise:.1e} in {name} on reference inputs, but rounding errors are at most {most:.1e}"
                ));
            }
        }
        None
    }
}
