//! Every plant alters what it says that it alters, and is caught for it: the first tensor that is not
//! the sound model's is the declared one, and the declared checkpoints turn red, by cases that are
//! short enough for a test. The whole matrix is `rbees-check selftest`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use candle_core::{DType, Tensor};
use libtest_mimic::{Arguments, Failed, Trial};
use rbees_check::model::{Input, Side};
use rbees_check::models;
use rbees_check::plants::{self, Plant, Sound};
use rbees_check::port::{LlamaPort, Port};
use rbees_check::probe::{Kind, Probe, Site};
use rbees_check::selftest::Bench;

/// Models and dtypes, the cheapest first: a plant is made in the first that shows it.
const PLACES: [(&str, DType); 3] =
    [("tiny-llama", DType::F32), ("tiny-llama2", DType::F32), ("tiny-llama", DType::BF16)];

fn main() -> ExitCode {
    let args = Arguments::from_args();
    let mut trials = Vec::new();
    for plant in plants::all() {
        let name = plant.name.replace('-', "_");
        trials.push(Trial::test(format!("plant_{name}_alters_what_it_says"), || alters(plant)));
        trials.push(Trial::test(format!("plant_{name}_is_caught_where_it_says"), || caught(plant)));
    }
    libtest_mimic::run(&args, trials).exit_code()
}

/// The first place that shows it.
fn place(plant: &'static Plant) -> Result<(&'static str, DType), Failed> {
    for (name, dtype) in PLACES {
        let model = models::open(name)?;
        if Bench::new(&model, dtype)?.can_show(plant).is_ok() {
            return Ok((name, dtype));
        }
    }
    Err(format!("no model here shows {}", plant.name).into())
}

/// Whole, then in pieces, then whole again; alone and in a batch: what some caller or other does.
fn drive(port: &mut dyn Port, vocab: usize) -> rbees_check::Result<(Vec<Taps>, Vec<Tensor>)> {
    let ids: Vec<u32> = (0..300).map(|i| (i * 7 + 3) % vocab as u32).collect();
    let whole = Input::single(&ids[..9], 0);
    let batch = Input::padded(&[&ids[..5], &ids[5..8], &ids[8..10]], Side::Left, 0);
    let long = Input::single(&ids, 0);
    let (mut taps, mut logits) = (Vec::new(), Vec::new());
    for windows in
        [&[(&whole, 0..9)][..], &[(&whole, 0..4), (&whole, 4..8), (&whole, 8..9)], &[(&whole, 0..9)]]
            .into_iter()
            .chain([&[(&batch, 0..5)][..], &[(&long, 0..300)]])
    {
        port.begin();
        for (input, window) in windows {
            let mut record = Taps::default();
            logits.push(port.forward(&input.slice(window.clone()), &mut record)?);
            taps.push(record);
        }
    }
    Ok((taps, logits))
}

/// Every tensor that a forward hands over.
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

/// Farther apart than another order of summation, or not of one shape. `honest`: not the same bits.
fn differ(a: &Tensor, b: &Tensor, honest: bool) -> rbees_check::Result<bool> {
    if a.dims() != b.dims() {
        return Ok(true);
    }
    let values = |t: &Tensor| -> rbees_check::Result<Vec<f32>> {
        Ok(t.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
    };
    let (a, b) = (values(a)?, values(b)?);
    let scale = a.iter().filter(|v| v.is_finite()).fold(0f32, |m, v| m.max(v.abs()));
    let near = if honest { 0.0 } else { 1e-5 * scale };
    Ok(a.iter().zip(&b).any(|(a, b)| a != b && !((a - b).abs() <= near) && !(a.is_nan() && b.is_nan())))
}

fn alters(plant: &'static Plant) -> Result<(), Failed> {
    let (name, dtype) = place(plant)?;
    let model = models::open(name)?;
    let bench = Bench::new(&model, dtype)?;
    let honest = plant.red.is_empty();
    for &path in plant.paths {
        let llama = bench.sound(path)?;
        let planted = (plant.make)(&Sound { model: &model, llama: &llama })?;
        let vocab = llama.config.vocab_size;
        let files = planted.files;
        let read = files.config != llama.config || files.tokenizer.json()? != model.tokenizer.json()?;
        let mut port = planted.port;
        let (sound, right) = drive(&mut LlamaPort::new(llama), vocab)?;
        let (wrong, given) = drive(&mut *port, vocab)?;
        let mut first: Option<Site> = None;
        for (sound, wrong) in sound.iter().zip(&wrong) {
            for (site, tensor) in &sound.0 {
                if first.is_none_or(|first| *site < first) && differ(tensor, &wrong.0[site], honest)? {
                    first = Some(*site);
                }
            }
        }
        let (first, declared) = (first.map(|site| site.to_string()), plant.first_on(path));
        if first != declared {
            return Err(format!("{path:?}: alters {first:?} first, declared {declared:?}").into());
        }
        let mut returned = false;
        for (right, given) in right.iter().zip(&given) {
            returned |= differ(right, given, honest)?;
        }
        if declared.is_none() && !read && !returned {
            return Err(format!("{path:?}: alters nothing").into());
        }
    }
    Ok(())
}

/// At its own stages, and not at the one where the forward pass begins.
fn caught(plant: &'static Plant) -> Result<(), Failed> {
    let (name, dtype) = place(plant)?;
    let model = models::open(name)?;
    let mut bench = Bench::new(&model, dtype)?;
    let found = bench.catch(plant)?;
    match found.faults(dtype).join("; ") {
        faults if faults.is_empty() => Ok(()),
        faults => Err(faults.into()),
    }
}
