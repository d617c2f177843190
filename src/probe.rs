//! The interface between a model and the harness.
//!
//! A model hands every named tensor of its forward pass, a [`Site`], to a [`Probe`] and continues with the
//! tensor that the probe returns. Production uses `()` as its probe, which wants nothing and costs nothing.
//!
//! Shapes of sites (b batch, s query positions, t key positions): hidden-width sites
//! `[b, s, width]`; `q_rope` `[b, heads, s, head_dim]`; `k_rope` `[b, kv_heads, s, head_dim]`;
//! `q_norm` and `k_norm` like the projections before them; `scores` and `probs` `[b, heads, s, t]`; `context` `[b, s, heads * head_dim]`;
//! logits (`lm_head`, and `lm_head.softcap` after a softcap) `[b, s, vocab]`.

mod arithmetic;
mod kinds;
mod shake;
mod site;
mod stage;

pub use arithmetic::Arithmetic;
pub use kinds::Kinds;
pub use shake::Shake;
pub use site::{Kind, Site};
pub use stage::StageName;

use std::fmt;
use std::sync::Arc;

use candle_core::Tensor;

use crate::Result;

/// Receives every site of a forward pass.
pub trait Probe {
    /// Whether the probe wants this kind of site. A model may skip the work for kinds that it does not want:
    /// fused attention never computes `scores`.
    fn wants(&self, kind: Kind) -> bool;

    /// Takes the tensor at `site` and returns the one that the model continues with: same shape, dtype and
    /// device, contiguous.
    fn tap(&mut self, site: Site, tensor: Tensor) -> Result<Tensor>;
}

/// The probe of production: it records nothing.
impl Probe for () {
    #[inline(always)]
    fn wants(&self, _: Kind) -> bool {
        false
    }

    #[inline(always)]
    fn tap(&mut self, _: Site, tensor: Tensor) -> Result<Tensor> {
        Ok(tensor)
    }
}

impl<P: Probe + ?Sized> Probe for &mut P {
    fn wants(&self, kind: Kind) -> bool {
        (**self).wants(kind)
    }

    fn tap(&mut self, site: Site, tensor: Tensor) -> Result<Tensor> {
        (**self).tap(site, tensor)
    }
}

/// The order of the last axis of a site in a model, compared with the reference's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Hugging Face's order.
    Reference,
    /// Inside each head, the reference's elements i and i + head_dim/2 are at 2i and 2i + 1: the row order of
    /// GGUF's q and k weights, which `rope_i` rotates.
    Interleaved {
        /// Width of one head.
        head_dim: usize,
    },
    /// Inside each head, the reference's element j is at index `order[j]`: `[head_dim]`.
    Permuted(Arc<[usize]>),
}

impl fmt::Display for Layout {
    /// `in the reference's order`, `as in GGUF, i next to i + head_dim/2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Layout::Reference => f.write_str("in the reference's order"),
            Layout::Interleaved { .. } => f.write_str("as in GGUF, i next to i + head_dim/2"),
            Layout::Permuted(order) => match (0..order.len()).find(|&j| order[j] != j) {
                Some(j) => write!(f, "in their own order within each head (element {j} is at {})", order[j]),
                None => f.write_str("in the reference's order"),
            },
        }
    }
}

impl Layout {
    /// For each of the reference's `width` columns, its column in the model's tensor; `None` if they are the
    /// same.
    pub fn columns(&self, width: usize) -> Option<Vec<usize>> {
        match self {
            Layout::Reference => None,
            &Layout::Interleaved { head_dim } => {
                let half = head_dim / 2;
                let column = |j: usize| j / head_dim * head_dim + j % half * 2 + j % head_dim / half;
                Some((0..width).map(column).collect())
            }
            Layout::Permuted(order) => {
                let d = order.len();
                Some((0..width).map(|j| j / d * d + order[j % d]).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Layout;

    #[test]
    fn interleaved_columns_put_both_elements_of_a_pair_side_by_side() {
        let columns = Layout::Interleaved { head_dim: 4 }.columns(8).unwrap();
        assert_eq!(columns, [0, 2, 1, 3, 4, 6, 5, 7]);
    }
}
