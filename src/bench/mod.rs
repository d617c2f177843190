//! Candle's operations, measured: which are right, which are fast, and which of them this project uses.
//!
//! Every operation is called on cases of many sizes, layouts and dtypes, and compared with plain float64 code that
//! shares nothing with Candle. [`operations::cases`] lists the cases, [`check`] runs one, [`known`] holds the
//! defects that are expected of this version of Candle, and [`policy`] says which parts of this project use which
//! operation. [`text`] measures a whole model.

pub mod case;
pub mod check;
mod guard;
mod input;
pub mod known;
pub mod machine;
pub mod operations;
pub mod policy;
pub mod report;
pub mod row;
pub mod speed;
pub mod text;
mod values;

/// The version of Candle whose defects [`known`] lists. A test compares it with `Cargo.lock`.
pub const CANDLE: &str = "0.11.1";
