//! Nothing in a model's files passes unread, and honest files are read: the program on copies of tiny-llama in
//! which one thing was altered.

#[path = "../program/mod.rs"]
mod program;

mod config;
mod places;
mod tensors;
mod text;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use program::{home, rbees, stderr, stdout};
use rstest::rstest;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures");
const Q_PROJ: &str = "model.layers.0.self_attn.q_proj";

/// The tensors of a safetensors file, in f32: shape and values by name.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// A copy of tiny-llama that a test may alter.
struct Model {
    folder: TempDir,
}

impl Model {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
        ];
        for file in files {
            fs::copy(Path::new(FIXTURES).join("tiny-llama").join(file), folder.path().join(file)).unwrap();
        }
        Self { folder }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap()
    }

    fn write(&self, file: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(file), content).unwrap();
    }

    fn remove(&self, file: &str) {
        fs::remove_file(self.path(file)).unwrap();
    }

    /// Changes a JSON file.
    fn json(&self, file: &str, change: impl FnOnce(&mut Map<String, Value>)) {
        let mut value: Map<String, Value> = serde_json::from_str(&self.text(file)).unwrap();
        change(&mut value);
        self.write(file, serde_json::to_string(&value).unwrap());
    }

    /// Sets keys of `config.json`; null removes a key.
    fn config(&self, changes: Value) {
        self.json("config.json", |config| {
            for (key, value) in changes.as_object().unwrap() {
                if value.is_null() {
                    config.remove(key)
                } else {
                    config.insert(key.clone(), value.clone())
                };
            }
        });
    }

    /// Replaces the value at a JSON pointer in `tokenizer.json`.
    fn tokenizer(&self, key: &str, value: Value) {
        self.json("tokenizer.json", |tokenizer| drop(tokenizer.insert(key.into(), value)));
    }

    fn tensors(&self, change: impl FnOnce(&mut Tensors)) {
        let path = self.path("model.safetensors");
        let bytes = fs::read(&path).unwrap();
        let read = |(name, view): (String, TensorView<'_>)| {
            assert_eq!(view.dtype(), Dtype::F16);
            let halves =
                view.data().chunks_exact(2).map(|pair| half::f16::from_le_bytes([pair[0], pair[1]]).to_f32());
            (name, (view.shape().to_vec(), halves.collect()))
        };
        let mut tensors: Tensors =
            SafeTensors::deserialize(&bytes).unwrap().tensors().into_iter().map(read).collect();
        change(&mut tensors);
        let bytes: BTreeMap<&String, Vec<u8>> = tensors
            .iter()
            .map(|(name, (_, values))| (name, values.iter().flat_map(|value| value.to_le_bytes()).collect()))
            .collect();
        let view = |(name, (shape, _)): (&String, &(Vec<usize>, Vec<f32>))| {
            (name.clone(), TensorView::new(Dtype::F32, shape.clone(), &bytes[name]).unwrap())
        };
        fs::write(path, serialize(tensors.iter().map(view), None).unwrap()).unwrap();
    }

    fn add(&self, name: &str, shape: &[usize], value: f32) {
        let values = vec![value; shape.iter().product()];
        self.tensors(|tensors| drop(tensors.insert(name.into(), (shape.to_vec(), values))));
    }

    /// Runs the program on the model. Returns the exit code and everything that it printed.
    fn run(&self, args: &[&str]) -> (i32, String) {
        run(self.folder.path(), args)
    }
}

/// Runs the program with `--model MODEL`, judged by the references of tiny-llama. No run panics.
fn run(model: &Path, args: &[&str]) -> (i32, String) {
    let model = model.to_string_lossy();
    let references: &[&str] = if args[0] == "inspect" { &[] } else { &["--references", "tiny-llama"] };
    let model: &[&str] = if args[0] == "inspect" { &[&model] } else { &["--model", &model] };
    let output = rbees(&home(), &[args, model, references].concat()).output().unwrap();
    let text = stdout(&output) + &stderr(&output);
    assert!(!text.contains("panicked"), "{text}");
    (output.status.code().unwrap_or(-1), text)
}

/// Facts about the weights, tokens, and one norm per layer: enough to see what was read.
const JUDGE: &[&str] = &["run", "00", "00B", "01", "--case", "single", "--attention", "plain"];

fn check(model: &Model, exit: i32, lines: &[&str]) {
    let (code, text) = model.run(JUDGE);
    assert_eq!(code, exit, "{text}");
    for line in lines {
        assert!(text.contains(line), "`{line}` is not in:\n{text}");
    }
}

#[test]
fn the_unaltered_copy_passes_without_a_note() {
    let (code, text) = Model::new().run(JUDGE);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("checkpoints: 3 passed, 0 failed, 0 skipped") && !text.contains("note:"), "{text}");
}
