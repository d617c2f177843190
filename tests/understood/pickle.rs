//! Files of `torch.save`. Those in the folder `torch` were written by scripts/make_torch_recordings.py.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use rstest::rstest;
use tempfile::tempdir;
use zip::write::SimpleFileOptions;

use crate::run::Run;

fn torch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/understood/torch").join(name)
}

#[rstest]
#[case::plain("plain.pt")]
#[case::ordered("ordered.pth")]
#[case::views("views.pt")]
#[case::parameter("parameter.pt")]
fn files_of_torch_are_read(#[case] name: &str) {
    let run = Run::of(&torch(name), &["--strict"]);
    assert_eq!((run.code, run.notes()), (0, vec![]), "{}", run.text);
    assert!(run.text.contains("coverage: 4 of 71 sites"), "{}", run.text);
}

#[test]
fn a_mistake_in_a_file_of_torch_fails() {
    let run = Run::of(&torch("wrong.pt"), &[]);
    assert!(run.code == 1 && run.failed().contains(&"02"), "{}", run.text);
}

#[rstest]
#[case("with_a_dict.pt", "with_a_dict.pt: `settings` is a dict, not a tensor")]
#[case("old.pt", "old.pt: PyTorch wrote it before version 1.6: load it and save it again with torch.save")]
fn other_files_of_torch_are_refused(#[case] name: &str, #[case] why: &str) {
    let run = Run::of(&torch(name), &[]);
    assert!(run.code == 2 && run.text.contains(why), "{}", run.text);
}

/// `{"a": tensor}` with a tensor of this shape, these strides and this offset, in a storage of six numbers.
fn pickled(shape: &[u8], strides: &[u8], offset: u8) -> Vec<u8> {
    let tuple = |numbers: &[u8]| {
        let numbers: Vec<u8> = numbers.iter().flat_map(|&n| [b'K', n]).collect();
        [&b"("[..], &numbers, b"t"].concat()
    };
    [
        b"\x80\x02}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06tQ",
        &[b'K', offset][..],
        &tuple(shape),
        &tuple(strides),
        b"\x89}tRs.",
    ]
    .concat()
}

/// A file of `torch.save` with these members.
fn archive(folder: &Path, members: &[(&str, &[u8])]) -> PathBuf {
    let file = folder.join("dump.pt");
    let mut zip = zip::ZipWriter::new(File::create(&file).unwrap());
    for (name, bytes) in members {
        let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        zip.start_file(*name, stored).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
    file
}

const SIX: [u8; 24] = [0; 24];

#[rstest]
#[case::past_the_end(&pickled(&[2, 3], &[3, 1], 1), "`a` of shape [2, 3] ends past its 6 values")]
#[case::long_strides(&pickled(&[2, 3], &[200, 1], 0), "`a` of shape [2, 3] ends past its 6 values")]
#[case::expanded(&pickled(&[255, 255, 255, 255], &[0, 0, 0, 0], 0), "`a` has shape [255, 255, 255, 255], but only 6 values: save a contiguous copy")]
#[case::strides_of_another_rank(&pickled(&[2, 3], &[1], 0), "`a` is not a tensor as torch.save writes it")]
#[case::code(
    b"\x80\x02}X\x01\x00\x00\x00acos\nsystem\nX\x0a\x00\x00\x00touch here\x85Rs.",
    "`a` is an object of os.system, not a tensor"
)]
#[case::escape(b"\x80\x02}X\x06\x00\x00\x00\x1b[31maK\x01s.", "is a number, not a tensor")]
#[case::cut_off(b"\x80\x02}X\xff\xff\xff\xff", "its pickle is cut off")]
#[case::garbage(b"\xff\xff\xff", "its pickle cannot be read: unknown op-code 255")]
fn hostile_pickles_are_refused(#[case] pickle: &[u8], #[case] why: &str) {
    let folder = tempdir().unwrap();
    let file = archive(folder.path(), &[("a/data.pkl", pickle), ("a/data/0", &SIX)]);
    let run = Run::of(&file, &[]);
    assert!(run.code == 2 && run.text.contains(why) && !run.text.contains('\x1b'), "{:?}", run.text);
    assert!(!folder.path().join("here").exists());
}

#[rstest]
#[case::missing_values(&[("a/data.pkl", &pickled(&[2, 3], &[3, 1], 0)[..])], "the values of `a` are missing")]
#[case::short_values(&[("a/data.pkl", &pickled(&[2, 3], &[3, 1], 0)[..]), ("a/data/0", &SIX[..20])], "`a` has 6 values of F32, but their member has 20 bytes")]
#[case::big_endian(&[("a/data.pkl", &pickled(&[2, 3], &[3, 1], 0)[..]), ("a/data/0", &SIX[..]), ("a/byteorder", &b"big"[..])], "its numbers are not little-endian")]
#[case::two_pickles(&[("a/data.pkl", &b"\x80\x02}."[..]), ("b/data.pkl", &b"\x80\x02}."[..])], "it needs one member data.pkl")]
#[case::program(&[("a/data.pkl", &b"\x80\x02}."[..]), ("a/code/__torch__.py", &b""[..])], "it is a TorchScript program")]
#[case::empty(&[("a/data.pkl", &b"\x80\x02}."[..])], "it has no input_ids")]
fn damaged_archives_are_refused(#[case] members: &[(&str, &[u8])], #[case] why: &str) {
    let folder = tempdir().unwrap();
    let run = Run::of(&archive(folder.path(), members), &[]);
    assert!(run.code == 2 && run.text.contains(why), "{}", run.text);
}

#[test]
fn a_file_that_is_not_an_archive_is_refused() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("dump.pt");
    fs::write(&file, b"\x80\x04hello").unwrap();
    let run = Run::of(&file, &[]);
    assert!(run.code == 2 && run.text.contains("dump.pt: it is not a file of torch.save"), "{}", run.text);
}
