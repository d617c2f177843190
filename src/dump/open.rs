//! A file → a dump: every name in it understood, and the ids that went in.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

use candle_core::DType;

use super::form::Form;
use super::held::float;
use super::{Dump, NameMap, names};
use crate::arrays::Arrays;
use crate::{Error, Result};

/// The metadata that this reader knows.
const FORMAT: &str = "rbees-dump 1";

impl Dump {
    /// Opens a `.safetensors` file, an `.npz` file or a directory of `.npy` files, and understands every name
    /// in it, by `map` first.
    ///
    /// # Errors
    /// A file that is damaged or no dump; a name that nobody knows, two for one site; no ids, or no site.
    pub fn open(path: &Path, map: &NameMap) -> Result<Self> {
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
        let mut dump = Self {
            name: path.display().to_string(),
            ids,
            positions: given.map_or_else(counted, usizes),
            real: mask.iter().map(|row| row.iter().map(|&m| m != 0).collect()).collect(),
            dtype: DType::F32,
            metadata,
            arrays,
            sites: BTreeMap::new(),
        };
        dump.name_sites(map)?;
        dump.dtype = dump.own_dtype()?;
        match dump.places().is_empty() {
            true => Err(dump.arrays.fault("attention_mask bars every token")),
            false => Ok(dump),
        }
    }

    /// Understands every name.
    fn name_sites(&mut self, map: &NameMap) -> Result<()> {
        const BESIDE: [&str; 3] = ["input_ids", "position_ids", "attention_mask"];
        for (name, entry) in self.arrays.entries().filter(|(name, _)| !BESIDE.contains(name)) {
            let named = match map.site(name) {
                Some(None) => continue,
                Some(Some(site)) => Some((site, Form::default())),
                None => names::meaning(name, &entry.shape, self.ids[0].len()),
            };
            let Some((site, form)) = named else { return Err(self.unknown(name)) };
            if float(entry).is_none() {
                return Err(self.arrays.fault(format!("{name} is of type {:?}, not of floats", entry.dtype)));
            }
            let form = map.form(site.kind).unwrap_or(form);
            if let Some((other, _)) = self.sites.insert(site, (name.to_owned(), form)) {
                let hint = format!("leave one out: `--map` with \"{other}\" = \"\" below [names]");
                return Err(Error::file(&self.name, format!("`{other}` and `{name}` are both {site}"), hint));
            }
        }
        match self.sites.is_empty() {
            true => Err(self.arrays.fault("it holds no site")),
            false => Ok(()),
        }
    }

    fn unknown(&self, name: &str) -> Error {
        let layers = self.sites.keys().filter_map(|site| site.layer).max().map_or(64, |n| usize::from(n) + 2);
        let near = names::spellings(layers)
            .into_iter()
            .map(|spelling| (strsim::damerau_levenshtein(name, &spelling), spelling))
            .min();
        let hint = match near {
            Some((far, spelling)) if far * 4 <= name.chars().count() => format!("did you mean `{spelling}`?"),
            _ => "name it in a file: `--map names.toml`; docs/dump-format.md says how".to_owned(),
        };
        Error::file(&self.name, format!("`{name}` is no site"), hint)
    }

    /// What its metadata says it computes in, else what most of its sites are.
    fn own_dtype(&self) -> Result<DType> {
        let named = |name: &str| {
            [DType::F64, DType::F32, DType::F16, DType::BF16].into_iter().find(|d| d.as_str() == name)
        };
        if let Some(said) = self.metadata.get("dtype") {
            return named(said).ok_or_else(|| self.arrays.fault(format!("dtype `{said}` is not known")));
        }
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for dtype in self.sites.values().filter_map(|(name, _)| float(self.arrays.entry(name)?)) {
            *counts.entry(dtype.as_str().to_owned()).or_default() += 1;
        }
        let most = counts.into_iter().max_by_key(|(_, count)| *count);
        Ok(most.and_then(|(name, _)| named(&name)).unwrap_or(DType::F32))
    }
}

/// What to do about a dump that cannot be read.
const AGAIN: &str = "record it again; docs/dump-format.md says what a dump holds";

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
