//! The `--map` file: which array is which site, the layout of the arrays of each kind, and metadata.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::axes::Axes;
use super::form::{AxisOrder, Form};
use super::part::{Fused, Part, Repetition};
use super::positions::Positions;
use super::vocabulary::{LAYER, Meaning, Vocabulary, cached_site};
use crate::probe::{Kind, Site};
use crate::{Error, Result};

/// The content of `--map names.toml`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NameMap {
    /// Maps an array's name, or a pattern with `{N}` for the layer, to a site's name, or to `""` to leave it
    /// out; an array of several tensors side by side to the names of their sites.
    #[serde(default)]
    names: BTreeMap<String, Words>,
    /// Maps a kind of site (`self_attn.q_rope`), or one site, to the layout of its arrays.
    #[serde(default)]
    layout: BTreeMap<String, Words>,
    /// Metadata of the recording, as described in docs/dump-format.md. It takes precedence over the file's.
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "expected a text, or a list of texts")]
enum Words {
    One(String),
    Many(Vec<String>),
}

const WORDS: &str = "use `seq-first`, `reversed`, `interleaved`, `half-split`, `repeated`, `padded`, `last` or `first`, or several \
                     of these; or write the axes in letters, for example `b s h d`";

impl NameMap {
    /// Converts the map to a vocabulary, if everything in it is a valid site, kind and layout.
    ///
    /// # Errors
    /// The first invalid entry.
    pub fn vocabulary(&self) -> Result<Vocabulary> {
        let mut vocabulary = Vocabulary::default();
        for (name, sites) in &self.names {
            vocabulary.name(name, meaning(name, sites)?);
        }
        for (kind, words) in &self.layout {
            let site = kind.parse::<Site>().ok().filter(|site| site.layer.is_some());
            let named = site.map_or_else(|| kind_of(kind), |site| Ok(site.kind))?;
            let form = words.form(named);
            let form =
                form.map_err(|word| Error::input(format!("{kind}: `{word}` is not a layout"), WORDS))?;
            match site {
                Some(site) => vocabulary.set_site_form(site, form),
                None => vocabulary.set_form(named, form),
            }
        }
        vocabulary.state(&self.metadata);
        Ok(vocabulary)
    }
}

/// What the array `name` is.
///
/// # Errors
/// A site is unknown; the layer is on one side only; the sites cannot be side by side.
fn meaning(name: &str, sites: &Words) -> Result<Meaning> {
    let layered = |site: &str| {
        if name.contains(LAYER) == site.contains(LAYER) {
            return Ok(());
        }
        let hint = "{N} stands for the layer: use it on both sides or on neither";
        Err(Error::input(format!("`{name}` = `{site}`: {{N}} on one side only"), hint))
    };
    match sites.all() {
        [site] if site.is_empty() => Ok(Meaning::LeftOut),
        [site] => {
            layered(site)?;
            if let Some(Site { layer: Some(layer), kind }) = cached_site(&site.replace(LAYER, "0")) {
                return Ok(Meaning::Cached(kind, layer));
            }
            if site.contains(LAYER) {
                Ok(Meaning::Kind(site.replace(LAYER, "0").parse::<Site>()?.kind))
            } else {
                Ok(Meaning::Site(site.parse()?))
            }
        }
        sites => {
            sites.iter().try_for_each(|site| layered(site))?;
            let sites = sites.iter().map(|site| site.replace(LAYER, "0").parse::<Site>());
            let sites = sites.collect::<Result<Vec<_>>>()?;
            let is = |fused: &Fused| sites.iter().map(|site| site.kind).eq(fused.kinds().iter().copied());
            let one_layer = sites.iter().all(|site| site.layer == sites[0].layer);
            let fused = [Fused::Qkv, Fused::GateUp].into_iter().find(is).filter(|_| one_layer);
            let layer = sites.first().and_then(|site| site.layer);
            fused.zip(layer).map(|(fused, layer)| Meaning::Fused(fused, layer)).ok_or_else(|| {
                let hint = "list q_proj, k_proj and v_proj, or gate_proj and up_proj, of one layer";
                Error::input(format!("`{name}`: these sites are not side by side in one array"), hint)
            })
        }
    }
}

impl Words {
    fn all(&self) -> &[String] {
        match self {
            Self::One(word) => std::slice::from_ref(word),
            Self::Many(words) => words,
        }
    }

    fn form(&self, kind: Kind) -> Result<Form, &str> {
        let mut form = Form { stated: true, ..Form::default() };
        for word in self.all() {
            match word.as_str() {
                "seq-first" => form.order = AxisOrder::SeqFirst,
                "reversed" => form.order = AxisOrder::Reversed,
                "interleaved" => form.interleaved = Some(true),
                "half-split" => form.interleaved = Some(false),
                "repeated" => form.part = Part::Repeated(Repetition::Adjacent),
                "padded" => form.part = Part::Padded,
                "last" => form.positions = Positions::Last,
                "first" => form.positions = Positions::First,
                "memory b h s d" => form.order = AxisOrder::Memory(Axes::heads_first()),
                "memory b s h d" => form.order = AxisOrder::Memory(Axes::heads_second()),
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
