//! Mistakes of what drives a model: the cache between two prompts, the end of a text, the sampler.

use super::{Diagnosis, Named};

fn exact(mistake: &'static str, says: String) -> Diagnosis {
    Diagnosis { named: vec![Named::new(mistake, says)], runner_up: None }
}

/// A prompt whose first token sees more keys than its own.
pub fn sees_the_past() -> Diagnosis {
    let says = "the first token of a new prompt sees what the prompt before it left in the cache";
    exact("cache-kept", says.into())
}

/// A text that goes on behind `last`, or stops early: known ends `ours`, of `theirs`.
pub fn other_ends(ours: &[u32], theirs: &[u32], last: u32) -> Diagnosis {
    if theirs.contains(&last) && !ours.contains(&last) {
        let says = format!("you know the ends {ours:?}; the model has {theirs:?}, and ended with {last}");
        return exact("one-eos", says);
    }
    Diagnosis::default()
}

/// A token that is not the largest of its own logits, but is so after a penalty on those that stand
/// in the text already (Keskar et al., 2019): positive logits divided, negative ones multiplied.
pub fn sampled(logits: &[f32], text: &[u32], got: u32) -> Diagnosis {
    let best = |penalty: f32| {
        let penalised = |id: usize| {
            if !text.contains(&(id as u32)) {
                logits[id]
            } else if logits[id] > 0.0 {
                logits[id] / penalty
            } else {
                logits[id] * penalty
            }
        };
        (0..logits.len()).max_by(|&a, &b| penalised(a).total_cmp(&penalised(b))).map(|id| id as u32)
    };
    if best(1.0) == Some(got) {
        return Diagnosis::default();
    }
    let known = [1.1, 1.05, 1.15, 1.2, 1.18, 1.3, 1.5, 2.0];
    match known.into_iter().find(|&penalty| best(penalty) == Some(got)) {
        Some(penalty) => exact(
            "sampler-default",
            format!("token {got} is not the largest logit, but is with a repetition penalty of {penalty}"),
        ),
        None => Diagnosis::default(),
    }
}
