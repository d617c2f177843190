//! Each planted mistake first changes the site that it declares: the first tensor that differs from the
//! correct model's is the declared one. `tests/selftest.rs` tests that the judge catches it.

use std::collections::BTreeMap;
use std::process::ExitCode;

use candle_core::{DType, Device, Tensor};
use libtest_mimic::{Arguments, Failed, Trial};
use rbees_check::model::{Input, Matmul, Side};
use rbees_check::models::{self, Model};
use rbees_check::plants::{self, Correct, Plant};
use rbees_check::port::{LlamaPort, Port, SharedSteps};
use rbees_check::probe::{Kind, Probe, Site};
use rbees_check::selftest::Bench;

/// A model, a dtype and cases, the cheapest first. Each mistake is planted in the first entry that can show
/// it.
const PLACES: [(&str, DType, &[&str]); 6] = [
    ("tiny-llama", DType::F32, &["batch-left"]),
    ("tiny-llama2", DType::F32, &["short"]),
    ("tiny-llama3", DType::F32, &["short"]),
    ("tiny-mistral", DType::F32, &["long"]),
    ("tiny-llama", DType::BF16, &["short"]),
    ("tiny-llama", DType::BF16, &["far"]),
];

fn main() -> ExitCode {
    let args = Arguments::from_args();
    let mut trials = Vec::new();
    for plant in plants::all() {
        let name = plant.name.replace('-', "_");
        trials.push(Trial::test(format!("planted_{name}_first_changes_its_declared_site"), || alters(plant)));
    }
    libtest_mimic::run(&args, trials).exit_code()
}

/// Runs the port in the ways that callers do: a prompt whole, in pieces, whole again, a padded batch, and several
/// sequences in shared steps. If the planted mistake needs it, also a long prompt.
fn drive(port: &mut dyn Port, vocab: usize, plant: &Plant) -> rbees_check::Result<(Vec<Taps>, Vec<Tensor>)> {
    let ids: Vec<u32> = (0..300).map(|i| (i * 7 + 3) % vocab as u32).collect();
    let whole = Input::single(&ids[..9], 0);
    let batch = Input::padded(&[&ids[..5], &ids[5..8], &ids[8..10]], Side::Left, 0);
    let long = Input::single(&ids, 0);
    let pieces = vec![(&whole, 0..4), (&whole, 4..8), (&whole, 8..9)];
    let mut sequences = vec![vec![(&whole, 0..9)], pieces, vec![(&whole, 0..9)], vec![(&batch, 0..5)]];
    sequences.extend(((plant.reach)(DType::F32) > 0).then(|| vec![(&long, 0..300)]));
    let (mut taps, mut logits) = (Vec::new(), Vec::new());
    for windows in sequences {
        port.begin();
        for (input, window) in windows {
            let mut record = Taps::default();
            logits.push(port.forward(&input.slice(window.clone()), &mut record)?);
            taps.push(record);
        }
    }
    if let Some(mut steps) = port.shared_steps(4) {
        share_steps(&mut *steps, &ids, &mut taps, &mut logits)?;
    }
    Ok((taps, logits))
}

/// Runs three sequences in shared steps: a prompt in two pieces, and two others, one of which leaves. Then a fourth begins
/// like the first; how much of a kept cache it reuses decides which tensors it has, so only its logits are recorded.
fn share_steps(
    steps: &mut dyn SharedSteps,
    ids: &[u32],
    taps: &mut Vec<Taps>,
    logits: &mut Vec<Tensor>,
) -> rbees_check::Result<()> {
    let first = steps.open(&ids[..6])?.sequence;
    let leaving = steps.open(&ids[20..22])?.sequence;
    steps.open(&ids[10..13])?;
    for step in 0..6 {
        let mut tap = Taps::default();
        let sampled = steps.step(first, &mut tap)?;
        taps.push(tap);
        for one in &sampled {
            logits.push(Tensor::new(&one.logits[..], &Device::Cpu)?);
            steps.push(one.sequence, ids[30 + step])?;
        }
        if step == 2 {
            steps.close(leaving);
        }
    }
    steps.close(first);
    let like_the_first = [&ids[..3], &ids[40..45]].concat();
    let last = steps.open(&like_the_first)?.sequence;
    let next = (0..2).find_map(|_| {
        let sampled = steps.step(last, &mut ());
        sampled.map(|all| all.into_iter().find(|one| one.sequence == last)).transpose()
    });
    if let Some(one) = next.transpose()? {
        logits.push(Tensor::new(&one.logits[..], &Device::Cpu)?);
    }
    Ok(())
}

/// Every tensor tapped in a forward pass.
#[derive(Default)]
struct Taps(BTreeMap<Site, Tensor>);

impl Probe for Taps {
    fn wants(&self, _: Kind) -> bool {
        true
    }

    fn tap(&mut self, site: Site, tensor: Tensor) -> rbees_check::Result<Tensor> {
        self.0.insert(site, tensor.clone());
        Ok(tensor)
    }
}

/// Do the tensors differ in shape, or by more than another order of summation explains? With `harmless`, any
/// difference in bits counts.
fn differ(a: &Tensor, b: &Tensor, harmless: bool) -> rbees_check::Result<bool> {
    if a.dims() != b.dims() {
        return Ok(true);
    }
    let values = |t: &Tensor| -> rbees_check::Result<Vec<f32>> {
        Ok(t.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
    };
    let (a, b) = (values(a)?, values(b)?);
    let scale = a.iter().filter(|v| v.is_finite()).fold(0f32, |m, v| m.max(v.abs()));
    let near = if harmless { 0.0 } else { 1e-5 * scale };
    let same = |a: f32, b: f32| a == b || (a - b).abs() <= near || a.is_nan() && b.is_nan();
    Ok(a.iter().zip(&b).any(|(a, b)| !same(*a, *b)))
}

fn alters(plant: &'static Plant) -> Result<(), Failed> {
    for (name, dtype, cases) in PLACES {
        let model = models::open(name)?;
        let bench = Bench::by(&model, dtype, Matmul::Dense, cases)?;
        if bench.can_show(plant).is_ok() {
            return alters_in(plant, &model, &bench);
        }
    }
    Err("no model of this test can show it".into())
}

fn alters_in(plant: &Plant, model: &Model, bench: &Bench<'_>) -> Result<(), Failed> {
    let harmless = plant.fails.is_empty();
    for &path in plant.paths {
        let llama = bench.correct_model(path)?;
        let planted = (plant.make)(&Correct { model, llama: &llama })?;
        let (vocab, config) = (llama.config.vocab_size, llama.config.clone());
        let files = planted.files;
        let read = files.config != llama.config || files.tokenizer.json()? != model.tokenizer()?.json()?;
        let mut port = planted.port;
        let (correct, right) = drive(&mut LlamaPort::new(llama), vocab, plant)?;
        let (wrong, given) = drive(&mut *port, vocab, plant)?;
        let mut first: Option<Site> = None;
        for (correct, wrong) in correct.iter().zip(&wrong) {
            for (site, tensor) in &correct.0 {
                if first.is_none_or(|first| *site < first) && differ(tensor, &wrong.0[site], harmless)? {
                    first = Some(*site);
                }
            }
        }
        let (first, declared) = (first.map(|site| site.to_string()), plant.first_on(path, &config));
        if first != declared {
            return Err(format!("{path:?}: first changes {first:?}, declared {declared:?}").into());
        }
        let mut returned = false;
        for (right, given) in right.iter().zip(&given) {
            returned |= differ(right, given, harmless)?;
        }
        if declared.is_none() && !read && !returned {
            return Err(format!("{path:?}: changes nothing").into());
        }
    }
    Ok(())
}
