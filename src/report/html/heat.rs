//! A table whose cells are coloured by their share of a budget.

use serde::Serialize;

use super::level;

/// A coloured cell of a table, and what it says.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// Its level: a class of the page.
    pub class: &'static str,
    /// What stands in it where there is room.
    pub text: String,
    /// What it says of itself.
    pub title: String,
    /// Columns that it covers.
    pub span: usize,
}

impl Cell {
    /// Of this share of a budget; `about` says what it is a share of.
    pub fn of(share: f64, about: &str) -> Self {
        let text = level::label(share);
        Self { class: level::class(share), title: format!("{about}: {}", level::said(share)), text, span: 1 }
    }
}

/// A table of cells.
#[derive(Clone, Debug, Serialize)]
pub struct Heat {
    pub caption: String,
    /// What its columns are, in one word.
    pub across: &'static str,
    pub columns: Vec<String>,
    pub rows: Vec<HeatRow>,
    /// Are its cells too many to hold text?
    pub small: bool,
}

/// One row of such a table.
#[derive(Clone, Debug, Serialize)]
pub struct HeatRow {
    pub label: String,
    /// None where nothing was compared.
    pub cells: Vec<Option<Cell>>,
}
