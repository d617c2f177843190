//! The shape of a compared tensor, and where its heads are.

use std::ops::Range;

/// The shape of a site's tensor, as the model hands it over and as the reference is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Rows of the batch.
    pub batch: usize,
    /// Query positions.
    pub queries: usize,
    /// Number of heads, if they are a separate axis: the tensor is then `[batch, heads, queries, width]`,
    /// otherwise `[batch, queries, width]`.
    pub heads: Option<usize>,
    /// Number of heads concatenated in the last axis, as in a context; 1 if there are none.
    pub merged: usize,
    /// Size of the last axis.
    pub width: usize,
    /// Is the last axis one of key positions? If so, entries of −inf are masked.
    pub over_keys: bool,
}

impl Shape {
    /// The dimensions that the tensor must have.
    pub fn dims(&self) -> Vec<usize> {
        match self.heads {
            Some(heads) => vec![self.batch, heads, self.queries, self.width],
            None => vec![self.batch, self.queries, self.width],
        }
    }

    /// Does it have heads, as an axis or merged?
    pub(super) fn has_heads(&self) -> bool {
        self.heads.is_some() || self.merged > 1
    }

    /// Is it a rotated query or key? Besides tensors over keys, only these have heads as an axis.
    pub(super) fn is_rotated(&self) -> bool {
        self.heads.is_some() && !self.over_keys
    }

    /// The columns of each head that is merged into the last axis; all columns where none is.
    pub(super) fn parts(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (merged, width) = (self.merged, self.width);
        let start = move |part: usize| (part * width).div_ceil(merged);
        (0..merged).map(move |part| start(part)..start(part + 1))
    }

    /// The head that contains an element, and the element's column in that head. `head` is its index on the
    /// head axis, or 0.
    pub(super) fn place(&self, head: usize, column: usize) -> (usize, usize) {
        let part = column * self.merged / self.width;
        (head + part, column - part * self.width / self.merged)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::no_heads(None, 1, 6, vec![2, 3, 6], false, (0, 5))]
    #[case::an_axis_of_them(Some(4), 1, 6, vec![2, 4, 3, 6], true, (0, 5))]
    #[case::merged(None, 3, 6, vec![2, 3, 6], true, (2, 1))]
    #[case::one_axis_of_one(Some(1), 1, 6, vec![2, 1, 3, 6], true, (0, 5))]
    fn heads_are_an_axis_or_parts_of_the_last_axis(
        #[case] heads: Option<usize>,
        #[case] merged: usize,
        #[case] width: usize,
        #[case] dims: Vec<usize>,
        #[case] has_heads: bool,
        #[case] last: (usize, usize),
    ) {
        let shape = Shape { batch: 2, queries: 3, heads, merged, width, over_keys: false };
        assert_eq!((shape.dims(), shape.has_heads()), (dims, has_heads));
        assert_eq!((shape.place(0, 0), shape.place(0, width - 1)), ((0, 0), last));
    }

    #[test]
    fn the_head_axis_selects_the_head() {
        let shape = Shape { batch: 1, queries: 1, heads: Some(4), merged: 1, width: 6, over_keys: true };
        assert_eq!(shape.place(3, 5), (3, 5));
    }
}
