//! Changes real files of each kind at random: cut, with bits and numbers changed, with parts repeated, removed or taken
//! from elsewhere. Every reader gives a result or an error with a hint; none panics, and none asks for much more memory
//! than the file has.
//!
//! Each reader gets the same 150 files in every run. With `RBEES_MUTATE_SECONDS=600`, each gets other files for so many
//! seconds, and a file that a reader does not survive is kept in the target folder.

mod made;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use made::{CONFIG, GgufFile};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rbees_check::Result;
use rbees_check::recording::{NameMap, Recording, Vocabulary};
use rbees_check::reference::{Fixture, Reference, Source};
use rbees_check::tokenizer::Tokenizer;
use rbees_check::weights::Weights;
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

/// A kind of file: its name in a folder, its content, what is beside it, and what reads it.
struct Kind {
    name: &'static str,
    content: Vec<u8>,
    beside: Vec<(String, Vec<u8>)>,
    read: fn(&Path) -> Result<()>,
}

fn fixture(path: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(path)).unwrap()
}

fn model(folder: &Path) -> Result<()> {
    let weights = Weights::open(folder)?;
    weights.not_finite()?;
    weights.unread_notes();
    weights.contradictions();
    weights.describe();
    weights.sha256().map(drop)
}

fn directory(name: &'static str, content: Vec<u8>) -> Kind {
    let all = [
        ("config.json", CONFIG.as_bytes().to_vec()),
        ("model.safetensors", made::safetensors(&made::tensors())),
    ];
    let beside = all.into_iter().filter(|(other, _)| *other != name);
    Kind {
        name,
        content,
        beside: beside.map(|(name, bytes)| (name.to_owned(), bytes)).collect(),
        read: model,
    }
}

fn gguf() -> Kind {
    let read = |folder: &Path| {
        let path = folder.join("model.gguf");
        model(&path)?;
        let weights = Weights::open(&path)?;
        let Some(file) = weights.gguf() else { return Ok(()) };
        let tokenizer = Tokenizer::from_gguf(&|key| file.metadata(key), "test")?;
        tokenizer.decode(&tokenizer.encode("ab aé 11 <|im_end|>", true)?).map(drop)
    };
    Kind { name: "model.gguf", content: GgufFile::tiny().bytes(), beside: vec![], read }
}

fn index() -> Kind {
    let mut index =
        r#"{"metadata": {"total_size": 1}, "weight_map": {"lm_head.weight": "a.safetensors"}}"#.to_owned();
    index.insert(1, ' ');
    let beside = vec![
        ("config.json".into(), CONFIG.as_bytes().to_vec()),
        ("a.safetensors".into(), made::safetensors(&made::tensors())),
    ];
    Kind { name: "model.safetensors.index.json", content: index.into_bytes(), beside, read: model }
}

fn tokenizer() -> Kind {
    let read = |folder: &Path| {
        let tokenizer = Tokenizer::from_dir(folder)?;
        tokenizer.decode(&tokenizer.encode("the king <|im_end|> é½ 11", true)?).map(drop)
    };
    Kind { name: "tokenizer.json", content: fixture("tiny-llama/tokenizer.json"), beside: vec![], read }
}

fn recording(name: &'static str, content: Vec<u8>, read: fn(&Path) -> Result<()>) -> Kind {
    Kind { name, content, beside: vec![], read }
}

fn opened(path: &Path) -> Result<()> {
    Recording::open(path, &Vocabulary::default()).map(drop)
}

fn npz() -> Kind {
    recording("reference.npz", fixture("tiny-llama/single/reference.npz"), |folder| {
        opened(&folder.join("reference.npz"))
    })
}

fn safetensors() -> Kind {
    let content = fixture("dumps/tiny-llama-rope-pairing.safetensors");
    recording("a.safetensors", content, |folder| opened(&folder.join("a.safetensors")))
}

fn torch() -> Kind {
    let content = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/understood/torch/plain.pt"));
    recording("a.pt", content.unwrap_or_default(), |folder| opened(&folder.join("a.pt")))
}

/// A file of a case, with the others beside it.
fn case(name: &'static str) -> Kind {
    let of = |file: &str| fixture(&format!("tiny-llama/single/{file}"));
    let files = ["manifest.json", "reference.npz", "noise.npz"];
    let beside =
        files.into_iter().filter(|file| *file != name).map(|file| (file.to_owned(), of(file))).collect();
    let read = |folder: &Path| Reference::read(&Source::Folder(folder.into()), "").map(drop);
    Kind { name, content: of(name), beside, read }
}

/// A file of facts, with the others beside it.
fn facts(name: &'static str) -> Kind {
    let files = ["facts.json", "tokens.json", "greedy.json", "sampling.json", "sampling.npz"];
    let of = |file: &str| fixture(&format!("tiny-llama2/{file}"));
    let beside =
        files.into_iter().filter(|file| *file != name).map(|file| (file.to_owned(), of(file))).collect();
    let read = |folder: &Path| {
        let fixture = Fixture { source: Source::Folder(folder.into()), cases: vec![] };
        fixture.facts()?;
        fixture.tokens()?;
        fixture.greedy()?;
        fixture.sampling().map(drop)
    };
    Kind { name, content: of(name), beside, read }
}

fn map() -> Kind {
    let content = "[names]\n\"blk.{N}.q\" = \"model.layers.{N}.self_attn.q_proj\"\n\"h\" = \"\"\n[layout]\n\"lm_head\" = [\"padded\", \"last\"]\n[metadata]\ndtype = \"bf16\"\n";
    let read = |folder: &Path| {
        let text = String::from_utf8_lossy(&fs::read(folder.join("map.toml")).unwrap()).into_owned();
        match toml::from_str::<NameMap>(&text) {
            Ok(map) => map.vocabulary().map(drop),
            Err(_) => Ok(()),
        }
    };
    Kind { name: "map.toml", content: content.into(), beside: vec![], read }
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
fn finding(kind: &Kind, folder: &Path, size: usize) -> Option<String> {
    LARGEST.set(0);
    let result = catch_unwind(AssertUnwindSafe(|| (kind.read)(folder)));
    let (largest, most) = (LARGEST.get(), SMALL.max(TIMES * size));
    match result {
        Err(_) => Some("it panicked".into()),
        Ok(_) if largest > most => Some(format!("it asked for {largest} bytes at once")),
        Ok(Err(error)) if error.hint().is_none_or(str::is_empty) => Some(format!("without a hint: {error}")),
        Ok(_) => None,
    }
}

#[rstest]
#[case::gguf(gguf())]
#[case::config(directory("config.json", CONFIG.into()))]
#[case::generation_config(directory("generation_config.json", br#"{"eos_token_id": [2, 3], "x": {"y": [1.5, null]}}"#.to_vec()))]
#[case::weights(directory("model.safetensors", made::safetensors(&made::tensors())))]
#[case::index(index())]
#[case::tokenizer(tokenizer())]
#[case::npz(npz())]
#[case::safetensors(safetensors())]
#[case::torch(torch())]
#[case::manifest(case("manifest.json"))]
#[case::reference(case("reference.npz"))]
#[case::noise(case("noise.npz"))]
#[case::facts(facts("facts.json"))]
#[case::tokens(facts("tokens.json"))]
#[case::greedy(facts("greedy.json"))]
#[case::sampling(facts("sampling.json"))]
#[case::distributions(facts("sampling.npz"))]
#[case::map(map())]
fn a_changed_file_is_read_or_refused(#[case] kind: Kind) {
    assert!(!kind.content.is_empty(), "there is no file to change");
    let seconds = std::env::var("RBEES_MUTATE_SECONDS").ok().and_then(|text| text.parse().ok());
    let (seed, end) = match seconds {
        None => (0, None),
        Some(seconds) => (rand::rng().random(), Some(Instant::now() + Duration::from_secs(seconds))),
    };
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in &kind.beside {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let mut count = 0;
    while end.map_or(count < FILES, |end| Instant::now() < end) {
        let bytes = mutated(&kind.content, &mut StdRng::seed_from_u64(seed + count));
        fs::write(folder.path().join(kind.name), &bytes).unwrap();
        let size = bytes.len() + kind.beside.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        if let Some(what) = finding(&kind, folder.path(), size) {
            let kept = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(kind.name);
            fs::write(&kept, bytes).unwrap();
            panic!("file {count} of seed {seed}: {what}; kept as {}", kept.display());
        }
        count += 1;
    }
    println!("{}: {count} files", kind.name);
}
