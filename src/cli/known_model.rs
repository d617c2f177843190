//! Collects what a recording is checked against: the model, or as much of it as is known, and its references.

use std::path::Path;

use rbees_check::dump::Sought;
use rbees_check::models::{self, Model};
use rbees_check::recording::Recording;
use rbees_check::reference::{Fixture, Reference, Source};
use rbees_check::weights::{Config, Weights};
use rbees_check::{Error, Result};

use super::common::{Common, refuse_weights_that_are_not_finite};

/// What is known about the model that was recorded.
pub struct KnownModel {
    pub name: String,
    pub weights: Option<Weights>,
    /// Why the weights are missing.
    pub without: Option<String>,
    pub config: Option<Config>,
    fixture: Option<Fixture>,
}

impl KnownModel {
    /// Opens the model, or, if its weights are missing, what is known without them.
    ///
    /// # Errors
    /// There is no such model, and no references for it either.
    pub fn of(common: &Common, cases: &[String]) -> Result<Self> {
        let (name, references) = (common.model(), common.references.as_deref());
        let error = match common.open() {
            Ok(model) => {
                refuse_weights_that_are_not_finite(&model.weights)?;
                return Self::with_weights(&model);
            }
            Err(error) => error,
        };
        // Values can be compared with stored references even if this program cannot compute them.
        let fixture = references.map_or_else(|| models::fixture(name), models::references);
        if let Ok(part) = Weights::open_part(Path::new(name)) {
            let (name, config) = (name.to_owned(), Some(part.config().clone()));
            return Ok(Self { name, weights: Some(part), without: None, config, fixture: fixture.ok() });
        }
        let folder = |case: &String| Path::new(case).join("manifest.json").is_file();
        let fixture = match fixture {
            Ok(fixture) => Some(fixture),
            Err(_) if cases.iter().any(folder) => None,
            Err(_) => return Err(error),
        };
        let facts = fixture.as_ref().and_then(|fixture| fixture.facts().ok());
        Ok(Self {
            name: name.to_owned(),
            weights: None,
            without: Some(error.to_string()),
            config: facts.map(|facts| models::config_without_weights(&facts.config)),
            fixture,
        })
    }

    fn with_weights(model: &Model) -> Result<Self> {
        let weights = models::right_weights(model)?;
        Ok(Self {
            name: model.name.clone(),
            config: Some(weights.config().clone()),
            weights: Some(weights),
            without: None,
            fixture: model.fixture.clone(),
        })
    }
}

/// Finds the case with the recording's prompt, and a sentence about it to print.
///
/// # Errors
/// `asked` names a case with another prompt, or no existing case.
pub fn case(dump: &Recording, model: &KnownModel, asked: &[String]) -> Result<(Option<Reference>, String)> {
    let stored = model.fixture.iter().flat_map(|f| f.cases.iter().map(move |case| f.case(case)));
    let found = match asked {
        [] => dump.find_case(stored)?,
        [name] => {
            let case = named(model, name)?;
            match dump.other_prompt(&case) {
                Some(how) => return Err(dump.of_another_prompt(name, &how)),
                None => Sought::Found(Box::new(case)),
            }
        }
        _ => return Err(Error::input("--case: a recording has only one prompt", "give one case, or none")),
    };
    Ok(match found {
        Sought::Found(case) => {
            let name = &case.manifest.case;
            match dump.other_positions(&case) {
                Some(how) => {
                    let description =
                        format!("none at these positions; case {name} has the same token ids, but {how}");
                    (None, description)
                }
                None => {
                    let description = format!("case {name}, which has the same token ids");
                    (Some(*case), description)
                }
            }
        }
        Sought::NotStored { nearest } => (None, format!("none stored for these token ids ({nearest})")),
    })
}

/// Reads a case of the model's references, or a case in a folder.
fn named(model: &KnownModel, name: &str) -> Result<Reference> {
    match &model.fixture {
        Some(fixture) if fixture.cases.iter().any(|case| case == name) => fixture.case(name),
        _ if Path::new(name).join("manifest.json").is_file() => {
            Reference::read(&Source::Folder(name.into()), "")
        }
        Some(fixture) => fixture.case(name),
        None => Err(Error::input(
            format!("--case {name}: no manifest.json in that folder"),
            "give the folder of a case",
        )),
    }
}
