//! Recordings: the tensors of one forward pass by site, from any port.
//!
//! A recording comes from a file, in the format of `docs/dump-format.md`, or is kept in memory while a port
//! runs. In both cases each site has the tensor that the port handed over and the one that it continued with;
//! the two differ where reference inputs were substituted. Only this module interprets names, axis orders and
//! layouts; the modules that judge a tensor report what is wrong with it.

mod ambiguous;
mod assign;
mod assigned;
mod axes;
mod cache;
mod cached_rows;
mod candidates;
mod convention;
mod file;
mod form;
mod lookup;
mod map;
mod memory;
mod names;
mod part;
mod pass;
mod passes;
mod positions;
mod readings;
mod recognition;
mod recorded_port;
mod rows;
mod saved;
mod site_tensor;
mod stored;
mod vocabulary;
mod want;

pub(crate) use self::axes::{Axes, Sizes};
pub(crate) use self::cache::Cache;
pub(crate) use self::convention::Conventions;
pub(crate) use self::form::Form;
pub use self::map::NameMap;
pub(crate) use self::part::{Part, Repetition};
pub use self::pass::Recording;
pub(crate) use self::pass::Sites;
pub use self::passes::passes_in;
pub(crate) use self::positions::Positions;
pub(crate) use self::readings::Reading;
pub use self::recognition::Recognition;
pub use self::recorded_port::RecordedPort;
pub(crate) use self::rows::{gather, scatter};
pub use self::saved::{Conversion, Saved};
pub(crate) use self::site_tensor::{Lookup, Misfit, SiteTensor};
pub(crate) use self::vocabulary::NameLookup;
pub use self::vocabulary::Vocabulary;
