//! Checks served requests again while nothing else runs: the logits that their tokens were drawn from against one
//! pass over the prompt and the tokens, which does not use the scheduler.
//!
//! The two may differ by rounding, since they sum in other orders. How much is measured on the same tokens: passes
//! are repeated while every site is perturbed by an ulp.

use std::collections::VecDeque;

use candle_core::DType;

use crate::Result;
use crate::compare::ulp;
use crate::model::{Cache, Input, Llama};
use crate::probe::{Probe, Shake};

/// The most tokens of a request whose logits are kept: those of one token take as much memory as the vocabulary.
pub(super) const ROWS: usize = 16;

/// The most requests that wait for their check; further ones are not checked.
const WAITING: usize = 4;

/// The number of perturbed passes.
const SHAKES: usize = 4;

/// The number of tokens between two looks at the queue.
const PIECE: usize = 128;

/// How many times the measured noise is allowed: as in checkpoint 04, where also both sides are correct runs.
const FACTOR: f64 = 16.0;

/// A request that was served.
#[derive(Debug)]
pub(super) struct Captured {
    /// Its prompt, and the tokens drawn after it.
    pub ids: Vec<u32>,
    /// The length of its prompt.
    pub prompt: usize,
    /// The logits that the first tokens were drawn from, `[tokens][vocab]`.
    pub logits: Vec<Vec<f32>>,
}

/// The result of a check.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// The logits agree.
    Same,
    /// Rounding could explain any difference.
    Unclear,
    /// They differ; the text says how.
    Differs(String),
}

/// The checks that wait, and the one that runs.
#[derive(Debug, Default)]
pub(super) struct SpotChecks {
    waiting: VecDeque<Captured>,
    current: Option<Check>,
}

/// A check that runs.
#[derive(Debug)]
struct Check {
    captured: Captured,
    /// The logits of each pass that is complete, `[pass][tokens][vocab]`; the first is not perturbed.
    passes: Vec<Vec<Vec<f32>>>,
    /// The current pass.
    cache: Cache,
    rows: Vec<Vec<f32>>,
    shake: Option<Shake>,
}

impl SpotChecks {
    /// Takes a request, unless too many wait.
    pub fn add(&mut self, captured: Captured) {
        if self.waiting.len() < WAITING && !captured.logits.is_empty() {
            self.waiting.push_back(captured);
        }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.current.is_none()
    }

    /// Runs some tokens of a check, and returns its verdict if it is complete.
    ///
    /// # Errors
    /// The model fails; the check is dropped.
    pub fn run(&mut self, model: &Llama) -> Result<Option<Verdict>> {
        let next = || self.waiting.pop_front().map(|captured| Check::new(captured, model));
        let Some(mut check) = self.current.take().or_else(next) else { return Ok(None) };
        check.run(model)?;
        if check.passes.len() > SHAKES {
            return Ok(Some(check.verdict(model.dtype())));
        }
        self.current = Some(check);
        Ok(None)
    }
}

impl Check {
    fn new(captured: Captured, model: &Llama) -> Self {
        Self { captured, passes: vec![], cache: model.new_cache(), rows: vec![], shake: None }
    }

    /// Runs some tokens of the current pass.
    fn run(&mut self, model: &Llama) -> Result<()> {
        let Captured { ids, prompt, logits } = &self.captured;
        let length = prompt + logits.len() - 1;
        let start = self.cache.len();
        let end = length.min(start + PIECE);
        let input = Input::single(&ids[start..end], start);
        let first = (prompt - 1).clamp(start, end); // the first row whose logits were captured
        let rows = match &mut self.shake {
            None => logits_from(model, &input, &mut self.cache, first - start, &mut ()),
            Some(shake) => logits_from(model, &input, &mut self.cache, first - start, shake),
        }?;
        self.rows.extend(rows);
        if end == length {
            self.passes.push(std::mem::take(&mut self.rows));
            self.cache.reset();
            self.shake = Some(Shake::new(self.passes.len() as u64, ulp(model.dtype())));
        }
        Ok(())
    }

    fn verdict(&self, dtype: DType) -> Verdict {
        let [right, shaken @ ..] = &self.passes[..] else { return Verdict::Unclear };
        let noise = shaken.iter().map(|shaken| far(right, shaken).0).fold(0.0, f64::max);
        let budget = FACTOR * noise + 4.0 * ulp(dtype);
        let (error, row) = far(right, &self.captured.logits);
        match error {
            _ if budget >= 1.0 => Verdict::Unclear,
            error if error <= budget => Verdict::Same,
            error => Verdict::Differs(format!(
                "the logits of generated token {row} of a request with a prompt of {} tokens differ from those of one \
                 pass by {:.2e} of the largest logit; rounding explains {budget:.2e}",
                self.captured.prompt, error
            )),
        }
    }
}

/// The logits of `input` from its row `first` on, `[rows][vocab]`.
fn logits_from<P: Probe>(
    model: &Llama,
    input: &Input,
    cache: &mut Cache,
    first: usize,
    probe: &mut P,
) -> Result<Vec<Vec<f32>>> {
    let hidden = model.hidden(input, cache, probe)?; // [1, s, hidden]
    if first == input.len() {
        return Ok(vec![]);
    }
    let rows = hidden.narrow(1, first, input.len() - first)?;
    Ok(model.logits(&rows, probe)?.to_dtype(DType::F32)?.squeeze(0)?.to_vec2()?)
}

/// The largest distance of two rows, as a share of the largest entry of the first, and which row it is in.
fn far(a: &[Vec<f32>], b: &[Vec<f32>]) -> (f64, usize) {
    let of_row = |(a, b): (&Vec<f32>, &Vec<f32>)| {
        let largest = a.iter().map(|x| x.abs()).fold(0f32, f32::max);
        let apart = a.iter().zip(b).map(|(x, y)| (x - y).abs());
        let apart = apart.fold(0f32, |most, d| if d.is_nan() { f32::INFINITY } else { most.max(d) });
        f64::from(apart / largest)
    };
    let rows = a.iter().zip(b).map(of_row).enumerate();
    rows.fold((0.0, 0), |most, (row, far)| if far > most.0 { (far, row) } else { most })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use candle_core::Device;
    use rstest::rstest;

    use super::*;
    use crate::model::{Attention, Matmul};
    use crate::weights::Weights;

    /// The verdict on a request whose logits were changed by `alter`.
    fn verdict(dtype: DType, matmul: Matmul, alter: impl Fn(&mut Vec<Vec<f32>>)) -> Verdict {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny-llama/gguf/tiny-llama-q8_0.gguf");
        let weights = Weights::open(Path::new(file)).unwrap();
        let path = crate::model::Path { attention: Attention::Plain, matmul };
        let model = Llama::load(&weights, &Device::Cpu, dtype, path).unwrap();
        let ids: Vec<u32> = (3..163).collect(); // two pieces
        let (mut cache, mut logits) = (model.new_cache(), vec![]);
        for (start, end) in [(0, 100), (100, 150), (150, 151), (151, 152), (152, 153)] {
            let rows = logits_from(
                &model,
                &Input::single(&ids[start..end], start),
                &mut cache,
                end - start - 1,
                &mut (),
            );
            logits.extend(rows.unwrap());
        }
        logits.remove(0); // that of the piece before the prompt's end
        alter(&mut logits);
        let mut checks = SpotChecks::default();
        checks.add(Captured { ids: ids[..153].to_vec(), prompt: 150, logits });
        loop {
            if let Some(verdict) = checks.run(&model).unwrap() {
                assert!(checks.is_empty());
                return verdict;
            }
        }
    }

    #[rstest]
    fn a_request_that_was_served_right_passes(
        #[values((DType::F32, Matmul::Dense), (DType::F32, Matmul::Quantized), (DType::BF16, Matmul::Dense))]
        (dtype, matmul): (DType, Matmul),
    ) {
        assert_eq!(verdict(dtype, matmul, |_| {}), Verdict::Same);
    }

    #[test]
    fn a_request_with_the_logits_of_another_row_fails() {
        let verdict = verdict(DType::F32, Matmul::Dense, |logits| logits.swap(1, 2));
        let Verdict::Differs(how) = verdict else { panic!("{verdict:?}") };
        assert!(how.contains("of a request with a prompt of 150 tokens differ"), "{how}");
    }

    /// Perturbed activations are rounded to other 8-bit steps, so the budget is much wider.
    #[test]
    fn only_a_large_error_is_seen_with_quantised_products() {
        let negate = |logits: &mut Vec<Vec<f32>>| logits[2].iter_mut().for_each(|logit| *logit = -*logit);
        let verdict = verdict(DType::F32, Matmul::Quantized, negate);
        assert!(
            matches!(&verdict, Verdict::Differs(how) if how.contains("generated token 2")),
            "{verdict:?}"
        );
    }

    #[test]
    fn a_small_error_is_seen_in_float32() {
        let verdict = verdict(DType::F32, Matmul::Dense, |logits| logits[3][7] += 0.05);
        assert!(
            matches!(&verdict, Verdict::Differs(how) if how.contains("generated token 3")),
            "{verdict:?}"
        );
    }
}
