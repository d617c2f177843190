//! A known defect.

use candle_core::DType;

use super::super::row::Check;

/// A defect, where it appears.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// The name in `docs/candle-findings.md`.
    pub name: &'static str,
    /// The operations.
    pub operations: &'static [&'static str],
    /// Their dtypes.
    pub dtypes: &'static [DType],
    /// The labels of their cases; all if there are none.
    pub cases: &'static [&'static str],
    /// The check that fails.
    pub check: Check,
    /// Does it depend on the processor? Then it may also be absent.
    pub varies: bool,
}

impl Known {
    /// Is this case one of those where it appears?
    pub(super) fn covers(&self, operation: &str, dtype: &str, case: &str) -> bool {
        self.operations.contains(&operation)
            && self.dtypes.iter().any(|of| of.as_str() == dtype)
            && (self.cases.is_empty() || self.cases.contains(&case))
    }
}
