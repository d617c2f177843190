//! The catalogue: mistakes that real ports of Llama-family models have made, each with how it shows,
//! where it shows, where it happened, and how to put it right.
//!
//! Data only. What a tensor *would* be under a mistake, and ports that really make it, are made
//! elsewhere and apart from each other: a plant proves nothing about the code that made it.

mod attention;
mod driving;
mod kernels;
mod layers;
mod mistake;
mod precision;
mod rotation;

pub use mistake::{Kind, Mistake};

/// Every row, in order.
pub fn all() -> impl Iterator<Item = &'static Mistake> {
    [rotation::ROWS, attention::ROWS, layers::ROWS, kernels::ROWS, driving::ROWS, precision::ROWS]
        .into_iter()
        .flatten()
}

/// The row that `name` means, upper or lower case.
pub fn find(name: &str) -> Option<&'static Mistake> {
    all().find(|mistake| mistake.name.eq_ignore_ascii_case(name))
}

/// The mistakes made at the stage of checkpoint `id`.
pub fn at(id: &str) -> impl Iterator<Item = &'static Mistake> {
    all().filter(move |mistake| mistake.at.contains(&id))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn rows_are_numbered_from_1_to_43() {
        assert!(all().map(|mistake| mistake.number).eq(1..=43));
    }

    #[test]
    fn names_are_words_joined_by_hyphens_and_each_its_own() {
        let names: BTreeSet<&str> = all().map(|mistake| mistake.name).collect();
        assert_eq!(names.len(), 43);
        let plain =
            |name: &&str| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        assert!(names.iter().all(plain));
    }

    #[test]
    fn every_row_says_how_it_shows_where_it_happened_and_what_to_do() {
        for mistake in all() {
            let Mistake { name, title, symptom, fingerprint, at, wild, fix, .. } = mistake;
            assert!([title, symptom, fingerprint, fix].iter().all(|said| !said.is_empty()), "{name}");
            assert!(!at.is_empty() && !wild.is_empty(), "{name}");
            // An issue, a commit, or a file of a project.
            let public =
                |place: &&str| place.contains(['#', '@']) && place.contains('/') || place.contains(' ');
            assert!(wild.iter().all(public), "{name}: {wild:?}");
        }
    }

    #[test]
    fn a_row_is_found_by_its_name_and_by_its_checkpoint() {
        assert_eq!(find("Rope-Pairing").map(|mistake| mistake.number), Some(1));
        assert_eq!(find("rope"), None);
        assert!(at("01B").any(|mistake| mistake.name == "rope-pairing"));
    }

    #[test]
    fn three_rows_are_no_mistakes() {
        let honest: Vec<u8> = all().filter(|m| m.kind == Kind::Honest).map(|m| m.number).collect();
        assert_eq!(honest, [39, 40, 42]);
    }
}
