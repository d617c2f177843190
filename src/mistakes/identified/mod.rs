//! Deviations that are identified from an operation's inputs and its result. They are not rows of the
//! catalogue: nothing is known about them but what the tensors show.

mod anywhere;
mod attention;
mod kind;
mod stages;

pub use kind::Identified;

/// Every kind, by operation.
pub fn identified() -> impl Iterator<Item = &'static Identified> {
    [stages::KINDS, attention::KINDS, anywhere::KINDS].into_iter().flatten()
}

/// The kind with this name, in upper or lower case.
pub fn find_identified(name: &str) -> Option<&'static Identified> {
    identified().find(|kind| kind.name.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_differ_from_those_of_the_catalogue() {
        let names: BTreeSet<&str> = identified().map(|kind| kind.name).collect();
        assert_eq!(names.len(), identified().count());
        assert!(super::super::all().all(|mistake| !names.contains(mistake.name)));
    }
}
