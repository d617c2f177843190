//! `list`: the checkpoints, mistakes, models, cases and devices that are available.

use clap::Args;
use rbees_check::reference::{Fixture, Manifest};
use rbees_check::{Result, checkpoints, mistakes, models};

use super::device;
use super::ending::Ending;
use super::paint::{self, Out};

#[derive(Args, Debug)]
pub struct List {}

impl List {
    pub fn perform(self, out: &mut Out) -> Result<Ending> {
        out.line(paint::heading("checkpoints"))?;
        for checkpoint in checkpoints::ALL {
            out.line(format!("  {:<3}  {:<11}  {}", checkpoint.id, checkpoint.name, checkpoint.judges))?;
        }
        out.line(format!("\n{}", paint::heading("mistakes")))?;
        for mistake in mistakes::all() {
            out.line(format!("  {:<18}  {:<8}  {}", mistake.name, mistake.at.join(", "), mistake.title))?;
        }
        out.line(format!("\n{}", paint::heading("identified from an operation's inputs and result")))?;
        for kind in mistakes::identified() {
            out.line(format!("  {:<19}  {:<10}  {}", kind.name, kind.operation, kind.title))?;
        }
        out.line(format!("\n{}", paint::heading("models")))?;
        for name in models::NAMES {
            out.line(format!("  {name:<17}  {}", models::whereabouts(name)))?;
        }
        out.line("  or the path of a .gguf file or a Hugging Face directory")?;
        out.line(format!("\n{}", paint::heading("cases")))?;
        for name in models::NAMES {
            cases(name, out)?;
        }
        out.line(format!("\n{}", paint::heading("devices")))?;
        for (name, state) in device::all() {
            out.line(format!("  {name:<5}  {state}"))?;
        }
        Ok(Ending::Passed)
    }
}

/// One line per case: its prompts, and how many sites are stored. Broken references get a line too.
fn cases(model: &str, out: &mut Out) -> Result<()> {
    let fixture = match models::fixture(model) {
        Ok(fixture) => fixture,
        Err(error) => return out.line(format!("  {model:<17}  no cases: {error}")),
    };
    for case in &fixture.cases {
        out.line(match manifest(&fixture, case) {
            Ok(manifest) => format!("  {model:<17}  {case:<11}  {}", extent(&manifest)),
            Err(error) => format!("  {model:<17}  {case:<11}  broken: {error}"),
        })?;
    }
    Ok(())
}

fn manifest(fixture: &Fixture, case: &str) -> Result<Manifest> {
    fixture.source.json(&format!("{case}/manifest.json"))
}

/// `3 rows of up to 17 tokens, padded left; 98 sites`.
fn extent(manifest: &Manifest) -> String {
    let longest = manifest.lengths.iter().max().copied().unwrap_or(0);
    let tokens = match manifest.lengths.len() {
        1 => counted(longest, "token"),
        rows => format!("{rows} rows of up to {}", counted(longest, "token")),
    };
    let padding = manifest.padding.as_ref().map_or(String::new(), |side| format!(", padded {side}"));
    format!("{tokens}{padding}; {}", counted(manifest.sites.len(), "site"))
}

fn counted(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}
