//! Writes a bundle for one failing site: the smallest set of files that reproduces the failure. It contains
//! the operation's inputs and output, the reference and noise at those sites, and the weights that the
//! operation uses. Neither the model nor the port is needed to examine it.

mod weights;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use candle_core::{DType, Device, Tensor};
use serde_json::json;

use crate::arrays::Npz;
use crate::judge::{self, Drive, Finding, Outcome, Subject, Traits, Verdict};
use crate::port::Port;
use crate::probe::{Arithmetic, Kind, Site};
use crate::reference::{Feed, Reference};
use crate::report::{self, json};
use crate::{Error, Result};

/// The files that reproduce one failing site.
#[derive(Debug)]
pub struct Bundle {
    /// The site.
    pub site: Site,
    /// The command that reproduces it, after its files are unpacked into `DIR`.
    pub command: String,
    /// Path and content of each file, ordered by path.
    files: BTreeMap<String, Vec<u8>>,
}

/// A site that fails on reference inputs, and what judged it.
struct Red<'a> {
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
pub fn first_red(subject: &mut Subject<'_>, outcomes: &[Outcome], flags: &str) -> Result<Option<Bundle>> {
    let right = subject.right_weights();
    let Subject { ports, cases, .. } = subject;
    let Some(red) = find(ports, cases, outcomes) else { return Ok(None) };
    let port = &mut ports[red.port];
    let tensors = judge::single(&mut **port, red.case, red.site)?;
    let traits = port.traits();
    let case = &red.case.manifest.case;
    let mut files = BTreeMap::new();
    let unwritten = |error: io::Error| Error::internal(format!("bundle: {error}"));
    let values =
        tensors.iter().map(|(&site, tensor)| Ok((site, tensor.dims(), floats(site, tensor, &traits)?)));
    let values = values.collect::<Result<Vec<_>>>()?;
    files.insert("dump.npz".to_owned(), dump(&red, &traits, values).map_err(unwritten)?);
    let stored: BTreeSet<Site> =
        tensors.keys().copied().chain(red.site.inputs(traits.layers)).chain([red.site]).collect();
    let why = format!("to {} and its inputs, by rbees-check {}", red.site, env!("CARGO_PKG_VERSION"));
    for (name, bytes) in red.case.reduced(&stored, &why).map_err(unwritten)? {
        files.insert(format!("{}/{name}", folder(case)), bytes);
    }
    let names = weights::of(red.site, right.config());
    files.insert("config.json".into(), weights::config(right.config(), red.site));
    files.insert("model.safetensors".into(), weights::safetensors(&right, &names)?);
    let finding =
        serde_json::to_vec_pretty(&json::Finding::of(red.finding)).map_err(|e| unwritten(e.into()))?;
    files.insert("finding.json".into(), finding);
    let id = red.outcome.checkpoint.id;
    let command = format!("rbees-check run {id} --model DIR --references DIR --dump DIR/dump.npz");
    files.insert("README.txt".into(), readme(&red, &command, flags, &names).into_bytes());
    Ok(Some(Bundle { site: red.site, command, files }))
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

/// The recording, in the format of `docs/dump-format.md`: ids, and the tensors widened to float32.
fn dump(red: &Red<'_>, traits: &Traits, tensors: Vec<(Site, &[usize], Vec<f32>)>) -> io::Result<Vec<u8>> {
    let manifest = &red.case.manifest;
    let shape = [red.case.batch(), red.case.length()];
    let mut mask = vec![0i64; shape[0] * shape[1]];
    red.case.places().iter().for_each(|&(batch, slot)| mask[batch * shape[1] + slot] = 1);
    let mut zip = Npz::new();
    zip.array("input_ids", &shape, manifest.ids.iter().flatten().map(|&id| i64::from(id)))?;
    zip.array("position_ids", &shape, manifest.position_ids.iter().flatten().map(|&p| p as i64))?;
    zip.array("attention_mask", &shape, mask)?;
    for (site, shape, values) in tensors {
        zip.array(&site.to_string(), shape, values)?;
    }
    let about = json!({
        "format": "rbees-dump 1",
        "recorder": format!("rbees-check {}", env!("CARGO_PKG_VERSION")),
        "model": manifest.model,
        "dtype": traits.dtype.as_str(),
        "attention": if traits.shows(Kind::Probs) { "eager" } else { "fused" },
        "alone": red.site.to_string(),
    });
    zip.file("metadata.json", about.to_string().as_bytes())?;
    zip.finish()
}

/// The values as float32, with the last axis in the reference's order.
fn floats(site: Site, tensor: &Tensor, traits: &Traits) -> Result<Vec<f32>> {
    let width = tensor.dims().last().copied().unwrap_or(1).max(1);
    let values: Vec<f32> = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    Ok(match traits.layout(site.kind).columns(width) {
        None => values,
        Some(columns) => values.chunks_exact(width).flat_map(|row| columns.iter().map(|&j| row[j])).collect(),
    })
}

/// A folder name for the case. Its own name may come from any file, so other characters are replaced.
fn folder(case: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
    let name: String = case.chars().map(plain).collect();
    if name.is_empty() { "case".into() } else { name }
}

fn readme(red: &Red<'_>, command: &str, flags: &str, names: &[String]) -> String {
    let Red { outcome, finding, site, case, .. } = red;
    let (id, name) = (outcome.checkpoint.id, outcome.checkpoint.name);
    let alone = Outcome { findings: vec![(*finding).clone()], ..(*outcome).clone() };
    let found = report::detail(&alone, flags).unwrap_or_default();
    let weights = match names {
        [] => "none: this operation uses no weights".to_owned(),
        names => names.join(", "),
    };
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
