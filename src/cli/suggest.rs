//! What was meant by a name that is not quite right.

use rbees_check::checkpoints::{self, Checkpoint};
use rbees_check::{Error, Result};

/// The nearest of `names` to what was typed, if any is near.
pub fn nearest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_ascii_lowercase();
    names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&typed, &name.to_ascii_lowercase()), name))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// The checkpoint that `id` means.
///
/// # Errors
/// No checkpoint is called so; the hint names the one that was likely meant.
pub fn checkpoint(id: &str) -> Result<&'static Checkpoint> {
    checkpoints::find(id).ok_or_else(|| {
        let hint = meant(nearest(id, spellings()));
        Error::input(format!("`{id}` is no checkpoint"), hint)
    })
}

/// How checkpoints may be called. `3x` is nearer to `3` than to `03`.
pub fn spellings() -> impl Iterator<Item = &'static str> {
    let all = checkpoints::ALL.iter().flat_map(|c| [c.id, c.id.trim_start_matches('0'), c.name]);
    all.filter(|spelling| !spelling.is_empty())
}

/// The hint that names what was likely meant.
pub fn meant(spelling: Option<&str>) -> String {
    match spelling.map(|name| (name, checkpoints::find(name))) {
        Some((_, Some(checkpoint))) => format!("did you mean `{}` ({})?", checkpoint.id, checkpoint.name),
        Some((mistake, None)) => format!("did you mean `{mistake}`?"),
        None => "`rbees-check list` names them all".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_answered_with_what_was_meant() {
        for (typed, meant) in [("3x", "03"), ("rop", "01B"), ("atention", "03"), ("ffm", "05")] {
            let error = checkpoint(typed).unwrap_err();
            assert!(error.hint().unwrap().contains(&format!("`{meant}`")), "{typed}: {error:?}");
        }
    }
}
