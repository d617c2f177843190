//! One pass of a port, written down: its tensors by site, whoever computed them and wherever they lie.
//!
//! A recording comes from a file, as `docs/dump-format.md` describes it, or is kept in memory while a port runs.
//! Either way each site has the tensor that the port handed over and the one that it continued with, which differ
//! where truth entered. Names, orders of axes and layouts are understood here and nowhere else; what is wrong with
//! a tensor is said by who judges it.

mod axes;
mod file;
mod form;
mod held;
mod lookup;
mod map;
mod memory;
mod names;
mod pass;
mod played;
mod rows;
mod stored;
mod vocabulary;

pub(crate) use self::axes::Axes;
pub(crate) use self::held::{Held, Lookup, Misfit};
pub use self::map::NameMap;
pub use self::pass::Recording;
pub use self::played::Played;
pub(crate) use self::rows::{gather, scatter};
pub(crate) use self::vocabulary::Known;
pub use self::vocabulary::Vocabulary;
