//! The HTML report of a run: one self-contained file, readable on a phone, in light and dark mode.
//!
//! The templates write the charts as SVG. We use no plotting crate, because chart colours must use the page's
//! CSS variables, which follow the reader's light or dark setting, and chart text must stay text. The
//! template engine escapes everything that comes from files (names, prompts, errors).

mod chart;
mod heads;
mod heat;
mod layers;
mod level;
mod positions;
mod run;
mod verdict;

pub use run::PageInput;

use minijinja::{Environment, UndefinedBehavior, context};

use crate::{Error, Result};

/// Renders the page.
///
/// # Errors
/// None known.
pub fn page(run: &PageInput<'_>) -> Result<String> {
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
    let page = rendered.map_err(|error| Error::internal(format!("page: {error}")))?;
    Ok(page.chars().map(|c| if invisible(c) { char::REPLACEMENT_CHARACTER } else { c }).collect())
}

/// Control characters, which XHTML forbids, and characters that change the direction of the surrounding text.
fn invisible(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}')
}
