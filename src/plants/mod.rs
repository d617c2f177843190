//! The mistakes of the catalogue made for real, one file a family: so that the harness can be held
//! to what it promises.
//!
//! The model carries no switches for this. A plant is a sound model with a part replaced, a config,
//! weights or tokenizer altered after reading, a caller that drives it wrongly, or a probe around the
//! judge's probe that hands it another tensor and goes on with what comes back.
//!
//! Nothing here knows how a mistake is recognised: a plant proves nothing about code that shares its
//! idea of the mistake.

mod around;
mod attending;
mod attention;
mod driving;
mod honest;
mod layers;
mod making;
mod plant;
mod projections;
mod remake;
mod rotation;
mod rows;
mod softmax;
mod uncached;

pub use making::{Files, Planted, Setting, Sound};
pub use plant::Plant;
pub use rows::{Standing, standing};

/// Every plant, in the order of the catalogue.
pub fn all() -> impl Iterator<Item = &'static Plant> {
    let families = [
        rotation::PLANTS,
        attention::PLANTS,
        projections::PLANTS,
        layers::PLANTS,
        driving::PLANTS,
        uncached::PLANTS,
        honest::PLANTS,
        softmax::PLANTS,
    ];
    let mut plants: Vec<&Plant> = families.into_iter().flatten().collect();
    plants.sort_by_key(|plant| crate::mistakes::find(plant.name).map(|mistake| mistake.number));
    plants.into_iter()
}

/// The plant of this name.
pub fn find(name: &str) -> Option<&'static Plant> {
    all().find(|plant| plant.name.eq_ignore_ascii_case(name))
}
