//! A table whose cells are coloured by their share of a budget.

use serde::Serialize;

use super::level;

/// A coloured table cell with its text.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// The CSS class of its level.
    pub class: &'static str,
    /// The text in the cell, if there is room.
    pub text: String,
    /// The tooltip.
    pub title: String,
    /// How many columns it spans.
    pub span: usize,
}

impl Cell {
    /// A cell for this share of a budget; `about` names the site or position.
    pub fn of(share: f64, about: &str) -> Self {
        let text = level::label(share);
        Self {
            class: level::class(share),
            title: format!("{about}: {}", level::in_words(share)),
            text,
            span: 1,
        }
    }
}

/// A table of cells.
#[derive(Clone, Debug, Serialize)]
pub struct Heat {
    pub caption: String,
    /// What the columns are, in one word.
    pub across: &'static str,
    pub columns: Vec<String>,
    pub rows: Vec<HeatRow>,
    /// True if there are too many cells to show text in them.
    pub small: bool,
}

/// One row of the table.
#[derive(Clone, Debug, Serialize)]
pub struct HeatRow {
    pub label: String,
    /// `None` where nothing was compared.
    pub cells: Vec<Option<Cell>>,
}
