//! Every block type that Candle reads is dequantised to the bits that the Python package `gguf` gives;
//! `scripts/dequantize.py` makes `dequantized.json`. Files of all three versions, and split ones, are read the same.

mod made;

use std::collections::BTreeMap;
use std::fs;

use made::{GgufFile, GgufTensor, text, value_text};
use rbees_check::weights::gguf::Gguf;
use rbees_check::weights::{Weights, sha256_of};
use rstest::rstest;
use sha2::{Digest, Sha256};

const ROWS: u64 = 4;
const ELEMENTS: u64 = 4096;

/// The same blocks as in `scripts/dequantize.py`: `size` bytes for `elements` numbers.
fn blocks(name: &str, elements: u64, size: usize, exponents: &[usize]) -> Vec<u8> {
    let count = (ROWS * ELEMENTS / elements) as usize;
    let stream = (0..(count * size).div_ceil(32)).map(|n| Sha256::digest(format!("{name}/{n}")));
    let mut made: Vec<u8> = stream.flatten().collect();
    made.truncate(count * size);
    for block in made.chunks_mut(size) {
        exponents.iter().for_each(|&at| block[at] &= 0xbf);
    }
    made
}

#[rstest]
#[case("F32", 0, 1, 4, &[3])]
#[case("F16", 1, 1, 2, &[1])]
#[case("BF16", 30, 1, 2, &[1])]
#[case("Q4_0", 2, 32, 18, &[1])]
#[case("Q4_1", 3, 32, 20, &[1, 3])]
#[case("Q5_0", 6, 32, 22, &[1])]
#[case("Q5_1", 7, 32, 24, &[1, 3])]
#[case("Q8_0", 8, 32, 34, &[1])]
#[case("Q2_K", 10, 256, 84, &[81, 83])]
#[case("Q3_K", 11, 256, 110, &[109])]
#[case("Q4_K", 12, 256, 144, &[1, 3])]
#[case("Q5_K", 13, 256, 176, &[1, 3])]
#[case("Q6_K", 14, 256, 210, &[209])]
fn a_block_type_is_dequantised_as_by_the_gguf_package(
    #[case] name: &str,
    #[case] code: u32,
    #[case] elements: u64,
    #[case] size: usize,
    #[case] exponents: &[usize],
) {
    let hashes: BTreeMap<String, String> = serde_json::from_str(include_str!("dequantized.json")).unwrap();
    let data = blocks(name, elements, size, exponents);
    let tensor = GgufTensor { name: "x".into(), dims: vec![ELEMENTS, ROWS], code, data, offset: None };
    let folder = tempfile::tempdir().unwrap();
    let file = GgufFile { tensors: vec![tensor], ..GgufFile::tiny() }.write(folder.path());
    let read = Gguf::open(&file).unwrap().tensor("x").unwrap();
    assert_eq!(read.dims(), [ROWS as usize, ELEMENTS as usize]);
    assert_eq!(sha256_of(&read).unwrap(), hashes[name]);
}

/// The types of ggml that Candle does not read.
#[rstest]
#[case(4, "Q4_2")]
#[case(5, "Q4_3")]
#[case(9, "Q8_1")]
#[case(15, "Q8_K")]
#[case(16, "IQ2_XXS")]
#[case(17, "IQ2_XS")]
#[case(18, "IQ3_XXS")]
#[case(19, "IQ1_S")]
#[case(20, "IQ4_NL")]
#[case(21, "IQ3_S")]
#[case(22, "IQ2_S")]
#[case(23, "IQ4_XS")]
#[case(24, "I8")]
#[case(25, "I16")]
#[case(26, "I32")]
#[case(27, "I64")]
#[case(28, "F64")]
#[case(29, "IQ1_M")]
#[case(34, "TQ1_0")]
#[case(35, "TQ2_0")]
#[case(39, "MXFP4")]
#[case(40, "NVFP4")]
fn another_type_is_refused_by_name(#[case] code: u32, #[case] name: &str) {
    let mut file = GgufFile::tiny();
    file.tensors[0].code = code;
    let folder = tempfile::tempdir().unwrap();
    let error = Gguf::open(&file.write(folder.path())).unwrap_err().to_string();
    assert!(error.ends_with(&format!(": type {name} is not supported")), "{error}");
}

/// The hash of every tensor of a model.
fn hashes(weights: &Weights) -> Vec<(String, String)> {
    weights
        .names()
        .into_iter()
        .map(|name| (sha256_of(&weights.canonical(&name).unwrap()).unwrap(), name))
        .collect()
}

fn tiny() -> Vec<(String, String)> {
    let folder = tempfile::tempdir().unwrap();
    hashes(&Weights::open(&GgufFile::tiny().write(folder.path())).unwrap())
}

#[rstest]
fn versions_2_and_3_are_read_the_same(#[values(2, 3)] version: u32) {
    let folder = tempfile::tempdir().unwrap();
    let file = GgufFile { version, ..GgufFile::tiny() }.write(folder.path());
    assert_eq!(hashes(&Weights::open(&file).unwrap()), tiny());
}

/// In version 1, lengths, counts and dimensions have 32 bits.
#[test]
fn version_1_is_read_the_same() {
    let GgufFile { metadata, tensors, .. } = GgufFile::tiny();
    let short = |value: &str| [&(value.len() as u32).to_le_bytes()[..], value.as_bytes()].concat();
    let mut out = [&b"GGUF"[..], &1u32.to_le_bytes()].concat();
    out.extend((tensors.len() as u32).to_le_bytes());
    // Without the vocabulary, whose texts this test does not rewrite.
    let metadata: Vec<_> = metadata.into_iter().filter(|(key, _)| !key.starts_with("tokenizer.")).collect();
    out.extend((metadata.len() as u32).to_le_bytes());
    for (key, value) in &metadata {
        out.extend(short(key));
        let is_text = *value == value_text("llama");
        out.extend(if is_text { [&8u32.to_le_bytes()[..], &short("llama")].concat() } else { value.clone() });
    }
    let mut offset = 0u64;
    for tensor in &tensors {
        out.extend(short(&tensor.name));
        out.extend((tensor.dims.len() as u32).to_le_bytes());
        out.extend(tensor.dims.iter().flat_map(|&dim| (dim as u32).to_le_bytes()));
        out.extend(tensor.code.to_le_bytes());
        out.extend(offset.to_le_bytes());
        offset += (tensor.data.len() as u64).next_multiple_of(32);
    }
    for tensor in &tensors {
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(&tensor.data);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    fs::write(&path, out).unwrap();
    assert_eq!(hashes(&Weights::open(&path).unwrap()), tiny());
}

/// Writes the tiny model in three parts, changed by `alter`, which is given the number of the part.
fn split(folder: &std::path::Path, alter: impl Fn(usize, &mut GgufFile)) {
    let whole = GgufFile::tiny();
    let u16 = |n: u16| [&2u32.to_le_bytes()[..], &n.to_le_bytes()].concat();
    for number in 0..3 {
        let mut part = whole.clone();
        if number > 0 {
            part.metadata.clear();
        }
        part.set("split.no", u16(number as u16)).set("split.count", u16(3));
        part.set("split.tensors.count", [&5u32.to_le_bytes()[..], &21i32.to_le_bytes()].concat());
        part.tensors = whole.tensors.iter().skip(number).step_by(3).cloned().collect();
        alter(number, &mut part);
        fs::write(folder.join(format!("m-{:05}-of-00003.gguf", number + 1)), part.bytes()).unwrap();
    }
}

#[rstest]
fn a_split_file_is_read_from_any_of_its_parts(#[values(1, 2, 3)] number: usize) {
    let folder = tempfile::tempdir().unwrap();
    split(folder.path(), |_, _| {});
    let weights = Weights::open(&folder.path().join(format!("m-{number:05}-of-00003.gguf"))).unwrap();
    assert_eq!(hashes(&weights), tiny());
    assert_eq!(weights.files_sha256().len(), 3);
}

#[rstest]
#[case::part_twice(|n: usize, part: &mut GgufFile| { if n == 1 { part.set("split.no", [&2u32.to_le_bytes()[..], &[2, 0]].concat()); } }, "`split.no` is 2 and `split.count` is 3, but its name says that it is part 2 of 3")]
#[case::other_count(|n: usize, part: &mut GgufFile| { if n == 2 { part.set("split.count", [&2u32.to_le_bytes()[..], &[4, 0]].concat()); } }, "`split.count` is 4")]
#[case::tensor_twice(|n: usize, part: &mut GgufFile| { if n == 2 { part.tensors[0].name = "output.weight".into(); } }, "two tensors are named `lm_head.weight`")]
#[case::tensor_missing(|n: usize, part: &mut GgufFile| { if n == 2 { part.tensors.pop(); } }, "`split.tensors.count` is 21, but the parts have 20 tensors")]
#[case::text(|n: usize, part: &mut GgufFile| { if n == 0 { part.set("split.tensors.count", [&8u32.to_le_bytes()[..], &text("x")].concat()); } }, "`split.tensors.count` is not a whole number")]
fn parts_that_do_not_belong_together_are_refused(#[case] alter: fn(usize, &mut GgufFile), #[case] why: &str) {
    let folder = tempfile::tempdir().unwrap();
    split(folder.path(), alter);
    let error = Weights::open(&folder.path().join("m-00001-of-00003.gguf")).unwrap_err().to_string();
    assert!(error.contains(why), "{error}");
}

#[test]
fn a_missing_or_renamed_part_is_named() {
    let folder = tempfile::tempdir().unwrap();
    split(folder.path(), |_, _| {});
    let (first, second) =
        (folder.path().join("m-00001-of-00003.gguf"), folder.path().join("m-00002-of-00003.gguf"));
    fs::rename(&second, folder.path().join("other.gguf")).unwrap();
    let error = Weights::open(&first).unwrap_err().to_string();
    assert!(error.ends_with("m-00002-of-00003.gguf: part 2 of 3 is missing"), "{error}");
    let error = Weights::open(&folder.path().join("other.gguf")).unwrap_err().to_string();
    assert!(error.ends_with("other.gguf: is one of 3 parts, but its name does not say which"), "{error}");
}
