//! A file → a recording: every name in it understood, and the ids that went in.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

use super::form::Form;
use super::names;
use super::pass::{Recording, Tensors};
use super::stored::{AGAIN, Stored, float};
use super::vocabulary::{Known, Vocabulary};
use crate::arrays::Arrays;
use crate::model::Input;
use crate::probe::Site;
use crate::{Error, Result};

/// The metadata that this reader knows.
const FORMAT: &str = "rbees-dump 1";

impl Recording {
    /// Opens a `.safetensors` file, an `.npz` file or a directory of `.npy` files, and understands every name
    /// in it, by `vocabulary` first.
    ///
    /// # Errors
    /// A file that is damaged or no dump; a name that nobody knows, two for one site; no ids, or no site.
    pub fn open(path: &Path, vocabulary: &Vocabulary) -> Result<Self> {
        let arrays = open(path)?;
        let metadata = arrays.metadata.clone();
        if let Some(other) = metadata.get("format").filter(|format| *format != FORMAT) {
            return Err(arrays.fault(format!("its format is `{other}`; this version reads `{FORMAT}`")));
        }
        let ids = matrix(&arrays, "input_ids")?.ok_or_else(|| {
            let hint = "a dump needs the token ids that went in: without them nobody knows what is right";
            Error::file(path, "it has no input_ids", hint)
        })?;
        let (batch, length) = (ids.len(), ids[0].len());
        let ids = whole(&arrays, "input_ids", &ids)?;
        let of_tokens = |name: &str| -> Result<Option<Vec<Vec<u32>>>> {
            let Some(rows) = matrix(&arrays, name)? else { return Ok(None) };
            let rows = if rows.len() == 1 { vec![rows[0].clone(); batch] } else { rows };
            if rows.len() != batch || rows[0].len() != length {
                let got = [rows.len(), rows[0].len()];
                return Err(arrays.fault(format!("{name} is {got:?}, input_ids are {:?}", [batch, length])));
            }
            whole(&arrays, name, &rows).map(Some)
        };
        let mask = of_tokens("attention_mask")?.unwrap_or(vec![vec![1; length]; batch]);
        let offset = metadata.get("position_offset").map_or(Ok(0), |n| n.parse::<u32>());
        let offset = offset.map_err(|_| arrays.fault("position_offset is no position"))? as usize;
        let counted = || vec![(offset..offset + length).collect(); batch];
        let given = of_tokens("position_ids")?;
        let usizes = |rows: Vec<Vec<u32>>| {
            rows.iter().map(|row| row.iter().map(|&p| p as usize).collect()).collect::<Vec<Vec<usize>>>()
        };
        let real: Vec<Vec<bool>> = mask.iter().map(|row| row.iter().map(|&m| m != 0).collect()).collect();
        if !real.iter().flatten().any(|&real| real) {
            return Err(arrays.fault("attention_mask bars every token"));
        }
        let sites = name_sites(&arrays, vocabulary, length)?;
        let stored = Stored { arrays, sites };
        Ok(Self {
            name: path.display().to_string(),
            input: Input { ids, positions: given.map_or_else(counted, usizes), real },
            dtype: stored.dtype(&metadata)?,
            metadata,
            tensors: Tensors::File(stored),
        })
    }
}

/// Understands every name in a pass over `length` positions.
fn name_sites(
    arrays: &Arrays,
    vocabulary: &Vocabulary,
    length: usize,
) -> Result<BTreeMap<Site, (String, Form)>> {
    const BESIDE: [&str; 3] = ["input_ids", "position_ids", "attention_mask"];
    let mut sites: BTreeMap<Site, (String, Form)> = BTreeMap::new();
    for (name, entry) in arrays.entries().filter(|(name, _)| !BESIDE.contains(name)) {
        let named = match vocabulary.lookup(name) {
            Known::LeftOut => continue,
            Known::Site(site) => Some((site, Form::default())),
            Known::Unknown => names::meaning(name, &entry.shape, length),
        };
        let Some((site, form)) = named else { return Err(unknown(arrays, name, &sites)) };
        if float(entry).is_none() {
            return Err(arrays.fault(format!("{name} is of type {:?}, not of floats", entry.dtype)));
        }
        let form = vocabulary.form(site.kind).cloned().unwrap_or(form);
        if let Some((other, _)) = sites.insert(site, (name.to_owned(), form)) {
            let hint = format!("leave one out: `--map` with \"{other}\" = \"\" below [names]");
            let what = format!("`{other}` and `{name}` are both {site}");
            return Err(Error::input(format!("{}: {what}", arrays.origin()), hint));
        }
    }
    if sites.is_empty() { Err(arrays.fault("it holds no site")) } else { Ok(sites) }
}

fn unknown(arrays: &Arrays, name: &str, known: &BTreeMap<Site, (String, Form)>) -> Error {
    let layers = known.keys().filter_map(|site| site.layer).max().map_or(64, |n| usize::from(n) + 2);
    let near = names::spellings(layers)
        .into_iter()
        .map(|spelling| (strsim::damerau_levenshtein(name, &spelling), spelling))
        .min();
    let hint = match near {
        Some((far, spelling)) if far * 4 <= name.chars().count() => format!("did you mean `{spelling}`?"),
        _ => "name it in a file: `--map names.toml`; docs/dump-format.md says how".to_owned(),
    };
    Error::input(format!("{}: `{name}` is no site", arrays.origin()), hint)
}

/// The arrays of what `path` is, by its kind and its name.
fn open(path: &Path) -> Result<Arrays> {
    let known = |end: &OsStr| ["safetensors", "npz"].iter().any(|known| end.eq_ignore_ascii_case(known));
    if !path.exists() {
        return Err(Error::file(path, "no such file", "give what a recorder wrote: RBEES_DUMP says where"));
    }
    if !path.is_dir() && !path.extension().is_some_and(known) {
        let hint = "a dump is a .safetensors file, an .npz file, or a directory of .npy files";
        return Err(Error::file(path, "not a dump by its name", hint));
    }
    Arrays::open(path, AGAIN)
}

/// The integers of `[b, s]` or `[s]` under this name.
fn matrix(arrays: &Arrays, name: &str) -> Result<Option<Vec<Vec<i64>>>> {
    let Some(entry) = arrays.entry(name) else { return Ok(None) };
    let width = match entry.shape[..] {
        [s] | [_, s] => s,
        _ => return Err(arrays.fault(format!("{name} is {:?}, not [b, s]", entry.shape))),
    };
    let numbers = entry.integers(&arrays.values(entry)?);
    let numbers = numbers
        .ok_or_else(|| arrays.fault(format!("{name} is of type {:?}, not of whole numbers", entry.dtype)))?;
    Ok(Some(numbers.chunks_exact(width).map(<[i64]>::to_vec).collect()))
}

/// The same as numbers that can be ids.
fn whole(arrays: &Arrays, name: &str, rows: &[Vec<i64>]) -> Result<Vec<Vec<u32>>> {
    let number = |n: &i64| {
        u32::try_from(*n)
            .map_err(|_| Error::input(arrays.fault(format!("{name} holds {n}")).to_string(), AGAIN))
    };
    rows.iter().map(|row| row.iter().map(number).collect()).collect()
}
