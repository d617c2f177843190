//! Pickles of tensors, and pickles of anything else.

use rstest::rstest;

use super::*;

/// A pickle of protocol 2.
fn pickle(operations: &[u8]) -> Vec<u8> {
    [b"\x80\x02", operations, b"."].concat()
}

/// `{}`, with `operations` that make a value for the key `a`.
fn of_value(operations: &[u8]) -> Vec<u8> {
    pickle(&[b"}X\x01\x00\x00\x00a", operations, b"s"].concat())
}

/// The arguments and the call that make a tensor `[2, 3]` of 6 entries.
const TENSOR: &[u8] = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06tQK\x00K\x02K\x03\x86K\x03K\x01\x86\x89}tR";

#[test]
fn a_tensor_is_read() {
    let found = tensors(&of_value(TENSOR)).unwrap();
    let want = Pickled {
        name: "a".into(),
        dtype: Dtype::F32,
        shape: vec![2, 3],
        strides: vec![3, 1],
        offset: 0,
        storage: "0".into(),
        entries: 6,
    };
    assert_eq!(found, [want]);
}

#[rstest]
#[case::code(
    of_value(b"cos\nsystem\nX\x02\x00\x00\x00ls\x85R"),
    "`a` is an object of os.system, not a tensor"
)]
#[case::class(of_value(b"cos\nsystem\n"), "`a` is the class os.system, not a tensor")]
#[case::number(of_value(b"K\x01"), "`a` is a number, not a tensor")]
#[case::text(of_value(b"X\x01\x00\x00\x00b"), "`a` is a string, not a tensor")]
#[case::dict(of_value(b"}"), "`a` is a dict, not a tensor")]
#[case::key(pickle(b"}K\x01Ns"), "its dict has a number as a key")]
#[case::no_dict(pickle(TENSOR), "it does not contain a dict: write torch.save({name: tensor})")]
#[case::few_arguments(
    of_value(b"ctorch._utils\n_rebuild_tensor_v2\n)R"),
    "`a` is an object of torch._utils._rebuild_tensor_v2, not a tensor"
)]
#[case::other_arguments(
    of_value(b"ctorch._utils\n_rebuild_tensor_v2\n(NNNNtR"),
    "`a` is not a tensor as torch.save writes it"
)]
#[case::no_arguments_of_a_parameter(
    of_value(b"ctorch._utils\n_rebuild_parameter\n)R"),
    "`a` is an object of torch._utils._rebuild_parameter, not a tensor"
)]
#[case::long_string(pickle(b"X\xff\xff\xff\xffa"), "its pickle is cut off")]
#[case::long_number(pickle(b"\x8a\x09123456789"), "its pickle has a number of more than 64 bits")]
#[case::unknown_operation(pickle(b"\x95"), "its pickle cannot be read: unknown op-code 149")]
#[case::empty(vec![], "its pickle is cut off")]
#[case::nothing(pickle(b""), "its pickle is empty")]
fn anything_but_tensors_is_refused(#[case] bytes: Vec<u8>, #[case] why: &str) {
    assert_eq!(tensors(&bytes), Err(why.to_owned()));
}

/// A tuple of two copies of the last tuple, forty times, would have 2⁴⁰ entries.
#[test]
fn a_pickle_that_doubles_is_refused() {
    let twice = [b'q', 0, b'h', 0, 0x86];
    let bytes = pickle(&[b"N".to_vec(), twice.repeat(28)].concat());
    assert_eq!(tensors(&bytes), Err("its pickle repeats objects too often".into()));
}

/// A long string that is copied a thousand times.
#[test]
fn a_pickle_that_copies_a_long_string_is_refused() {
    let text = [&b"X\x00\x00\x10\x00"[..], &vec![b'a'; 1 << 20], &[b'q', 0]].concat();
    let bytes = pickle(&[text, [b'h', 0].repeat(1000)].concat());
    assert_eq!(tensors(&bytes), Err("its pickle repeats objects too often".into()));
}

#[rstest]
#[case(0x85)]
#[case(b'Q')]
fn deep_nesting_is_refused(#[case] operation: u8) {
    let bytes = pickle(&[vec![b'N'], vec![operation; 1_000_000]].concat());
    assert_eq!(tensors(&bytes), Err("its pickle has more than 32 objects inside each other".into()));
}

#[test]
fn a_pickle_that_does_not_end_is_refused() {
    let bytes = vec![b'N'; OPERATIONS + 1];
    assert_eq!(tensors(&bytes), Err("its pickle has more than 4194304 operations".into()));
}
