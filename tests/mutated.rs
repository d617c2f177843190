//! Changes real files of each kind at random: cut, with bits and numbers changed, with parts repeated, removed or taken
//! from elsewhere. Every reader gives a result or an error with a hint; none panics, and none asks for much more memory
//! than the file has.
//!
//! Each reader gets the same 150 files in every run. With `RBEES_MUTATE_SECONDS=600`, each gets other files for so many
//! seconds, and a file that a reader does not survive is kept in the target folder.

mod made;
mod readers;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use readers::Reader;
use rstest::rstest;

/// Files that each reader gets in a normal run.
const FILES: u64 = 150;

/// A single allocation of more bytes than this, or than [`TIMES`] the size of the files, is a finding.
const SMALL: usize = 32 << 20;
const TIMES: usize = 16;

thread_local! {
    /// The largest allocation of this thread.
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, which remembers the largest request.
struct Watched;

// SAFETY: every call is passed on unchanged.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(layout.size())));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

fn file(path: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn fixture(path: &str) -> Vec<u8> {
    file(&format!("fixtures/{path}"))
}

/// One changed copy of `content`.
fn mutated(content: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = content.to_vec();
    for _ in 0..random.random_range(1..6) {
        if bytes.is_empty() {
            break;
        }
        // Headers are at the start, and directories of archives at the end.
        let at = match random.random_range(0..4) {
            0 => random.random_range(0..bytes.len()),
            1 => bytes.len() - 1 - random.random_range(0..bytes.len().min(300)),
            _ => random.random_range(0..bytes.len().min(2_000)),
        };
        let length = random.random_range(1..64).min(bytes.len() - at);
        match random.random_range(0..8) {
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes[at] = random.random(),
            2 => bytes[at] = *b"\"{}[],:0-9e.\0\xff".get(random.random_range(0..14)).unwrap_or(&0),
            3 => {
                let number = [0u64, 1, 1 << 31, u64::from(u32::MAX), 1 << 40, 1 << 63, u64::MAX, 48]
                    [random.random_range(0..8)];
                let width = [4, 8][random.random_range(0..2)].min(bytes.len() - at);
                bytes[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
            }
            4 => drop(bytes.drain(at..at + length)),
            5 => {
                let part = bytes[at..at + length].to_vec();
                let times = [1, 2, 1_000][random.random_range(0..3)];
                bytes.splice(at..at, part.repeat(times));
            }
            6 => {
                let from = random.random_range(0..content.len());
                let part = &content[from..(from + length).min(content.len())];
                bytes.splice(at..at + length, part.iter().copied());
            }
            _ => bytes.truncate(random.random_range(0..bytes.len())),
        }
    }
    bytes
}

/// Reads a folder. Returns what went wrong, if the reader did.
fn finding(reader: &Reader, folder: &Path, size: usize) -> Option<String> {
    LARGEST.set(0);
    let result = catch_unwind(AssertUnwindSafe(|| (reader.read)(folder)));
    let (largest, most) = (LARGEST.get(), SMALL.max(TIMES * size));
    match result {
        Err(_) => Some("it panicked".into()),
        Ok(_) if largest > most => Some(format!("it asked for {largest} bytes at once")),
        Ok(Err(error)) if error.hint().is_none_or(str::is_empty) => Some(format!("without a hint: {error}")),
        Ok(_) => None,
    }
}

/// Names, as a recording's map file has them.
const MAP: &str = "[names]\n\"blk.{N}.q\" = \"model.layers.{N}.self_attn.q_proj\"\n\"h\" = \"\"\n[layout]\n\"lm_head\" = [\"padded\", \"last\"]\n[metadata]\ndtype = \"bf16\"\n";
const INDEX: &str = r#"{ "metadata": {"total_size": 1}, "weight_map": {"lm_head.weight": "a.safetensors"}}"#;

#[rstest]
#[case::gguf(readers::gguf(), readers::small_gguf())]
#[case::large_gguf(readers::gguf(), made::GgufFile::tiny().bytes())]
#[case::config(readers::config(), readers::SMALL.into())]
#[case::generation_config(readers::generation_config(), br#"{"eos_token_id": [2, 3], "x": {"y": [1.5, null]}}"#.to_vec())]
#[case::weights(readers::safetensors(), readers::small_safetensors())]
#[case::index(readers::index(), INDEX.into())]
#[case::tokenizer(readers::tokenizer(), fixture("tiny-llama/tokenizer.json"))]
#[case::template(readers::template(), file("tests/chat_templates/templates/llama3.jinja"))]
#[case::npy(readers::npy(), readers::array("<f4", "(1, 3, 5)", 60))]
#[case::npz(readers::npz(), fixture("tiny-llama/single/reference.npz"))]
#[case::safetensors(readers::recording(), fixture("dumps/tiny-llama-rope-pairing.safetensors"))]
#[case::torch(readers::torch(), file("tests/understood/torch/plain.pt"))]
#[case::manifest(readers::manifest(), fixture("tiny-llama/single/manifest.json"))]
#[case::reference(readers::reference(), fixture("tiny-llama/single/reference.npz"))]
#[case::noise(readers::noise(), fixture("tiny-llama/single/noise.npz"))]
#[case::facts(readers::facts(), fixture("tiny-llama2/facts.json"))]
#[case::tokens(readers::tokens(), fixture("tiny-llama2/tokens.json"))]
#[case::greedy(readers::greedy(), fixture("tiny-llama2/greedy.json"))]
#[case::sampling(readers::sampling(), fixture("tiny-llama2/sampling.json"))]
#[case::distributions(readers::distributions(), fixture("tiny-llama2/sampling.npz"))]
#[case::map(readers::map(), MAP.into())]
fn a_changed_file_is_read_or_refused(#[case] reader: Reader, #[case] content: Vec<u8>) {
    assert!(!content.is_empty(), "there is no file to change");
    let seconds = std::env::var("RBEES_MUTATE_SECONDS").ok().and_then(|text| text.parse().ok());
    let (seed, end) = match seconds {
        None => (0, None),
        Some(seconds) => (rand::rng().random(), Some(Instant::now() + Duration::from_secs(seconds))),
    };
    let folder = tempfile::tempdir().unwrap();
    reader.prepare(folder.path());
    let path = folder.path().join(reader.file);
    // A directory of arrays has its array further down.
    let name = path.file_name().unwrap();
    let mut count = 0;
    while end.map_or(count < FILES, |end| Instant::now() < end) {
        let bytes = mutated(&content, &mut StdRng::seed_from_u64(seed + count));
        fs::write(&path, &bytes).unwrap();
        if let Some(what) = finding(&reader, folder.path(), bytes.len() + reader.beside_bytes()) {
            let kept = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
            fs::write(&kept, bytes).unwrap();
            panic!("file {count} of seed {seed}: {what}; kept as {}", kept.display());
        }
        count += 1;
    }
    println!("{}: {count} files", reader.file);
}

/// The files that libFuzzer found to reach different code, and those that a reader did not survive once.
#[rstest]
#[case::gguf("gguf", readers::gguf())]
#[case::safetensors("safetensors", readers::safetensors())]
#[case::npy("npy", readers::npy())]
#[case::npz("npz", readers::npz())]
#[case::torch("torch", readers::torch())]
#[case::recording("recording", readers::recording())]
#[case::config("config", readers::config())]
#[case::index("index", readers::index())]
#[case::manifest("manifest", readers::manifest())]
#[case::facts("facts", readers::facts())]
#[case::map("map", readers::map())]
#[case::report("report", readers::report())]
#[case::tokenizer("tokenizer", readers::tokenizer())]
#[case::template("template", readers::template())]
fn every_file_of_the_fuzzing_corpus_is_read_or_refused(#[case] target: &str, #[case] reader: Reader) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let folder = tempfile::tempdir().unwrap();
    reader.prepare(folder.path());
    let mut count = 0;
    for entry in fs::read_dir(&corpus).unwrap() {
        let entry = entry.unwrap().path();
        let bytes = fs::read(&entry).unwrap();
        fs::write(folder.path().join(reader.file), &bytes).unwrap();
        let found = finding(&reader, folder.path(), bytes.len() + reader.beside_bytes());
        assert_eq!(found, None, "{}", entry.display());
        count += 1;
    }
    assert!(count > 0, "{} is empty", corpus.display());
}
