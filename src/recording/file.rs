//! Opens a recording from a file: maps every array name to a site, and reads the input ids.

use std::path::Path;

use super::assign::assign;
use super::cache::Cache;
use super::convention::Conventions;
use super::pass::{Recording, Tensors};
use super::stored::AGAIN;
use super::vocabulary::Vocabulary;
use crate::arrays::Arrays;
use crate::model::Input;
use crate::{Error, Result};

/// The recording format that this reader supports.
const FORMAT: &str = "rbees-dump 1";

impl Recording {
    /// Opens a `.safetensors`, `.npz` or `.pt` file or a directory of `.npy` files, and maps every array name
    /// in it to a site; names in `vocabulary` take precedence. Arrays with unknown names are left out.
    ///
    /// # Errors
    /// The file is damaged or not a recording; a name may mean several sites; there are no ids or no sites.
    pub fn open(path: &Path, vocabulary: &Vocabulary) -> Result<Self> {
        let arrays = open(path)?;
        let metadata = vocabulary.metadata(&arrays.metadata);
        if let Some(other) = metadata.get("format").filter(|format| *format != FORMAT) {
            return Err(arrays.fault(format!("its format is `{other}`, but this version reads `{FORMAT}`")));
        }
        let assignments = assign(&arrays, vocabulary, &metadata)?;
        let matrix = |role: &str| match assignments.beside(&arrays, role) {
            Some(name) => matrix(&arrays, &name),
            None => Ok(None),
        };
        let ids = matrix("input_ids")?.ok_or_else(|| {
            let hint = "record the token ids as `input_ids`: they are needed to know the correct values";
            Error::file(path, "it has no input_ids", hint)
        })?;
        let (batch, length) = (ids.len(), ids[0].len());
        let ids = whole(&arrays, "input_ids", &ids)?;
        let of_tokens = |name: &str| -> Result<Option<Vec<Vec<u32>>>> {
            let Some(rows) = matrix(name)? else { return Ok(None) };
            let rows = if rows.len() == 1 { vec![rows[0].clone(); batch] } else { rows };
            if rows.len() != batch || rows[0].len() != length {
                let got = [rows.len(), rows[0].len()];
                return Err(arrays.fault(format!(
                    "{name} has shape {got:?}, but input_ids has shape {:?}",
                    [batch, length]
                )));
            }
            whole(&arrays, name, &rows).map(Some)
        };
        // In a step with cached tokens, it may have a column for each of them.
        let wide = matrix("attention_mask")?.filter(|rows| rows.len() == batch && rows[0].len() > length);
        let (mask, before) = match wide {
            None => (of_tokens("attention_mask")?.unwrap_or(vec![vec![1; length]; batch]), vec![]),
            Some(rows) => {
                let rows = whole(&arrays, "attention_mask", &rows)?;
                let past = rows[0].len() - length;
                let part = |rows: &[Vec<u32>], range: std::ops::Range<usize>| {
                    rows.iter().map(|row| row[range.clone()].to_vec()).collect::<Vec<_>>()
                };
                (part(&rows, past..past + length), part(&rows, 0..past))
            }
        };
        let offset = metadata.get("position_offset").map_or(Ok(0), |n| n.parse::<u32>());
        let offset =
            offset.map_err(|_| arrays.fault("position_offset in the metadata is not a number"))? as usize;
        let given = of_tokens("position_ids")?;
        let usizes = |rows: Vec<Vec<u32>>| {
            rows.iter().map(|row| row.iter().map(|&p| p as usize).collect()).collect::<Vec<Vec<usize>>>()
        };
        let real: Vec<Vec<bool>> = mask.iter().map(|row| row.iter().map(|&m| m != 0).collect()).collect();
        if !real.iter().flatten().any(|&real| real) {
            return Err(arrays.fault("attention_mask masks every token"));
        }
        // A token's position is the number of tokens before it; padding gets that of the token after it.
        let counted = |row: &Vec<bool>| {
            let before = |slot: usize| row[..slot].iter().filter(|real| **real).count();
            (0..length).map(|slot| offset + before(slot)).collect()
        };
        let counted = || real.iter().map(counted).collect();
        let (stored, recognised) = assignments.sites(arrays, vocabulary, length)?;
        Ok(Self {
            name: path.display().to_string(),
            input: Input { ids, positions: given.map_or_else(counted, usizes), real: real.clone() },
            cached: vec![0; batch],
            cache: Cache::default(),
            real_before: before.iter().map(|row| row.iter().map(|&m| m != 0).collect()).collect(),
            dtype: stored.dtype(&metadata)?,
            saved: None,
            metadata,
            recognised,
            conventions: Conventions::default(),
            tensors: Tensors::File(Box::new(stored)),
        })
    }
}

/// Opens the arrays at `path`, by its type and file extension.
fn open(path: &Path) -> Result<Arrays> {
    if !path.exists() {
        return Err(Error::file(
            path,
            "no such file",
            "give the file that a recorder wrote; RBEES_DUMP sets its path",
        ));
    }
    if !Arrays::knows(path) {
        let hint = "give a .safetensors, .npz or .pt file, or a directory of .npy files";
        return Err(Error::file(path, "its name is not that of a recording", hint));
    }
    Arrays::open(path, AGAIN)
}

/// The integers of the `[b, s]` or `[s]` array with this name.
fn matrix(arrays: &Arrays, name: &str) -> Result<Option<Vec<Vec<i64>>>> {
    let Some(entry) = arrays.entry(name) else { return Ok(None) };
    let width = match entry.shape[..] {
        [s] | [_, s] => s,
        _ => return Err(arrays.fault(format!("{name} has shape {:?}, not [b, s]", entry.shape))),
    };
    let numbers = entry.integers(&arrays.values(entry)?);
    let numbers = numbers
        .ok_or_else(|| arrays.fault(format!("{name} has type {:?}, but must hold integers", entry.dtype)))?;
    Ok(Some(numbers.chunks_exact(width).map(<[i64]>::to_vec).collect()))
}

/// The same numbers as u32, which ids must fit.
fn whole(arrays: &Arrays, name: &str, rows: &[Vec<i64>]) -> Result<Vec<Vec<u32>>> {
    let number = |n: &i64| {
        u32::try_from(*n).map_err(|_| {
            Error::input(
                arrays.fault(format!("{name} contains {n}, which is not a valid value")).to_string(),
                AGAIN,
            )
        })
    };
    rows.iter().map(|row| row.iter().map(number).collect()).collect()
}
