//! What `run --dump` prints about a recording: what it is checked against, what it contains, and where it first
//! differs.

use rbees_check::Result;
use rbees_check::dump::{Coverage, FirstWrong, Judged, Pair, Passes};
use rbees_check::judge::{Outcome, Status};
use rbees_check::recording::Recording;
use rbees_check::weights::Config;

use super::known_model::KnownModel;
use super::paint::Out;

/// Prints what was recorded and what it is checked against.
pub fn head(
    dump: &Recording,
    other: Option<&Recording>,
    model: &KnownModel,
    about_reference: &str,
    out: &mut Out,
) -> Result<()> {
    out.line(about(dump))?;
    other.map_or(Ok(()), |other| out.line(format!("against {}", about(other))))?;
    let shape = model.config.as_ref().map_or("shape unknown".to_owned(), Config::to_string);
    out.line(format!("{} · {shape}", model.name))?;
    if other.is_none() {
        out.line(format!("reference: {about_reference}"))?;
    }
    out.line(replay(model))?;
    out.line("")
}

/// `dump.safetensors · 13 tokens, f32, eager, dump_torch.py`.
fn about(dump: &Recording) -> String {
    let tokens = dump.places().len();
    let facts: Vec<&str> = ["arithmetic", "attention", "recorder"]
        .iter()
        .filter_map(|key| dump.metadata.get(*key))
        .map(String::as_str)
        .collect();
    let facts: String = facts.iter().map(|fact| format!(", {fact}")).collect();
    let s = if tokens == 1 { "" } else { "s" };
    format!("{} · {tokens} token{s}, {}{facts}", dump.name, dump.dtype.as_str())
}

/// Prints what the passes are, and what each is compared with. `cases` has a sentence for each pass with references.
pub fn head_of_passes(
    passes: &Passes,
    model: &KnownModel,
    cases: &[Option<&str>],
    out: &mut Out,
) -> Result<()> {
    let shape = model.config.as_ref().map_or("shape unknown".to_owned(), Config::to_string);
    for ((number, dump), case) in passes.iter().zip(cases) {
        let position = dump.input.positions.first().and_then(|row| row.first()).copied().unwrap_or(0);
        let case = case.map_or(String::new(), |case| format!(", reference: {case}"));
        out.line(format!("pass {number}: {}, from position {position}{case}", about(dump)))?;
    }
    out.line(format!("{} · {shape}", model.name))?;
    out.line(replay(model))?;
    out.line("")
}

/// What is replayed.
fn replay(model: &KnownModel) -> String {
    match &model.without {
        None => "replay: every operation is recomputed from the recording's own inputs".to_owned(),
        Some(why) => format!("replay: only operations that need no weights: {why}"),
    }
}

/// For each pass, what was not recorded or checked, and its first wrong operation.
pub fn of_passes(judged: &[(usize, Judged)]) -> String {
    let mut text = String::new();
    let mut same: Vec<(String, Vec<String>)> = Vec::new();
    for (number, judged) in judged {
        let line = covered(&judged.coverage) + &unjudged(judged);
        match same.last_mut() {
            Some((last, numbers)) if *last == line => numbers.push(number.to_string()),
            _ => same.push((line, vec![number.to_string()])),
        }
    }
    for (line, numbers) in same {
        let of = match &numbers[..] {
            [one] => format!("pass {one}"),
            [first, .., last] => format!("passes {first} to {last}"),
            [] => String::new(),
        };
        for line in line.lines() {
            text += &format!("{of}: {line}\n");
        }
    }
    for (number, judged) in judged {
        let label = format!("first wrong operation of pass {number}, given its recorded inputs");
        text += &first_wrong(&label, judged.first_wrong.as_ref());
    }
    text
}

/// `recorded but not checked: model.layers.0.self_attn.scores and 3 more`.
fn unjudged(judged: &Judged) -> String {
    let [first, rest @ ..] = &judged.unjudged[..] else { return String::new() };
    let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
    format!("recorded but not checked: {first}{more}\n")
}

/// Coverage, the first site that differs, and the operation that introduced the error.
pub fn of_one(judged: &Judged) -> String {
    let mut text = covered(&judged.coverage) + &unjudged(judged);
    if let Some(site) = judged.first_difference {
        text += &format!("first site that differs from the reference: {site}\n");
    }
    text + &first_wrong("first wrong operation, given its recorded inputs", judged.first_wrong.as_ref())
}

/// The same for two recordings that are compared with each other.
pub fn of_two(pair: &Pair, names: [&str; 2]) -> String {
    let mut text = covered(&pair.coverage);
    let compared = |outcome: &Outcome| outcome.checkpoint.id == "07" && outcome.status() == Status::Passed;
    match pair.part {
        Some(site) => text += &format!("first site where the two recordings differ: {site}\n"),
        None if pair.outcomes.iter().any(compared) => {
            text += "the two recordings differ no more than two correct runs may\n"
        }
        None => {}
    }
    for (name, wrong) in names.iter().zip(&pair.first_wrong) {
        text += &first_wrong(
            &format!("first wrong operation of {name}, given its recorded inputs"),
            wrong.as_ref(),
        );
    }
    text
}

/// `coverage: 70 of 71 sites; not recorded, so not checked separately: model.layers.1.mlp.act`.
fn covered(coverage: &Coverage) -> String {
    let missing = match &coverage.missing[..] {
        [] => String::new(),
        [one] => format!("; not recorded, so not checked separately: {one}"),
        [first, rest @ ..] => {
            format!("; not recorded, so not checked separately: {first} and {} more", rest.len())
        }
    };
    format!("coverage: {} of {} sites{missing}\n", coverage.recorded, coverage.all)
}

/// The operation that introduced the error, or the group of operations that contains it.
fn first_wrong(label: &str, wrong: Option<&FirstWrong>) -> String {
    let Some(wrong) = wrong else { return String::new() };
    match &wrong.among[..] {
        [_] | [] => format!("{label}: {}\n", wrong.site),
        [first, .., last] => {
            let among =
                format!("or an earlier one of the {} operations from {first} to {last}", wrong.among.len());
            format!("{label}: {}, {among}: record more of them to see which\n", wrong.site)
        }
    }
}
