//! The order of the axes of a port's tensor, written in letters: `b s h d`.

use candle_core::Tensor;

use crate::probe::Kind;
use crate::{Error, Result};

/// One letter per axis: `b` batch, `s` query positions, `h` heads, `d` head_dim, `t` key positions, `w`
/// width.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Axes(Vec<char>);

impl Axes {
    /// The reference's order: `[b, s, w]`, `[b, h, s, d]` or `[b, h, s, t]`.
    pub fn of_reference(kind: Kind) -> Self {
        Self(canonical(kind, &[]).chars().collect())
    }

    /// Like [`Axes::of_reference`], but with positions before heads for rotated queries and keys.
    pub fn positions_first(kind: Kind) -> Self {
        match kind {
            Kind::QRope | Kind::KRope => Self("bshd".chars().collect()),
            _ => Self::of_reference(kind),
        }
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// Parses `text` for a site of `kind`.
    ///
    /// # Errors
    /// The letters are not the axes of a tensor of that kind.
    pub fn parse(kind: Kind, text: &str) -> Result<Self> {
        let axes: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
        let mut sorted = axes.clone();
        sorted.retain(|&axis| axis != 'b'); // a batch of one may have no axis
        sorted.sort_unstable();
        let batches = axes.iter().filter(|&&axis| axis == 'b').count();
        let spells = |wanted: &str| batches <= 1 && sorted.iter().copied().eq(wanted.chars());
        let (fine, wanted) = match kind {
            _ if kind.over_keys() => (spells("hst"), "b h s t"),
            _ if kind.by_head() => (spells("dhs") || spells("sw"), "b h s d, or b s w with the heads merged"),
            _ => (spells("sw") || spells("dhs"), "b s w, or b s h d with the width split into heads"),
        };
        if !fine {
            let what = format!("`{text}` are not the axes of {}", kind.name());
            return Err(Error::input(what, format!("write {wanted}, in the order of your tensor")));
        }
        Ok(Self(axes))
    }

    /// The tensor in the reference's order, `[b, s, w]` or `[b, h, s, d]`; `None` if it has other axes.
    /// `heads` is the reference's number of heads, if it stores the site.
    pub fn to_reference(&self, kind: Kind, tensor: &Tensor, heads: Option<usize>) -> Option<Tensor> {
        let (dims, mut axes) = (self.split(tensor.dims(), kind, heads)?, self.letters(kind));
        let mut tensor = tensor.reshape(dims).ok()?;
        if !axes.contains(&'b') {
            (tensor, axes) = (tensor.unsqueeze(0).ok()?, [vec!['b'], axes].concat());
        }
        let tensor = tensor.permute(order(&axes, canonical(kind, &axes))?).ok()?;
        let merged =
            if !kind.by_head() && axes.contains(&'h') { tensor.flatten_from(2).ok()? } else { tensor };
        merged.contiguous().ok()
    }

    /// The inverse: puts `tensor`, as returned by [`Axes::to_reference`], in the order of the port's `dims`.
    pub fn to_port(
        &self,
        kind: Kind,
        tensor: &Tensor,
        dims: &[usize],
        heads: Option<usize>,
    ) -> Option<Tensor> {
        let (split, mut axes) = (self.split(dims, kind, heads)?, self.letters(kind));
        let with_batch = if axes.contains(&'b') {
            split
        } else {
            axes.insert(0, 'b');
            [vec![1], split].concat()
        };
        let there = order(&axes, canonical(kind, &axes))?;
        let shape: Vec<usize> = there.iter().map(|&axis| with_batch[axis]).collect();
        let mut back = vec![0; there.len()];
        there.iter().enumerate().for_each(|(to, &from)| back[from] = to);
        let tensor = tensor.reshape(shape).ok()?.permute(back).ok()?;
        tensor.contiguous().ok()?.reshape(dims).ok()
    }

    /// The letters, with a merged width split into heads and head_dim.
    fn letters(&self, kind: Kind) -> Vec<char> {
        let split = |&axis: &char| if axis == 'w' && kind.by_head() { vec!['h', 'd'] } else { vec![axis] };
        self.0.iter().flat_map(split).collect()
    }

    /// The dimensions, with a merged width split into heads and head_dim.
    fn split(&self, dims: &[usize], kind: Kind, heads: Option<usize>) -> Option<Vec<usize>> {
        if dims.len() != self.0.len() {
            return None;
        }
        let mut split = Vec::with_capacity(dims.len() + 1);
        for (&axis, &n) in self.0.iter().zip(dims) {
            match axis {
                'w' if kind.by_head() => {
                    let heads = heads.filter(|&heads| heads > 0 && n % heads == 0)?;
                    split.extend([heads, n / heads]);
                }
                _ => split.push(n),
            }
        }
        Some(split)
    }
}

/// The order of these axes in the reference.
fn canonical(kind: Kind, axes: &[char]) -> &'static str {
    match kind {
        _ if kind.over_keys() => "bhst",
        _ if kind.by_head() => "bhsd",
        _ if axes.contains(&'h') => "bshd",
        _ => "bsw",
    }
}

/// The index in `axes` of each axis of `wanted`.
fn order(axes: &[char], wanted: &str) -> Option<Vec<usize>> {
    wanted.chars().map(|axis| axes.iter().position(|&a| a == axis)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use rstest::rstest;

    /// 4 heads; the tensors have 2 rows, 3 positions and a head_dim of 5.
    const HEADS: Option<usize> = Some(4);

    #[rstest]
    #[case(Kind::QRope, "b h s d", &[2, 4, 3, 5], &[2, 4, 3, 5])]
    #[case(Kind::QRope, "b s h d", &[2, 3, 4, 5], &[2, 4, 3, 5])]
    #[case(Kind::QRope, "b s w", &[2, 3, 20], &[2, 4, 3, 5])]
    #[case(Kind::QRope, "s b w", &[3, 2, 20], &[2, 4, 3, 5])]
    #[case(Kind::QRope, "h s d", &[4, 3, 5], &[1, 4, 3, 5])]
    #[case(Kind::Scores, "h b s t", &[4, 2, 3, 3], &[2, 4, 3, 3])]
    #[case(Kind::Context, "b h s d", &[2, 4, 3, 5], &[2, 3, 20])]
    #[case(Kind::InputNorm, "s w", &[3, 20], &[1, 3, 20])]
    #[case(Kind::InputNorm, "s b w", &[3, 2, 20], &[2, 3, 20])]
    fn reordering_axes_can_be_inverted(
        #[case] kind: Kind,
        #[case] text: &str,
        #[case] dims: &[usize],
        #[case] want: &[usize],
    ) {
        let axes = Axes::parse(kind, text).unwrap();
        let count = dims.iter().product::<usize>() as u32;
        let tensor = Tensor::arange(0u32, count, &Device::Cpu).unwrap().reshape(dims).unwrap();
        let there = axes.to_reference(kind, &tensor, HEADS).unwrap();
        assert_eq!(there.dims(), want);
        let back = axes.to_port(kind, &there, dims, HEADS).unwrap();
        assert_eq!(back.dims(), dims);
        let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<u32>().unwrap();
        assert_eq!(flat(&back), flat(&tensor));
    }

    #[test]
    fn positions_before_heads_are_reordered() {
        let tensor = Tensor::arange(0u32, 12, &Device::Cpu).unwrap().reshape((1, 3, 2, 2)).unwrap();
        let axes = Axes::parse(Kind::QRope, "b s h d").unwrap();
        let there = axes.to_reference(Kind::QRope, &tensor, Some(2)).unwrap();
        assert_eq!(
            there.flatten_all().unwrap().to_vec1::<u32>().unwrap(),
            [0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11]
        );
    }

    #[rstest]
    #[case(Kind::QRope, "b s")]
    #[case(Kind::QRope, "b h s t")]
    #[case(Kind::Scores, "b s w")]
    #[case(Kind::InputNorm, "b b s w")]
    #[case(Kind::InputNorm, "[b, s, w]")]
    fn letters_that_are_not_axes_of_the_kind_are_refused(#[case] kind: Kind, #[case] text: &str) {
        let error = Axes::parse(kind, text).unwrap_err();
        assert!(error.to_string().starts_with(&format!("`{text}` are not the axes of")), "{error}");
    }

    #[test]
    fn a_tensor_of_another_rank_is_not_reordered() {
        let tensor = Tensor::zeros((2, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
        assert!(
            Axes::parse(Kind::QRope, "b s h d").unwrap().to_reference(Kind::QRope, &tensor, HEADS).is_none()
        );
    }
}
