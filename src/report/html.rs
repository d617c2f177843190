//! A run as one page for people: one file that needs no other, readable on a phone, light and dark.
//!
//! Charts are SVG that the templates write, not a plotting crate's: their colours must be the page's own
//! variables, which follow the reader's setting, and their text must stay text. What comes from files
//! (names, prompts, errors) is escaped by the template engine.

mod chart;
mod heads;
mod layers;
mod level;
mod positions;
mod verdict;

use minijinja::{Environment, UndefinedBehavior, context};
use serde::Serialize;

use super::json::Report;
use crate::judge::{Finding, Outcome, Verdict};
use crate::{Error, Result};

/// What a page is made of.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The run as data: the page says no other thing.
    pub report: &'a Report,
    /// The outcomes that it was made of: they know the error of each row and head.
    pub outcomes: &'a [Outcome],
    /// The command that it was: `rbees-check run all --model x`.
    pub command: &'a str,
    /// Its flags, a blank before each, to run another checkpoint with.
    pub flags: &'a str,
}

/// The page.
///
/// # Errors
/// None that is known.
pub fn page(run: &Run<'_>) -> Result<String> {
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    let files = [
        ("page.html", include_str!("html/page.html")),
        ("figures.html", include_str!("html/figures.html")),
        ("page.css", include_str!("html/page.css")),
    ];
    let rendered = files
        .into_iter()
        .try_for_each(|(name, source)| templates.add_template(name, source))
        .and_then(|()| templates.get_template("page.html"))
        .and_then(|template| {
            template.render(context! {
                report => run.report,
                head => verdict::head(run),
                checkpoints => verdict::rows(run.outcomes),
                troubles => verdict::troubles(run),
                commands => verdict::commands(run),
                sites => layers::sites(run.outcomes),
                layers => layers::charts(run.outcomes),
                positions => positions::charts(run.outcomes),
                heads => heads::of_the_worst(run.outcomes),
                legend => level::LEGEND,
            })
        });
    let page = rendered.map_err(|error| {
        Error::input(format!("page: {error}"), "this is a bug of rbees-check: please report it")
    })?;
    Ok(page.chars().map(|c| if invisible(c) { char::REPLACEMENT_CHARACTER } else { c }).collect())
}

/// Control characters, which no page may hold, and those that turn the text around them.
fn invisible(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}')
}

/// Error / budget of a finding about a site: infinite where a tensor is wrong and no number says how
/// much, none where nothing was compared.
fn share(finding: &Finding) -> Option<f64> {
    match &finding.verdict {
        _ if finding.site.is_none() => None,
        Verdict::Pass(share) => Some(*share),
        Verdict::Differs(difference) => Some(difference.ratio),
        Verdict::Incomparable => None,
        _ => Some(f64::INFINITY),
    }
}

/// A coloured cell of a table, and what it says.
#[derive(Clone, Debug, Serialize)]
struct Cell {
    /// Its level: a class of the page.
    class: &'static str,
    /// What stands in it where there is room.
    text: String,
    /// What it says of itself.
    title: String,
    /// Columns that it covers.
    span: usize,
}

impl Cell {
    fn of(share: f64, about: &str) -> Self {
        let text = level::label(share);
        Self { class: level::class(share), title: format!("{about}: {}", level::said(share)), text, span: 1 }
    }
}

/// A table of cells.
#[derive(Clone, Debug, Serialize)]
struct Heat {
    caption: String,
    /// What its columns are, in one word.
    across: &'static str,
    columns: Vec<String>,
    rows: Vec<HeatRow>,
    /// Are its cells too many to hold text?
    small: bool,
}

#[derive(Clone, Debug, Serialize)]
struct HeatRow {
    label: String,
    /// None where nothing was compared.
    cells: Vec<Option<Cell>>,
}
