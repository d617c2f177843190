//! The type of one kind of deviation.

/// One kind of deviation that is identified.
#[derive(Debug, PartialEq)]
pub struct Identified {
    /// `norm-statistic`: lower case, no spaces.
    pub name: &'static str,
    /// The operation where it is found.
    pub operation: &'static str,
    /// What is compared to find it.
    pub title: &'static str,
    /// Which line of code to look for.
    pub fix: &'static str,
}
