//! `--case`: a name or a folder → the references of that case.

use std::path::Path;

use rbees_check::models::Model;
use rbees_check::reference::{Reference, Source};
use rbees_check::{Error, Result};

/// A case of the model's by its name, or any by its folder.
pub fn read(model: &Model, case: &str) -> Result<Reference> {
    match &model.fixture {
        Some(fixture) if fixture.cases.iter().any(|name| name == case) => fixture.case(case),
        _ if Path::new(case).join("manifest.json").is_file() => {
            Reference::read(&Source::Folder(case.into()), "")
        }
        Some(fixture) => {
            let hint = format!(
                "{} has {}; or give a folder with a manifest.json",
                model.name,
                fixture.cases.join(", ")
            );
            Err(Error::input(format!("--case {case}: no such case"), hint))
        }
        None => Err(Error::input(
            format!("--case {case}: no manifest.json there"),
            "give the folder of a captured case",
        )),
    }
}
