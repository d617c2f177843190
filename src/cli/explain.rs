//! `explain`: describes a checkpoint (what it checks, how, its tolerance and typical mistakes), or one known
//! mistake.

use clap::Args;
use rbees_check::checkpoints::{self, Checkpoint, Factor, How, View};
use rbees_check::mistakes::{self, Identified, Kind, Mistake};
use rbees_check::reference::Feed;
use rbees_check::{Error, Result};

use super::ending::Ending;
use super::paint::{self, Out};
use super::suggest::{meant, nearest, spellings};

#[derive(Args, Debug)]
pub struct Explain {
    /// Checkpoint (3, 03, attention, CHECKPOINT_03_ATTENTION) or mistake (rope-pairing) to explain
    #[arg(value_name = "ID|MISTAKE")]
    id: String,
}

impl Explain {
    pub fn perform(self, out: &mut Out) -> Result<Ending> {
        let text = if let Some(checkpoint) = checkpoints::find(&self.id) {
            explanation(checkpoint)
        } else if let Some(mistake) = mistakes::find(&self.id) {
            about_mistake(mistake)
        } else if let Some(kind) = mistakes::find_identified(&self.id) {
            about_identified(kind)
        } else {
            return Err(unknown(&self.id));
        };
        out.text(&text)?;
        Ok(Ending::Passed)
    }
}

/// The error for an unknown name; its hint names the one that was probably meant.
fn unknown(id: &str) -> Error {
    let names =
        mistakes::all().map(|mistake| mistake.name).chain(mistakes::identified().map(|kind| kind.name));
    let hint = meant(nearest(id, spellings().chain(names)));
    Error::input(format!("`{id}` is neither a checkpoint nor a mistake"), hint)
}

fn explanation(checkpoint: &Checkpoint) -> String {
    let Checkpoint { id, name, judges, how, trips, suspects } = checkpoint;
    let mut text = paint::heading(&format!("{id} {name}")) + "\n";
    let mut row = |label: &str, content: &str| text += &wrapped(label, content);
    row("checks", judges);
    for view in checkpoint.views() {
        row("sites", &kinds(view));
        row("feed", feed(view.feed));
    }
    match how {
        How::Weights => row("budget", "none: names, shapes and bytes must be equal"),
        How::Tokens(_, factor) => {
            row("exact", "ids and text must be equal");
            budget(factor, &mut row);
        }
        How::Sites(_, factor) => budget(factor, &mut row),
        How::Laws(factor) => {
            row(
                "sites",
                "every stored site, computed in pieces and compared with the port's own single prefill",
            );
            row(
                "feed",
                "first site: a reference tensor at every stored site; then own: no reference tensors",
            );
            budget(factor, &mut row);
        }
        How::Sampling => row(
            "budget",
            "the set of tokens that are kept must be exact; probabilities must agree as far as float32 logits allow; \
             draws are tested by chi-squared",
        ),
        How::Greedy(rule) => {
            let (times, percentile, decisive) = (rule.times, rule.percentile * 100.0, rule.decisive * 100.0);
            row(
                "budget",
                &format!(
                    "tokens must be equal, except at a near-tie, where the two best logits are closer than {times} times \
                     the {percentile}th percentile of PyTorch's error of that gap; if fewer than {decisive}% of the steps \
                     are decisive, the checkpoint cannot judge"
                ),
            );
            row("reason", rule.because);
        }
    }
    for (n, trip) in trips.iter().enumerate() {
        row(if n == 0 { "pitfalls" } else { "" }, &format!("- {trip}"));
    }
    if !suspects.is_empty() {
        row("suspects", &suspects.join(", "));
    }
    row("run", &format!("rbees-check run {id}"));
    text
}

fn about_mistake(mistake: &Mistake) -> String {
    let Mistake { number, name, title, symptom, fingerprint, at, wild, fix, kind } = mistake;
    let mut text = paint::heading(&format!("{name} · row {number} of the catalogue")) + "\n";
    let mut row = |label: &str, content: &str| text += &wrapped(label, content);
    row("what", title);
    if *kind == Kind::Harmless {
        row("", "this is not a mistake: two correct programs may differ in this way");
    }
    row("symptom", symptom);
    row("evidence", fingerprint);
    row("stage", &at.join(", "));
    row("seen in", &wild.join(", "));
    row("fix", fix);
    text
}

/// What is known about a deviation that is identified from tensors.
fn about_identified(kind: &Identified) -> String {
    let Identified { name, operation, title, fix } = kind;
    let mut text =
        paint::heading(&format!("{name} · identified from an operation's inputs and result")) + "\n";
    let mut row = |label: &str, content: &str| text += &wrapped(label, content);
    row("operation", operation);
    row("what", title);
    row("evidence", "the operation, recomputed in float64 with this deviation, gives the port's own tensor");
    row("fix", fix);
    text
}

/// `q_proj, k_proj`, …: the names of the sites that a view checks.
fn kinds(view: &View) -> String {
    let names: Vec<&str> = view
        .kinds
        .iter()
        .map(|kind| if kind.name().is_empty() { "the block's output" } else { kind.name() })
        .collect();
    names.join(", ")
}

fn feed(feed: Feed) -> &'static str {
    match feed {
        Feed::Site => {
            "site: a reference tensor at every stored site, so that each operation gets reference inputs"
        }
        Feed::Block => {
            "block: a reference tensor at each block's input; inside the block, the port's own values"
        }
        Feed::Own => "own: no reference tensors; the port continues with its own values",
    }
}

fn budget(factor: &Factor, row: &mut impl FnMut(&str, &str)) {
    row(
        "budget",
        &format!("each row's own scale × ({} × the noise measured in PyTorch + 4 ulps)", factor.times),
    );
    row("reason", factor.because);
}

/// A row with a label, wrapped to a readable width.
fn wrapped(label: &str, content: &str) -> String {
    const WIDTH: usize = 86;
    let mut lines = vec![String::new()];
    for word in content.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    let hanging = if content.starts_with("- ") { "  " } else { "" };
    let (first, rest) = lines.split_at(1);
    let rest = rest.iter().map(|line| format!("{:13}{hanging}{line}\n", ""));
    format!("   {label:<9} {}\n", first.concat()) + &rest.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapping_keeps_every_word_and_limits_the_width() {
        let content = "word ".repeat(60);
        let rows = wrapped("label", &content);
        assert_eq!(rows.matches("word").count(), 60);
        assert!(rows.lines().all(|line| line.len() <= 100));
    }
}
