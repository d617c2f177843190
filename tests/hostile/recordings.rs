//! Recordings: `.npz`, `.npy`, `.safetensors` and `.pt` files.

use archives::{archive, ids, npy, patched, stored, torch, with_end, with_wide_end, zeros};
use rstest::rstest;
use zip::CompressionMethod::Deflated;

use super::*;

/// `{'descr': '<f4', 'fortran_order': ORDER, 'shape': SHAPE}`.
fn dict(order: &str, shape: &str) -> String {
    format!("{{'descr': '<f4', 'fortran_order': {order}, 'shape': {shape}}}")
}

/// An archive of ids and an array `model.norm` with this header and 1,024 zero bytes, two rows of 128 numbers.
fn norm(header: &str) -> Vec<u8> {
    stored(&[("input_ids.npy", &ids()), ("model.norm.npy", &npy(header, 1024))])
}

/// An archive of ids and another member.
fn with(name: &str, bytes: &[u8]) -> Vec<u8> {
    stored(&[("input_ids.npy", &ids()), (name, bytes)])
}

/// An archive of ids and an array that is right.
fn plain() -> Vec<u8> {
    norm(&dict("False", "(1, 2, 128)"))
}

/// An archive whose second member says that it has `size` bytes when unpacked.
fn claims(size: u32) -> Vec<u8> {
    let mut bytes = norm(&dict("False", "(1, 2, 128)"));
    let directory = bytes.windows(4).rposition(|four| four == b"PK\x01\x02").unwrap();
    bytes[directory + 24..][..4].copy_from_slice(&size.to_le_bytes());
    bytes
}

#[rstest]
#[case::empty(vec![], "is empty")]
#[case::not_a_zip(b"PK\x03\x04garbage".to_vec(), "dump.npz: ")]
#[case::a_web_page(b"<!DOCTYPE html><p>".to_vec(), "is a web server's answer")]
#[case::no_arrays(stored(&[]), "has no input_ids")]
#[case::no_ids(stored(&[("model.norm.npy", &zeros("<f4", &[1, 2, 128]))]), "has no input_ids")]
#[case::no_sites(stored(&[("input_ids.npy", &ids())]), "dump.npz: ")]
#[case::cut_off(norm(&dict("False", "(1, 2, 128)"))[..700].to_vec(), "dump.npz: ")]
#[case::order_is_1(norm(&dict("1", "(1, 2, 128)")), "fortran_order is neither True nor False")]
#[case::order_is_text(norm(&dict("'False'", "(1, 2, 128)")), "fortran_order is neither True nor False")]
#[case::larger_shape(norm(&dict("False", "(1, 2, 256)")), "has 1024 bytes, but its header says [1, 2, 256]")]
#[case::shape_wraps(norm(&dict("False", "(4611686018427387904, 4, 4)")), "has 1024 bytes, but")]
#[case::shape_beyond_integers(norm(&dict("False", "(99999999999999999999,)")), "is not a whole number")]
#[case::negative_shape(norm(&dict("False", "(-1, 2, 128)")), "is not a whole number")]
#[case::empty_shape(norm(&dict("False", "(1, 0, 128)")), "is empty: [1, 0, 128]")]
#[case::many_axes(norm(&dict("False", &format!("({})", "1,".repeat(4000)))), "model.norm")]
#[case::shape_is_a_number(norm(&dict("False", "256")), "its shape is not a tuple")]
#[case::deep(norm(&"(".repeat(9_000)), "too many brackets")]
#[case::long_header(norm(&" ".repeat(20_000)), "at most 10000 are allowed")]
#[case::header_not_text(
    with("model.norm.npy", b"\x93NUMPY\x01\x00\x02\x00\xff\xff"),
    "its header is not text"
)]
#[case::key_twice(
    norm("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (256,)}"),
    "has the key descr twice"
)]
#[case::unknown_key(norm("{'\u{1b}[2J': 1}"), "\\u{1b}[2J")]
#[case::objects(norm("{'descr': '|O', 'fortran_order': False, 'shape': (256,)}"), "\"|O\"")]
#[case::structured(
    norm("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (256,)}"),
    "structured type"
)]
#[case::big_endian(norm("{'descr': '>f4', 'fortran_order': False, 'shape': (1, 2, 128)}"), "\">f4\"")]
#[case::without_npy(with("model.norm", &zeros("<f4", &[1, 2, 128])), "its name does not end in .npy")]
#[case::above(with("../../model.norm.npy", &zeros("<f4", &[1, 2, 128])), "leads out of the archive")]
#[case::absolute(with("/etc/passwd", b"x"), "`/etc/passwd` leads out of the archive")]
#[case::link(archives::link(), "leads out of the archive")]
#[case::escapes(with("\u{1b}[2J\nPASS", b"x"), "\\u{1b}[2J\\nPASS")]
#[case::long_name(with(&"n".repeat(60_000), b"x"), "its name does not end in .npy")]
#[case::metadata(with("metadata.json", b"[]"), "metadata.json: ")]
#[case::metadata_twice(with("metadata.json", b"{\"a\": \"\", \"a\": \"\"}"), "duplicate key \"a\"")]
#[case::format(with("metadata.json", b"{\"format\": \"\\u001b[2J\"}"), "\\u{1b}[2J")]
#[case::names(with("metadata.json", b"{\"names\": \"\\u001b[2J\"}"), "\\u{1b}[2J")]
#[case::names_are_long(with("metadata.json", format!("{{\"names\": \"{}\"}}", "n".repeat(200_000)).as_bytes()), "nnn…")]
#[case::claims_4_gb(claims(u32::MAX - 1), "dump.npz: ")]
#[case::claims_less(claims(9), "dump.npz: ")]
#[case::bomb(archive(&[("input_ids.npy", &ids()), ("model.norm.npy", &zeros("<f4", &[1, 600_000, 128]))], Deflated), "times its size")]
#[case::smaller_bomb(archive(&[("input_ids.npy", &ids()), ("model.norm.npy", &zeros("<f4", &[1, 400_000, 128]))], Deflated), "times its size")]
#[case::bomb_of_ids(archive(&[("input_ids.npy", &zeros("<i8", &[1, 4_000_000])), ("model.norm.npy", &zeros("<f4", &[1, 2, 128]))], Deflated), "dump.npz: ")]
#[case::ids_are_floats(stored(&[("input_ids.npy", &zeros("<f4", &[1, 2])), ("model.norm.npy", &zeros("<f4", &[1, 2, 128]))]), "must hold integers")]
#[case::ids_of_4_axes(stored(&[("input_ids.npy", &zeros("<i8", &[1, 1, 1, 2])), ("model.norm.npy", &zeros("<f4", &[1, 2, 128]))]), "not [b, s]")]
#[case::sites_of_integers(with("model.norm.npy", &zeros("<i8", &[1, 2, 128])), "model.norm")]
#[case::every_token_masked(with("attention_mask.npy", &zeros("<i8", &[1, 2])), "dump.npz: ")]
#[case::encrypted(patched(plain(), 8, Some(6), &[1, 0]), "decrypt")]
#[case::encrypted_in_the_directory(patched(plain(), 8, None, &[1, 0]), "decrypt")]
#[case::unknown_compression(patched(plain(), 10, Some(8), &[12, 0]), "compression method not supported")]
#[case::one_header_for_all(patched(plain(), 42, None, &[0; 4]), "dump.npz: ")]
#[case::directory_past_the_end(with_end(plain(), 16, &[0xff, 0xff, 0xff, 0x7f]), "dump.npz: ")]
#[case::more_members_than_there_are(with_end(plain(), 8, &[0x60, 0xea, 0x60, 0xea]), "dump.npz: ")]
#[case::other_disks(with_end(plain(), 4, &[3, 0, 3, 0]), "dump.npz: ")]
#[case::claims_2_pow_60_members(with_wide_end(&plain(), 1 << 60), "dump.npz: ")]
#[case::archive_in_an_archive(with("model.norm.npy", &plain()), "not an .npy array")]
#[case::archive_beside_arrays(with("a.npz", &plain()), "a.npz is not an array")]
#[case::folder(with("a/", b""), "a/ is not an array")]
#[case::version_9(with("model.norm.npy", b"\x93NUMPY\x09\x00\x00\x00\x00\x00"), "not an .npy array")]
#[case::complex(norm("{'descr': '<c8', 'fortran_order': False, 'shape': (1, 2, 64)}"), "\"<c8\"")]
#[case::long_doubles(norm("{'descr': '<f16', 'fortran_order': False, 'shape': (1, 2, 32)}"), "\"<f16\"")]
#[case::negative_ids(stored(&[("input_ids.npy", &[&ids()[..ids().len() - 8], &(-1i64).to_le_bytes()[..]].concat()), ("model.norm.npy", &zeros("<f4", &[1, 2, 128]))]), "input_ids contains -1")]
#[case::ids_outside(stored(&[("input_ids.npy", &[&ids()[..ids().len() - 8], &(1i64 << 30).to_le_bytes()[..]].concat()), ("model.norm.npy", &zeros("<f4", &[1, 2, 128]))]), "outside this model's vocabulary")]
#[case::no_axes(with("model.norm.npy", &zeros("<f4", &[])), "model.norm")]
fn a_hostile_npz_file_is_refused(#[case] bytes: Vec<u8>, #[case] why: &str) {
    refused(one("dump.npz", bytes).path(), &["run", "01", "--dump", "dump.npz"], why);
}

/// The calls that make a tensor of six numbers of this shape, strides and offset, under the name `a`.
fn pickled(shape: &[u8], strides: &[u8], offset: u8) -> Vec<u8> {
    let tuple = |numbers: &[u8]| {
        [&b"("[..], &numbers.iter().flat_map(|&n| [b'K', n]).collect::<Vec<u8>>(), b"t"].concat()
    };
    let start = b"\x80\x02}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06tQ";
    [start, &[b'K', offset][..], &tuple(shape), &tuple(strides), b"\x89}tRs."].concat()
}

#[rstest]
#[case::empty(vec![], "is empty")]
#[case::old(b"\x80\x02\x8a\x0a".to_vec(), "before version 1.6")]
#[case::not_an_archive(b"\x80\x04hello".to_vec(), "is not a file of torch.save")]
#[case::code(
    torch(b"\x80\x02}X\x01\x00\x00\x00acos\nsystem\nX\x0a\x00\x00\x00touch here\x85Rs."),
    "an object of os.system"
)]
#[case::class_with_escapes(torch(b"\x80\x02}X\x01\x00\x00\x00ac\x1b[2J\nx\ns."), "\\u{1b}[2J")]
#[case::name_with_escapes(torch(b"\x80\x02}X\x04\x00\x00\x00\x1b[2JK\x01s."), "\\u{1b}[2J")]
#[case::long_string(torch(b"\x80\x02}X\xff\xff\xff\xff"), "cut off")]
#[case::garbage(torch(b"\xff\xff\xff"), "unknown op-code 255")]
#[case::doubling(torch(&[&b"\x80\x02N"[..], &[b'q', 0, b'h', 0, 0x86].repeat(28), b"."].concat()), "repeats objects too often")]
#[case::deep(torch(&[&b"\x80\x02N"[..], &[0x85; 1_000_000], b"."].concat()), "inside each other")]
#[case::past_the_end(torch(&pickled(&[2, 3], &[3, 1], 1)), "ends past its 6 values")]
#[case::expanded(torch(&pickled(&[255, 255, 255, 255], &[0, 0, 0, 0], 0)), "but only 6 values")]
#[case::no_storage(stored(&[("a/data.pkl", &pickled(&[2, 3], &[3, 1], 0))]), "the values of `a` are missing")]
#[case::two_pickles(stored(&[("a/data.pkl", b"\x80\x02}."), ("b/data.pkl", b"\x80\x02}.")]), "one member data.pkl")]
#[case::array_as_pickle(torch(&zeros("<f4", &[2])), "unknown op-code 147")]
#[case::empty_pickle(torch(b""), "cut off")]
#[case::without_end(torch(b"\x80\x02}"), "cut off")]
#[case::list(torch(b"\x80\x02]q\x00."), "does not contain a dict")]
#[case::list_in_itself(torch(b"\x80\x02]q\x00h\x00a."), "dump.pt: ")]
#[case::memo_of_2_pow_32(torch(b"\x80\x02Nr\xff\xff\xff\xff."), "dump.pt: ")]
#[case::number_of_2_gb(torch(b"\x80\x02}X\x01\x00\x00\x00a\x8b\xff\xff\xff\x7f"), "dump.pt: ")]
#[case::extension(torch(b"\x80\x02\x82\x01."), "unknown op-code 130")]
#[case::nothing_to_pop(torch(b"\x80\x02ss."), "dump.pt: ")]
#[case::big_endian(stored(&[("a/data.pkl", b"\x80\x02}."), ("a/byteorder", b"big")]), "not little-endian")]
fn a_hostile_file_of_torch_is_refused(#[case] bytes: Vec<u8>, #[case] why: &str) {
    let folder = one("dump.pt", bytes);
    refused(folder.path(), &["run", "01", "--dump", "dump.pt"], why);
    assert!(!folder.path().join("here").exists());
}

#[rstest]
#[case::not_an_array("a.txt", b"x", "its name does not end in .npy")]
#[case::not_npy("a.npy", b"x", "not an .npy array")]
#[case::escapes("\u{1b}[2J", b"x", "\\u{1b}[2J")]
fn a_hostile_directory_of_npy_files_is_refused(#[case] name: &str, #[case] bytes: &[u8], #[case] why: &str) {
    refused(one(name, bytes).path(), &["run", "01", "--dump", "."], why);
}

/// Rows of one token: a small file, and a large attention.
#[test]
fn a_recording_of_very_many_tokens_is_refused() {
    let rows = 50_000;
    let site = zeros("<f4", &[1, rows, 1]);
    let bytes = archive(&[("input_ids.npy", &zeros("<i8", &[1, rows])), ("model.norm.npy", &site)], Deflated);
    refused(one("dump.npz", bytes).path(), &["run", "03", "--dump", "dump.npz"], "50000 positions");
}

/// A safetensors file with this header and so many zero bytes.
fn tensors(header: impl AsRef<[u8]>, bytes: usize) -> Vec<u8> {
    let header = header.as_ref();
    [&(header.len() as u64).to_le_bytes()[..], header, &vec![0; bytes]].concat()
}

#[rstest]
#[case::only_spaces(tensors(" ".repeat(1000), 0), "invalid JSON")]
#[case::mark_before_the_header(tensors("\u{feff}{}", 0), "invalid JSON")]
#[case::bytes_after_the_last(
    tensors(r#"{"a": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]}}"#, 12),
    "not fully covered"
)]
#[case::fraction(tensors(r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8.5]}}"#, 8), "8.5")]
#[case::negative(tensors(r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}}"#, 8), "-8")]
#[case::three_offsets(
    tensors(r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4, 8]}}"#, 8),
    "invalid length 3"
)]
#[case::half_a_character(
    tensors(r#"{"\ud800": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}"#, 8),
    "invalid JSON"
)]
#[case::metadata_number(tensors(r#"{"__metadata__": {"a": 1}}"#, 0), "expected a string")]
#[case::header_of_90_mb(tensors(" ".repeat(90 << 20), 0), "at most 16777216 are allowed")]
#[case::many_axes(tensors(format!(r#"{{"input_ids": {{"dtype": "I64", "shape": [{}1], "data_offsets": [0, 8]}}}}"#, "1,".repeat(30_000)), 8), "dump.safetensors: ")]
fn a_hostile_recording_in_safetensors_is_refused(#[case] bytes: Vec<u8>, #[case] why: &str) {
    let folder = one("dump.safetensors", bytes);
    refused(folder.path(), &["run", "01", "--dump", "dump.safetensors"], why);
}
