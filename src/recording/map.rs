//! The `--map` file: which array is which site, the layout of the arrays of each kind, and metadata.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::axes::Axes;
use super::form::{AxisOrder, Form};
use super::vocabulary::{LAYER, Meaning, Vocabulary};
use crate::probe::{Kind, Site};
use crate::{Error, Result};

/// The content of `--map names.toml`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NameMap {
    /// Maps an array's name, or a pattern with `{N}` for the layer, to a site's name, or to `""` to leave it
    /// out.
    #[serde(default)]
    names: BTreeMap<String, String>,
    /// Maps a kind of site (`self_attn.q_rope`) to the layout of its arrays.
    #[serde(default)]
    layout: BTreeMap<String, Words>,
    /// Metadata of the recording, as described in docs/dump-format.md. It takes precedence over the file's.
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Words {
    One(String),
    Many(Vec<String>),
}

const WORDS: &str = "use `seq-first`, `reversed`, `interleaved` or `half-split`, or several of these; or write the \
                     axes in letters, for example `b s h d`";

impl NameMap {
    /// Converts the map to a vocabulary, if everything in it is a valid site, kind and layout.
    ///
    /// # Errors
    /// The first invalid entry.
    pub fn vocabulary(&self) -> Result<Vocabulary> {
        let mut vocabulary = Vocabulary::default();
        for (name, site) in &self.names {
            if name.contains(LAYER) != site.contains(LAYER) && !site.is_empty() {
                let hint = "{N} stands for the layer: use it on both sides or on neither";
                return Err(Error::input(format!("`{name}` = `{site}`: {{N}} on one side only"), hint));
            }
            let meaning = match site.as_str() {
                "" => Meaning::LeftOut,
                site if site.contains(LAYER) => Meaning::Kind(site.replace(LAYER, "0").parse::<Site>()?.kind),
                site => Meaning::Site(site.parse()?),
            };
            vocabulary.name(name, meaning);
        }
        for (kind, words) in &self.layout {
            let named = kind_of(kind)?;
            let form = words.form(named);
            let form =
                form.map_err(|word| Error::input(format!("{kind}: `{word}` is not a layout"), WORDS))?;
            vocabulary.set_form(named, form);
        }
        vocabulary.state(&self.metadata);
        Ok(vocabulary)
    }
}

impl Words {
    fn form(&self, kind: Kind) -> Result<Form, &str> {
        let words = match self {
            Self::One(word) => std::slice::from_ref(word),
            Self::Many(words) => words,
        };
        let mut form = Form::default();
        for word in words {
            match word.as_str() {
                "seq-first" => form.order = AxisOrder::SeqFirst,
                "reversed" => form.order = AxisOrder::Reversed,
                "interleaved" => form.interleaved = Some(true),
                "half-split" => form.interleaved = Some(false),
                letters => form.order = AxisOrder::Letters(Axes::parse(kind, letters).map_err(|_| letters)?),
            }
        }
        Ok(form)
    }
}

/// Parses `self_attn.q_rope`, `lm_head`; `block` is the block's output, whose own name is empty.
fn kind_of(name: &str) -> Result<Kind> {
    let named = |kind: &&Kind| kind.name() == name || (**kind == Kind::Block && name == "block");
    let found = Kind::ALL.iter().find(named).copied().filter(|_| !name.is_empty());
    found.ok_or_else(|| {
        Error::input(
            format!("`{name}` is not a kind of site"),
            "use a kind such as `self_attn.q_proj`, `block` or `lm_head`",
        )
    })
}
