//! Writes a finding as one line that contains its result but no prose.

use candle_core::DType;
use rbees_check::judge::Outcome;
use rbees_check::report::json;
use serde_json::Value;

use super::Out;

/// Writes one line per checkpoint and one line per finding.
pub fn outcomes(head: &str, outcomes: &[Outcome], out: Out<'_>) -> std::io::Result<()> {
    let checkpoints: Vec<json::Checkpoint> = outcomes.iter().map(json::Checkpoint::of).collect();
    let first = outcomes.iter().flat_map(Outcome::failures).filter_map(|finding| finding.site).min();
    let first = first.map_or("-".to_owned(), |site| site.to_string());
    writeln!(out, "{head} first {first}")?;
    for (checkpoint, outcome) in checkpoints.iter().zip(outcomes) {
        let named: Vec<&str> = outcome.named().iter().map(|named| named.mistake).collect();
        writeln!(out, "{head} {} {:?} named {named:?}", checkpoint.id, checkpoint.status)?;
    }
    checkpoints.iter().try_for_each(|checkpoint| findings(head, checkpoint, out))
}

/// Writes one line per finding of a checkpoint.
pub fn findings(head: &str, checkpoint: &json::Checkpoint, out: Out<'_>) -> std::io::Result<()> {
    let mut lines: Vec<String> = checkpoint.findings.iter().map(finding).collect();
    lines.sort();
    lines.iter().try_for_each(|line| writeln!(out, "{head} {} {line}", checkpoint.id))
}

fn finding(finding: &json::Finding) -> String {
    let (case, drive) = (finding.case.as_deref().unwrap_or("-"), finding.drive.as_deref().unwrap_or("-"));
    let mut verdict = serde_json::to_value(&finding.verdict).expect("a verdict is JSON");
    // The violation of a law is described in a sentence. Only its numbers are kept.
    if let Some(how) = verdict.get_mut("how") {
        let numbers = how.as_str().map(numbers).unwrap_or_default();
        *how = Value::from(numbers);
    }
    let mut line =
        format!("{:?} {case} [{drive}] {verdict} incomparable {}", finding.about, finding.incomparable_rows);
    if let Some(suspects) = &finding.suspects {
        for named in &suspects.named {
            let numbers = numbers(&named.says);
            line += &format!(
                " named {} {numbers:?} residual {:?} flips {}",
                named.mistake, named.residual.0, named.flips
            );
        }
        if let Some(next) = &suspects.runner_up {
            line += &format!(" next {} {:?}", next.mistake, next.residual.0);
        }
    }
    line
}

/// The numbers in a sentence, in order.
fn numbers(sentence: &str) -> Vec<String> {
    let part = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | 'e' | '+');
    sentence
        .split(|c: char| !part(c))
        .map(|word| word.trim_matches(['.', '-', '+', 'e']))
        .map(str::to_owned)
        .filter(|word| word.parse::<f64>().is_ok())
        .collect()
}

/// Reduces a record to what does not depend on this processor's rounding: the place, the kind of verdict and
/// the named mistakes of each finding. Findings that pass or are within five budgets are left out.
pub fn coarse(text: &str) -> String {
    let mut coarse = String::new();
    for line in text.lines() {
        // The worst element and the share of the budget depend on this processor's rounding.
        let line = line.split(" incomparable ").collect::<Vec<_>>();
        let head = line[0].split(" {\"").next().unwrap_or_default();
        let kind = line[0].split("\"kind\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("");
        let named: Vec<&str> = line
            .get(1)
            .into_iter()
            .flat_map(|rest| rest.split(" named ").skip(1))
            .map(|named| named.split(' ').next().unwrap_or_default())
            .collect();
        let ratio = line[0].split("\"ratio\":").nth(1).and_then(|rest| rest.split([',', '}']).next());
        let near = ratio.and_then(|ratio| ratio.parse::<f64>().ok()).is_some_and(|ratio| ratio < 5.0);
        if kind != "pass" && !near {
            coarse += format!("{head} {kind} {}", named.join(" named ")).trim_end();
            coarse.push('\n');
        }
    }
    coarse
}

/// The name of a dtype, such as `f32`.
pub fn dtype(dtype: DType) -> &'static str {
    dtype.as_str()
}
