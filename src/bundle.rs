//! Writes a bundle for one failing site: the smallest set of files that reproduces the failure. It contains
//! the operation's inputs and output, the reference and noise at those sites, and the weights that the
//! operation uses. Neither the model nor the port is needed to examine it.

mod parts;
mod pass;
mod recorded;
mod weights;

use std::collections::BTreeSet;

use candle_core::{DType, Tensor};
use serde_json::json;

use self::parts::{BundleFiles, Parts, folder, listed, unwritten};
use self::pass::AtSite;
pub use self::recorded::{Bundled, first_recorded_failure};
use crate::arrays::Npz;
use crate::judge::{self, Drive, Finding, Outcome, Subject, Traits, Verdict};
use crate::port::Port;
use crate::probe::{Arithmetic, Kind, Site};
use crate::reference::{Feed, Reference};
use crate::report;
use crate::{Error, Result};

/// The files that reproduce one failing site.
#[derive(Debug)]
pub struct Bundle {
    /// The site.
    pub site: Site,
    /// The command that reproduces it, after its files are unpacked into `DIR`.
    pub command: String,
    /// Path and content of each file, ordered by path.
    files: BundleFiles,
}

/// A site that fails on reference inputs, and what judged it.
struct FailedCheck<'a> {
    outcome: &'a Outcome,
    finding: &'a Finding,
    site: Site,
    port: usize,
    case: &'a Reference,
}

/// The bundle of the first site that differs on reference inputs with dense arithmetic; `None` if no site
/// does. `flags` are the flags of the run, printed in the README.
///
/// # Errors
/// The port returns an error in a pass that succeeded before, or a weight cannot be read.
pub fn first_failure(subject: &mut Subject<'_>, outcomes: &[Outcome], flags: &str) -> Result<Option<Bundle>> {
    let right = subject.right_weights();
    let Subject { ports, cases, .. } = subject;
    let Some(failed) = find(ports, cases, outcomes) else { return Ok(None) };
    let port = &mut ports[failed.port];
    let tensors = judge::single(&mut **port, failed.case, failed.site)?;
    let traits = port.traits();
    let at_site =
        |(site, tensor): (&Site, &Tensor)| AtSite::new(site.to_string(), tensor, &traits.layout(site.kind));
    let values = tensors.iter().map(at_site).collect::<Result<Vec<_>>>()?;
    let stored: BTreeSet<Site> =
        tensors.keys().copied().chain(traits.inputs(failed.site)).chain([failed.site]).collect();
    let (config, names) = (right.config(), weights::of(failed.site, right.config()));
    let parts = Parts {
        site: failed.site,
        finding: failed.finding,
        case: Some((failed.case, stored)),
        config: Some(config),
        weights: Some(&right),
        names: &names,
    };
    let mut files = parts.files()?;
    files.insert("dump.npz".to_owned(), dump(&failed, &traits, values)?);
    let id = failed.outcome.checkpoint.id;
    let command = format!("rbees-check run {id} --model DIR --references DIR --dump DIR/dump.npz");
    files.insert("README.txt".into(), readme(&failed, &command, flags, &names).into_bytes());
    Ok(Some(Bundle { site: failed.site, command, files }))
}

impl Bundle {
    /// The bundle as a zip archive. The same files give the same bytes.
    ///
    /// # Errors
    /// The files exceed what a zip archive can hold.
    pub fn zip(&self) -> Result<Vec<u8>> {
        let mut zip = Npz::new();
        let written = self.files.iter().try_for_each(|(name, bytes)| zip.file(name, bytes));
        let zipped = written.and_then(|()| zip.finish());
        zipped.map_err(|error| Error::input(format!("bundle: {error}"), "leave --bundle out"))
    }
}

/// The first failing site in forward order, among those found with reference inputs at every site.
fn find<'a>(
    ports: &[Box<dyn Port>],
    cases: &'a [Reference],
    outcomes: &'a [Outcome],
) -> Option<FailedCheck<'a>> {
    let traits: Vec<Traits> = ports.iter().map(|port| port.traits()).collect();
    let failed = |outcome: &'a Outcome, finding: &'a Finding| {
        let clean = |traits: &Traits| {
            let drive = Drive::Prefill(traits.path, Feed::Site);
            traits.arithmetic == Arithmetic::Dense && finding.drive == drive
        };
        Some(FailedCheck {
            outcome,
            finding,
            site: finding.site.filter(|_| matches!(finding.verdict, Verdict::Differs(_)))?,
            port: traits.iter().position(clean)?,
            case: cases.iter().find(|case| case.manifest.case == finding.case)?,
        })
    };
    let all = outcomes.iter().flat_map(|outcome| outcome.failures().map(move |f| (outcome, f)));
    all.filter_map(|(outcome, finding)| failed(outcome, finding)).min_by_key(|failed| failed.site)
}

/// The recording: the ids of the case, and the tensors widened to float32.
fn dump(failed: &FailedCheck<'_>, traits: &Traits, mut tensors: Vec<AtSite>) -> Result<Vec<u8>> {
    tensors.iter_mut().for_each(|tensor| tensor.dtype = DType::F32);
    let about = json!({
        "format": "rbees-dump 1",
        // The reference's order of q and k, so that no other order is looked for.
        "layout": "half-split",
        "recorder": format!("rbees-check {}", env!("CARGO_PKG_VERSION")),
        "model": failed.case.manifest.model,
        "dtype": traits.dtype.as_str(),
        "attention": if traits.shows(Kind::Probs) { "eager" } else { "fused" },
        "alone": failed.site.to_string(),
    });
    let input = judge::case_input(failed.case);
    pass::file(&input, &input.real, &about, &tensors).map_err(unwritten)
}

fn readme(failed: &FailedCheck<'_>, command: &str, flags: &str, names: &[String]) -> String {
    let FailedCheck { outcome, finding, site, case, .. } = failed;
    let (id, name) = (outcome.checkpoint.id, outcome.checkpoint.name);
    let alone = Outcome { findings: vec![(*finding).clone()], ..(*outcome).clone() };
    let found = report::detail(&alone, flags).unwrap_or_default();
    let weights = listed(names);
    format!(
        "One operation whose output differs from the PyTorch reference.

    {site}
    checkpoint {id} {name}; case {} of {}; {}

Unpack this into a directory DIR, then run

    {command}

to judge it again. Neither the model nor the program that computed it is needed.

The original failure:

{found}
Files:

    dump.npz            the operation's reference inputs and its output
    {:<19} float64 references and PyTorch's rounding noise at these sites
    config.json         as transformers reads it
    model.safetensors   {weights}
    finding.json        the verdict, as in a JSON report
",
        case.manifest.case,
        case.manifest.model,
        finding.drive,
        format!("{}/", folder(&case.manifest.case)),
    )
}
