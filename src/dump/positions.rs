//! The positions of a recording, checked as facts. Rotations are recomputed from the recorded positions, so a port
//! that rotates by wrong positions, and records them, would pass.

use crate::checkpoints::{Checkpoint, judge_of, of_laws};
use crate::diagnose::Named;
use crate::judge::{Finding, Verdict};
use crate::probe::Kind;
use crate::recording::Recording;

/// The tokens of one row of the batch: the slot of each and its position.
type Tokens = Vec<(usize, usize)>;

/// The finding that the recorded positions are wrong; `None` if every token has as many tokens before it as its
/// position says. `of` is the name of the recording, if there are two.
pub(super) fn wrong(dump: &Recording, of: Option<&str>) -> Option<(&'static Checkpoint, Finding)> {
    let rows: Vec<Tokens> = tokens(dump);
    let all =
        || rows.iter().enumerate().flat_map(|(b, row)| row.iter().enumerate().map(move |(n, t)| (b, n, *t)));
    let (b, n, (slot, position)) = all().find(|&(b, n, (_, position))| position != dump.cached[b] + n)?;
    let before = dump.cached[b] + n;
    let how = format!(
        "token {slot} of row {b} has position {position} instead of {before}, the number of tokens before it"
    );
    let about = of.map_or("position_ids".to_owned(), |of| format!("position_ids of {of}"));
    let named = named(dump, &rows);
    if named.as_ref().is_some_and(|named| named.mistake == KEPT) {
        let how = format!(
            "the pass begins at position 0, as a new text does, but attends to {before} tokens of earlier passes"
        );
        return Some((of_laws(), Finding::explained("new text", Verdict::Broken(how), named)));
    }
    Some((judge_of(Kind::QRope).0, Finding::explained(about, Verdict::Broken(how), named)))
}

/// The mistake of a cache that is kept between two texts.
const KEPT: &str = "cache-kept";

/// The tokens of each row, without padding.
pub(super) fn tokens(dump: &Recording) -> Vec<Tokens> {
    let input = &dump.input;
    let row = |(real, positions): (&Vec<bool>, &Vec<usize>)| {
        let slots = real.iter().zip(positions).enumerate();
        slots.filter(|(_, (real, _))| **real).map(|(slot, (_, &position))| (slot, position)).collect()
    };
    input.real.iter().zip(&input.positions).map(row).collect()
}

/// The mistake that explains all positions.
fn named(dump: &Recording, rows: &[Tokens]) -> Option<Named> {
    let every = |holds: &dyn Fn(usize, usize, (usize, usize)) -> bool| {
        let row = |(row, &cached): (&Tokens, &usize)| {
            row.iter().enumerate().all(|(n, &token)| holds(cached, n, token))
        };
        rows.iter().zip(&dump.cached).all(row)
    };
    if every(&|cached, _, (slot, position)| position == cached + slot) {
        return Some(Named::new("pad-positions", "you count the padding on the left as positions"));
    }
    let (_, first) = *rows.first()?.first()?;
    let shift = first.checked_sub(dump.cached[0]);
    let shift = shift.filter(|shift| every(&|cached, n, (_, position)| position == cached + shift + n));
    let fed = rows.iter().map(Vec::len).max().unwrap_or(0);
    match shift {
        Some(shift) if fed > 1 && shift + 1 >= fed && !dump.reads_a_cache() => Some(Named::new(
            "uncached-position",
            format!("nothing is cached, but you start at position {first}, as if {shift} tokens were"),
        )),
        Some(shift) => Some(Named::new("decode-position", format!("every position is {shift} too high"))),
        None if dump.reads_a_cache() && fed > 1 && every(&|_, n, (_, position)| position == n) => {
            Some(Named::new(
                KEPT,
                "you keep the cache between two texts; or, if these tokens continue the earlier text, you count their \
             positions from 0 again (decode-position)",
            ))
        }
        None if dump.reads_a_cache() && fed == 1 && every(&|cached, _, (_, position)| position < cached) => {
            let how =
                format!("you rotate a token by position {first}, although {} are cached", dump.cached[0]);
            Some(Named::new("decode-position", how))
        }
        None if fed > 1 && every(&|_, _, (_, position)| position == first) => {
            Some(Named::new("decode-position", format!("every token has position {first}")))
        }
        None => None,
    }
}
