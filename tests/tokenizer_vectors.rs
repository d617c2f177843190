//! Compares the tokenizers that are built from GGUF metadata alone with llama.cpp: its own test vocabularies, and the
//! ids that it gives for their texts. `scripts/fetch_vocabularies.sh` downloads them; without them, the tests are ignored.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use rbees_check::models;
use rbees_check::tokenizer::Tokenizer;
use rbees_check::weights::gguf::Gguf;

/// What separates the texts in llama.cpp's files.
const SEPARATOR: &str = "\n__ggml_vocab_test__\n";

/// The vocabularies with texts whose splitting rules or model a supported family uses.
const READ: [&str; 13] = [
    "command-r",
    "deepseek-coder",
    "deepseek-llm",
    "falcon",
    "gpt-2",
    "llama-bpe",
    "llama-spm",
    "mpt",
    "phi-3",
    "qwen2",
    "qwen35",
    "refact",
    "starcoder",
];

/// The others, and why they are refused.
const REFUSED: [(&str, &str); 5] = [
    ("bert-bge", "tokenizer.ggml.model is bert"),
    ("gemma-4", "tokenizer.ggml.model is gemma4"),
    ("nomic-bert-moe", "tokenizer.ggml.model is t5"),
    ("aquila", "tokenizer.ggml.pre is missing"),
    ("gpt-neox", "tokenizer.ggml.pre is missing"),
];

fn main() -> ExitCode {
    let folder = models::home().map(|home| home.join("llama-cpp-vocabularies")).unwrap_or_default();
    let (absent, path) = (!folder.is_dir(), |name: &str| folder.join(format!("ggml-vocab-{name}.gguf")));
    let read = READ.into_iter().map(|name| {
        let path = path(name);
        Trial::test(format!("{name}_gives_the_ids_of_llama_cpp"), move || same_ids(&path))
    });
    let refused = REFUSED.into_iter().map(|(name, why)| {
        let path = path(name);
        Trial::test(format!("{name}_is_refused_by_name"), move || refused(&path, why))
    });
    let trials: Vec<Trial> = read.chain(refused).map(|trial| trial.with_ignored_flag(absent)).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn tokenizer(path: &Path) -> rbees_check::Result<Tokenizer> {
    let file = Gguf::open(path)?;
    Tokenizer::from_gguf(&|key| file.metadata(key), &path.to_string_lossy())
}

fn same_ids(path: &Path) -> Result<(), Failed> {
    let tokenizer = tokenizer(path)?;
    let beside = |end: &str| fs::read_to_string(PathBuf::from(format!("{}.{end}", path.display())));
    let (texts, ids) = (beside("inp")?, beside("out")?);
    let texts: Vec<&str> = texts.strip_suffix(SEPARATOR).unwrap_or(&texts).split(SEPARATOR).collect();
    let ids: Vec<&str> = ids.lines().collect();
    if texts.len() != ids.len() || texts.len() < 40 {
        return Err(format!("{} texts have {} lines of ids", texts.len(), ids.len()).into());
    }
    let mut wrong = String::new();
    let mut equal = 0;
    for (text, ids) in texts.iter().zip(&ids) {
        let want: Vec<u32> = ids.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let got = tokenizer.encode(text, false)?;
        if got == want {
            equal += 1;
        } else {
            wrong += &format!("\n{text:?}\n  got  {got:?}\n  want {want:?}");
        }
    }
    println!("{}: {equal} of {} lines equal", path.display(), texts.len());
    if wrong.is_empty() { Ok(()) } else { Err(format!("{equal} of {}{wrong}", texts.len()).into()) }
}

fn refused(path: &Path, why: &str) -> Result<(), Failed> {
    match tokenizer(path) {
        Err(error) if error.to_string().contains(why) => Ok(()),
        other => Err(format!("{other:?}, but it should be refused: {why}")
            .chars()
            .take(500)
            .collect::<String>()
            .into()),
    }
}
