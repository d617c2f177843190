//! Planted mistakes that only some families and settings invite. They are further forms of rows of the catalogue, and
//! kinds of deviation that are identified without a row.

mod attention;
mod norms;
mod other;
mod rotation;

use super::Plant;

/// All of them; several may have one name.
pub fn all() -> impl Iterator<Item = &'static Plant> {
    [rotation::PLANTS, attention::PLANTS, norms::PLANTS, other::PLANTS].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::mistakes;

    /// A name may occur several times, a description only once.
    #[test]
    fn every_plant_has_a_known_name_and_its_own_description() {
        let known = |name: &str| mistakes::find(name).is_some() || mistakes::find_identified(name).is_some();
        assert!(all().all(|plant| known(plant.name)));
        let described: BTreeSet<&str> = all().map(|plant| plant.does).collect();
        assert_eq!(described.len(), all().count());
    }
}
