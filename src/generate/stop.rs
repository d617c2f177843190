//! Stop strings: passes text on up to the first stop string, for any division of the text into pieces.
//!
//! The stop string that is completed first ends the text; if two are completed at the same position, the
//! longer one does. So the cut does not depend on how the text was split into tokens.

use crate::{Error, Result};

/// Searches a text for stop strings.
#[derive(Clone, Debug)]
pub struct Stops {
    strings: Vec<String>,
    /// Text that is held back, because a stop string may have begun in it.
    held: String,
    met: Option<usize>,
}

impl Stops {
    /// Stops at these strings; without any, all text passes at once.
    ///
    /// # Errors
    /// One of them is empty: it would end every text before its first character.
    pub fn new(strings: Vec<String>) -> Result<Self> {
        if strings.iter().any(String::is_empty) {
            let hint = "leave it out, or give the text to stop at";
            return Err(Error::input("a stop string must not be empty", hint));
        }
        Ok(Self { strings, held: String::new(), met: None })
    }

    /// Takes the next piece of text, and returns the text that certainly precedes any stop string. After a
    /// stop string, returns nothing more.
    pub fn push(&mut self, piece: &str) -> String {
        if self.met.is_some() {
            return String::new();
        }
        self.held.push_str(piece);
        let certain = match self.first() {
            Some((start, stop)) => {
                self.met = Some(stop);
                start
            }
            None => self.held.len() - self.begun(),
        };
        let held = self.held.split_off(certain);
        std::mem::replace(&mut self.held, held)
    }

    /// Ends the text, and returns what was held back, since it is not part of a stop string.
    pub fn finish(&mut self) -> String {
        let held = std::mem::take(&mut self.held);
        if self.met.is_some() { String::new() } else { held }
    }

    /// The stop string that ended the text, if any.
    pub fn met(&self) -> Option<&str> {
        self.met.map(|stop| self.strings[stop].as_str())
    }

    /// The start of the stop string that is completed first, and its index.
    fn first(&self) -> Option<(usize, usize)> {
        let ends = |(stop, string): (usize, &String)| {
            let start = self.held.find(string.as_str())?;
            Some((start + string.len(), start, stop))
        };
        self.strings.iter().enumerate().filter_map(ends).min().map(|(_, start, stop)| (start, stop))
    }

    /// The length of the longest suffix of the held text that is the beginning of a stop string.
    fn begun(&self) -> usize {
        let begins = |start: &usize| self.strings.iter().any(|s| s.starts_with(&self.held[*start..]));
        let starts = self.held.char_indices().map(|(start, _)| start);
        starts.clone().find(begins).map_or(0, |start| self.held.len() - start)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    /// The output for each piece and at the end, and the stop string that ended the text.
    fn streamed(stops: &[&str], pieces: &[&str]) -> (Vec<String>, Option<String>) {
        let mut watch = Stops::new(stops.iter().map(|s| s.to_string()).collect()).unwrap();
        let mut out: Vec<String> = pieces.iter().map(|piece| watch.push(piece)).collect();
        out.push(watch.finish());
        (out, watch.met().map(str::to_owned))
    }

    #[rstest]
    #[case::none(&[], &["one", " two"], &["one", " two", ""], None)]
    #[case::inside_a_piece(&["."], &["one. two"], &["one", ""], Some("."))]
    #[case::across_pieces(&["\n\n"], &["a\n", "\nb"], &["a", "", ""], Some("\n\n"))]
    #[case::begins_in_the_middle(&["stop"], &["do st", "o", "p it"], &["do ", "", "", ""], Some("stop"))]
    #[case::held_text_is_let_go(&["stop"], &["sto", "ne"], &["", "stone", ""], None)]
    #[case::held_to_the_end(&["stop"], &["a sto"], &["a ", "sto"], None)]
    #[case::begins_again_inside_itself(&["aab"], &["aa", "ab"], &["", "a", ""], Some("aab"))]
    #[case::at_the_very_start(&["User:"], &["User", ":"], &["", "", ""], Some("User:"))]
    #[case::complete_first(&["b", "abc"], &["xabc"], &["xa", ""], Some("b"))]
    #[case::the_longer_of_two_that_end_together(&["b", "ab"], &["xab"], &["x", ""], Some("ab"))]
    #[case::many_bytes_a_character(&["日本"], &["é日", "本語"], &["é", "", ""], Some("日本"))]
    #[case::nothing_follows(&["."], &["a.", "b", "."], &["a", "", "", ""], Some("."))]
    fn text_ends_before_the_stop_string(
        #[case] stops: &[&str],
        #[case] pieces: &[&str],
        #[case] out: &[&str],
        #[case] met: Option<&str>,
    ) {
        let want = (out.iter().map(|s| s.to_string()).collect(), met.map(str::to_owned));
        assert_eq!(streamed(stops, pieces), want);
    }

    #[test]
    fn an_empty_stop_string_is_an_error() {
        let error = Stops::new(vec!["a".into(), String::new()]).unwrap_err();
        assert!(error.to_string().starts_with("a stop string must not be empty"));
    }

    /// The expected result, computed naively: take the shortest prefix of the text that ends with a stop
    /// string, and remove the longest stop string that it ends with.
    fn cut(text: &str, stops: &[String]) -> String {
        let ends = (0..=text.len()).filter(|&end| text.is_char_boundary(end));
        for end in ends {
            let matching = stops.iter().filter(|stop| text[..end].ends_with(stop.as_str()));
            if let Some(longest) = matching.map(|stop| stop.len()).max() {
                return text[..end - longest].to_owned();
            }
        }
        text.to_owned()
    }

    proptest! {
        #[test]
        fn the_cut_does_not_depend_on_the_pieces(
            text in "[abé ]{0,24}",
            stops in prop::collection::vec("[abé ]{1,4}", 0..4),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            places.extend([0, text.len()]);
            places.retain(|&place| text.is_char_boundary(place));
            places.sort_unstable();
            let want = cut(&text, &stops);
            let mut watch = Stops::new(stops.clone()).unwrap();
            let mut out = String::new();
            for pair in places.windows(2) {
                out += &watch.push(&text[pair[0]..pair[1]]);
                prop_assert!(want.starts_with(&out), "{out:?} was returned too early");
            }
            out += &watch.finish();
            prop_assert_eq!(&out, &want);
            prop_assert_eq!(watch.met().is_some(), out != text || stops.iter().any(|s| text.contains(s)));
            prop_assert!(!stops.iter().any(|stop| out.contains(stop.as_str())));
        }
    }
}
