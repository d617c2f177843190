//! The order of the axes of a port's tensor, written in letters: `b s h d`, or `(b h) s t` where two axes are one.

use std::fmt;

use candle_core::Tensor;

use crate::probe::Kind;
use crate::{Error, Result};

/// The letters of each axis: `b` batch, `s` query positions, `h` heads, `d` head_dim, `t` key positions, `w`
/// width. An axis of two letters has both merged; an axis without any has size 1 and no meaning.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Axes(Vec<Vec<char>>);

/// What is known about the sizes of a tensor, which splits merged axes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sizes {
    /// Rows of the batch.
    pub batch: Option<usize>,
    /// Number of heads.
    pub heads: Option<usize>,
}

impl Sizes {
    const fn of(self, letter: char) -> Option<usize> {
        match letter {
            'b' => self.batch,
            'h' => self.heads,
            _ => None,
        }
    }
}

impl Axes {
    /// The reference's order: `[b, s, w]`, `[b, h, s, d]` or `[b, h, s, t]`.
    pub fn of_reference(kind: Kind) -> Self {
        Self::single(canonical(kind, &[]))
    }

    /// Like [`Axes::of_reference`], but with positions before heads for rotated queries and keys.
    pub fn positions_first(kind: Kind) -> Self {
        match kind {
            Kind::QRope | Kind::KRope => Self::single("bshd"),
            _ => Self::of_reference(kind),
        }
    }

    /// Positions before heads, and heads before head_dim.
    pub fn heads_second() -> Self {
        Self::single("bshd")
    }

    /// Heads before positions and head_dim, as a product over the heads computes them.
    pub fn heads_first() -> Self {
        Self::single("bhsd")
    }

    /// One axis for each letter.
    pub fn single(letters: &str) -> Self {
        Self(letters.chars().map(|letter| vec![letter]).collect())
    }

    /// Axes with these letters.
    pub fn new(axes: Vec<Vec<char>>) -> Self {
        Self(axes)
    }

    /// The letters of single axes.
    pub fn single_letters(&self) -> impl Iterator<Item = char> {
        self.0.iter().flatten().copied()
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
        let axes = groups(text);
        let mut sorted: Vec<char> = axes.iter().flatten().flatten().copied().collect();
        let batches = sorted.iter().filter(|&&letter| letter == 'b').count();
        sorted.retain(|&letter| letter != 'b'); // a batch of one may have no axis
        sorted.sort_unstable();
        let spells = |wanted: &str| batches <= 1 && sorted.iter().copied().eq(wanted.chars());
        let (fine, wanted) = match kind {
            _ if kind.over_keys() => (spells("hst"), "b h s t"),
            _ if kind.by_head() => (spells("dhs") || spells("sw"), "b h s d, or b s w with the heads merged"),
            _ => (spells("sw") || spells("dhs"), "b s w, or b s h d with the width split into heads"),
        };
        match axes.filter(|_| fine) {
            Some(axes) => Ok(Self(axes)),
            None => {
                let what = format!("`{text}` are not the axes of {}", kind.name());
                Err(Error::input(what, format!("write {wanted}, in the order of your tensor")))
            }
        }
    }

    /// The tensor in the reference's order, `[b, s, w]` or `[b, h, s, d]`; `None` if it has other axes, or if a
    /// size that splits a merged axis is unknown.
    pub fn to_reference(&self, kind: Kind, tensor: &Tensor, sizes: Sizes) -> Option<Tensor> {
        let (mut dims, mut letters) = (self.split(tensor.dims(), kind, sizes)?, self.letters(kind));
        for letter in canonical(kind, &letters).chars().rev() {
            if !letters.contains(&letter) {
                letters.insert(0, letter);
                dims.insert(0, 1);
            }
        }
        let tensor = tensor.reshape(dims).ok()?;
        let tensor = tensor.permute(order(&letters, canonical(kind, &letters))?).ok()?;
        let merged =
            if !kind.by_head() && letters.contains(&'h') { tensor.flatten_from(2).ok()? } else { tensor };
        merged.contiguous().ok()
    }

    /// The inverse: puts `tensor`, as returned by [`Axes::to_reference`], in the order of the port's `dims`.
    pub fn to_port(&self, kind: Kind, tensor: &Tensor, dims: &[usize], sizes: Sizes) -> Option<Tensor> {
        let (mut split, mut letters) = (self.split(dims, kind, sizes)?, self.letters(kind));
        for letter in canonical(kind, &letters).chars().rev() {
            if !letters.contains(&letter) {
                letters.insert(0, letter);
                split.insert(0, 1);
            }
        }
        let there = order(&letters, canonical(kind, &letters))?;
        let shape: Vec<usize> = there.iter().map(|&axis| split[axis]).collect();
        let mut back = vec![0; there.len()];
        there.iter().enumerate().for_each(|(to, &from)| back[from] = to);
        let tensor = tensor.reshape(shape).ok()?.permute(back).ok()?;
        tensor.contiguous().ok()?.reshape(dims).ok()
    }

    /// The letters of each axis, with a merged width split into heads and head_dim.
    fn split_letters(&self, kind: Kind) -> impl Iterator<Item = Vec<char>> {
        self.0.iter().map(move |axis| match axis[..] {
            ['w'] if kind.by_head() => vec!['h', 'd'],
            _ => axis.clone(),
        })
    }

    /// All letters in order.
    fn letters(&self, kind: Kind) -> Vec<char> {
        self.split_letters(kind).flatten().collect()
    }

    /// The dimensions, one for each letter.
    fn split(&self, dims: &[usize], kind: Kind, sizes: Sizes) -> Option<Vec<usize>> {
        if dims.len() != self.0.len() {
            return None;
        }
        let mut split = Vec::with_capacity(dims.len() + 1);
        for (axis, &n) in self.split_letters(kind).zip(dims) {
            let divided = |size: usize| (size > 0 && n % size == 0).then(|| n / size);
            match axis[..] {
                [] => (n == 1).then_some(())?,
                [_] => split.push(n),
                [first, second] => match (sizes.of(first), sizes.of(second)) {
                    (Some(size), _) => split.extend([size, divided(size)?]),
                    (None, Some(size)) => split.extend([divided(size)?, size]),
                    (None, None) => return None,
                },
                _ => return None,
            }
        }
        Some(split)
    }
}

impl fmt::Display for Axes {
    /// `b s h d`, `(b h) s t`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, axis) in self.0.iter().enumerate() {
            let space = if n == 0 { "" } else { " " };
            match axis[..] {
                [] => write!(f, "{space}1")?,
                [letter] => write!(f, "{space}{letter}")?,
                _ => {
                    let letters: Vec<String> = axis.iter().map(char::to_string).collect();
                    write!(f, "{space}({})", letters.join(" "))?;
                }
            }
        }
        Ok(())
    }
}

/// The letters of each axis in `text`; `None` if a bracket is not closed, or does not contain two letters.
fn groups(text: &str) -> Option<Vec<Vec<char>>> {
    let (mut axes, mut open): (Vec<Vec<char>>, Option<Vec<char>>) = (Vec::new(), None);
    for c in text.chars().filter(|c| !c.is_whitespace()) {
        match (c, &mut open) {
            ('(', None) => open = Some(Vec::new()),
            (')', Some(_)) => axes.extend(open.take().filter(|group| group.len() == 2)),
            ('(' | ')', _) => return None,
            ('1', None) => axes.push(Vec::new()),
            (letter, Some(group)) => group.push(letter),
            (letter, None) => axes.push(vec![letter]),
        }
    }
    open.is_none().then_some(axes)
}

/// The order of these axes in the reference.
pub(super) fn canonical(kind: Kind, axes: &[char]) -> &'static str {
    match kind {
        _ if kind.over_keys() => "bhst",
        _ if kind.by_head() => "bhsd",
        _ if axes.contains(&'d') => "bshd",
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
    const SIZES: Sizes = Sizes { batch: Some(2), heads: Some(4) };

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
    #[case(Kind::InputNorm, "(b s) w", &[6, 20], &[2, 3, 20])]
    #[case(Kind::InputNorm, "(s b) w", &[6, 20], &[2, 3, 20])]
    #[case(Kind::InputNorm, "1 b s w", &[1, 2, 3, 20], &[2, 3, 20])]
    #[case(Kind::Scores, "(b h) s t", &[8, 3, 3], &[2, 4, 3, 3])]
    #[case(Kind::QProj, "s b h d", &[3, 2, 4, 5], &[2, 3, 20])]
    #[case(Kind::QRope, "(b s) 1 w", &[6, 1, 20], &[2, 4, 3, 5])]
    fn reordering_axes_can_be_inverted(
        #[case] kind: Kind,
        #[case] text: &str,
        #[case] dims: &[usize],
        #[case] want: &[usize],
    ) {
        let axes = Axes::parse(kind, text).unwrap();
        let count = dims.iter().product::<usize>() as u32;
        let tensor = Tensor::arange(0u32, count, &Device::Cpu).unwrap().reshape(dims).unwrap();
        let there = axes.to_reference(kind, &tensor, SIZES).unwrap();
        assert_eq!((there.dims(), axes.to_string().as_str()), (want, text));
        let back = axes.to_port(kind, &there, dims, SIZES).unwrap();
        assert_eq!(back.dims(), dims);
        let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<u32>().unwrap();
        assert_eq!(flat(&back), flat(&tensor));
    }

    #[test]
    fn positions_before_heads_are_reordered() {
        let tensor = Tensor::arange(0u32, 12, &Device::Cpu).unwrap().reshape((1, 3, 2, 2)).unwrap();
        let axes = Axes::parse(Kind::QRope, "b s h d").unwrap();
        let there = axes.to_reference(Kind::QRope, &tensor, Sizes::default()).unwrap();
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
    #[case(Kind::InputNorm, "(b s w")]
    #[case(Kind::InputNorm, "b s w)")]
    #[case(Kind::InputNorm, "((b s)) w")]
    #[case(Kind::QRope, "(b s) (h) d")]
    fn letters_that_are_not_axes_of_the_kind_are_refused(#[case] kind: Kind, #[case] text: &str) {
        let error = Axes::parse(kind, text).unwrap_err();
        assert!(error.to_string().starts_with(&format!("`{text}` are not the axes of")), "{error}");
    }

    #[test]
    fn a_tensor_of_another_rank_is_not_reordered() {
        let tensor = Tensor::zeros((2, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
        assert!(
            Axes::parse(Kind::QRope, "b s h d").unwrap().to_reference(Kind::QRope, &tensor, SIZES).is_none()
        );
    }
}
