//! The axes that an array of a certain shape may have.

use super::axes::{Axes, canonical};
use super::want::Want;
use crate::probe::Kind;

/// Letters that may share an axis, in this order.
const MERGED: [[char; 2]; 4] = [['b', 's'], ['s', 'b'], ['b', 'h'], ['h', 'd']];

/// The largest number of axes that is tried. A tensor has four; more are of size 1.
const MOST: usize = 8;

/// A letter and the size of its axis.
type Atom = (char, usize);

/// Every order of axes that fits an array of `kind` with these `dims`, those of the reference first. Axes of
/// size 1 have no order. Orders with keys before as many queries, which have the same sizes, are returned only if
/// `keys_first`, and then alone.
pub(super) fn candidates(kind: Kind, want: &Want, dims: &[usize], keys_first: bool) -> Vec<Axes> {
    if dims.len() > MOST {
        return vec![];
    }
    let atoms = atoms(kind, want);
    let long: Vec<Atom> = atoms.iter().copied().filter(|(_, size)| *size > 1).collect();
    let sizes: Vec<usize> = dims.iter().copied().filter(|&size| size > 1).collect();
    let single: Vec<char> = atoms.iter().filter(|(_, size)| *size == 1).map(|(letter, _)| *letter).collect();
    orders(&long)
        .iter()
        .filter(|order| are_keys_first(order) == keys_first)
        .filter_map(|order| Some(written(kind, dims, &grouped(order, &sizes)?, &single)))
        .collect()
}

/// The axes of the kind in the reference's order, heads split.
fn atoms(kind: Kind, want: &Want) -> Vec<Atom> {
    let split = !kind.over_keys() && (want.heads.is_some() || want.merged > 1);
    let letters = if split { canonical(kind, &['d']) } else { canonical(kind, &[]) };
    letters.chars().zip(want.sizes(&Axes::single(letters))).collect()
}

/// Every order of the atoms; their own order first.
fn orders(atoms: &[Atom]) -> Vec<Vec<Atom>> {
    if atoms.is_empty() {
        return vec![vec![]];
    }
    let mut all = Vec::new();
    for n in 0..atoms.len() {
        let mut rest = atoms.to_vec();
        let first = rest.remove(n);
        all.extend(orders(&rest).into_iter().map(|order| [vec![first], order].concat()));
    }
    all
}

/// Do keys come before queries, in an order that their sizes do not show?
fn are_keys_first(order: &[Atom]) -> bool {
    let at = |letter: char| order.iter().position(|(other, _)| *other == letter);
    match (at('t'), at('s')) {
        (Some(keys), Some(queries)) => keys < queries && order[keys].1 == order[queries].1,
        _ => false,
    }
}

/// The letters of each axis, if these sizes are those of the atoms in this order, alone or merged.
fn grouped(order: &[Atom], sizes: &[usize]) -> Option<Vec<Vec<char>>> {
    let Some((&size, rest)) = sizes.split_first() else { return order.is_empty().then(Vec::new) };
    let with = |taken: usize| {
        let letters: Vec<char> = order[..taken].iter().map(|(letter, _)| *letter).collect();
        Some([vec![letters], grouped(&order[taken..], rest)?].concat())
    };
    match order {
        [(_, own), ..] if *own == size => with(1),
        [(a, first), (b, second), ..] if first * second == size && MERGED.contains(&[*a, *b]) => with(2),
        _ => None,
    }
}

/// The axes of an array with `dims`, of which those longer than 1 have these letters. A head axis of size 1 is part
/// of the width.
fn written(kind: Kind, dims: &[usize], long: &[Vec<char>], single: &[char]) -> Axes {
    let one_head = !kind.over_keys() && single.contains(&'h');
    let mut single: Vec<char> = single.iter().copied().filter(|letter| ['b', 's'].contains(letter)).collect();
    if dims.iter().filter(|&&size| size == 1).count() < single.len() {
        single.retain(|&letter| letter != 'b'); // only the axis of a batch may be left out
    }
    let (mut long, mut single) = (long.iter(), single.into_iter());
    let mut axes = Vec::with_capacity(dims.len());
    for &size in dims {
        axes.push(match size {
            1 => single.next().map_or(vec![], |letter| vec![letter]),
            _ => match long.next().map(Vec::as_slice) {
                Some(['h', 'd']) => vec!['w'],
                Some(['d']) if one_head => vec!['w'],
                letters => letters.unwrap_or_default().to_vec(),
            },
        });
    }
    Axes::new(axes)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// Two rows of the batch, 13 positions, 6 heads of 32 entries.
    fn want(kind: Kind, batch: usize, length: usize) -> Want {
        let (heads, merged, width) = match kind {
            Kind::QRope => (Some(6), 1, 32),
            Kind::Scores => (Some(6), 1, length),
            Kind::QProj => (None, 6, 192),
            _ => (None, 1, 128),
        };
        Want { batch, length, keys: length, heads, merged, width }
    }

    #[rstest]
    #[case::as_in_the_reference(Kind::QRope, 2, 13, &[2, 6, 13, 32], &["b h s d"])]
    #[case::positions_first(Kind::QRope, 2, 13, &[2, 13, 6, 32], &["b s h d"])]
    #[case::batch_second(Kind::QRope, 2, 13, &[13, 2, 6, 32], &["s b h d"])]
    #[case::merged(Kind::QRope, 1, 13, &[13, 192], &["s w"])]
    #[case::tokens(Kind::QRope, 2, 13, &[26, 6, 32], &["(b s) h d", "(s b) h d"])]
    #[case::split(Kind::QProj, 1, 13, &[1, 13, 6, 32], &["b s h d"])]
    #[case::more_axes(Kind::QProj, 1, 13, &[1, 1, 13, 192], &["b 1 s w"])]
    #[case::reversed(Kind::QProj, 1, 13, &[192, 13], &["w s"])]
    #[case::transposed(Kind::InputNorm, 1, 13, &[1, 128, 13], &["b w s"])]
    #[case::as_many_heads_as_positions(Kind::QRope, 1, 6, &[1, 6, 6, 32], &["b h s d", "b s h d"])]
    #[case::heads_of_all_rows(Kind::Scores, 2, 13, &[12, 13, 13], &["(b h) s t"])]
    #[case::heads_behind(Kind::Scores, 1, 13, &[1, 13, 6, 13], &["b s h t"])]
    #[case::one_position(Kind::QRope, 1, 1, &[1, 6, 32], &["s h d"])]
    #[case::too_narrow(Kind::QProj, 1, 13, &[1, 13, 190], &[])]
    fn every_order_that_fits_is_found(
        #[case] kind: Kind,
        #[case] batch: usize,
        #[case] length: usize,
        #[case] dims: &[usize],
        #[case] all: &[&str],
    ) {
        let found: Vec<String> =
            candidates(kind, &want(kind, batch, length), dims, false).iter().map(Axes::to_string).collect();
        assert_eq!(found, all);
    }
}
