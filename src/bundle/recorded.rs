//! Bundles one failing site of a recording: its recorded tensor, and the recorded tensors that it is
//! recomputed from.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::Bundle;
use super::parts::{Parts, folder, listed, unwritten};
use super::pass::{self, AtSite};
use super::weights;
use crate::Result;
use crate::dump::{Against, Span};
use crate::judge::{Drive, Finding, Outcome, Verdict};
use crate::probe::{Arithmetic, Site};
use crate::recording::Recording;
use crate::reference::Reference;
use crate::report;

/// The metadata keys that are copied. `layout` and `position_offset` are not: tensors are stored in the
/// reference's layout, and every position is stored.
const KEPT: [&str; 4] = ["recorder", "model", "attention", "alone"];

/// A failing site of a recording, and what judged it.
#[derive(Clone, Copy)]
struct RecordedFailure<'a> {
    outcome: &'a Outcome,
    finding: &'a Finding,
    site: Site,
}

/// The result of bundling a recording.
#[derive(Debug, Default)]
pub struct Bundled {
    /// The bundle of the first failing site that can be bundled.
    pub bundle: Option<Bundle>,
    /// The first failing site that cannot be bundled, and the reason, if it comes before the bundled one.
    pub left_out: Option<(Site, &'static str)>,
}

/// Bundles the first site of `dump` whose value is wrong given its own recorded inputs; if there is none, the
/// first that differs from the reference. `flags` are the flags of the run, for the README.
///
/// # Errors
/// A tensor or a weight cannot be read.
pub fn first_recorded_failure(
    dump: &Recording,
    against: &Against<'_>,
    outcomes: &[Outcome],
    flags: &str,
) -> Result<Bundled> {
    let mut bundled = Bundled::default();
    for failed in ordered(outcomes) {
        let span = span(dump, against, &failed)?;
        match refusal(&failed, &span, against) {
            Some(why) => _ = bundled.left_out.get_or_insert((failed.site, why)),
            None => {
                bundled.bundle = Some(bundle(dump, against, failed, &span, flags)?);
                break;
            }
        }
    }
    Ok(bundled)
}

/// The sites that differ from their replay, in forward order, then those that differ from the reference.
fn ordered(outcomes: &[Outcome]) -> Vec<RecordedFailure<'_>> {
    let all = outcomes.iter().flat_map(|outcome| outcome.failures().map(move |finding| (outcome, finding)));
    let differs = all.filter_map(|(outcome, finding)| {
        let site = finding.site.filter(|_| matches!(finding.verdict, Verdict::Differs(_)))?;
        Some(RecordedFailure { outcome, finding, site })
    });
    let mut failures: Vec<RecordedFailure<'_>> =
        differs.filter(|failed| is_replay(failed.finding) || is_against_reference(failed.finding)).collect();
    failures.sort_by_key(|failed| (!is_replay(failed.finding), failed.site));
    failures
}

fn is_replay(finding: &Finding) -> bool {
    matches!(finding.drive, Drive::Replay { of: None, .. })
}

fn is_against_reference(finding: &Finding) -> bool {
    matches!(finding.drive, Drive::RecordedAgainstReference(_))
}

/// What the site is recomputed from. A site that is only compared with the reference is not recomputed.
fn span(dump: &Recording, against: &Against<'_>, failed: &RecordedFailure<'_>) -> Result<Span> {
    let span = if is_replay(failed.finding) { dump.span(failed.site, against)? } else { None };
    Ok(span.unwrap_or_else(|| Span { operations: vec![failed.site], ..Span::default() }))
}

/// Why the site cannot be bundled, if it cannot.
fn refusal(failed: &RecordedFailure<'_>, span: &Span, against: &Against<'_>) -> Option<&'static str> {
    let dtype = |name: &String| against.weights.and_then(|weights| weights.stored(name));
    let floats = |dtype: &str| matches!(dtype, "F32" | "F16" | "BF16" | "F64");
    let in_blocks = span.matrices.iter().filter_map(dtype).any(|(dtype, _)| !floats(&dtype));
    match against.arithmetic {
        Arithmetic::Dense if against.config.is_none() && case_of(failed, span, against).is_none() => {
            Some("neither the config of its model nor a reference for it is known")
        }
        Arithmetic::Dense => None,
        _ if !is_replay(failed.finding) => Some("a bundle cannot contain references for quantised blocks"),
        _ if in_blocks => {
            Some("it is a matrix product on quantised blocks, and a bundle stores weights as floats")
        }
        _ => None,
    }
}

/// The sites to store.
fn stored(failed: &RecordedFailure<'_>, span: &Span) -> BTreeSet<Site> {
    span.inputs.iter().copied().chain([failed.site]).collect()
}

/// The case of the recording's prompt, if it has references at any of these sites.
fn case_of<'a>(failed: &RecordedFailure<'_>, span: &Span, against: &Against<'a>) -> Option<&'a Reference> {
    let case = against.case.filter(|_| against.arithmetic == Arithmetic::Dense)?;
    stored(failed, span).into_iter().any(|site| case.rows(site).is_some()).then_some(case)
}

fn bundle(
    dump: &Recording,
    against: &Against<'_>,
    failed: RecordedFailure<'_>,
    span: &Span,
    flags: &str,
) -> Result<Bundle> {
    let RecordedFailure { outcome, finding, site } = failed;
    let (stored, case) = (stored(&failed, span), case_of(&failed, span, against));
    let names = weights_of(span, against);
    let parts = Parts {
        site,
        finding,
        case: case.map(|case| (case, stored.clone())),
        config: against.config,
        weights: against.weights,
        names: &names,
    };
    let mut files = parts.files()?;
    files.insert("dump.npz".to_owned(), recording(dump, against, &stored)?);
    let references = if case.is_some() { " --references DIR" } else { "" };
    let id = outcome.checkpoint.id;
    let command = format!("rbees-check run {id} --model DIR{references} --dump DIR/dump.npz");
    let readme = Readme { dump, failed, span, case, command: &command, flags };
    let readme = readme.text(against.config.is_some().then_some(&names[..]));
    files.insert("README.txt".into(), readme.into_bytes());
    Ok(Bundle { site, command, files })
}

/// The weights that these operations use, and those in their layers that ports might use by mistake. Weights
/// that are not available are left out.
fn weights_of(span: &Span, against: &Against<'_>) -> Vec<String> {
    let (Some(all), Some(config)) = (against.weights, against.config) else { return vec![] };
    let near = span.operations.iter().flat_map(|&site| weights::of(site, config));
    let names: BTreeSet<String> = span.weights.iter().cloned().chain(near).collect();
    names.into_iter().filter(|name| all.shape(name).is_some()).collect()
}

/// The part of `dump` with these sites.
fn recording(dump: &Recording, against: &Against<'_>, sites: &BTreeSet<Site>) -> Result<Vec<u8>> {
    let mut tensors = Vec::new();
    for &site in sites {
        if let Some(recorded) = dump.fit(site, against)? {
            tensors.push(AtSite::new(site.to_string(), &recorded.barred()?, &recorded.layout)?);
        }
    }
    let layers: BTreeSet<Option<u16>> = sites.iter().map(|site| site.layer).collect();
    for (name, cached) in dump.cached_rows().filter(|(_, cached)| layers.contains(&cached.site.layer)) {
        tensors.push(AtSite::new(name, &cached.barred()?, &cached.layout)?);
    }
    let kept = KEPT.iter().filter_map(|&key| Some((key.to_owned(), dump.metadata.get(key)?.as_str().into())));
    let mut about: Map<String, Value> = kept.collect();
    about.insert("format".into(), json!("rbees-dump 1"));
    about.insert("dtype".into(), json!(dump.dtype.as_str()));
    // The reference's order of q and k, so that no other order is looked for.
    about.insert("layout".into(), json!("half-split"));
    about.insert("arithmetic".into(), json!(against.arithmetic.name()));
    if let Some(saved) = dump.saved {
        about.insert("saved_as".into(), json!(saved.to_string()));
    }
    if dump.cached.iter().any(|&cached| cached > 0) {
        let cached: Vec<String> = dump.cached.iter().map(ToString::to_string).collect();
        about.insert("cached".into(), json!(cached.join(", ")));
    }
    pass::file(&dump.input, &dump.real_slots(), &Value::Object(about), &tensors).map_err(unwritten)
}

/// What `README.txt` describes.
struct Readme<'a> {
    dump: &'a Recording,
    failed: RecordedFailure<'a>,
    span: &'a Span,
    case: Option<&'a Reference>,
    command: &'a str,
    flags: &'a str,
}

impl Readme<'_> {
    /// The text. `names` are the stored weights; `None` if there is no config, so that no weights are stored.
    fn text(&self, names: Option<&[String]>) -> String {
        let Self { dump, failed, case, command, flags, .. } = self;
        let RecordedFailure { outcome, finding, site } = failed;
        let (id, name) = (outcome.checkpoint.id, outcome.checkpoint.name);
        let alone = Outcome { findings: vec![(*finding).clone()], ..(*outcome).clone() };
        let found = report::detail(&alone, flags).unwrap_or_default();
        let prompt = match case {
            Some(case) => format!("case {} of {}", case.manifest.case, case.manifest.model),
            None => "no reference is stored for this prompt".to_owned(),
        };
        let mut text = format!(
            "{}

{site}
checkpoint {id} {name}; {prompt}; {}

Unpack this into a directory DIR, then run

    {command}

to judge it again. Neither the model nor the program that recorded it is needed.

The original failure, in {}:

{found}
Files:

",
            self.what(),
            finding.drive,
            dump.name,
        );
        let mut file = |name: &str, what: &str| text += &format!("    {name:<19} {what}\n");
        file("dump.npz", "the recorded tensors at this site and at the inputs that it is recomputed from");
        if let Some(case) = case {
            let folder = format!("{}/", folder(&case.manifest.case));
            file(&folder, "float64 references and PyTorch's rounding noise at these sites");
        }
        if let Some(names) = names {
            file("config.json", "as transformers reads it");
            file("model.safetensors", &listed(names));
        }
        file("finding.json", "the verdict, as in a JSON report");
        text
    }

    /// One sentence that says what is wrong.
    fn what(&self) -> String {
        match &self.span.operations[..] {
            _ if !is_replay(self.failed.finding) => {
                "One site of a recording that differs from the PyTorch reference.".to_owned()
            }
            [first, .., last] => {
                let count = self.span.operations.len();
                format!(
                    "{count} operations of a recording, from {first} to {last}.\n\
                     The last output is wrong given the recorded inputs, so one of these operations introduced an error."
                )
            }
            [_] | [] => {
                "One operation of a recording whose output is wrong given its recorded inputs.".into()
            }
        }
    }
}
