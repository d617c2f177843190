//! Notes about the names of a recording: whose they are, and which arrays are left out.

use super::assign::{Assignments, KEY};
use super::names::{self, Content, PROJECTS};
use super::recognition::Recognition;
use crate::Error;
use crate::arrays::Arrays;
use crate::files::short_name;

/// The number of unknown names that a note lists.
const LISTED: usize = 3;

impl Assignments {
    /// Whose names were recognised, and which arrays are left out.
    pub(super) fn recognised(&self) -> Vec<Recognition> {
        let mut recognised = Vec::new();
        let mut used: Vec<usize> = self.foreign.iter().map(|(_, meaning)| meaning.project).collect();
        used.sort_unstable();
        used.dedup();
        let listed = |what: &dyn Fn(usize) -> &'static str, by: &str| {
            used.iter().map(|&project| what(project)).collect::<Vec<_>>().join(by)
        };
        if !used.is_empty() && !self.stated {
            let idle = self.foreign.iter().filter(|(_, m)| *m.content == Content::NotASite).count();
            let idle = match idle {
                0 => String::new(),
                1 => ", and one of these arrays is left out, because nothing in it can be checked".to_owned(),
                n => {
                    format!(", and {n} of these arrays are left out, because nothing in them can be checked")
                }
            };
            recognised.push(Recognition {
                what: format!(
                    "names are those of {}, for example `{}`{idle}",
                    listed(&|project| PROJECTS[project].name, ", and of "),
                    short_name(&self.foreign[0].0)
                ),
                explicit: format!(
                    "\"{KEY}\": \"{}\" in the metadata",
                    listed(&|project| PROJECTS[project].id, ", ")
                ),
            });
        }
        let [first, ..] = &self.unknown[..] else { return recognised };
        let names: Vec<String> =
            self.unknown.iter().take(LISTED).map(|name| format!("`{}`", short_name(name))).collect();
        let left = match self.unknown.len() {
            1 => format!("{} is left out, because its name is unknown", names[0]),
            n if n > LISTED => {
                format!(
                    "{n} arrays are left out, because their names are unknown: {} and {} more",
                    names.join(", "),
                    n - LISTED
                )
            }
            n => format!("{n} arrays are left out, because their names are unknown: {}", names.join(", ")),
        };
        let meant = names::nearest(first).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
        recognised.push(Recognition {
            what: left + &meant,
            explicit: format!("\"{}\" = \"\" under [names] in a --map file", short_name(first)),
        });
        recognised
    }

    /// The error for a file in which no name is known.
    pub(super) fn nothing(&self, arrays: &Arrays) -> Error {
        let Some(name) = self.unknown.first() else { return arrays.fault("it contains no site") };
        let hint = match names::nearest(name) {
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                "map it to a site in a file and pass `--map names.toml`; see docs/dump-format.md".to_owned()
            }
        };
        let what = format!(
            "{}: `{}` is not a known site name, and no other name is one",
            arrays.origin(),
            short_name(name)
        );
        Error::input(what, hint)
    }
}
