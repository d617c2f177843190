//! The catalogue of mistakes that real ports of Llama-family models have made: how each shows, which
//! checkpoint shows it, where it happened, and how to fix it.
//!
//! This module is data only. `diagnose` computes what a tensor *would* be under a mistake, and `plants`
//! builds ports that make it. The two share no code: a planted mistake cannot test the code that planted it.

mod attention;
mod driving;
mod identified;
mod kernels;
mod layers;
mod mistake;
mod precision;
mod rotation;
mod sharing;

pub use identified::{Identified, find_identified, identified};
pub use mistake::{Kind, Mistake};

/// Every row, in order.
pub fn all() -> impl Iterator<Item = &'static Mistake> {
    let all = [
        rotation::ROWS,
        attention::ROWS,
        layers::ROWS,
        kernels::ROWS,
        driving::ROWS,
        precision::ROWS,
        sharing::ROWS,
    ];
    all.into_iter().flatten()
}

/// The row with this name, in upper or lower case.
pub fn find(name: &str) -> Option<&'static Mistake> {
    all().find(|mistake| mistake.name.eq_ignore_ascii_case(name))
}

/// The mistakes made in the stage that checkpoint `id` judges.
pub fn at(id: &str) -> impl Iterator<Item = &'static Mistake> {
    all().filter(move |mistake| mistake.at.contains(&id))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn rows_are_numbered_from_1_to_49() {
        assert!(all().map(|mistake| mistake.number).eq(1..=49));
    }

    #[test]
    fn names_are_unique_words_joined_by_hyphens() {
        let names: BTreeSet<&str> = all().map(|mistake| mistake.name).collect();
        assert_eq!(names.len(), 49);
        let plain =
            |name: &&str| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        assert!(names.iter().all(plain));
    }

    #[test]
    fn every_row_has_a_symptom_a_fingerprint_a_fix_and_places_where_it_happened() {
        for mistake in all() {
            let Mistake { name, title, symptom, fingerprint, at, wild, fix, .. } = mistake;
            assert!([title, symptom, fingerprint, fix].iter().all(|text| !text.is_empty()), "{name}");
            assert!(!at.is_empty() && !wild.is_empty(), "{name}");
            // An issue, a commit, or a file in a project.
            let public =
                |place: &&str| place.contains(['#', '@']) && place.contains('/') || place.contains(' ');
            assert!(wild.iter().all(public), "{name}: {wild:?}");
        }
    }

    #[test]
    fn find_and_at_return_the_rows_of_a_name_and_of_a_checkpoint() {
        assert_eq!(find("Rope-Pairing").map(|mistake| mistake.number), Some(1));
        assert_eq!(find("rope"), None);
        assert!(at("01B").any(|mistake| mistake.name == "rope-pairing"));
    }

    #[test]
    fn three_rows_are_not_mistakes() {
        let harmless: Vec<u8> = all().filter(|m| m.kind == Kind::Harmless).map(|m| m.number).collect();
        assert_eq!(harmless, [39, 40, 42]);
    }
}
