//! A port's own names for its sites, and its layouts, where they differ from Hugging Face's.

use std::collections::BTreeMap;

use super::axes::Axes;
use super::form::{AxisOrder, Form};
use super::names::layer_of;
use super::part::Fused;
use crate::probe::{Kind, Site};
use crate::{Error, Result};

/// The placeholder for the layer's number in a name.
pub(super) const LAYER: &str = "{N}";

/// Custom names and layouts.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    /// Maps a name, or a pattern with [`LAYER`], to its meaning.
    names: Vec<(String, Meaning)>,
    forms: BTreeMap<Kind, Form>,
    /// The forms of single sites, which take precedence.
    site_forms: BTreeMap<Site, Form>,
    /// Metadata that is added to that of a recording and takes precedence over it.
    metadata: BTreeMap<String, String>,
}

/// The meaning of a name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Meaning {
    /// A site of this kind, in the layer given by the name if there is one.
    Kind(Kind),
    /// This site.
    Site(Site),
    /// Cached keys (`KRope`) or values (`VProj`) of this layer, unless the name gives it.
    Cached(Kind, u16),
    /// Several sites of a layer side by side; of this layer, unless the name gives it.
    Fused(Fused, u16),
    /// Left out: not judged.
    LeftOut,
}

/// The result of looking up a name in a vocabulary.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum NameLookup {
    /// This site.
    Site(Site),
    /// Several sites of this layer side by side.
    Fused(Fused, u16),
    /// Cached keys (`KRope`) or values (`VProj`) of this layer.
    Cached(Site),
    /// Left out on purpose.
    LeftOut,
    /// Not in the vocabulary.
    Unknown,
}

impl Vocabulary {
    /// Names sites of `kind` as the port does; in `theirs`, `{}` or `{N}` stands for the layer.
    ///
    /// # Errors
    /// A layer in the name of a kind outside the layers, or no layer in the name of a kind inside them.
    pub(crate) fn rename(&mut self, theirs: &str, kind: Kind) -> Result<()> {
        let pattern = theirs.replace("{}", LAYER);
        if pattern.contains(LAYER) != kind.in_layer() {
            let hint = "use `{}` for the layer's number in names of sites inside layers, as in `blk.{}.attn_q`, and only there";
            let site = Site { layer: kind.in_layer().then_some(0), kind };
            let what = format!("`{theirs}` cannot name sites such as {site}");
            return Err(Error::input(what, hint));
        }
        self.name(&pattern, Meaning::Kind(kind));
        Ok(())
    }

    /// Sets the axis order of sites of `kind`, in letters.
    ///
    /// # Errors
    /// The letters are not the axes of a tensor of that kind.
    pub(crate) fn axes(&mut self, kind: Kind, letters: &str) -> Result<()> {
        let order = AxisOrder::Letters(Axes::parse(kind, letters)?);
        self.set_form(kind, Form { order, ..Form::default() });
        Ok(())
    }

    pub(super) fn name(&mut self, pattern: &str, meaning: Meaning) {
        self.names.push((pattern.to_owned(), meaning));
    }

    pub(super) fn set_form(&mut self, kind: Kind, form: Form) {
        self.forms.insert(kind, form);
    }

    pub(super) fn set_site_form(&mut self, site: Site, form: Form) {
        self.site_forms.insert(site, form);
    }

    pub(super) fn state(&mut self, metadata: &BTreeMap<String, String>) {
        self.metadata.extend(metadata.iter().map(|(key, value)| (key.clone(), value.clone())));
    }

    /// The metadata of a file with this vocabulary's own added.
    pub(super) fn metadata(&self, file: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        file.iter().chain(&self.metadata).map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Looks up `name`: an exact name first, then the first pattern that matches.
    pub(crate) fn lookup(&self, name: &str) -> NameLookup {
        let exact = self.names.iter().find(|(known, _)| known == name).map(|(_, meaning)| (None, *meaning));
        let fits = |(pattern, meaning): &(String, Meaning)| Some((Some(layer_of(pattern, name)?), *meaning));
        match exact.or_else(|| self.names.iter().find_map(fits)) {
            None => NameLookup::Unknown,
            Some((_, Meaning::LeftOut)) => NameLookup::LeftOut,
            Some((_, Meaning::Site(site))) => NameLookup::Site(site),
            Some((layer, Meaning::Fused(fused, own))) => {
                NameLookup::Fused(fused, layer.map_or(own, |layer| layer as u16))
            }
            Some((layer, Meaning::Cached(kind, own))) => {
                NameLookup::Cached(Site { layer: Some(layer.map_or(own, |layer| layer as u16)), kind })
            }
            Some((None, Meaning::Kind(kind))) => NameLookup::Site(Site::model(kind)),
            Some((Some(layer), Meaning::Kind(kind))) => NameLookup::Site(Site::layer(layer, kind)),
        }
    }

    /// The form of the tensor at this site, if the vocabulary sets one.
    pub(super) fn form(&self, site: Site) -> Option<&Form> {
        self.site_forms.get(&site).or_else(|| self.forms.get(&site.kind))
    }

    /// The axes of tensors of this kind, if the vocabulary sets them in letters.
    pub(crate) fn letters(&self, kind: Kind) -> Option<&Axes> {
        match &self.forms.get(&kind)?.order {
            AxisOrder::Letters(axes) => Some(axes),
            AxisOrder::Canonical
            | AxisOrder::SeqFirst
            | AxisOrder::Split
            | AxisOrder::Reversed
            | AxisOrder::Ggml
            | AxisOrder::GgmlHeadsFirst
            | AxisOrder::Memory(_) => None,
        }
    }
}

/// The names of cached keys and values below a layer's attention, and the site whose rows they are.
const CACHED: [(&str, Kind); 2] =
    [(".self_attn.past_key", Kind::KRope), (".self_attn.past_value", Kind::VProj)];

/// The site whose cached rows the array `name` contains: `model.layers.3.self_attn.past_key`.
pub(super) fn cached_site(name: &str) -> Option<Site> {
    CACHED.into_iter().find_map(|(end, kind)| {
        let block: Site = name.strip_suffix(end)?.parse().ok()?;
        (block.kind == Kind::Block).then_some(Site { kind, ..block })
    })
}

/// The name of the array of cached rows of this site.
pub(super) fn cached_name(site: Site) -> String {
    let end = CACHED.iter().find(|(_, kind)| *kind == site.kind).map_or("", |(end, _)| end);
    format!("{}{end}", Site { kind: Kind::Block, ..site })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn vocabulary() -> Vocabulary {
        let mut vocabulary = Vocabulary::default();
        vocabulary.rename("blk.{}.attn_q", Kind::QProj).unwrap();
        vocabulary.rename("h.{N}.out", Kind::Block).unwrap();
        vocabulary.rename("head", Kind::Logits).unwrap();
        vocabulary.name("h.0.out", Meaning::LeftOut);
        vocabulary
    }

    #[rstest]
    #[case("blk.3.attn_q", NameLookup::Site(Site::layer(3, Kind::QProj)))]
    #[case("h.1.out", NameLookup::Site(Site::layer(1, Kind::Block)))]
    #[case::a_name_before_a_pattern("h.0.out", NameLookup::LeftOut)]
    #[case("head", NameLookup::Site(Site::model(Kind::Logits)))]
    #[case("blk.x.attn_q", NameLookup::Unknown)]
    #[case("blk.70000.attn_q", NameLookup::Unknown)]
    #[case("lm_head", NameLookup::Unknown)]
    fn a_name_has_the_meaning_it_was_given(#[case] name: &str, #[case] meaning: NameLookup) {
        assert_eq!(vocabulary().lookup(name), meaning);
    }

    #[rstest]
    #[case("attn_q", Kind::QProj)]
    #[case("head.{}", Kind::Logits)]
    fn only_names_of_sites_in_layers_contain_a_layer(#[case] name: &str, #[case] kind: Kind) {
        assert!(Vocabulary::default().rename(name, kind).unwrap_err().to_string().contains("cannot name"));
    }
}
