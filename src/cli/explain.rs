//! `explain`: what a checkpoint judges, how, how far from truth it lets a port be, and where ports
//! trip; or one of the mistakes that they make.

use clap::Args;
use rbees_check::checkpoints::{self, Checkpoint, Factor, How, View};
use rbees_check::mistakes::{self, Kind, Mistake};
use rbees_check::reference::Feed;
use rbees_check::{Error, Result};

use super::ending::Ending;
use super::paint::{self, Out};
use super::suggest::{meant, nearest, spellings};

#[derive(Args, Debug)]
pub struct Explain {
    /// A checkpoint (3, 03, attention, CHECKPOINT_03_ATTENTION) or a mistake (rope-pairing)
    #[arg(value_name = "ID|MISTAKE")]
    id: String,
}

impl Explain {
    pub fn perform(self, out: &mut Out) -> Result<Ending> {
        let text = match (checkpoints::find(&self.id), mistakes::find(&self.id)) {
            (Some(checkpoint), _) => explanation(checkpoint),
            (None, Some(mistake)) => about_mistake(mistake),
            (None, None) => return Err(unknown(&self.id)),
        };
        out.text(&text)?;
        Ok(Ending::Passed)
    }
}

/// Neither a checkpoint nor a mistake; the hint names the one that was likely meant.
fn unknown(id: &str) -> Error {
    let hint = meant(nearest(id, spellings().chain(mistakes::all().map(|mistake| mistake.name))));
    Error::input(format!("`{id}` is no checkpoint and no mistake"), hint)
}

fn explanation(checkpoint: &Checkpoint) -> String {
    let Checkpoint { id, name, judges, how, trips, suspects } = checkpoint;
    let mut text = paint::heading(&format!("{id} {name}")) + "\n";
    let mut row = |label: &str, said: &str| text += &wrapped(label, said);
    row("judges", judges);
    for view in checkpoint.views() {
        row("sites", &kinds(view));
        row("feed", feed(view.feed));
    }
    match how {
        How::Weights => row("budget", "none: names, shapes and bytes are equal or wrong"),
        How::Tokens(_, factor) => {
            row("exact", "ids and text are equal or wrong");
            budget(factor, &mut row);
        }
        How::Sites(_, factor) => budget(factor, &mut row),
        How::Laws(factor) => {
            row("sites", "all that a case stores, in pieces against the port's own prefill");
            row("feed", "site: truth after every stored site; then own: nowhere");
            budget(factor, &mut row);
        }
        How::Sampling => row(
            "budget",
            "which tokens are kept is exact; probabilities are good to what float32 logits allow; draws by chi-squared",
        ),
        How::Greedy(rule) => {
            let (times, percentile, decisive) = (rule.times, rule.percentile * 100.0, rule.decisive * 100.0);
            row(
                "budget",
                &format!(
                    "exact, but at a near-tie: the two best logits closer than {times} times the {percentile}th percentile of \
                 PyTorch's error of that gap; with fewer than {decisive}% of the steps decisive nothing is judged"
                ),
            );
            row("because", rule.because);
        }
    }
    for (n, trip) in trips.iter().enumerate() {
        row(if n == 0 { "trips" } else { "" }, &format!("- {trip}"));
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
    let mut row = |label: &str, said: &str| text += &wrapped(label, said);
    row("what", title);
    if *kind == Kind::Honest {
        row("", "this is no mistake: two correct programs may differ so");
    }
    row("symptom", symptom);
    row("shows", fingerprint);
    row("at", &at.join(", "));
    row("happened", &wild.join(", "));
    row("fix", fix);
    text
}

/// `q_proj, k_proj`: without the module that all of a line share, where that is clear enough.
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
        Feed::Site => "site: truth after every stored site, so that each operation has clean inputs",
        Feed::Block => "block: truth at each block's input, the port's own values inside",
        Feed::Own => "own: the port's own values from the prompt on",
    }
}

fn budget(factor: &Factor, row: &mut impl FnMut(&str, &str)) {
    row(
        "budget",
        &format!("{} times the noise measured in PyTorch, and 4 ulps, of each row's own scale", factor.times),
    );
    row("because", factor.because);
}

/// A labelled row, wrapped to a readable width.
fn wrapped(label: &str, said: &str) -> String {
    const WIDTH: usize = 86;
    let mut lines = vec![String::new()];
    for word in said.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    let hanging = if said.starts_with("- ") { "  " } else { "" };
    let (first, rest) = lines.split_at(1);
    let rest = rest.iter().map(|line| format!("{:13}{hanging}{line}\n", ""));
    format!("   {label:<9} {}\n", first.concat()) + &rest.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_wrapped_and_never_lose_a_word() {
        let said = "word ".repeat(60);
        let rows = wrapped("label", &said);
        assert_eq!(rows.matches("word").count(), 60);
        assert!(rows.lines().all(|line| line.len() <= 100));
    }
}
