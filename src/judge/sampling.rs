//! Compares logits processors with stored distributions, and draws with their distribution.

use super::verdict::{Finding, Verdict};
use crate::Result;
use crate::generate::{Sampler, Sampling};
use crate::reference::{self, SamplingCase};

/// Draws per distribution: enough that a token of probability 0.05 is drawn about 200 times.
const DRAWS: usize = 4000;

/// Judges every stored distribution, draws from the flattest one, and seeds.
pub(super) fn judge_sampling(stored: &reference::Sampling) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for case in &stored.cases {
        findings.push(Finding::new(case.key.as_str(), distribution(case, &stored.logits)));
    }
    // A peaked distribution draws the same tokens for every seed, so take the flattest.
    let entropy = |case: &SamplingCase| -> f64 {
        case.probabilities.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum()
    };
    if let Some(case) = stored.cases.iter().max_by(|a, b| entropy(a).total_cmp(&entropy(b))) {
        findings.push(Finding::new("greedy", greedy(&stored.logits)?));
        findings.push(Finding::new("seeds", seeds(setting(case), &stored.logits, case)?));
        findings.push(Finding::new("draws", draws(setting(case), &stored.logits, case)?));
    }
    Ok(findings)
}

/// Compares our distribution under a stored setting with the stored one.
pub(super) fn distribution(case: &SamplingCase, logits: &[f32]) -> Verdict {
    match setting(case).distribution(logits, &case.context) {
        Err(error) => Verdict::Broken(error.to_string()),
        Ok(got) => same_distribution(&got, case, logits),
    }
}

/// Our sampling settings for transformers' settings.
fn setting(case: &SamplingCase) -> Sampling {
    let processors = &case.processors;
    Sampling {
        temperature: processors.temperature.unwrap_or(1.0),
        top_k: processors.top_k,
        top_p: processors.top_p,
        min_p: processors.min_p,
        repetition_penalty: processors.repetition_penalty.unwrap_or(1.0),
        logit_bias: processors.sequence_bias.iter().flatten().map(|&([token], bias)| (token, bias)).collect(),
        seed: 299_792_458,
        ..Sampling::default()
    }
}

/// The same tokens must be kept, and each probability must be as accurate as float32 logits allow: a
/// processed logit x carries |x| ulps of error, which is the relative error of e^x and of the sum of these.
pub(super) fn same_distribution(got: &[f64], case: &SamplingCase, logits: &[f32]) -> Verdict {
    let want = &case.probabilities;
    if got.len() != want.len() {
        return Verdict::Shape { got: vec![got.len()], want: vec![want.len()] };
    }
    if let Some(token) = (0..want.len()).find(|&t| (got[t] == 0.0) != (want[t] == 0.0)) {
        return Verdict::Broken(format!(
            "token {token} has probability {:.3e}, want {:.3e}",
            got[token], want[token]
        ));
    }
    let setting = setting(case);
    let logit = logits.iter().fold(0f64, |m, l| m.max(f64::from(l.abs())));
    let bias = setting.logit_bias.values().fold(0f64, |m, b| m.max(b.abs()));
    let penalty = setting.repetition_penalty.max(setting.repetition_penalty.recip());
    let largest = (logit + bias) * penalty / setting.temperature;
    let budget = 4.0 * (1.0 + largest) * f64::from(f32::EPSILON);
    let ratio = |t: usize| if want[t] == 0.0 { 0.0 } else { (got[t] / want[t] - 1.0).abs() / budget };
    let worst = (0..want.len()).map(|t| (t, ratio(t))).max_by(|a, b| a.1.total_cmp(&b.1));
    match worst {
        None => Verdict::Broken("the distribution is empty".into()),
        Some((_, ratio)) if ratio <= 1.0 => Verdict::Pass(ratio),
        Some((token, _)) => Verdict::Broken(format!(
            "token {token} has probability {:.9e}, want {:.9e}",
            got[token], want[token]
        )),
    }
}

/// Temperature 0 must take the largest logit.
fn greedy(logits: &[f32]) -> Result<Verdict> {
    let setting = Sampling { temperature: 0.0, ..Sampling::default() };
    Ok(largest(Sampler::new(setting)?.sample(logits, &[])?, logits))
}

/// Passes if no token has a larger logit.
pub(super) fn largest(token: u32, logits: &[f32]) -> Verdict {
    let beats = |&other: &usize| logits.get(token as usize).is_none_or(|logit| logits[other] > *logit);
    match (0..logits.len()).find(beats) {
        None => Verdict::Pass(0.0),
        Some(other) => Verdict::Broken(format!(
            "greedy sampling takes token {token}, but the logit of {other} is larger"
        )),
    }
}

/// `n` draws. The distribution is computed once, because it is the same for all of them.
fn draw(setting: Sampling, logits: &[f32], context: &[u32], n: usize) -> Result<Vec<usize>> {
    let distribution = setting.distribution(logits, context)?;
    let mut sampler = Sampler::new(setting)?;
    Ok((0..n).map(|_| sampler.pick(&distribution)).collect())
}

fn seeds(setting: Sampling, logits: &[f32], case: &SamplingCase) -> Result<Verdict> {
    let of = |seed| draw(Sampling { seed, ..setting.clone() }, logits, &case.context, 64);
    Ok(seeded(&of(setting.seed)?, &of(setting.seed)?, &of(setting.seed + 1)?))
}

/// The same seed must draw the same sequence twice, another seed a different one.
pub(super) fn seeded(once: &[usize], again: &[usize], other: &[usize]) -> Verdict {
    match (once == again, once == other) {
        (false, _) => Verdict::Broken("the same seed draws two different sequences".into()),
        (_, true) => Verdict::Broken("two different seeds draw the same sequence".into()),
        _ => Verdict::Pass(0.0),
    }
}

fn draws(setting: Sampling, logits: &[f32], case: &SamplingCase) -> Result<Verdict> {
    let mut counts = vec![0usize; case.probabilities.len()];
    for token in draw(setting, logits, &case.context, DRAWS)? {
        match counts.get_mut(token) {
            Some(count) => *count += 1,
            None => return Ok(Verdict::Broken(format!("token {token} is outside the vocabulary"))),
        }
    }
    Ok(as_likely(&counts, &case.probabilities))
}

/// Pearson's chi-squared test over the tokens expected at least five times. The other tokens are combined
/// into one cell or, if that is still expected less than five times, added to the most common cell. The
/// statistic may exceed its mean by six standard deviations. The seed is fixed, so the verdict is
/// reproducible.
pub(super) fn as_likely(counts: &[usize], probabilities: &[f64]) -> Verdict {
    let never = |&t: &usize| counts[t] > 0 && probabilities[t] == 0.0;
    if let Some(token) = (0..counts.len()).find(never) {
        return Verdict::Broken(format!("token {token} was drawn, but its probability is 0"));
    }
    let draws = counts.iter().sum::<usize>() as f64;
    let expected = |(&count, &p): (&usize, &f64)| (count as f64, p * draws);
    let (mut cells, rare): (Vec<_>, Vec<_>) =
        counts.iter().zip(probabilities).map(expected).partition(|(_, expected)| *expected >= 5.0);
    let rest = rare.iter().fold((0.0, 0.0), |rest, cell| (rest.0 + cell.0, rest.1 + cell.1));
    match cells.iter_mut().max_by(|a, b| a.1.total_cmp(&b.1)) {
        Some(cell) if rest.1 < 5.0 => *cell = (cell.0 + rest.0, cell.1 + rest.1),
        _ => cells.push(rest),
    }
    let statistic: f64 = cells.iter().map(|(seen, expected)| (seen - expected).powi(2) / expected).sum();
    if cells.len() < 2 {
        return Verdict::Incomparable;
    }
    let freedom = (cells.len() - 1) as f64;
    let budget = 6.0 * (2.0 * freedom).sqrt();
    let excess = (statistic - freedom).max(0.0);
    if excess <= budget {
        Verdict::Pass(excess / budget)
    } else {
        Verdict::Broken(format!(
            "chi-squared of {draws} draws is {statistic:.1}; at most {:.1} is allowed",
            freedom + budget
        ))
    }
}
