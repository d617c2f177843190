//! The input of a forward pass over a case.

use std::path::Path;

use candle_core::{Device, Tensor};

use super::{Manifest, Place, Reference, Source};
use crate::{Error, Result};

/// The tokens of a case as a rectangle: one row per prompt, short prompts padded. On the CPU.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Token ids, u32, `[b, s]`.
    pub ids: Tensor,
    /// The position that each token is rotated by, u32, `[b, s]`. Without padding every row counts from 0.
    pub positions: Tensor,
    /// 1 for a token, 0 for padding, which no token may attend to, u8, `[b, s]`.
    pub mask: Tensor,
}

impl Batch {
    pub(super) fn new(manifest: &Manifest, real: &[Place]) -> Result<Self> {
        let (b, s) = (manifest.ids.len(), manifest.ids[0].len());
        let mut mask = vec![0u8; b * s];
        real.iter().for_each(|&(row, slot)| mask[row * s + slot] = 1);
        let positions = manifest
            .position_ids
            .iter()
            .flatten()
            .map(|&p| u32::try_from(p).unwrap_or(u32::MAX))
            .collect::<Vec<_>>();
        let rectangle = |tensor: Tensor| tensor.reshape((b, s));
        Ok(Self {
            ids: rectangle(Tensor::new(manifest.ids.concat(), &Device::Cpu)?)?,
            positions: rectangle(Tensor::new(positions, &Device::Cpu)?)?,
            mask: rectangle(Tensor::new(mask, &Device::Cpu)?)?,
        })
    }

    /// The same batch on another device.
    ///
    /// # Errors
    /// The device cannot hold it.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        Ok(Self {
            ids: self.ids.to_device(device)?,
            positions: self.positions.to_device(device)?,
            mask: self.mask.to_device(device)?,
        })
    }
}

impl Reference {
    /// Opens the case in folder `case`, as written by `scripts/capture_reference.py`. Every array is checked
    /// against the shape and hash in the manifest.
    ///
    /// # Errors
    /// There is no such folder, it contains no case, or the case is damaged.
    pub fn open(case: impl AsRef<Path>) -> Result<Self> {
        let case = case.as_ref();
        if !case.is_dir() {
            let problem = if case.exists() { "not a folder" } else { "no such folder" };
            return Err(Error::file(case, problem, A_CASE));
        }
        let source = Source::Folder(case.into());
        if !case.join("manifest.json").is_file() {
            return Err(match source.cases()?.as_slice() {
                [] => Error::file(case, "it contains no manifest.json", A_CASE),
                cases => {
                    let hint = format!("open one of these: {}", cases.join(", "));
                    Error::file(case, "this folder contains cases but is not a case itself", hint)
                }
            });
        }
        Self::read(&source, "")
    }

    /// The input of a forward pass over this case.
    pub fn tokens(&self) -> &Batch {
        &self.tokens
    }
}

const A_CASE: &str = "give a folder with manifest.json, reference.npz and noise.npz, as written by \
                      scripts/capture_reference.py; a relative path starts at the current directory";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::Fixture;
    use rstest::rstest;

    fn fixtures(path: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(path)
    }

    #[test]
    fn a_batch_holds_ids_positions_and_the_padding_mask() {
        let case = Fixture::open(Source::Folder(fixtures("tiny-llama"))).unwrap().case("batch-left").unwrap();
        let Batch { ids, positions, mask } = case.tokens();
        assert_eq!(ids.to_vec2::<u32>().unwrap(), case.manifest.ids);
        // Rows of 3, 5 and 2 tokens, padded on the left.
        assert_eq!(mask.to_vec2::<u8>().unwrap(), [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1], [0, 0, 0, 1, 1]]);
        assert_eq!(positions.to_vec2::<u32>().unwrap()[0][2..], [0, 1, 2]);
    }

    #[rstest]
    #[case("nowhere", "no such folder", "manifest.json, reference.npz and noise.npz")]
    #[case("README.md", "not a folder", "manifest.json, reference.npz and noise.npz")]
    #[case(
        "tiny-llama",
        "this folder contains cases but is not a case itself",
        "batch-left, far, long, short, single"
    )]
    #[case("tiny-llama/gguf", "it contains no manifest.json", "as written by scripts/capture_reference.py")]
    fn a_folder_that_is_not_a_case_is_an_error(
        #[case] path: &str,
        #[case] problem: &str,
        #[case] hint: &str,
    ) {
        let error = Reference::open(fixtures(path)).unwrap_err();
        assert_eq!(error.to_string(), format!("{}: {problem}", fixtures(path).display()));
        assert!(error.hint().unwrap().contains(hint), "{:?}", error.hint());
    }
}
