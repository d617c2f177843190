//! Formats a list of tensors: one row per tensor, or one row per kind of tensor and range of layers.

use std::cmp::Ordering;

use super::escape::escaped;

/// A tensor of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTensor {
    pub name: String,
    pub shape: Vec<usize>,
    /// `F16` or `Q4_1`.
    pub dtype: String,
    /// Size in the file.
    pub bytes: usize,
}

/// A tensor name split at its layer number.
#[derive(Debug, PartialEq)]
struct NameParts<'a> {
    before: &'a str,
    layer: Option<u64>,
    after: &'a str,
}

/// Tensors of one kind, shape and dtype in consecutive layers.
struct Range<'a> {
    first: &'a StoredTensor,
    parts: NameParts<'a>,
    /// 1 or more.
    count: u64,
}

/// One row per tensor. Numbers in names are sorted by value.
pub fn each(mut tensors: Vec<StoredTensor>) -> Vec<String> {
    tensors.sort_by(|a, b| natural(&a.name, &b.name));
    let row = |t: &StoredTensor| {
        let shape = format!("{:?}", t.shape);
        format!("{:<48} {shape:<14} {:<5} {:>10} bytes", escaped(&t.name), t.dtype, t.bytes)
    };
    tensors.iter().map(row).collect()
}

/// One row per kind of tensor and range of consecutive layers with the same shape and dtype.
pub fn ranges(mut tensors: Vec<StoredTensor>) -> Vec<String> {
    let kind = |t: &StoredTensor| {
        let NameParts { before, after, .. } = parts(&t.name);
        format!("{before}{after}")
    };
    tensors.sort_by(|a, b| natural(&kind(a), &kind(b)).then_with(|| natural(&a.name, &b.name)));
    let mut ranges: Vec<Range<'_>> = Vec::new();
    for tensor in &tensors {
        match ranges.last_mut().filter(|range| range.continues_with(tensor)) {
            Some(range) => range.count += 1,
            None => ranges.push(Range { first: tensor, parts: parts(&tensor.name), count: 1 }),
        }
    }
    aligned(&ranges.iter().map(Range::columns).collect::<Vec<_>>())
}

impl Range<'_> {
    fn continues_with(&self, tensor: &StoredTensor) -> bool {
        let NameParts { before, layer, after } = parts(&tensor.name);
        let next = self.parts.layer.and_then(|first| first.checked_add(self.count));
        layer.is_some()
            && layer == next
            && (before, after) == (self.parts.before, self.parts.after)
            && (&tensor.shape, &tensor.dtype) == (&self.first.shape, &self.first.dtype)
    }

    /// `model.layers.{0-29}.self_attn.q_proj.weight`, `[576, 576]`, `Q4_1`, `x30`.
    fn columns(&self) -> [String; 4] {
        let Self { first, parts, count } = self;
        let (name, times) = match parts.layer.filter(|_| *count > 1) {
            None => (first.name.clone(), String::new()),
            Some(layer) => {
                let NameParts { before, after, .. } = parts;
                (format!("{before}{{{layer}-{}}}{after}", layer + count - 1), format!("x{count}"))
            }
        };
        [escaped(&name), format!("{:?}", first.shape), first.dtype.clone(), times]
    }
}

/// The rows with aligned columns, which are separated by two spaces.
fn aligned(rows: &[[String; 4]]) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (name, shape, dtype) = (width(0), width(1), width(2));
    let row = |[a, b, c, d]: &[String; 4]| format!("{a:<name$}  {b:<shape$}  {c:<dtype$}  {d}");
    rows.iter().map(|columns| row(columns).trim_end().to_owned()).collect()
}

/// The layer number is the first part between dots that is a number without leading zeros.
fn parts(name: &str) -> NameParts<'_> {
    let mut start = 0;
    for part in name.split('.') {
        let end = start + part.len();
        if let Some(layer) = part.parse::<u64>().ok().filter(|layer| layer.to_string() == part) {
            return NameParts { before: &name[..start], layer: Some(layer), after: &name[end..] };
        }
        start = end + 1;
    }
    NameParts { before: name, layer: None, after: "" }
}

/// Natural order: `layers.2` comes before `layers.10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut one, mut two) = (runs(a), runs(b));
    loop {
        let ordering = match (one.next(), two.next()) {
            (None, None) => return a.cmp(b),
            (None, _) => return Ordering::Less,
            (_, None) => return Ordering::Greater,
            (Some(x), Some(y)) => compare(x, y),
        };
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
}

/// Compares two runs of digits by value, which may exceed every integer type, and anything else by bytes.
fn compare(a: &str, b: &str) -> Ordering {
    let is_number = |run: &str| run.starts_with(|c: char| c.is_ascii_digit());
    if !(is_number(a) && is_number(b)) {
        return a.cmp(b);
    }
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// Splits the text into runs of digits and runs of other characters.
fn runs(text: &str) -> impl Iterator<Item = &str> {
    text.as_bytes().chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit()).scan(0, move |start, run| {
        let run = &text[*start..*start + run.len()];
        *start += run.len();
        Some(run)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rstest::rstest;

    use super::*;

    fn stored(name: &str, dtype: &str) -> StoredTensor {
        StoredTensor { name: name.into(), shape: vec![4, 2], dtype: dtype.into(), bytes: 16 }
    }

    /// The rows with each run of spaces replaced by one space.
    fn squeezed(rows: Vec<String>) -> Vec<String> {
        rows.iter().map(|row| row.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn layer_2_comes_before_layer_10() {
        let names = ["layers.10.a", "layers.2.b", "layers.2.a", "head", "layers.02.a"];
        let rows = squeezed(each(names.map(|name| stored(name, "F32")).into()));
        let sorted = ["head", "layers.02.a", "layers.2.a", "layers.2.b", "layers.10.a"];
        assert_eq!(rows, sorted.map(|name| format!("{name} [4, 2] F32 16 bytes")));
    }

    #[test]
    fn consecutive_layers_with_the_same_shape_and_dtype_share_a_row() {
        let dtype = |n: usize| if n == 3 { "Q6_K" } else { "Q4_K" };
        let mut all: Vec<StoredTensor> =
            (0..12).map(|n| stored(&format!("layers.{n}.down"), dtype(n))).collect();
        all.extend([stored("norm", "F32"), stored("layers.0.up", "F32"), stored("layers.2.up", "F32")]);
        all[11].shape = vec![2, 4];
        let rows = squeezed(ranges(all));
        let want = [
            "layers.{0-2}.down [4, 2] Q4_K x3",
            "layers.3.down [4, 2] Q6_K",
            "layers.{4-10}.down [4, 2] Q4_K x7",
            "layers.11.down [2, 4] Q4_K",
            "layers.0.up [4, 2] F32",
            "layers.2.up [4, 2] F32",
            "norm [4, 2] F32",
        ];
        assert_eq!(rows, want);
    }

    /// `07` and `7` are different tensors, and neither continues a range of the other.
    #[test]
    fn numbers_with_leading_zeros_or_too_large_are_not_layers() {
        let names = ["a.6.b", "a.07.b", "a.7.b", "a.18446744073709551615.b", "a.18446744073709551616.b"];
        let rows = squeezed(ranges(names.map(|name| stored(name, "F32")).into()));
        let want = [
            "a.07.b [4, 2] F32",
            "a.18446744073709551616.b [4, 2] F32",
            "a.{6-7}.b [4, 2] F32 x2",
            "a.18446744073709551615.b [4, 2] F32",
        ];
        assert_eq!(BTreeSet::from_iter(rows), BTreeSet::from_iter(want.map(str::to_owned)));
    }

    #[rstest]
    fn names_are_escaped(#[values(each, ranges)] list: fn(Vec<StoredTensor>) -> Vec<String>) {
        let rows = list(vec![stored("\x1b[2Ja.0.b\n", "F32"), stored("\x1b[2Ja.1.b\n", "F32")]);
        assert!(rows.iter().all(|row| !row.contains(char::is_control)), "{rows:?}");
    }
}
