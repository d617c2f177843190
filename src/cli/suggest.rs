//! Suggests a correct name for a misspelled one.

use rbees_check::checkpoints::{self, Checkpoint};
use rbees_check::{Error, Result};

/// The most similar of `names`, if any is similar enough.
pub fn nearest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_ascii_lowercase();
    names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&typed, &name.to_ascii_lowercase()), name))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// The checkpoint that `id` names.
///
/// # Errors
/// There is no such checkpoint; the hint names the one that was probably meant.
pub fn checkpoint(id: &str) -> Result<&'static Checkpoint> {
    checkpoints::find(id).ok_or_else(|| {
        let hint = meant(nearest(id, spellings()));
        Error::input(format!("`{id}` is not a checkpoint"), hint)
    })
}

/// The accepted names of checkpoints. Ids are also listed without a leading 0, so that `3x` matches `3`.
pub fn spellings() -> impl Iterator<Item = &'static str> {
    let all = checkpoints::ALL.iter().flat_map(|c| [c.id, c.id.trim_start_matches('0'), c.name]);
    all.filter(|spelling| !spelling.is_empty())
}

/// The hint that names what was probably meant.
pub fn meant(spelling: Option<&str>) -> String {
    match spelling.map(|name| (name, checkpoints::find(name))) {
        Some((_, Some(checkpoint))) => format!("did you mean `{}` ({})?", checkpoint.id, checkpoint.name),
        Some((mistake, None)) => format!("did you mean `{mistake}`?"),
        None => "run `rbees-check list` to see all names".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelled_checkpoint_gets_a_suggestion() {
        for (typed, meant) in [("3x", "03"), ("rop", "01B"), ("atention", "03"), ("ffm", "05")] {
            let error = checkpoint(typed).unwrap_err();
            assert!(error.hint().unwrap().contains(&format!("`{meant}`")), "{typed}: {error:?}");
        }
    }
}
