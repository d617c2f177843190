//! Text generation. [`Sampling`] turns the logits of one position into a distribution and a token,
//! [`Generation`] feeds tokens through the model one by one, and [`Continuation`] turns them into text that
//! ends at [`Stops`].

mod decoder;
mod likelihood;
mod processors;
mod sampling;
mod stop;
mod stream;
mod text;

pub use decoder::{Decoder, OnCache};
pub use likelihood::Likelihood;
pub use sampling::{Sampler, Sampling};
pub use stop::Stops;
pub use stream::{Finish, Generation, Step};
pub use text::{Continuation, Piece};
