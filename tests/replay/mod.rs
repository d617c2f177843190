//! A port that computes nothing. It passes tensors recorded in PyTorch to the probe.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use npyz::NpyFile;
use rbees_check::judge::{Port, Traits};
use rbees_check::model::Input;
use rbees_check::probe::{Arithmetic, Kind, Kinds, Probe, Site};
use rbees_check::reference::Feed;
use rbees_check::weights::Config;
use rbees_check::{Error, Result};
use zip::ZipArchive;

/// The tensors of one dump, by feed and site: the shape `[rows, …]` and the values.
#[derive(Clone, Default)]
pub struct Dump(BTreeMap<(Feed, Site), (Vec<usize>, Vec<f32>)>);

impl Dump {
    /// Reads `fixtures/torch-mistakes/<name>/dump.npz`.
    pub fn read(name: &str) -> Result<Self> {
        let path = folder().join(name).join("dump.npz");
        let fault = |what: String| Error::file(&path, what, "run scripts/plant_in_torch.py");
        let file = File::open(&path).map_err(|error| fault(error.to_string()))?;
        let mut zip = ZipArchive::new(file).map_err(|error| fault(error.to_string()))?;
        let mut dump = Self::default();
        for index in 0..zip.len() {
            let file = zip.by_index(index).map_err(|error| fault(error.to_string()))?;
            let name = file.name().map_err(|error| fault(error.to_string()))?.into_owned();
            let (feed, site) = name
                .strip_suffix(".npy")
                .and_then(|name| name.split_once('/'))
                .ok_or_else(|| fault(format!("{name} is not <feed>/<site>.npy")))?;
            let feed = [Feed::Site, Feed::Block, Feed::Own].into_iter().find(|f| f.name() == feed);
            let feed = feed.ok_or_else(|| fault(format!("{name}: no such feed")))?;
            let site = site.parse()?;
            let npy = NpyFile::new(file).map_err(|error| fault(format!("{name}: {error}")))?;
            let shape = npy.shape().iter().map(|&n| n as usize).collect();
            let values = npy.into_vec().map_err(|error| fault(format!("{name}: {error}")))?;
            dump.0.insert((feed, site), (shape, values));
        }
        Ok(dump)
    }

    /// This dump, completed by the tensors of `correct` that it lacks.
    pub fn over(mut self, correct: Dump) -> Self {
        correct.0.into_iter().for_each(|(at, rows)| _ = self.0.entry(at).or_insert(rows));
        self
    }

    /// Does the dump contain `position` of `site`? A dump with fewer rows than the case has the last ones.
    pub fn holds(&self, feed: Feed, site: Site, position: usize, length: usize) -> bool {
        self.0.get(&(feed, site)).is_some_and(|(shape, _)| position + shape[0] >= length)
    }
}

/// The folder `fixtures/torch-mistakes`.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/torch-mistakes")
}

/// Taps the tensors that a dump contains for one feed. It ignores the tensors that the probe returns:
/// reference tensors were already substituted in PyTorch, when the dump was recorded.
pub struct Replay {
    dump: Dump,
    feed: Feed,
    traits: Traits,
}

impl Replay {
    pub fn new(dump: &Dump, feed: Feed, config: &Config) -> Self {
        let traits = Traits {
            path: "pytorch",
            dtype: DType::F32,
            arithmetic: Arithmetic::Dense,
            layers: config.num_hidden_layers,
            kinds: Kinds::LLAMA,
            vocab: config.vocab_size,
            context: config.max_position_embeddings,
            hides: &[],
            layouts: vec![],
        };
        Self { dump: dump.clone(), feed, traits }
    }
}

impl Port for Replay {
    fn traits(&self) -> Traits {
        self.traits.clone()
    }

    fn begin(&mut self) {}

    fn forward(&mut self, input: &Input, probe: &mut dyn Probe) -> Result<Tensor> {
        for (&(feed, site), (shape, values)) in &self.dump.0 {
            if feed == self.feed {
                probe.tap(site, canonical(site.kind, shape, values, input.len())?)?;
            }
        }
        // The judge compares the tapped tensors. The return value matters for generation only.
        Ok(Tensor::full(f32::NAN, (1, input.len(), self.traits.vocab), &Device::Cpu)?)
    }
}

/// Converts the last rows of one sequence, rows first, to `[1, s, width]` or `[1, heads, s, width]`. Rows
/// that were not recorded are NaN, so that judging them would fail.
fn canonical(kind: Kind, shape: &[usize], values: &[f32], s: usize) -> Result<Tensor> {
    let row: usize = shape[1..].iter().product();
    let mut whole = vec![f32::NAN; s.saturating_sub(shape[0]) * row];
    whole.extend_from_slice(values);
    let rows = whole.len() / row;
    let rows_first = Tensor::from_vec(whole, [&[1, rows], &shape[1..]].concat(), &Device::Cpu)?;
    Ok(if kind.by_head() { rows_first.transpose(1, 2)?.contiguous()? } else { rows_first })
}
