//! Plants the mistakes of the catalogue in correct models, so that the self-test can check that the harness
//! catches each one. There is one file per kind of mistake.
//!
//! The model itself has no switches for this. A plant is one of: a correct model with a part replaced; a
//! config, weights or tokenizer altered after reading; a caller that drives the model wrongly; a probe around
//! the judge's probe that hands over another tensor and continues with what the judge returns.
//!
//! Nothing here knows how a mistake is recognised. If a plant and a diagnosis shared code, the plant would
//! not test the diagnosis.

mod attending;
mod attention;
mod devices;
mod driving;
mod families;
mod faulty;
mod harmless;
mod layers;
mod making;
mod plant;
mod products;
mod projections;
mod remake;
mod rotation;
mod rows;
mod sharing;
mod softmax;
mod uncached;

pub use families::all as of_families;
pub use making::{Correct, Files, Planted, Setting};
pub use plant::Plant;
pub use rows::{Availability, availability};

/// Every plant, in the order of the catalogue.
pub fn all() -> impl Iterator<Item = &'static Plant> {
    let families = [
        rotation::PLANTS,
        attention::PLANTS,
        projections::PLANTS,
        layers::PLANTS,
        driving::PLANTS,
        sharing::PLANTS,
        uncached::PLANTS,
        harmless::PLANTS,
        softmax::PLANTS,
        devices::PLANTS,
    ];
    let mut plants: Vec<&Plant> = families.into_iter().flatten().collect();
    plants.sort_by_key(|plant| crate::mistakes::find(plant.name).map(|mistake| mistake.number));
    plants.into_iter()
}

/// The plant of this name.
pub fn find(name: &str) -> Option<&'static Plant> {
    all().find(|plant| plant.name.eq_ignore_ascii_case(name))
}
