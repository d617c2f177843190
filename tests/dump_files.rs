//! Damaged or inconsistent recording files. Each is refused with exit code 2, an error line and a hint.

mod program;
mod recorded;

use std::fs;
use std::io::Write;
use std::path::Path;

use program::{home, rbees_in, stderr, stdout};
use recorded::{Arrays, short, write, write_npz};
use rstest::rstest;
use tempfile::tempdir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

fn printed(dump: &Path) -> (String, i32) {
    let output =
        rbees_in(Path::new("/"), &home(), &["run", "--dump", dump.to_str().unwrap()]).output().unwrap();
    (stdout(&output) + &stderr(&output), output.status.code().unwrap())
}

/// An `.npy` file with this header and this number of zero bytes.
fn npy(dict: &str, zeros: usize) -> Vec<u8> {
    let length = (dict.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], dict.as_bytes(), &vec![0; zeros]].concat()
}

const IDS: &str = "{'descr': '<i8', 'fortran_order': False, 'shape': (1, 2), }\n";

#[rstest]
#[case::more_data_than_the_file_has("(1, 2, 128)", 8, "has 8 bytes, but its header says [1, 2, 128] of F32")]
#[case::size_that_overflows(
    "(4611686018427387904, 4, 4)",
    8,
    "has 8 bytes, but its header says [4611686018427387904, 4, 4] of F32"
)]
#[case::empty("(1, 0, 128)", 0, "model.norm is empty: [1, 0, 128]")]
#[case::dimension_larger_than_any_integer(
    "(99999999999999999999,)",
    8,
    "its shape has an entry that is not a whole number"
)]
fn a_header_whose_shape_does_not_match_its_data_is_refused(
    #[case] shape: &str,
    #[case] zeros: usize,
    #[case] why: &str,
) {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("input_ids.npy"), npy(IDS, 16)).unwrap();
    let dict = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
    fs::write(folder.path().join("model.norm.npy"), npy(&dict, zeros)).unwrap();
    let (text, code) = printed(folder.path());
    assert_eq!(code, 2, "{text}");
    assert!(text.contains(why), "{text}");
}

#[rstest]
#[case::safetensors(write)]
#[case::npz(write_npz)]
fn a_truncated_file_is_refused_with_an_error_and_a_hint(
    #[case] form: fn(&Path, &Arrays) -> std::path::PathBuf,
) {
    let folder = tempdir().unwrap();
    let dump = form(folder.path(), &short());
    let bytes = fs::read(&dump).unwrap();
    for kept in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&dump, &bytes[..kept]).unwrap();
        let (text, code) = printed(&dump);
        assert_eq!(code, 2, "{kept}: {text}");
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            matches!(&lines[..], [error, hint] if error.starts_with("error: /") && hint.starts_with("hint: ")),
            "{text}"
        );
    }
}

#[rstest]
#[case("model.safetensors.index.json", "its name is not that of a recording")]
#[case("nowhere.npz", "no such file")]
fn a_path_that_is_not_a_dump_is_refused(#[case] name: &str, #[case] why: &str) {
    let folder = tempdir().unwrap();
    let file = folder.path().join(name);
    if !name.starts_with("nowhere") {
        fs::write(&file, "{}").unwrap();
    }
    let (text, code) = printed(&file);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains(why), "{text}");
}

/// A reader that only tests for `True` would read any other value as False.
#[rstest]
#[case(
    "{'descr': '<f4', 'fortran_order': 1, 'shape': (1, 2, 128), }",
    "its fortran_order is neither True nor False"
)]
#[case(
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 128), 'shape': (1, 2, 128), }",
    "its header has the key shape twice"
)]
fn a_header_with_an_unsupported_order_or_a_duplicate_key_is_refused(#[case] dict: &str, #[case] why: &str) {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("input_ids.npy"), npy(IDS, 16)).unwrap();
    fs::write(folder.path().join("model.norm.npy"), npy(dict, 1024)).unwrap();
    let (text, code) = printed(folder.path());
    assert_eq!(code, 2, "{text}");
    assert!(text.contains(&format!("model.norm.npy: {why}")), "{text}");
}

#[rstest]
#[case::name_without_npy("model.norm", "is not an array: its name does not end in .npy")]
#[case::duplicate_key_in_metadata("metadata.json", "duplicate key \"dtype\"")]
fn an_invalid_archive_member_is_refused(#[case] name: &str, #[case] why: &str) {
    let folder = tempdir().unwrap();
    let dump = folder.path().join("dump.npz");
    let mut zip = ZipWriter::new(fs::File::create(&dump).unwrap());
    for (name, bytes) in
        [("input_ids.npy", npy(IDS, 16)), (name, b"{\"dtype\": \"f32\", \"dtype\": \"f16\"}".to_vec())]
    {
        zip.start_file(name, SimpleFileOptions::default()).unwrap();
        zip.write_all(&bytes).unwrap();
    }
    zip.finish().unwrap();
    let (text, code) = printed(&dump);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains(why), "{text}");
}

/// Zeros deflate to a thousandth of their size. A small file must not become a large array in memory.
#[test]
fn an_archive_that_inflates_to_far_more_than_its_size_is_refused() {
    let folder = tempdir().unwrap();
    let dump = folder.path().join("dump.npz");
    let mut zip = ZipWriter::new(fs::File::create(&dump).unwrap());
    zip.start_file("input_ids.npy", SimpleFileOptions::default()).unwrap();
    zip.write_all(&npy(IDS, 16)).unwrap();
    zip.start_file("model.norm.npy", SimpleFileOptions::default()).unwrap();
    zip.write_all(&npy("{'descr': '<f4', 'fortran_order': False, 'shape': (600000, 128), }", 0)).unwrap();
    let zeros = vec![0; 1 << 20];
    (0..293).for_each(|_| zip.write_all(&zeros).unwrap());
    zip.finish().unwrap();
    let (text, code) = printed(&dump);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("times its size: write it uncompressed"), "{text}");
}
