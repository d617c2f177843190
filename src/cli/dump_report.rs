//! Builds the report of a checked recording, in the same format as for any other run.

use rbees_check::Result;
use rbees_check::dump::Against;
use rbees_check::judge::Outcome;
use rbees_check::recording::Recording;
use rbees_check::report::json::{self, Report, StaleExpectation};
use rbees_check::weights::Weights;

use super::ending::Ending;
use super::reports;

/// What the report contains besides the verdicts.
pub struct DumpDescription<'a> {
    pub dump: &'a Recording,
    /// The model's name.
    pub name: &'a str,
    pub against: &'a Against<'a>,
}

/// Builds the report of the whole run.
///
/// # Errors
/// The weights cannot be reread to hash them.
pub fn report(
    description: &DumpDescription<'_>,
    outcomes: &[Outcome],
    stale: Vec<StaleExpectation>,
    ending: Ending,
) -> Result<Report> {
    let DumpDescription { dump, name, against } = description;
    let checkpoints: Vec<_> = outcomes.iter().map(json::Checkpoint::of).collect();
    let metadata = |key: &str| dump.metadata.get(key).cloned();
    Ok(Report {
        format: json::FORMAT,
        tool: json::Tool::this(),
        model: json::Model {
            name: (*name).to_owned(),
            shape: against.config.map_or_else(String::new, |config| config.to_string()),
            weights_sha256: against.weights.map(Weights::sha256).transpose()?,
        },
        run: json::Run {
            device: "dump".into(),
            dtype: dump.dtype.as_str().to_owned(),
            matmul: against.arithmetic.name().to_owned(),
            paths: vec![metadata("attention").unwrap_or_else(|| "recorded".into())],
            feed: None,
            threads: candle_core::utils::get_num_threads(),
        },
        references: json::References {
            files_sha256: None,
            cases: against.case.into_iter().map(reports::case).collect(),
        },
        recognised: dump.recognised.iter().map(ToString::to_string).collect(),
        summary: json::Summary::of(&checkpoints),
        checkpoints,
        stale_expectations: stale,
        exit_code: ending.number(),
    })
}
