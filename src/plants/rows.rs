//! Where every row of the catalogue stands: planted, covered by another, or not here.

use super::{Plant, Setting, find};
use crate::mistakes::Mistake;

/// What becomes of a row of the catalogue on one model.
pub enum Standing {
    /// It is made for real.
    Planted(&'static Plant),
    /// It cannot be made or cannot show, for this reason.
    NotHere(String),
}

/// Rows that no model here can show, and why.
const NOWHERE: &[(&str, &str)] = &[
    ("rope-scaling", "a config with rope scaling is refused"),
    ("sliding-window", "a config with a sliding window is refused"),
    ("bias-dropped", "a config with biases is refused"),
    ("absent-tensors", "a file without a tensor that its config demands is refused when it is opened"),
    ("gemm-reduced", "the CPU accumulates as it does; a CUDA device shows it"),
    ("missing-barrier", "no kernel on the CPU shares memory between threads without one"),
    ("device-kernel", "it is the device's: `run --device` shows it there"),
];

/// The row of `mistake` on a model of this setting.
pub fn standing(mistake: &Mistake, setting: &Setting<'_>) -> Standing {
    if let Some((_, why)) = NOWHERE.iter().find(|(name, _)| *name == mistake.name) {
        return Standing::NotHere((*why).to_owned());
    }
    match find(mistake.name).map(|plant| (plant, (plant.shows)(setting))) {
        Some((plant, Ok(()))) => Standing::Planted(plant),
        Some((_, Err(why))) => Standing::NotHere(why),
        None => Standing::NotHere("nobody has planted it".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::mistakes;

    #[test]
    fn every_row_is_planted_or_has_its_reason_and_none_both() {
        assert!(super::super::all().all(|plant| mistakes::find(plant.name).is_some()));
        for mistake in mistakes::all() {
            let reason = NOWHERE.iter().any(|(name, _)| *name == mistake.name);
            assert!(reason != find(mistake.name).is_some(), "{}", mistake.name);
        }
    }

    #[test]
    fn every_reason_is_about_a_row() {
        assert!(NOWHERE.iter().all(|(name, _)| mistakes::find(name).is_some()));
    }

    #[test]
    fn a_plant_turns_red_where_its_row_says_that_it_shows() {
        for plant in super::super::all().filter(|plant| !plant.red.is_empty()) {
            let mistake = mistakes::find(plant.name).unwrap();
            let red: BTreeSet<&str> = plant.red.iter().copied().collect();
            assert!(mistake.at.iter().any(|id| red.contains(id)), "{}", plant.name);
        }
    }

    #[test]
    fn what_is_no_mistake_turns_nothing_red() {
        for mistake in mistakes::all().filter(|mistake| mistake.kind == mistakes::Kind::Honest) {
            assert!(find(mistake.name).is_some_and(|plant| plant.red.is_empty()), "{}", mistake.name);
        }
    }
}
