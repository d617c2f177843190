//! Finds mistakes in the code that drives a model: a cache kept between prompts, end tokens, the sampler.

use super::{Diagnosis, Named};

fn exact(mistake: &'static str, says: String) -> Diagnosis {
    Diagnosis { named: vec![Named::new(mistake, says)], runner_up: None }
}

/// The diagnosis of a prompt whose first token sees more keys than its own.
pub fn sees_the_past() -> Diagnosis {
    let says =
        "you keep the cache between prompts: the first token of a new prompt sees the previous prompt's keys";
    exact("cache-kept", says.into())
}

/// The diagnosis of a port whose runs of one text differ from `wrong` tokens on, by more than rounding, although
/// two runs of its first `right` tokens agree in every bit.
pub fn unrepeatable(right: usize, wrong: usize) -> Diagnosis {
    let says = format!(
        "two runs of the same {wrong} tokens give different logits, but two runs of the first {right} agree in every \
         bit: a kernel reads values of a long row before other threads have written them"
    );
    exact("missing-barrier", says)
}

/// The diagnosis of a text whose first `reused` tokens were taken from the cache of another text, which has only the
/// first `same` of them.
pub fn stale_prefix(reused: usize, same: usize) -> Diagnosis {
    let says = format!(
        "you take {reused} tokens of a new prompt from a kept cache, but only the first {same} of them are the tokens in \
         that cache: compare all tokens, and cut the cache where they differ"
    );
    exact("stale-prefix", says)
}

/// The diagnosis of a sequence that has the logits of a pass with the cache of another sequence.
pub fn other_cache() -> Diagnosis {
    let says = "you run a sequence on the cache of another one: its logits are those of its token after the other \
                sequence's text";
    exact("other-cache", says.into())
}

/// The diagnosis of a prompt whose later pieces are rotated as if each began the text.
pub fn chunk_position(second: usize) -> Diagnosis {
    let says = format!(
        "you count positions from 0 in every piece of a prompt: token {second}, the first of the second piece, is rotated \
         as if it began the text"
    );
    exact("chunk-position", says)
}

/// The diagnosis of a sequence whose token is sampled from another row of the step: that of `position`, in its own text
/// or in another's.
pub fn step_row(own: bool, position: usize, right: usize) -> Diagnosis {
    let whose = if own { "its own" } else { "another sequence's" };
    let says = format!(
        "you sample a sequence from the wrong row of a step: the logits after its token {right} are those of {whose} token \
         {position}"
    );
    exact("step-row", says)
}

/// The diagnosis of a text that continues after `last`, or stops early. `ours` are the end tokens that the
/// port knows, `theirs` those of the model.
pub fn other_ends(ours: &[u32], theirs: &[u32], last: u32) -> Diagnosis {
    if theirs.contains(&last) && !ours.contains(&last) {
        let says = format!(
            "you stop at token ids {ours:?}; the model's end tokens are {theirs:?}, and the text ended with {last}"
        );
        return exact("one-eos", says);
    }
    Diagnosis::default()
}

/// The diagnosis of a token that does not have the largest logit, but has it after a repetition penalty on
/// the tokens already in the text (Keskar et al., 2019): positive logits divided, negative ones multiplied.
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
            format!(
                "you apply a repetition penalty of {penalty}: only with it token {got} has the largest logit"
            ),
        ),
        None => Diagnosis::default(),
    }
}
