//! Says, for every row of the catalogue, whether it can be planted in a given model, and if not, why.

use super::{Plant, Setting, find};
use crate::mistakes::Mistake;

/// Whether a row of the catalogue can be planted in one model.
pub enum Availability {
    /// It can, with this plant.
    Planted(&'static Plant),
    /// It cannot be planted, or would not show, for this reason.
    NotHere(String),
}

/// Rows that no bundled model can show, and why.
const NOWHERE: &[(&str, &str)] = &[
    ("mask-value", "it shows in scores so low that no bundled model computes them"),
    (
        "bf16-truncated",
        "no library that the model under test uses truncates; the tests of recordings show it",
    ),
];

/// The row of `mistake` on a model of this setting.
pub fn availability(mistake: &Mistake, setting: &Setting<'_>) -> Availability {
    if let Some((_, why)) = NOWHERE.iter().find(|(name, _)| *name == mistake.name) {
        return Availability::NotHere((*why).to_owned());
    }
    match find(mistake.name).map(|plant| (plant, (plant.shows)(setting))) {
        Some((plant, Ok(()))) => Availability::Planted(plant),
        Some((_, Err(why))) => Availability::NotHere(why),
        None => Availability::NotHere("there is no plant for it".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::mistakes;

    #[test]
    fn every_row_has_either_a_plant_or_a_reason() {
        assert!(super::super::all().all(|plant| mistakes::find(plant.name).is_some()));
        for mistake in mistakes::all() {
            let reason = NOWHERE.iter().any(|(name, _)| *name == mistake.name);
            assert!(reason != find(mistake.name).is_some(), "{}", mistake.name);
        }
    }

    #[test]
    fn every_reason_belongs_to_a_row() {
        assert!(NOWHERE.iter().all(|(name, _)| mistakes::find(name).is_some()));
    }

    #[test]
    fn a_plant_fails_a_checkpoint_that_its_row_names() {
        for plant in super::super::all().filter(|plant| !plant.fails.is_empty()) {
            let mistake = mistakes::find(plant.name).unwrap();
            let fails: BTreeSet<&str> = plant.fails.iter().copied().collect();
            assert!(mistake.at.iter().any(|id| fails.contains(id)), "{}", plant.name);
        }
    }

    #[test]
    fn rows_that_are_not_mistakes_fail_no_checkpoint() {
        for mistake in mistakes::all().filter(|mistake| mistake.kind == mistakes::Kind::Harmless) {
            assert!(find(mistake.name).is_some_and(|plant| plant.fails.is_empty()), "{}", mistake.name);
        }
    }
}
