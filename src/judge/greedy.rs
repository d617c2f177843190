//! Compares greedily generated tokens with the reference's, using the generation code itself.
//!
//! The first prompt is generated token by token, as `generate` does. The others follow the reference's tokens:
//! checkpoint 04 shows that one pass gives the same logits as decoding, and takes a fraction of the time.

use candle_core::{DType, IndexOp, Tensor};

use super::decoding::{AlongText, Restart, TokenByToken};
use super::drive::Drive;
use super::verdict::{Finding, Verdict};
use crate::checkpoints::NearTie;
use crate::diagnose::{self, Diagnosis};
use crate::generate::{Finish, Generation, Sampling};
use crate::model::Input;
use crate::port::{Port, Traits};
use crate::probe::{Arithmetic, Kind, Probe, Site};
use crate::reference::{Greedy, Prompt};
use crate::{Error, Result};

/// The tokens that end a text.
pub(super) struct Ends<'a> {
    /// From the port's config.
    pub ours: &'a [u32],
    /// From the reference's config.
    pub theirs: &'a [u32],
}

/// Judges every stored prompt. Also notes how many steps were decisive and, for a quantised port, where its
/// text leaves the dense one.
pub(super) fn judge_greedy(
    port: &mut dyn Port,
    stored: &Greedy,
    ends: &Ends<'_>,
    rule: &NearTie,
) -> Result<(Vec<Finding>, Vec<String>)> {
    let traits = port.traits();
    let Some(prompts) = stored.on(traits.arithmetic) else {
        let what =
            format!("greedy.json: it has no continuations for {} arithmetic", traits.arithmetic.name());
        return Err(Error::input(
            what,
            "capture the references again from the quantised file, or use --matmul dense",
        ));
    };
    let tie = near_tie(prompts, &traits, rule);
    let (mut findings, mut decisive, mut steps) = (Vec::new(), 0, 0);
    let mut notes = Vec::new();
    for (n, prompt) in prompts.iter().enumerate() {
        let decides = |step: usize| tie.is_some_and(|tie| prompt.gap[step] > tie);
        decisive += (0..prompt.tokens.len()).filter(|&step| decides(step)).count();
        steps += prompt.tokens.len();
        let course = if n == 0 {
            follow(&mut TokenByToken::new(port), prompt, ends, &decides)
        } else {
            AlongText::new(port, &prompt.ids, &prompt.tokens)
                .and_then(|mut text| follow(&mut text, prompt, ends, &decides))
        };
        let (verdict, explained) = match course {
            Ok(Course::Same) => (Verdict::Pass(0.0), Ok(None)),
            Ok(Course::Ends(how)) => {
                let last = prompt.tokens.last().copied().unwrap_or_default();
                let explained = diagnose::decoding::other_ends(ends.ours, ends.theirs, last);
                (Verdict::Broken(how), Ok(Some(explained)))
            }
            Ok(Course::Other { how, step, got }) => {
                (Verdict::Broken(how), sampled(port, prompt, step, got).map(Some))
            }
            Err(error) => (Verdict::Broken(format!("the port returned an error: {error}")), Ok(None)),
        };
        let mut finding = finding(format!("{:?}", prompt.prompt), traits.path, verdict);
        finding.set_explanation(explained);
        findings.push(finding);
    }
    notes.push(format!("{decisive} of {steps} steps are decisive on {}", traits.path));
    if traits.arithmetic != Arithmetic::Dense {
        for (prompt, dense) in prompts.iter().zip(&stored.prompts) {
            notes.extend(parting(port, prompt, dense, ends.ours)?);
        }
    }
    if (decisive as f64) < rule.decisive * steps as f64 {
        findings.push(finding("decisive steps".into(), traits.path, Verdict::Incomparable));
    }
    Ok((findings, notes))
}

/// Two tokens whose logits differ by less than this gap are considered tied.
pub(super) fn near_tie(prompts: &[Prompt], traits: &Traits, rule: &NearTie) -> Option<f64> {
    let dtype = traits.dtype.as_str();
    let mut errors: Vec<f64> =
        prompts.iter().flat_map(|p| p.gap_error.get(dtype).into_iter().flatten().copied()).collect();
    errors.sort_by(f64::total_cmp);
    let last = errors.len().checked_sub(1)?;
    Some(rule.times * errors[(rule.percentile * last as f64).ceil() as usize])
}

/// Generates along the reference's tokens. If the port decides a near-tie the other way, generation restarts
/// after the reference's token.
fn follow(
    decoder: &mut dyn Restart,
    prompt: &Prompt,
    ends: &Ends<'_>,
    decides: &dyn Fn(usize) -> bool,
) -> Result<Course> {
    let mut done = 0;
    while done < prompt.tokens.len() {
        let so_far: Vec<u32> = prompt.ids.iter().chain(&prompt.tokens[..done]).copied().collect();
        let sampling = Sampling { temperature: 0.0, ..Sampling::default() };
        let wanted = &prompt.tokens[done..];
        let mut anchored = false;
        decoder.restart();
        let mut stream = Generation::start(&mut *decoder, so_far, sampling, wanted.len(), ends.ours)?;
        for (k, &want) in wanted.iter().enumerate() {
            let got = match stream.next() {
                None => {
                    return Ok(Course::Ends(format!(
                        "the text ends after {} of {} tokens",
                        done + k,
                        prompt.tokens.len()
                    )));
                }
                Some(step) => step?.token,
            };
            if got != want && decides(done + k) {
                let (step, gap) = (done + k, prompt.gap[done + k]);
                let how = format!("token {step} is {got}, want {want}, whose logit leads by {gap:.3}");
                return Ok(Course::Other { how, step, got });
            }
            if got != want {
                done += k + 1;
                anchored = true;
                break;
            }
        }
        if !anchored {
            // The reference has no more tokens: it was cut off, or its last token ends the text.
            let ended = stream.finish() == Some(Finish::EndOfSequence);
            let last = prompt.tokens.last().is_some_and(|last| ends.theirs.contains(last));
            return Ok(if last && !ended {
                Course::Ends("the text goes on after the end token".into())
            } else {
                Course::Same
            });
        }
    }
    Ok(Course::Same)
}

/// How a text compares with the reference's.
enum Course {
    Same,
    /// It ends at another token; the text says how.
    Ends(String),
    /// Token `step` is `got` instead of the reference's; `how` says so in words.
    Other {
        how: String,
        step: usize,
        got: u32,
    },
}

/// Did the sampler choose the wrong token against the logits? The logits are taken where the model hands them
/// over, before any sampling.
fn sampled(port: &mut dyn Port, prompt: &Prompt, step: usize, got: u32) -> Result<Diagnosis> {
    let text: Vec<u32> = prompt.ids.iter().chain(&prompt.tokens[..step]).copied().collect();
    let mut head = LastLogits::default();
    port.begin();
    port.forward(&Input::single(&text, 0), &mut head)?;
    Ok(diagnose::decoding::sampled(&head.logits, &text, got))
}

/// The last row of the logits.
#[derive(Default)]
struct LastLogits {
    logits: Vec<f32>,
}

impl Probe for LastLogits {
    fn wants(&self, kind: Kind) -> bool {
        matches!(kind, Kind::Logits | Kind::CappedLogits)
    }

    fn tap(&mut self, site: Site, tensor: Tensor) -> Result<Tensor> {
        // Capped logits come after the others, and replace them.
        if self.wants(site.kind) {
            let last = tensor.dim(1)? - 1;
            self.logits = tensor.i((0, last))?.to_dtype(DType::F32)?.to_vec1()?;
        }
        Ok(tensor)
    }
}

/// Where the port's own text leaves that of the dense model, and by which gap each side decided there; `None`
/// if the texts are equal. Up to the first difference both texts are the same, so the port follows the dense
/// one.
fn parting(port: &mut dyn Port, prompt: &Prompt, dense: &Prompt, eos: &[u32]) -> Result<Option<String>> {
    let path = port.traits().path;
    let sampling = Sampling { temperature: 0.0, ..Sampling::default() };
    let length = dense.tokens.len();
    let text = AlongText::new(port, &prompt.ids, &dense.tokens)?;
    let stream = Generation::start(text, prompt.ids.clone(), sampling, length, eos)?;
    for ((step, got), &want) in stream.enumerate().zip(&dense.tokens) {
        let got = got?;
        if got.token != want {
            return Ok(Some(format!(
                "{:?} differs from the dense text from step {step} on: the dense token leads by {:.3} there, the {path} one by {:.3}",
                prompt.prompt, dense.gap[step], got.gap
            )));
        }
    }
    Ok(None)
}

fn finding(about: String, path: &'static str, verdict: Verdict) -> Finding {
    Finding { drive: Drive::Path(path), ..Finding::new(about, verdict) }
}
