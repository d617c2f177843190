//! Which kinds of site a model has, and which of them each kind is computed from.

use super::{Kind, Site};

/// The kinds of site that a model has. Families differ in the norms of a layer, and in what follows the head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(u32);

impl Kinds {
    /// Those of a Llama, a Mistral and a Qwen 2.
    pub const LLAMA: Self = {
        use Kind::*;
        Self::of(&[
            Embed,
            InputNorm,
            QProj,
            KProj,
            VProj,
            QRope,
            KRope,
            Scores,
            Probs,
            Context,
            OProj,
            PostNormInput,
            PostNorm,
            Gate,
            Up,
            Act,
            Down,
            Block,
            FinalNorm,
            Logits,
        ])
    };

    const fn of(kinds: &[Kind]) -> Self {
        let (mut all, mut n) = (Self(0), 0);
        while n < kinds.len() {
            all = all.with(kinds[n]);
            n += 1;
        }
        all
    }

    /// These kinds and one more.
    pub const fn with(self, kind: Kind) -> Self {
        Self(self.0 | 1 << kind as u32)
    }

    /// These kinds but one.
    pub const fn without(self, kind: Kind) -> Self {
        Self(self.0 & !(1 << kind as u32))
    }

    /// Whether the model has this kind of site.
    pub const fn has(self, kind: Kind) -> bool {
        self.0 & 1 << kind as u32 != 0
    }

    /// The kinds, in forward order.
    pub fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.iter().copied().filter(move |&kind| self.has(kind))
    }

    /// The logits from which tokens are sampled.
    pub const fn output(self) -> Kind {
        if self.has(Kind::CappedLogits) { Kind::CappedLogits } else { Kind::Logits }
    }

    /// Whether queries and keys are normed before they are rotated.
    const fn norms_heads(self) -> bool {
        self.has(Kind::QNorm) || self.has(Kind::KNorm)
    }

    /// Whether the outputs of attention and feed-forward network are normed before they are added.
    pub const fn norms_branches(self) -> bool {
        self.has(Kind::FfnNorm) || self.has(Kind::FfnPostNorm)
    }

    /// The kinds that `kind` is computed from, in the same layer. [`Kind::Block`] among the inputs of a kind in
    /// a layer is the layer's input: the embedding or the previous block.
    ///
    /// This is what the edges of the model's graph say; it is also known for references and recordings of a
    /// model whose config is not known.
    pub const fn inputs(self, kind: Kind) -> &'static [Kind] {
        use Kind::*;
        let (heads, branches) = (self.norms_heads(), self.norms_branches());
        match kind {
            Embed => &[],
            InputNorm | FinalNorm => &[Block],
            QProj | KProj | VProj => &[InputNorm],
            QNorm => &[QProj],
            KNorm => &[KProj],
            QRope if heads => &[QNorm],
            KRope if heads => &[KNorm],
            QRope => &[QProj],
            KRope => &[KProj],
            Scores => &[QRope, KRope],
            Probs => &[Scores],
            Context => &[Probs, VProj],
            OProj => &[Context],
            PostNormInput => &[Block, OProj],
            PostNorm if branches => &[OProj],
            PostNorm => &[PostNormInput],
            FfnNormInput => &[Block, PostNorm],
            FfnNorm => &[FfnNormInput],
            Gate | Up if branches => &[FfnNorm],
            Gate | Up => &[PostNorm],
            Act => &[Gate, Up],
            Down => &[Act],
            FfnPostNorm => &[Down],
            Block if branches => &[FfnNormInput, FfnPostNorm],
            Block => &[PostNormInput, Down],
            Logits => &[FinalNorm],
            CappedLogits => &[Logits],
        }
    }

    /// The first kind of the same layer, or outside the layers, that is computed from `kind`; `None` if there is
    /// none.
    pub fn consumer(self, kind: Kind) -> Option<Kind> {
        let outer = matches!(kind, Kind::Embed | Kind::Block);
        self.iter().find(|&other| !outer && self.inputs(other).contains(&kind))
    }
}

impl Site {
    /// The sites that this one is computed from, in a model of `layers` layers that has these kinds of site.
    /// They must have reference values before this one can be judged by itself.
    pub fn inputs(self, layers: usize, kinds: Kinds) -> Vec<Site> {
        let last = Site::layer(layers.saturating_sub(1), Kind::Block);
        let before = self.block_input().unwrap_or(last);
        let of = |&kind: &Kind| match kind {
            Kind::Block => before,
            kind if kind.in_layer() => Site { layer: self.layer, kind },
            kind => Site::model(kind),
        };
        kinds.inputs(self.kind).iter().map(of).collect()
    }
}

impl FromIterator<Kind> for Kinds {
    fn from_iter<I: IntoIterator<Item = Kind>>(kinds: I) -> Self {
        kinds.into_iter().fold(Self::default(), Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_site_comes_after_its_inputs() {
        let inside = |layer| Kind::ALL.iter().filter(|k| k.in_layer()).map(move |&k| Site::layer(layer, k));
        let outside = Kind::ALL.iter().filter(|k| !k.in_layer()).map(|&k| Site::model(k));
        let sites: Vec<Site> = outside.chain((0..3).flat_map(inside)).collect();
        for kinds in [Kinds::LLAMA, Kind::ALL.iter().copied().collect()] {
            for site in &sites {
                for input in site.inputs(3, kinds) {
                    assert!(input < *site, "{input} feeds {site}");
                }
            }
        }
    }
}
