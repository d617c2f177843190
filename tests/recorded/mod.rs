//! Recordings of passes of tiny-llama, which tests alter and judge.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor, safetensors};
use npyz::WriterBuilder;
use rbees_check::Result;
use rbees_check::model::{Attention, Input, Llama};
use rbees_check::models;
use rbees_check::port::Port;
use rbees_check::probe::{Kind, Probe, Site};
use rbees_check::reference::Reference;
use rbees_check::weights::Config;
use zip::write::SimpleFileOptions;

/// Arrays by name.
pub type Arrays = HashMap<String, Tensor>;

/// The token ids of a case of tiny-llama.
pub fn ids(case: &str) -> Vec<u32> {
    models::fixture("tiny-llama").unwrap().case(case).unwrap().manifest.ids[0].clone()
}

/// Records a whole f32 pass over `ids`. `altered` may change the config of the Llama.
pub fn pass(ids: &[u32], altered: impl Fn(&mut Config)) -> Arrays {
    let mut weights = models::open("tiny-llama").unwrap().weights;
    let mut config = weights.config().clone();
    altered(&mut config);
    weights.set_config(config);
    let llama = Llama::load(&weights, &Device::Cpu, DType::F32, Attention::Plain).unwrap();
    let mut recorded = Recorded::default();
    llama.forward(&Input::single(ids, 0), &mut llama.new_cache(), &mut recorded).unwrap();
    with_ids(recorded.0, ids)
}

/// Adds the token ids to the arrays.
pub fn with_ids(mut arrays: Arrays, ids: &[u32]) -> Arrays {
    let row: Vec<i64> = ids.iter().map(|&id| id.into()).collect();
    arrays.insert("input_ids".into(), Tensor::new(vec![row], &Device::Cpu).unwrap());
    arrays
}

/// The input of a case as one prefill.
pub fn input_of(case: &Reference) -> Input {
    let mut real = vec![vec![false; case.length()]; case.batch()];
    case.places().iter().for_each(|&(b, slot)| real[b][slot] = true);
    Input { ids: case.manifest.ids.clone(), positions: case.manifest.position_ids.clone(), real }
}

/// Records a whole pass of `port` over `input`, with the ids, positions and mask of `case`.
pub fn pass_over(port: &mut dyn Port, input: &Input, case: &Reference) -> Arrays {
    let mut recorded = Recorded::default();
    port.begin();
    port.forward(input, &mut recorded).unwrap();
    let tokens = case.tokens();
    for (name, tensor) in
        [("input_ids", &tokens.ids), ("position_ids", &tokens.positions), ("attention_mask", &tokens.mask)]
    {
        recorded.0.insert(name.into(), tensor.to_dtype(DType::I64).unwrap());
    }
    recorded.0
}

/// The recording of a correct Llama on the case `short`.
pub fn short() -> Arrays {
    pass(&ids("short"), |_| {})
}

/// A probe that records every tensor.
#[derive(Default)]
pub struct Recorded(pub Arrays);

impl Probe for Recorded {
    fn wants(&self, _: Kind) -> bool {
        true
    }

    fn tap(&mut self, site: Site, tensor: Tensor) -> Result<Tensor> {
        self.0.insert(site.to_string(), tensor.copy()?.contiguous()?);
        Ok(tensor)
    }
}

/// Writes `dump.safetensors` into `folder`.
pub fn write(folder: &Path, arrays: &Arrays) -> PathBuf {
    let file = folder.join("dump.safetensors");
    safetensors::save(arrays, &file).unwrap();
    file
}

/// Writes `dump.npz` into `folder`.
pub fn write_npz(folder: &Path, arrays: &Arrays) -> PathBuf {
    let file = folder.join("dump.npz");
    let mut zip = zip::ZipWriter::new(File::create(&file).unwrap());
    for (name, tensor) in arrays {
        zip.start_file(format!("{name}.npy"), SimpleFileOptions::default()).unwrap();
        zip.write_all(&npy(tensor)).unwrap();
    }
    zip.finish().unwrap();
    file
}

/// Writes a directory of `.npy` files into `folder`.
pub fn write_folder(folder: &Path, arrays: &Arrays) -> PathBuf {
    let into = folder.join("dump");
    fs::create_dir(&into).unwrap();
    for (name, tensor) in arrays {
        fs::write(into.join(format!("{name}.npy")), npy(tensor)).unwrap();
    }
    into
}

fn npy(tensor: &Tensor) -> Vec<u8> {
    let shape: Vec<u64> = tensor.dims().iter().map(|&n| n as u64).collect();
    let mut bytes = Vec::new();
    let flat = tensor.flatten_all().unwrap();
    let options = npyz::WriteOptions::new().default_dtype().shape(&shape);
    match tensor.dtype() {
        DType::I64 => {
            let mut writer = options.writer(&mut bytes).begin_nd().unwrap();
            writer.extend(flat.to_vec1::<i64>().unwrap()).unwrap();
            writer.finish().unwrap();
        }
        _ => {
            let options = npyz::WriteOptions::new().default_dtype().shape(&shape);
            let mut writer = options.writer(&mut bytes).begin_nd().unwrap();
            writer.extend(flat.to_vec1::<f32>().unwrap()).unwrap();
            writer.finish().unwrap();
        }
    }
    bytes
}

/// Writes `dump.safetensors` with this metadata into `folder`.
pub fn write_stating(folder: &Path, arrays: &Arrays, metadata: &[(&str, &str)]) -> PathBuf {
    let file = folder.join("dump.safetensors");
    let metadata = metadata.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    ::safetensors::serialize_to_file(arrays, Some(metadata), &file).unwrap();
    file
}

/// Records a whole f32 pass of tiny-llama over `input`. `make` may replace a tensor, given those recorded before it;
/// the model continues with the replacement.
pub fn remade(input: &Input, make: impl Fn(Site, &Tensor, &Arrays) -> Option<Tensor>) -> Arrays {
    let weights = models::open("tiny-llama").unwrap().weights;
    let llama = Llama::load(&weights, &Device::Cpu, DType::F32, Attention::Plain).unwrap();
    let mut probe = Remaking { recorded: Recorded::default(), make };
    llama.forward(input, &mut llama.new_cache(), &mut probe).unwrap();
    with_ids(probe.recorded.0, &input.ids[0])
}

struct Remaking<F> {
    recorded: Recorded,
    make: F,
}

impl<F: Fn(Site, &Tensor, &Arrays) -> Option<Tensor>> Probe for Remaking<F> {
    fn wants(&self, _: Kind) -> bool {
        true
    }

    fn tap(&mut self, site: Site, tensor: Tensor) -> Result<Tensor> {
        let made = (self.make)(site, &tensor, &self.recorded.0).unwrap_or(tensor);
        self.recorded.tap(site, made)
    }
}
