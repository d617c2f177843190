//! Values that pass float16's largest.

use candle_core::DType;

use super::{Evidence, Named};
use crate::compare::ulp;

/// All that is infinite in the port's tensor is finite in truth, of the same sign, and larger there
/// than all that is not; the rest is right.
pub(super) fn named(e: &Evidence<'_>) -> Option<Named> {
    if e.site.kind.over_keys() {
        return None;
    }
    let (mut smallest_infinite, mut largest_finite, mut infinite) = (f64::INFINITY, 0f64, 0usize);
    let mut residual = 0f64;
    for r in 0..e.got.len() {
        let budget = e.budget(r, e.want.row(r)).max;
        for (&got, &want) in e.got.row(r).iter().zip(e.want.row(r)) {
            if got.is_infinite() && want.is_finite() && got.signum() == want.signum() {
                infinite += 1;
                smallest_infinite = smallest_infinite.min(want.abs());
                continue;
            }
            // What did not overflow was rounded to float16, at whatever scale.
            let rounding = want.abs() * ulp(DType::F16);
            residual = residual.max((got - want).abs() / budget.max(rounding));
            largest_finite = largest_finite.max(want.abs());
        }
    }
    let fits =
        infinite > 0 && residual <= 1.0 && largest_finite <= smallest_infinite * (1.0 + ulp(DType::F16));
    fits.then(|| Named {
        mistake: "f16-overflow",
        says: format!(
            "{infinite} value{} became infinite, the largest ones: {smallest_infinite:.4} and up, truth is finite",
            if infinite == 1 { "" } else { "s" }
        ),
        fix: "float16 ends at 65504: compute this in bf16 or f32".into(),
        residual,
        flips: 0,
    })
}
