//! The cache of keys and values.

use candle_core::DType;
use candle_nn::kv_cache::KvCache;

use super::{spread, tensor, values};

/// `[1, 2, n, 4]`, starting at another number of the sequence for each `seed`.
fn piece(n: usize, seed: usize, dtype: DType) -> candle_core::Tensor {
    tensor(&spread(8 * n + seed)[seed..], &[1, 2, n, 4], dtype)
}

#[test]
fn a_clone_shares_storage_so_each_overwrites_what_the_other_appends() {
    let mut original = KvCache::new(2, 8);
    let first = piece(3, 0, DType::F32);
    original.append(&first, &first).unwrap();
    let mut copy = original.clone();
    let (one, two) = (piece(1, 5, DType::F32), piece(1, 9, DType::F32));
    let (k, _) = copy.append(&one, &one).unwrap();
    assert_eq!(values(&k.narrow(2, 3, 1).unwrap()), values(&one));
    original.append(&two, &two).unwrap();
    // The copy's last position is now the original's.
    assert_eq!(values(&copy.k().unwrap().unwrap().narrow(2, 3, 1).unwrap()), values(&two));
}

#[test]
fn the_capacity_is_a_growth_step_and_reset_keeps_what_has_grown() {
    let mut cache = KvCache::new(2, 4);
    let x = piece(9, 0, DType::F32);
    let (k, _) = cache.append(&x, &x).unwrap();
    assert_eq!((k.dims(), cache.k_cache().max_seq_len()), (&[1, 2, 9, 4][..], 12));
    cache.reset();
    assert_eq!((cache.current_seq_len(), cache.k_cache().max_seq_len()), (0, 12));
}

#[test]
fn an_appended_tensor_must_be_contiguous_and_have_the_dtype_of_the_first() {
    let mut cache = KvCache::new(2, 8);
    let turned = piece(4, 0, DType::F32).transpose(2, 3).unwrap();
    assert!(cache.append(&turned, &turned).is_err());
    let mut cache = KvCache::new(2, 8);
    let (wide, narrow) = (piece(2, 0, DType::F32), piece(2, 0, DType::BF16));
    cache.append(&wide, &wide).unwrap();
    assert!(cache.append(&narrow, &narrow).is_err());
}

#[test]
fn the_returned_view_is_not_contiguous() {
    let mut cache = KvCache::new(2, 8);
    let x = piece(3, 0, DType::F32);
    let (k, v) = cache.append(&x, &x).unwrap();
    assert!(!k.is_contiguous() && !v.is_contiguous());
    assert_eq!(values(&k), values(&x));
}
