//! `--case`: reads the references of a case, given its name or folder.

use std::path::Path;

use rbees_check::models::Model;
use rbees_check::reference::{Reference, Source};
use rbees_check::{Error, Result};

/// Reads one of the model's cases by name, or any case by its folder.
pub fn read(model: &Model, case: &str) -> Result<Reference> {
    match &model.fixture {
        Some(fixture) if fixture.cases.iter().any(|name| name == case) => fixture.case(case),
        _ if Path::new(case).join("manifest.json").symlink_metadata().is_ok() => {
            Reference::read(&Source::Folder(case.into()), "")
        }
        Some(fixture) => {
            let hint = format!(
                "{} has the cases {}; or give a folder that contains a manifest.json",
                model.name,
                fixture.cases.join(", ")
            );
            Err(Error::input(format!("--case {case}: no such case"), hint))
        }
        None => Err(Error::input(
            format!("--case {case}: no manifest.json in that folder"),
            "give the folder of a captured case",
        )),
    }
}
