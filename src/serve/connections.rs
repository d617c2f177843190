//! Accepts connections, up to a limit, and closes those that are too slow.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;

/// The largest header of a request, in bytes.
const LARGEST_HEADER: usize = 32 << 10;
/// The largest number of headers of a request.
const MOST_HEADERS: usize = 64;
/// How long to wait after the system refused a connection, for example because of too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// How long the end of the last answer may take to reach its client.
const LAST: Duration = Duration::from_secs(1);

/// Accepts connections, and serves each on a task of its own.
pub struct Connections {
    pub listener: TcpListener,
    pub router: Router,
    /// The largest number of connections.
    pub most: usize,
    /// How long a header and a write may take, each.
    pub patience: Duration,
    pub metrics: Arc<Metrics>,
}

impl Connections {
    /// Serves until `stop` is cancelled, and then until all requests have been answered.
    pub async fn serve(self, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(self.most));
        let graceful = GracefulShutdown::new();
        loop {
            let next = async {
                // Without a free place, new connections wait in the system's queue.
                let place = places.clone().acquire_owned().await;
                (self.listener.accept().await, place)
            };
            let (accepted, place) = tokio::select! {
                () = stop.cancelled() => break,
                next = next => next,
            };
            match (accepted, place) {
                (Ok((stream, _)), Ok(place)) => self.connect(stream, place, &graceful),
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
        drop(self.listener);
        let idle = async {
            // A client that sends nothing does not delay the end.
            while self.metrics.in_flight.get() > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            tokio::time::sleep(LAST).await;
        };
        tokio::select! {
            () = graceful.shutdown() => (),
            () = idle => (),
        }
    }

    fn connect(&self, stream: TcpStream, place: OwnedSemaphorePermit, graceful: &GracefulShutdown) {
        // Each token is a small packet, which must not wait for the next one.
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.patience));
        let service = TowerToHyperService::new(self.router.clone());
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(self.patience)
            .max_headers(MOST_HEADERS)
            .max_buf_size(LARGEST_HEADER);
        let connection = graceful.watch(http.serve_connection(TokioIo::new(Box::pin(stream)), service));
        let open = Open::new(self.metrics.clone());
        tokio::spawn(async move {
            // A client that breaks off, or is too slow, is its own affair.
            let _: Result<(), hyper::Error> = connection.await;
            drop((open, place));
        });
    }
}

/// Counts an open connection.
struct Open(Arc<Metrics>);

impl Open {
    fn new(metrics: Arc<Metrics>) -> Self {
        metrics.connections.inc();
        Self(metrics)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}

/// Turns a listener of the standard library into one that serves connections.
///
/// # Errors
/// The system refuses.
pub fn listening(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}
