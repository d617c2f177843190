//! Describes where along each axis a difference occurs: `position 0 agrees`, `only head 3`.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// One axis of a compared tensor: which indices were compared, and which of them differ.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Axis {
    compared: Vec<bool>,
    differs: Vec<bool>,
}

impl Axis {
    /// Counts one comparison at `index`.
    pub fn see(&mut self, index: usize, differs: bool) {
        self.compare(index..index + 1);
        self.differs[index] |= differs;
    }

    /// Counts a comparison at each of these indices.
    pub fn compare(&mut self, indices: Range<usize>) {
        if indices.end > self.compared.len() {
            self.compared.resize(indices.end, false);
            self.differs.resize(indices.end, false);
        }
        self.compared[indices].fill(true);
    }

    /// The indices at which something differs.
    pub fn differing(&self) -> Vec<usize> {
        (0..self.differs.len()).filter(|&i| self.differs[i]).collect()
    }

    /// The indices that were compared and do not differ.
    pub fn agreeing(&self) -> Vec<usize> {
        (0..self.differs.len()).filter(|&i| self.compared[i] && !self.differs[i]).collect()
    }

    /// A description of the difference along this axis; `None` if every index differs, or none does.
    pub fn describe(&self, name: &str) -> Option<String> {
        let (bad, good) = (self.differing(), self.agreeing());
        match (bad.len(), good.len()) {
            (0, _) | (_, 0) => None,
            (_, good_n) if good_n <= bad.len() => Some(format!("{} agree{}", list(name, &good), s(good_n))),
            _ => Some(format!("only {}", list(name, &bad))),
        }
    }
}

/// Verb ending: one thing agrees, several agree.
fn s(n: usize) -> &'static str {
    if n == 1 { "s" } else { "" }
}

/// `head 3`, `heads 0 and 2`, `positions 4 to 11`, `channels 0, 2, 4 and 60 more`.
fn list(name: &str, indices: &[usize]) -> String {
    let run = indices.windows(2).all(|pair| pair[1] == pair[0] + 1);
    match indices {
        [] => format!("no {name}"),
        [one] => format!("{name} {one}"),
        [a, b] => format!("{name}s {a} and {b}"),
        [first, .., last] if run => format!("{name}s {first} to {last}"),
        [a, b, c] => format!("{name}s {a}, {b} and {c}"),
        [a, b, c, rest @ ..] => format!("{name}s {a}, {b}, {c} and {} more", rest.len()),
    }
}

/// All axes of one comparison.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Along {
    /// Rows of the batch.
    pub batch: Axis,
    /// Positions in the (padded) sequence.
    pub position: Axis,
    /// Heads, if the site has them, as a separate axis or merged into the last one.
    pub head: Axis,
    /// The last axis within each head: channels, or key positions for scores and probabilities.
    pub column: Axis,
    /// Is the last axis one of key positions?
    pub over_keys: bool,
    /// Are elements i and i + half of the last axis rotated together, as in rotated queries and keys?
    pub paired: bool,
}

impl Along {
    /// The last axis of a head as pairs i and i + half, which are rotated together; `None` unless both
    /// elements of every pair differ or both agree.
    fn pairs(&self) -> Option<Axis> {
        let Axis { compared, differs } = &self.column;
        let half = differs.len() / 2;
        let alike = self.paired && differs[..half] == differs[half..];
        alike.then(|| Axis { compared: compared[..half].into(), differs: differs[..half].into() })
    }
}

impl fmt::Display for Along {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let column = if self.over_keys { "key" } else { "channel" };
        let parts: Vec<String> = [
            self.batch.describe("batch row"),
            self.position.describe("position"),
            self.head.describe("head"),
            match self.pairs() {
                Some(pairs) => pairs.describe("pair"),
                None => self.column.describe(column),
            },
        ]
        .into_iter()
        .flatten()
        .collect();
        if parts.is_empty() { f.write_str("everywhere") } else { f.write_str(&parts.join("; ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::first_agrees(8, &[1, 2, 3, 4, 5, 6, 7], Some("position 0 agrees"))]
    #[case::one(8, &[3], Some("only position 3"))]
    #[case::two(8, &[3, 5], Some("only positions 3 and 5"))]
    #[case::consecutive(9, &[4, 5, 6], Some("only positions 4 to 6"))]
    #[case::scattered(20, &[0, 2, 4, 6, 8], Some("only positions 0, 2, 4 and 2 more"))]
    #[case::all(3, &[0, 1, 2], None)]
    #[case::none(3, &[], None)]
    fn an_axis_is_described_by_its_smaller_side(
        #[case] n: usize,
        #[case] bad: &[usize],
        #[case] expected: Option<&str>,
    ) {
        let mut axis = Axis::default();
        (0..n).for_each(|i| axis.see(i, bad.contains(&i)));
        assert_eq!(axis.describe("position").as_deref(), expected);
    }

    /// Two heads of eight columns; the second head is wrong at the columns `bad`.
    fn along(over_keys: bool, bad: &[usize]) -> Along {
        let mut along = Along { over_keys, paired: !over_keys, ..Along::default() };
        (0..2).for_each(|head| along.head.see(head, head == 1));
        (0..8).for_each(|i| along.column.see(i, bad.contains(&i)));
        along
    }

    #[rstest]
    #[case::both_of_each(&[1, 2, 3, 5, 6, 7], "head 0 agrees; pair 0 agrees")]
    #[case::one_pair(&[3, 7], "head 0 agrees; only pair 3")]
    #[case::one_of_two(&[3], "head 0 agrees; only channel 3")]
    fn elements_that_are_rotated_together_are_described_as_pairs(
        #[case] bad: &[usize],
        #[case] expected: &str,
    ) {
        assert_eq!(along(false, bad).to_string(), expected);
    }

    #[test]
    fn keys_and_unrotated_tensors_are_not_described_as_pairs() {
        assert_eq!(along(true, &[3, 7]).to_string(), "head 0 agrees; only keys 3 and 7");
        let merged = Along { paired: false, ..along(false, &[3, 7]) };
        assert_eq!(merged.to_string(), "head 0 agrees; only channels 3 and 7");
    }
}
