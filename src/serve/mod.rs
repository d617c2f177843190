//! `serve`: answers requests over HTTP, in the form of OpenAI's API, with a model that passed its checks.
//!
//! One thread does what concerns the network. The engine has its own thread, and what reads prompts runs aside.

mod answer;
mod app;
mod ask;
mod body;
mod chat_answer;
mod connections;
mod continued;
mod conversation;
mod events;
mod facts;
mod fields;
mod flight;
mod generation;
mod guard;
mod key;
mod metrics;
mod model;
mod openapi;
mod options;
mod origin;
mod page;
mod parameters;
mod passages;
mod problem;
mod router;
mod sequences;
mod standing;
mod text_answer;
mod token_text;
mod whole;

pub use key::Key;
pub use model::ServedModel;
pub use options::Options;
pub use standing::{Standing, Verdict};
pub use token_text::TokenTexts;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use rbees_check::{Error, Result};
use tokio_util::sync::CancellationToken;

use self::app::App;
use self::connections::{Connections, listening};
use self::metrics::Metrics;

/// How often it is checked that the engine runs.
const WATCH: Duration = Duration::from_millis(100);

/// Serves on `listener` until `stop` is cancelled, and then until all requests have been answered.
///
/// # Errors
/// The system refuses, or the engine ended.
pub async fn serve(
    listener: TcpListener,
    model: ServedModel,
    options: Options,
    stop: CancellationToken,
) -> Result<()> {
    let refused = |error| Error::input(format!("{}: {error}", options.address), "use another address");
    let listener = listening(listener).map_err(refused)?;
    let (model, metrics) = (Arc::new(model), Arc::new(Metrics::new()));
    let (most, patience) = (options.connections, options.patience);
    let app = App { model: model.clone(), options: Arc::new(options), metrics: metrics.clone() };
    let connections = Connections { listener, router: router::router(app), most, patience, metrics };
    let gone = async {
        while model.engine.alive() {
            tokio::time::sleep(WATCH).await;
        }
    };
    tokio::select! {
        () = connections.serve(stop) => {
            model.engine.stop();
            Ok(())
        }
        () = gone => Err(Error::internal("the engine ended while it was serving; its last message is above")),
    }
}
