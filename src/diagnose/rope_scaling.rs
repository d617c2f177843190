//! Mistakes in the scaling of a rotation's frequencies: it is ignored, applied to the wrong pairs, or computed with
//! other numbers.

use super::Evidence;
use super::deviation::Deviation;
use super::search::Candidate;
use crate::graph::FrequencyLaw;
use crate::oracle::frequencies;

/// The original contexts that ports use in place of the config's: llama.cpp's default is the first one.
const ORIGINALS: [usize; 3] = [8192, 4096, 2048];

/// The factors of published configs.
const FACTORS: [f64; 5] = [8.0, 32.0, 16.0, 4.0, 2.0];

/// The laws of ports that scale wrongly; `law` is the right one, and `scaled` its frequencies.
pub(super) fn candidates(e: &Evidence<'_>, law: &FrequencyLaw, scaled: &[f64]) -> Vec<Candidate> {
    let theta = law.theta();
    let base = frequencies(&FrequencyLaw::Base { theta }, scaled.len()); // [pairs]
    let divisors: Vec<f64> = base.iter().zip(scaled).map(|(base, scaled)| base / scaled).collect(); // [pairs]
    let divided = |divisors: Vec<f64>| FrequencyLaw::Divided { theta, divisors };
    let key = e.key("rope_scaling");
    let mut all: Vec<(FrequencyLaw, String)> = vec![
        (
            FrequencyLaw::Base { theta },
            format!(
                "you ignore the config's rope scaling ({key}): every pair turns at its unscaled frequency"
            ),
        ),
        (
            divided(divisors.iter().map(|divisor| 1.0 / divisor).collect()),
            format!("you multiply frequencies by the factors of the rope scaling ({key}); divide by them"),
        ),
    ];
    match *law {
        FrequencyLaw::Base { .. } => return vec![],
        FrequencyLaw::Linear { factor: own, .. } => {
            all.extend(factors(own, &key, |factor| FrequencyLaw::Linear { theta, factor }))
        }
        FrequencyLaw::Divided { .. } => {
            all.extend(reversed(&divisors, &key).map(|(d, says)| (divided(d), says)))
        }
        FrequencyLaw::Llama3 { factor: own, low_freq_factor, high_freq_factor, original, .. } => {
            all.extend(reversed(&divisors, &key).map(|(d, says)| (divided(d), says)));
            let other = |factor, original| FrequencyLaw::Llama3 {
                theta,
                factor,
                low_freq_factor,
                high_freq_factor,
                original,
            };
            all.extend(factors(own, &key, |factor| other(factor, original)));
            let context = e.config().max_position_embeddings;
            let others = ORIGINALS.into_iter().chain([context]).filter(|&used| used != original);
            all.extend(others.map(|used| {
                let says = format!(
                    "you use {used} as the original context of the rope scaling; it is {original} ({key})"
                );
                (other(own, used), says)
            }));
            all.extend(pairs(theta, own, (low_freq_factor, high_freq_factor), original, &base, &key));
        }
    }
    all.into_iter().map(|(law, says)| Candidate::new(Deviation::Frequencies(law), says)).collect()
}

/// Laws with another factor than the config's.
fn factors<'a>(
    own: f64,
    key: &'a str,
    law: impl Fn(f64) -> FrequencyLaw + 'a,
) -> impl Iterator<Item = (FrequencyLaw, String)> + 'a {
    FACTORS.into_iter().filter(move |&factor| factor != own).map(move |factor| {
        let says = format!("you scale frequencies by 1/{factor}; the config's factor is {own} ({key})");
        (law(factor), says)
    })
}

/// The divisors in reverse order, unless they are the same.
fn reversed(divisors: &[f64], key: &str) -> Option<(Vec<f64>, String)> {
    let reversed: Vec<f64> = divisors.iter().rev().copied().collect();
    let says = format!("you apply the rope scaling ({key}) to the pairs in reverse order");
    (reversed != divisors).then_some((reversed, says))
}

/// Llama 3's factor applied to other pairs than those with long wavelengths. `base` has the unscaled frequencies.
fn pairs(
    theta: f64,
    factor: f64,
    (low, high): (f64, f64),
    original: usize,
    base: &[f64],
    key: &str,
) -> Vec<(FrequencyLaw, String)> {
    // How often each pair turns in the original context.
    let turns: Vec<f64> = base.iter().map(|f| original as f64 * f / std::f64::consts::TAU).collect();
    let law = |scaled: &dyn Fn(f64) -> bool| FrequencyLaw::Divided {
        theta,
        divisors: turns.iter().map(|&turns| if scaled(turns) { factor } else { 1.0 }).collect(),
    };
    vec![
        (
            FrequencyLaw::Linear { theta, factor },
            format!(
                "you divide every frequency by {factor}; the rope scaling keeps those of fast pairs ({key})"
            ),
        ),
        (
            law(&|turns| turns > high),
            format!("you scale the fast pairs and keep the slow ones; scale the slow ones ({key})"),
        ),
        (
            law(&|turns| turns < low),
            format!(
                "you do not blend the pairs between low_freq_factor and high_freq_factor: you keep them ({key})"
            ),
        ),
        (
            law(&|turns| turns < high),
            format!(
                "you do not blend the pairs between low_freq_factor and high_freq_factor: you scale them ({key})"
            ),
        ),
    ]
}
