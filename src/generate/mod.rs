//! Text generation. [`Sampling`] turns the logits of one position into a distribution and a token. [`Tokens`] draws the
//! tokens of a sequence, and [`Text`] turns them into text that ends at [`Stops`]; where the logits come from does not
//! matter to them. [`Generation`] and [`Continuation`] do both with a [`Decoder`].

mod decoder;
mod likelihood;
mod processors;
mod sampling;
mod stop;
mod stream;
mod text;
mod tokens;

pub use decoder::{Decoder, OnCache};
pub use likelihood::Likelihood;
pub use sampling::{Sampler, Sampling};
pub use stop::Stops;
pub use stream::Generation;
pub use text::{Continuation, Piece, Text};
pub use tokens::{Finish, Step, Tokens};
