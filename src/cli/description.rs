//! What a report contains besides the verdicts: what was judged, how, and with which references.

use rbees_check::Result;
use rbees_check::dump::Against;
use rbees_check::judge::{Outcome, Subject};
use rbees_check::models::Model;
use rbees_check::recording::Recording;
use rbees_check::reference::{Feed, Reference, SecondOracle};
use rbees_check::report::json::{self, Part, Report, StaleExpectation};
use rbees_check::weights::Weights;
use sha2::{Digest, Sha256};

use super::ending::Ending;
use super::verdicts;

/// What was judged, how, and with which references.
pub struct Description {
    model: json::Model,
    run: json::Run,
    references: json::References,
    /// What was recognised in a recording although nothing in it states it.
    recognised: Vec<String>,
}

impl Description {
    /// Describes a model that ran on `device` with `matmul`, for example `cpu` and `dense`.
    ///
    /// # Errors
    /// The weights or references cannot be reread to hash them.
    pub fn of_model(
        model: &Model,
        subject: &Subject<'_>,
        device: &str,
        dtype: candle_core::DType,
        matmul: &str,
    ) -> Result<Self> {
        let whole = model.fixture.as_ref().filter(|_| subject.model.is_some());
        let mut paths: Vec<String> = subject.ports.iter().map(|port| port.traits().path.to_owned()).collect();
        paths.dedup();
        let run = json::Run {
            device: device.to_owned(),
            dtype: dtype.as_str().to_owned(),
            matmul: matmul.to_owned(),
            paths,
            feed: subject.feed.map(|feed| feed.name().to_owned()),
            threads: candle_core::utils::get_num_threads(),
        };
        let files_sha256 = whole.map(verdicts::references).transpose()?;
        Self::of(
            model,
            run,
            json::References { files_sha256, cases: subject.cases.iter().map(case).collect() },
        )
    }

    /// Describes a model that was judged stage by stage on `device`, in `dtype`, on these paths, under one feed or all.
    ///
    /// # Errors
    /// The weights cannot be reread to hash them.
    pub fn of_stream(
        model: &Model,
        (device, dtype, paths, feed): (&str, candle_core::DType, Vec<&str>, Option<Feed>),
        streamed: &Reference,
    ) -> Result<Self> {
        let run = json::Run {
            device: device.to_owned(),
            dtype: dtype.as_str().to_owned(),
            matmul: "dense".to_owned(),
            paths: paths.into_iter().map(str::to_owned).collect(),
            feed: feed.map(|feed| feed.name().to_owned()),
            threads: candle_core::utils::get_num_threads(),
        };
        Self::of(model, run, json::References { files_sha256: None, cases: vec![case(streamed)] })
    }

    /// Describes a run of a model.
    ///
    /// # Errors
    /// The weights cannot be reread to hash them.
    pub(super) fn of(model: &Model, run: json::Run, references: json::References) -> Result<Self> {
        let (name, shape) = (model.name.clone(), model.weights.config().to_string());
        let model = json::Model { name, shape, weights_sha256: Some(model.weights.sha256()?) };
        Ok(Self { model, run, references, recognised: vec![] })
    }

    /// Describes a recording of the model `name`.
    ///
    /// # Errors
    /// The weights cannot be reread to hash them.
    pub fn of_recording(dump: &Recording, name: &str, against: &Against<'_>) -> Result<Self> {
        let metadata = |key: &str| dump.metadata.get(key).cloned();
        Ok(Self {
            model: json::Model {
                name: name.to_owned(),
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
                cases: against.case.into_iter().map(case).collect(),
            },
            recognised: dump.recognised.iter().map(ToString::to_string).collect(),
        })
    }

    /// The same, with this recognised in all recordings.
    pub fn recognising(self, recognised: Vec<String>) -> Self {
        Self { recognised, ..self }
    }

    /// Describes what the parts of a run have in common, taken from one of their reports.
    pub fn of_report(report: Report) -> Self {
        let Report { model, run, references, recognised, .. } = report;
        Self { model, run, references, recognised }
    }

    /// The report of one part of a run.
    pub fn part(self, outcomes: &[Outcome], part: Part, ending: Ending) -> Report {
        Report { part: Some(part), ..self.report(outcomes, &[], ending) }
    }

    /// The report of the whole run.
    pub fn report(self, outcomes: &[Outcome], stale: &[StaleExpectation], ending: Ending) -> Report {
        let Self { model, run, references, recognised } = self;
        let checkpoints: Vec<_> = outcomes.iter().map(json::Checkpoint::of).collect();
        Report {
            format: json::FORMAT,
            tool: json::Tool::this(),
            model,
            run,
            references,
            part: None,
            recognised,
            summary: json::Summary::of(&checkpoints),
            checkpoints,
            stale_expectations: stale.to_vec(),
            exit_code: ending.number(),
        }
    }
}

pub(super) fn case(case: &Reference) -> json::Case {
    let manifest = &case.manifest;
    let lines: String =
        manifest.sites.iter().map(|(site, entry)| format!("{}  {site}\n", entry.sha256)).collect();
    json::Case {
        case: manifest.case.clone(),
        model: manifest.model.clone(),
        sites_sha256: format!("{:x}", Sha256::digest(lines)),
        second_oracle: match &manifest.second_oracle {
            SecondOracle::Agrees { within } => format!("agrees within {within:.1e} of scale"),
            SecondOracle::Pending(_) => "pending".into(),
        },
        provenance: manifest.provenance.clone(),
    }
}
