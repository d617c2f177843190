//! Turns a finding's share of its budget into a colour class and words.

use crate::judge::{Finding, Verdict};

/// Every colour class with its range, from small to large.
pub const LEGEND: [(&str, &str); 7] = [
    ("s1", "under 1%"),
    ("s2", "1–10%"),
    ("s3", "10–30%"),
    ("s4", "30–100% of budget"),
    ("s5", "up to 10 budgets"),
    ("s6", "up to 1000"),
    ("s7", "more"),
];

/// Error / budget of a finding about a site: infinite if a tensor is wrong but its error cannot be
/// measured, `None` if nothing was compared.
pub fn share(finding: &Finding) -> Option<f64> {
    match &finding.verdict {
        _ if finding.site.is_none() => None,
        Verdict::Pass(share) => Some(*share),
        Verdict::Differs(difference) => Some(difference.ratio),
        Verdict::Incomparable => None,
        _ => Some(f64::INFINITY),
    }
}

/// The colour class of a share. Three of the seven are over budget.
pub fn class(share: f64) -> &'static str {
    match share {
        s if s < 0.01 => "s1",
        s if s < 0.1 => "s2",
        s if s < 0.3 => "s3",
        s if s <= 1.0 => "s4",
        s if s <= 10.0 => "s5",
        s if s <= 1000.0 => "s6",
        _ => "s7",
    }
}

/// A label short enough for a table cell: `11%`, `23×`, `3e4×`.
pub fn label(share: f64) -> String {
    match share {
        0.0 => "0".into(),
        s if s < 0.001 => "<0.1%".into(),
        s if s < 0.0995 => format!("{:.1}%", s * 100.0),
        // A passing site is never shown as 100%, even if it rounds to that.
        s if s <= 1.0 => format!("{:.0}%", (s * 100.0).min(99.0)),
        s if s < 9.95 => format!("{s:.1}×"),
        s if s < 999.5 => format!("{s:.0}×"),
        s if s.is_finite() => format!("{s:.0e}×"),
        _ => "∞".into(),
    }
}

/// The same in words.
pub fn in_words(share: f64) -> String {
    match share {
        0.0 => "exact".into(),
        s if s <= 1.0 => format!("{} of budget", label(s)),
        s if s.is_finite() => format!("{} budgets", label(s).trim_end_matches('×')),
        _ => "NaN, infinite or not comparable".into(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(0.0, "s1", "0", "exact")]
    #[case(4e-5, "s1", "<0.1%", "<0.1% of budget")]
    #[case(0.0312, "s2", "3.1%", "3.1% of budget")]
    #[case(0.0999, "s2", "10%", "10% of budget")]
    #[case(0.299, "s3", "30%", "30% of budget")]
    #[case(0.999, "s4", "99%", "99% of budget")]
    #[case(1.0, "s4", "99%", "99% of budget")]
    #[case(1.01, "s5", "1.0×", "1.0 budgets")]
    #[case(23.4, "s6", "23×", "23 budgets")]
    #[case(76_543.0, "s7", "8e4×", "8e4 budgets")]
    #[case(f64::INFINITY, "s7", "∞", "NaN, infinite or not comparable")]
    #[case(f64::NAN, "s7", "∞", "NaN, infinite or not comparable")]
    fn a_share_has_a_colour_and_words(
        #[case] share: f64,
        #[case] colour: &str,
        #[case] short: &str,
        #[case] long: &str,
    ) {
        assert_eq!((class(share), label(share).as_str(), in_words(share).as_str()), (colour, short, long));
    }
}
