//! One red site → the smallest set of files that shows it again: what the operation was fed and gave, truth
//! and noise there, and the weights that it uses. Nobody needs the model or the port to look at it.

mod parts;
mod pass;
mod recorded;
mod weights;

use std::collections::BTreeSet;

use candle_core::DType;
use serde_json::json;

use self::parts::{Files, Parts, folder, listed, unwritten};
use self::pass::AtSite;
pub use self::recorded::{Bundled, first_red_recorded};
use crate::arrays::Npz;
use crate::judge::{self, Drive, Finding, Outcome, Subject, Traits, Verdict};
use crate::port::Port;
use crate::probe::{Arithmetic, Kind, Site};
use crate::reference::{Feed, Reference};
use crate::report;
use crate::{Error, Result};

/// A red site, alone.
#[derive(Debug)]
pub struct Bundle {
    /// The site.
    pub site: Site,
    /// The line that shows it again, once its files lie in `DIR`.
    pub command: String,
    /// Path and content, in the order of the paths.
    files: Files,
}

/// A red site on clean inputs, and what judged it.
struct Red<'a> {
    outcome: &'a Outcome,
    finding: &'a Finding,
    site: Site,
    port: usize,
    case: &'a Reference,
}

/// The bundle of the first site that differs on clean inputs and dense arithmetic; none where there is none.
/// `flags` are those of the run, for its readers.
///
/// # Errors
/// The port refuses the pass that it made before; a weight cannot be read.
pub fn first_red(subject: &mut Subject<'_>, outcomes: &[Outcome], flags: &str) -> Result<Option<Bundle>> {
    let right = subject.right_weights();
    let Subject { ports, cases, .. } = subject;
    let Some(red) = find(ports, cases, outcomes) else { return Ok(None) };
    let port = &mut ports[red.port];
    let tensors = judge::single(&mut **port, red.case, red.site)?;
    let traits = port.traits();
    let at_site = |(&site, tensor)| AtSite::new(site, tensor, &traits.layout(site.kind));
    let values = tensors.iter().map(at_site).collect::<Result<Vec<_>>>()?;
    let stored: BTreeSet<Site> =
        tensors.keys().copied().chain(red.site.inputs(traits.layers)).chain([red.site]).collect();
    let (config, names) = (right.config(), weights::of(red.site, right.config()));
    let parts = Parts {
        site: red.site,
        finding: red.finding,
        case: Some((red.case, stored)),
        config: Some(config),
        weights: Some(&right),
        names: &names,
    };
    let mut files = parts.files()?;
    files.insert("dump.npz".to_owned(), dump(&red, &traits, values)?);
    let id = red.outcome.checkpoint.id;
    let command = format!("rbees-check run {id} --model DIR --references DIR --dump DIR/dump.npz");
    files.insert("README.txt".into(), readme(&red, &command, flags, &names).into_bytes());
    Ok(Some(Bundle { site: red.site, command, files }))
}

impl Bundle {
    /// The same files give the same bytes.
    ///
    /// # Errors
    /// More than a zip file can hold.
    pub fn zip(&self) -> Result<Vec<u8>> {
        let mut zip = Npz::new();
        let written = self.files.iter().try_for_each(|(name, bytes)| zip.file(name, bytes));
        let zipped = written.and_then(|()| zip.finish());
        zipped.map_err(|error| Error::input(format!("bundle: {error}"), "leave --bundle out"))
    }
}

/// The first in the forward pass, of those that a pass on clean inputs shows.
fn find<'a>(ports: &[Box<dyn Port>], cases: &'a [Reference], outcomes: &'a [Outcome]) -> Option<Red<'a>> {
    let traits: Vec<Traits> = ports.iter().map(|port| port.traits()).collect();
    let red = |outcome: &'a Outcome, finding: &'a Finding| {
        let clean = |traits: &Traits| {
            let drive = Drive::Prefill(traits.path, Feed::Site);
            traits.arithmetic == Arithmetic::Dense && finding.drive == drive
        };
        Some(Red {
            outcome,
            finding,
            site: finding.site.filter(|_| matches!(finding.verdict, Verdict::Differs(_)))?,
            port: traits.iter().position(clean)?,
            case: cases.iter().find(|case| case.manifest.case == finding.case)?,
        })
    };
    let all = outcomes.iter().flat_map(|outcome| outcome.failures().map(move |f| (outcome, f)));
    all.filter_map(|(outcome, finding)| red(outcome, finding)).min_by_key(|red| red.site)
}

/// The tensors, widened to float32, and the ids of the case.
fn dump(red: &Red<'_>, traits: &Traits, mut tensors: Vec<AtSite>) -> Result<Vec<u8>> {
    tensors.iter_mut().for_each(|tensor| tensor.dtype = DType::F32);
    let about = json!({
        "format": "rbees-dump 1",
        "recorder": format!("rbees-check {}", env!("CARGO_PKG_VERSION")),
        "model": red.case.manifest.model,
        "dtype": traits.dtype.as_str(),
        "attention": if traits.shows(Kind::Probs) { "eager" } else { "fused" },
        "alone": red.site.to_string(),
    });
    pass::file(&judge::case_input(red.case), &about, &tensors).map_err(unwritten)
}

fn readme(red: &Red<'_>, command: &str, flags: &str, names: &[String]) -> String {
    let Red { outcome, finding, site, case, .. } = red;
    let (id, name) = (outcome.checkpoint.id, outcome.checkpoint.name);
    let alone = Outcome { findings: vec![(*finding).clone()], ..(*outcome).clone() };
    let found = report::detail(&alone, flags).unwrap_or_default();
    let weights = listed(names);
    format!(
        "One operation that computes something else than PyTorch does, alone.

    {site}
    checkpoint {id} {name}; case {} of {}; {}

Unpack this into a directory DIR. Then

    {command}

judges it again. Neither the model nor the program that computed it is needed.

As it was found:

{found}
What lies here:

    dump.npz            what the operation was fed, which is truth, and what it gave
    {:<19} float64 truth and the noise of honest computations, at these sites
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
