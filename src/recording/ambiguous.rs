//! The error for an array whose name means several sites.

use super::names::{self, Content, Meaning, PROJECTS};
use crate::Error;
use crate::arrays::Arrays;
use crate::files::short_name;
use crate::probe::{Kind, Site};

/// The error for a name with several meanings.
pub(super) fn ambiguous(arrays: &Arrays, name: &str, meanings: &[&Meaning]) -> Error {
    let mut sites: Vec<String> = Vec::new();
    let mut of: Vec<&str> = Vec::new();
    let layer = meanings[0].layer;
    for meaning in meanings {
        of.push(PROJECTS[meaning.project].name);
        let kinds: &[Kind] = match meaning.content {
            Content::OneOf(kinds) => kinds,
            Content::Tensor(kind) | Content::HeadsFirst(kind) | Content::Normalized(kind) => {
                std::slice::from_ref(kind)
            }
            Content::Fused(fused) => fused.kinds(),
            Content::ByHeads(..)
            | Content::LayerInput
            | Content::Activation
            | Content::Cached(_)
            | Content::Tokens(_)
            | Content::NotASite => &[],
        };
        sites.extend(kinds.iter().map(|&kind| Site { layer: meaning.layer, kind }.to_string()));
    }
    sites.dedup();
    let what = format!(
        "{}: `{}` may be {}: {} uses this name for each",
        arrays.origin(),
        short_name(name),
        sites.join(" or "),
        of.join(" or ")
    );
    let placed = |text: &str| layer.map_or(text.to_owned(), |layer| names::with_placeholder(text, layer));
    let site = sites.first().map_or(String::new(), |site| placed(site));
    let hint = format!(
        "say which it is in a --map file, under [names]: \"{}\" = \"{site}\"; or leave it out: \"{}\" = \"\"",
        placed(name),
        placed(name)
    );
    Error::input(what, hint)
}
