//! The model of `own_model.rs` with its cache, as an implementation of `judge::Port`, so that every
//! checkpoint can check it, including those for the cache and for greedy generation:
//! `cargo run --example cached_model`.

mod llama;

use candle_core::{DType, Device, Tensor};
use rbees_check::judge::{self, Port, Status, Subject, Traits};
use rbees_check::model::{Attention, Input};
use rbees_check::probe::{Arithmetic, Kinds, Probe};
use rbees_check::{Error, Result, checkpoints, models, report};

/// No paths of this project's own Llama: only the port below is checked.
const NO_PATH: [Attention; 0] = [];

struct Cached {
    llama: llama::Llama,
    cache: llama::Cache,
    /// 1 where the cache contains a token, 0 where it contains padding, `[b, t]`.
    mask: Option<Tensor>,
}

impl Port for Cached {
    fn traits(&self) -> Traits {
        Traits {
            path: "own",
            dtype: DType::F32,
            arithmetic: Arithmetic::Dense,
            layers: self.llama.size("num_hidden_layers"),
            kinds: Kinds::LLAMA,
            vocab: self.llama.size("vocab_size"),
            context: self.llama.size("max_position_embeddings"),
            hides: &[],
            layouts: vec![],
        }
    }

    fn begin(&mut self) {
        self.cache.clear();
        self.mask = None;
    }

    fn forward(&mut self, input: &Input, probe: &mut dyn Probe) -> Result<Tensor> {
        input.check(self.llama.size("vocab_size"))?;
        let (b, s) = (input.batch(), input.len());
        let rectangle = |values: Vec<u32>| Tensor::from_vec(values, (b, s), &Device::Cpu);
        let ids = rectangle(input.ids.concat())?;
        let positions = rectangle(input.positions.concat().into_iter().map(|p| p as u32).collect())?;
        let real: Vec<u8> = input.real.concat().into_iter().map(u8::from).collect();
        let new = Tensor::from_vec(real, (b, s), &Device::Cpu)?;
        let mask = match &self.mask {
            None => new,
            Some(before) => Tensor::cat(&[before, &new], 1)?,
        };
        if mask.dim(1)? > self.llama.size("max_position_embeddings") {
            return Err(Error::input("the context is full", "shorten the prompt"));
        }
        self.mask = Some(mask.clone());
        let tap: llama::Tap = &mut |name, tensor| Ok(probe.tap(name.parse()?, tensor)?);
        Ok(self.llama.forward(&ids, &positions, &mask, &mut self.cache, tap)?)
    }
}

fn main() -> Result<()> {
    let llama = llama::Llama::open("fixtures/tiny-llama".as_ref())?;
    let model = models::open("tiny-llama")?; // for its references, tokenizer and sampling
    let cases = ["single", "short", "batch-left", "long"].map(String::from);
    let mut subject = Subject::new(&model, &cases, &Device::Cpu, DType::F32, &NO_PATH)?;
    subject.ports = vec![Box::new(Cached { llama, cache: vec![], mask: None })];
    let outcomes = judge::run_all(&mut subject, &checkpoints::ALL, |outcome| {
        println!("{}", report::line(outcome));
        Ok(())
    })?;
    assert!(outcomes.iter().all(|outcome| outcome.status() == Status::Passed));
    Ok(())
}
