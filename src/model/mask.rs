//! The attention mask. Candle has no mask for a cache with padding, so this one is ours: key j is visible to
//! query i if and only if j ≤ i + (keys − queries), the distance is less than the window, if there is one, and
//! slot j contains a token.
//!
//! Without the offset a decode step would see only the first token. For masked scores, −inf is added before
//! softmax. For a query that sees no key (padding on the left) softmax would divide 0 by 0, so its row of
//! probabilities is 0 by definition.

use candle_core::{DType, Device, Tensor};

use super::path::Attention;
use crate::Result;

/// Which keys each query of one forward pass may see; the same in every layer and head.
#[derive(Debug)]
pub struct Mask {
    /// Keys − queries if there is neither padding nor a key that only the window hides; a causal kernel needs
    /// nothing else.
    pub(super) causal: Option<usize>,
    /// 0 where visible, −inf where masked, `[b, 1, s, t]`; `None` if all keys are visible or the kernel of
    /// this path masks by itself.
    pub(super) bias: Option<Tensor>,
    /// 1 for a query that sees no key, `[b, 1, s, 1]` u8; `None` if every query sees a key.
    blind: Option<Tensor>,
}

impl Mask {
    /// The mask of the last `queries` slots of a cache. `real`, `[b][t]`, says which slots contain a token,
    /// including those of the queries. `window` is the largest number of slots that a query sees.
    pub fn new(
        real: &[Vec<bool>],
        queries: usize,
        window: Option<usize>,
        path: Attention,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let (batch, keys) = (real.len(), real.first().map_or(0, Vec::len));
        let offset = keys - queries;
        let window = window.unwrap_or(usize::MAX);
        let partial = keys > window || real.iter().flatten().any(|real| !real);
        if !partial && (queries == 1 || path == Attention::Fused) {
            return Ok(Self { causal: Some(offset), bias: None, blind: None });
        }

        let mut bias = Vec::with_capacity(batch * queries * keys);
        let mut blind = Vec::with_capacity(batch * queries);
        for slots in real {
            for query in 0..queries {
                let own = query + offset;
                let visible = |key: usize| key <= own && own - key < window && slots[key];
                bias.extend((0..keys).map(|key| if visible(key) { 0f32 } else { f32::NEG_INFINITY }));
                blind.push(u8::from(!(0..keys).any(visible)));
            }
        }
        let any_blind = blind.contains(&1);
        let bias = Tensor::from_vec(bias, (batch, 1, queries, keys), device)?.to_dtype(dtype)?;
        let blind = any_blind.then(|| Tensor::from_vec(blind, (batch, 1, queries, 1), device)).transpose()?;
        Ok(Self { causal: (!partial).then_some(offset), bias: Some(bias), blind })
    }

    /// Sets the masked scores to −inf: `[b, heads, s, t]`.
    pub fn bar(&self, scores: Tensor) -> Result<Tensor> {
        Ok(match &self.bias {
            None => scores,
            Some(bias) => scores.broadcast_add(bias)?,
        })
    }

    /// Sets the probabilities of queries that see no key to 0: `[b, heads, s, t]`.
    pub fn clear_blind(&self, probs: Tensor) -> Result<Tensor> {
        Ok(match &self.blind {
            None => probs,
            Some(blind) => blind.broadcast_as(probs.shape())?.where_cond(&probs.zeros_like()?, &probs)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visible(real: &[Vec<bool>], queries: usize, window: Option<usize>) -> Vec<Vec<Vec<bool>>> {
        let mask = Mask::new(real, queries, window, Attention::Plain, DType::F32, &Device::Cpu).unwrap();
        let bias = mask.bias.unwrap().squeeze(1).unwrap().to_vec3::<f32>().unwrap();
        let row = |row: Vec<f32>| row.into_iter().map(|bias| bias == 0.0).collect();
        bias.into_iter().map(|rows| rows.into_iter().map(row).collect()).collect()
    }

    #[test]
    fn with_a_cache_the_last_query_sees_every_key() {
        assert_eq!(visible(&[vec![true; 5]], 2, None), [[[true, true, true, true, false], [true; 5]]]);
    }

    #[test]
    fn padding_is_invisible_on_either_side() {
        let (left, right) = (vec![false, true, true], vec![true, true, false]);
        assert_eq!(visible(&[left], 3, None)[0], [[false; 3], [false, true, false], [false, true, true]]);
        assert_eq!(visible(&[right], 2, None)[0], [[true, true, false]; 2]);
    }

    #[test]
    fn a_window_hides_the_keys_before_it() {
        let real = [vec![true; 5]];
        let both = [[false, true, true, true, false], [false, false, true, true, true]];
        assert_eq!(visible(&real, 2, Some(3)), [both]);
        assert_eq!(visible(&real, 2, Some(4))[0][0], [true, true, true, true, false]);
        assert_eq!(visible(&real, 1, Some(3)), [[both[1]]]);
    }

    #[test]
    fn a_kernel_that_masks_by_itself_gets_a_mask_tensor_if_the_window_hides_a_key() {
        let mask = |queries, window| {
            Mask::new(&[vec![true; 5]], queries, window, Attention::Fused, DType::F32, &Device::Cpu).unwrap()
        };
        for queries in [1, 3] {
            assert_eq!(
                (mask(queries, Some(5)).causal, mask(queries, Some(4)).causal),
                (Some(5 - queries), None)
            );
            assert!(mask(queries, Some(5)).bias.is_none() && mask(queries, Some(4)).bias.is_some());
        }
    }

    #[test]
    fn no_mask_tensor_is_created_for_one_query_or_a_causal_kernel() {
        let mask = |queries, path| {
            Mask::new(&[vec![true; 5]], queries, None, path, DType::F32, &Device::Cpu).unwrap()
        };
        assert!(mask(1, Attention::Plain).bias.is_none());
        assert!(mask(3, Attention::Fused).bias.is_none());
        assert_eq!(mask(3, Attention::Fused).causal, Some(2));
    }

    #[test]
    fn a_query_that_sees_no_key_gets_zeros() {
        let mask =
            Mask::new(&[vec![false, true]], 2, None, Attention::Plain, DType::F32, &Device::Cpu).unwrap();
        let probs = Tensor::new(&[[[[f32::NAN, f32::NAN], [0.0, 1.0]]]], &Device::Cpu).unwrap();
        let cleared = mask.clear_blind(probs).unwrap().flatten_all().unwrap();
        assert_eq!(cleared.to_vec1::<f32>().unwrap(), [0.0, 0.0, 0.0, 1.0]);
    }
}
