//! One red site → the smallest set of files that shows it again: what the operation was fed and gave, truth
//! and noise there, and the weights that it uses. Nobody needs the model or the port to look at it.

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

/// A red site, alone.
#[derive(Debug)]
pub struct Bundle {
    /// The site.
    pub site: Site,
    /// The line that shows it again, once its files lie in `DIR`.
    pub command: String,
    /// Path and content, in the order of the paths.
    files: BTreeMap<String, Vec<u8>>,
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

/// What `docs/dump-format.md` describes: ids, and the tensors widened to float32.
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

/// The last axis in the reference's order.
fn floats(site: Site, tensor: &Tensor, traits: &Traits) -> Result<Vec<f32>> {
    let width = tensor.dims().last().copied().unwrap_or(1).max(1);
    let values: Vec<f32> = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    Ok(match traits.layout(site.kind).columns(width) {
        None => values,
        Some(columns) => values.chunks_exact(width).flat_map(|row| columns.iter().map(|&j| row[j])).collect(),
    })
}

/// A case may have been read from anywhere: its name becomes one of a folder.
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
