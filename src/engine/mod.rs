//! Serves several sequences at once with one model, on a thread of its own and without HTTP.

mod figures;
mod handle;
mod limits;
mod request;

pub use figures::Figures;
pub use handle::Engine;
pub use limits::Limits;
pub use request::{Event, Listener, Refusal, Request, Token};
