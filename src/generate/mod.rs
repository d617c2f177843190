//! From logits to tokens: [`Sampling`] turns the logits of one position into a distribution and a
//! token, [`Generation`] feeds token after token through the model, [`Continuation`] makes text of
//! them and ends it at [`Stops`].

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
