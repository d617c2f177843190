//! Orders of columns that ports produce by mistake: `order[j]` is the right column that the port has at j.

/// Each order with its description, for rows of `width` columns in heads of `head_dim`.
pub(super) fn all(width: usize, head_dim: usize) -> Vec<(Vec<usize>, String)> {
    let mut all: Vec<(Vec<usize>, String)> = vec![
        ((0..width).rev().collect(), "in reverse order".into()),
        (rolled(width, width / 2), "in two swapped halves".into()),
        (rolled(width, width - 1), "one place late".into()),
        (rolled(width, 1), "one place early".into()),
        (dealt(width, 2), "interleaved: the first half at even places, the second at odd ones".into()),
        (gathered(width, 2), "separated: even ones first, then odd ones".into()),
    ];
    if width.is_multiple_of(head_dim) && width > head_dim {
        let heads = width / head_dim;
        let by_head = |from: &dyn Fn(usize) -> usize| -> Vec<usize> {
            (0..width).map(|j| from(j / head_dim) * head_dim + j % head_dim).collect()
        };
        all.push((by_head(&|h| heads - 1 - h), "in reverse order of heads".into()));
        all.push((by_head(&|h| (h + heads - 1) % heads), "one head late".into()));
        all.push((by_head(&|h| (h + 1) % heads), "one head early".into()));
        all.push((dealt(width, heads), "ordered by dimension first, then by head".into()));
        all.push((gathered(width, heads), "taken as if they were ordered by dimension first".into()));
        for group in (2..heads).filter(|group| heads.is_multiple_of(*group)) {
            let tiled = gathered(heads, group);
            let how = format!("ordered by the head's place in groups of {group} first");
            all.push((by_head(&|h| tiled[h]), how));
        }
    }
    if width.is_multiple_of(head_dim) && head_dim.is_multiple_of(2) {
        let in_head = |order: Vec<usize>| -> Vec<usize> {
            (0..width).map(|j| j / head_dim * head_dim + order[j % head_dim]).collect()
        };
        all.push((in_head(dealt(head_dim, 2)), "interleaved within each head".into()));
        all.push((in_head(gathered(head_dim, 2)), "separated into even and odd within each head".into()));
        all.push((in_head((0..head_dim).rev().collect()), "in reverse order within each head".into()));
        all.push((in_head(rolled(head_dim, head_dim / 2)), "in swapped halves within each head".into()));
    }
    let own: Vec<usize> = (0..width).collect();
    all.retain(|(order, _)| *order != own);
    all
}

/// Each place takes the column `by` places later, in a circle.
fn rolled(width: usize, by: usize) -> Vec<usize> {
    (0..width).map(|j| (j + by) % width).collect()
}

/// The `parts` parts of a row dealt out in turn: place j takes column j / parts of part j mod parts.
fn dealt(width: usize, parts: usize) -> Vec<usize> {
    (0..width).map(|j| j % parts * (width / parts) + j / parts).map(|c| c.min(width - 1)).collect()
}

/// Every `parts`-th column together: the inverse of [`dealt`].
fn gathered(width: usize, parts: usize) -> Vec<usize> {
    let run = (width / parts).max(1);
    (0..width).map(|j| j % run * parts + j / run).map(|c| c.min(width - 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_of_eight_columns_in_two_heads_is_a_permutation() {
        let all = all(8, 4);
        let mut seen = std::collections::BTreeSet::new();
        for (order, how) in &all {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..8), "{how}: {order:?}");
            seen.insert(order.clone());
        }
        assert!(seen.len() >= 8, "{all:?}");
    }

    #[test]
    fn dealing_and_gathering_are_inverse() {
        assert_eq!(dealt(6, 2), [0, 3, 1, 4, 2, 5]);
        assert_eq!(gathered(6, 2), [0, 2, 4, 1, 3, 5]);
    }
}
