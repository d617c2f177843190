//! Models that are split into several GGUF files, as `llama-gguf-split` writes them: `NAME-00001-of-00003.gguf`. Each
//! part has a header of its own; the metadata of the model are in the first one.

use std::path::{Path, PathBuf};

use super::cursor::Problem;
use super::header::Header;

// The keys of each part.
const COUNT: &str = "split.count";
const NUMBER: &str = "split.no";
const TENSORS: &str = "split.tensors.count";

/// The number of parts that a file says that it is one of; 1 if it says nothing.
pub(super) fn count(header: &Header, bytes: &[u8]) -> Result<u64, Problem> {
    Ok(number(header, bytes, COUNT)?.map_or(1, |count| count.max(1)))
}

/// The paths of all parts, of which `path` is one.
///
/// # Errors
/// The name of the file is not that of one of `count` parts.
pub(super) fn paths(path: &Path, count: u64) -> Result<Vec<PathBuf>, Problem> {
    let named = || {
        let (start, of) = path.file_name()?.to_str()?.strip_suffix(".gguf")?.rsplit_once("-of-")?;
        let (start, number) = start.rsplit_once('-')?;
        let (number, of) = (number.parse::<u64>().ok()?, of.parse::<u64>().ok()?);
        (of == count && (1..=count).contains(&number)).then_some(start)
    };
    let start = named().ok_or_else(|| Problem {
        what: format!("is one of {count} parts, but its name does not say which"),
        hint: "keep the names of all parts, which end in -00001-of-00003.gguf; or merge them with llama-gguf-split",
    })?;
    // Missing parts are found one by one, so a wrong count cannot make this list long.
    if count > MOST {
        return Err(Problem::unsupported(format!("is one of {count} parts: at most {MOST} are allowed")));
    }
    Ok((1..=count).map(|n| path.with_file_name(format!("{start}-{n:05}-of-{count:05}.gguf"))).collect())
}

/// The most parts.
const MOST: u64 = 1 << 12;

/// Checks that this is part `index`, counted from 0, of `count`.
///
/// # Errors
/// Its metadata say something else.
pub(super) fn check(header: &Header, bytes: &[u8], index: usize, total: u64) -> Result<(), Problem> {
    let (number, parts) = (number(header, bytes, NUMBER)?.unwrap_or(0), count(header, bytes)?);
    if (number, parts) == (index as u64, total) {
        return Ok(());
    }
    Err(Problem {
        what: format!(
            "`{NUMBER}` is {number} and `{COUNT}` is {parts}, but its name says that it is part {} of {total}",
            index + 1
        ),
        hint: "the parts do not belong together: fetch all of them again",
    })
}

/// Checks that all parts together have as many tensors as the first one, `header`, says.
///
/// # Errors
/// They have more or fewer.
pub(super) fn check_tensors(header: &Header, bytes: &[u8], found: usize) -> Result<(), Problem> {
    match number(header, bytes, TENSORS)? {
        Some(stated) if stated != found as u64 => Err(Problem {
            what: format!("`{TENSORS}` is {stated}, but the parts have {found} tensors"),
            hint: "the parts do not belong together: fetch all of them again",
        }),
        _ => Ok(()),
    }
}

fn number(header: &Header, bytes: &[u8], key: &str) -> Result<Option<u64>, Problem> {
    let Some(value) = header.metadata.get(key) else { return Ok(None) };
    let whole = value.count().is_none().then(|| value.to_json(bytes)).and_then(|value| value.as_u64());
    whole.map(Some).ok_or_else(|| Problem::damaged(format!("metadata `{key}` is not a whole number")))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn the_names_of_all_parts_follow_from_one() {
        let all = paths(Path::new("a/m-of-1-00002-of-00003.gguf"), 3).unwrap();
        let names =
            ["a/m-of-1-00001-of-00003.gguf", "a/m-of-1-00002-of-00003.gguf", "a/m-of-1-00003-of-00003.gguf"];
        assert_eq!(all, names.map(PathBuf::from));
    }

    #[rstest]
    #[case::renamed("model.gguf")]
    #[case::of_another_number("m-00001-of-00002.gguf")]
    #[case::beyond_the_last("m-00004-of-00003.gguf")]
    #[case::none("m-00000-of-00003.gguf")]
    fn a_name_that_does_not_say_which_part_it_is_is_refused(#[case] name: &str) {
        assert!(paths(Path::new(name), 3).is_err());
    }
}
