//! Defects that this version of Candle is known to have on the CPU. A row with such a defect does not fail a run; a
//! defect that no longer appears does, because then the table, the findings and the choices that rest on them are out
//! of date. `docs/candle-findings.md` describes each by its name.

mod defect;
mod table;

use super::row::Row;

pub use defect::Known;

/// The defects.
pub const KNOWN: &[Known] = table::KNOWN;

/// Names the known defects of `table` among the faults of `rows`. Returns one line for each that should have appeared
/// and did not.
pub fn recognise(rows: &mut [Row], table: &[Known]) -> Vec<String> {
    let mut stale = Vec::new();
    for row in rows {
        let Row { operation, dtype, case, faults, .. } = row;
        for known in table.iter().filter(|known| known.covers(operation, dtype, case)) {
            match faults.iter_mut().find(|fault| fault.check == known.check) {
                Some(fault) => fault.known = Some(known.name),
                None if known.varies => {}
                None => stale.push(format!(
                    "{}: {operation} {dtype} {case} passes the check \"{}\" now",
                    known.name,
                    known.check.name()
                )),
            }
        }
    }
    stale
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use candle_core::DType;

    use super::super::operations;
    use super::super::row::{Check, Fault, State};
    use super::*;

    const DEFECT: Known = Known {
        name: "half-sum",
        operations: &["sum"],
        dtypes: &[DType::BF16],
        cases: &["2x4099 ones"],
        check: Check::Values,
        varies: false,
    };

    fn row(dtype: &'static str, faults: &[Check]) -> Row {
        let fault = |&check: &Check| Fault { check, found: "256".into(), known: None };
        Row {
            operation: "sum",
            dtype,
            case: "2x4099 ones".into(),
            entries: 2,
            worst_ulps: 0.0,
            relative_error: 0.0,
            share_of_budget: 0.0,
            bias: 0.0,
            row_alone: None,
            nan: None,
            faults: faults.iter().map(fault).collect(),
        }
    }

    #[test]
    fn a_listed_defect_is_known_and_any_other_is_new() {
        let mut rows = [
            row("bf16", &[Check::Values]),
            row("bf16", &[Check::Values, Check::Nan]),
            row("f16", &[Check::Values]),
            row("f32", &[]),
        ];
        assert!(recognise(&mut rows, &[DEFECT]).is_empty());
        assert_eq!(rows.map(|row| row.state()), [State::Known, State::New, State::New, State::Right]);
    }

    #[test]
    fn a_listed_defect_that_does_not_appear_is_stale_unless_it_depends_on_the_processor() {
        let mut rows = [row("bf16", &[])];
        let stale = recognise(&mut rows, &[DEFECT]);
        assert_eq!(stale, ["half-sum: sum bf16 2x4099 ones passes the check \"values\" now"]);
        assert!(recognise(&mut rows, &[Known { varies: true, ..DEFECT }]).is_empty());
    }

    #[test]
    fn every_listed_defect_names_existing_cases() {
        let cases: BTreeSet<(&str, &str, String)> = operations::cases(|_| true)
            .into_iter()
            .map(|case| (case.operation, case.dtype.as_str(), case.label))
            .collect();
        for known in KNOWN {
            for (operation, dtype) in
                known.operations.iter().flat_map(|of| known.dtypes.iter().map(move |dtype| (of, dtype)))
            {
                let has = |label: &str| cases.contains(&(*operation, dtype.as_str(), label.to_owned()));
                let missing: Vec<_> = known.cases.iter().filter(|label| !has(label)).collect();
                assert!(missing.is_empty(), "{}: {operation} {dtype:?} has no case {missing:?}", known.name);
                assert!(cases.iter().any(|(name, of, _)| name == operation && *of == dtype.as_str()));
            }
        }
    }
}
