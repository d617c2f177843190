//! Names of one's own: which array is which site, and how the arrays of a kind lie.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::form::{Axes, Form};
use super::names::layer_of;
use crate::probe::{Kind, Site};
use crate::{Error, Result};

/// As `--map names.toml` has it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NameMap {
    /// An array's name, or a pattern with `{N}` for the layer → a site's, or `""`: leave it out.
    #[serde(default)]
    names: BTreeMap<String, String>,
    /// A kind of site (`self_attn.q_rope`) → how its arrays lie.
    #[serde(default)]
    layout: BTreeMap<String, Words>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Words {
    One(String),
    Many(Vec<String>),
}

const WORDS: &str = "a layout is `seq-first`, `reversed`, `interleaved` or `half-split`, or several of them";

impl NameMap {
    /// Is everything in it a site, a kind and a word that is known?
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<()> {
        for (name, site) in self.names.iter().filter(|(_, site)| !site.is_empty()) {
            if name.contains("{N}") != site.contains("{N}") {
                let hint = "{N} stands for the layer, on both sides or on none";
                return Err(Error::input(format!("`{name}` = `{site}`: {{N}} on one side only"), hint));
            }
            site.replace("{N}", "0").parse::<Site>()?;
        }
        for (kind, words) in &self.layout {
            kind_of(kind)?;
            words.form().map_err(|word| Error::input(format!("{kind}: `{word}` is no layout"), WORDS))?;
        }
        Ok(())
    }

    /// What the array `name` is: `None` where the map does not say, `Some(None)` where it is to be left out.
    pub(super) fn site(&self, name: &str) -> Option<Option<Site>> {
        let exact = self.names.get(name).cloned();
        let by_pattern = || {
            self.names.iter().find_map(|(pattern, site)| {
                let layer = layer_of(pattern, name)?;
                Some(site.replace("{N}", &layer.to_string()))
            })
        };
        exact.or_else(by_pattern).map(|site| site.parse().ok())
    }

    /// How arrays of this kind lie, where the map says so.
    pub(super) fn form(&self, kind: Kind) -> Option<Form> {
        let words = self.layout.iter().find(|(name, _)| kind_of(name).is_ok_and(|named| named == kind))?.1;
        words.form().ok()
    }
}

impl Words {
    fn form(&self) -> Result<Form, &str> {
        let words = match self {
            Self::One(word) => std::slice::from_ref(word),
            Self::Many(words) => words,
        };
        let mut form = Form::default();
        for word in words {
            match word.as_str() {
                "seq-first" => form.axes = Axes::SeqFirst,
                "reversed" => form.axes = Axes::Reversed,
                "interleaved" => form.interleaved = Some(true),
                "half-split" => form.interleaved = Some(false),
                other => return Err(other),
            }
        }
        Ok(form)
    }
}

/// `self_attn.q_rope`, `lm_head`; `block` is the block's output, whose own name is empty.
fn kind_of(name: &str) -> Result<Kind> {
    let named = |kind: &&Kind| kind.name() == name || (**kind == Kind::Block && name == "block");
    let found = Kind::ALL.iter().find(named).copied().filter(|_| !name.is_empty());
    found.ok_or_else(|| {
        Error::input(
            format!("`{name}` is no kind of site"),
            "kinds are `self_attn.q_proj`, `block`, `lm_head` …",
        )
    })
}
