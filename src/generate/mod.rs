//! From logits to tokens: [`Sampling`] turns the logits of one position into a distribution and a
//! token, [`Generation`] feeds token after token through the model.

mod decoder;
mod processors;
mod sampling;
mod stream;

pub use decoder::{Decoder, OnCache};
pub use sampling::{Sampler, Sampling};
pub use stream::{Finish, Generation, Step};
