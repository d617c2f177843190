//! Serves several sequences at once with one model, on a thread of its own and without HTTP.

mod figures;
mod handle;
mod kept;
mod limits;
mod plan;
mod request;
mod running;
mod scheduler;
mod shared;
mod spot;
mod watched;
mod worker;

pub use figures::Figures;
pub use handle::Engine;
pub use kept::Kept;
pub use limits::Limits;
pub use plan::{Part, Plan};
pub use request::{Event, Listener, Refusal, Request, Token};
pub use scheduler::{Opened, Sampled, Scheduler};
pub use watched::Watched;
