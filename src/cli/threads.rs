//! Sets the number of threads that compute, before the first one starts.
//!
//! All work is divided among the threads of rayon's global pool. Candle also has its own pool, for quantised
//! products and fused attention. The threads of that pool wait for each other in a busy loop, which is slow
//! if another program is running. So it gets one thread, and then computes on the calling thread.

use std::num::NonZero;

use rbees_check::{Error, Result};

/// Candle's own pool reads its size from this variable once.
const CANDLE: &str = "CANDLE_NUM_THREADS";

/// The number of parts into which Candle divides a product of floats; rayon's pool computes them.
const PRODUCTS: &str = "RAYON_NUM_THREADS";

/// How many threads for each core are allowed. Thousands of threads on few cores take minutes to do nothing.
const MOST_PER_CORE: usize = 8;
/// So many cores are assumed on a machine with fewer.
const SEVERAL: usize = 4;

/// Computes with `threads` threads, or one per core. Must be called before any other thread exists.
///
/// # Errors
/// The threads cannot be started.
pub fn start(threads: Option<u16>) -> Result<()> {
    let set = |name: &str| std::env::var(name).ok()?.parse::<usize>().ok().filter(|&n| n > 0);
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let most = MOST_PER_CORE * cores.max(SEVERAL);
    let given = [("--threads", threads.map(usize::from)), (PRODUCTS, set(PRODUCTS)), (CANDLE, set(CANDLE))];
    if let Some((name, Some(n))) = given.into_iter().find(|(_, n)| n.is_some_and(|n| n > most)) {
        let what = format!("{name} {n}: on a machine with {cores} cores, at most {most} threads are allowed");
        return Err(Error::input(what, "more threads than cores are slower: leave it out"));
    }
    let threads = threads.map(usize::from).or_else(|| set(PRODUCTS)).unwrap_or(cores);
    let own = set(CANDLE).unwrap_or(1);
    // SAFETY: this is the only thread of the process, so nothing reads the environment meanwhile.
    #[allow(unsafe_code)]
    unsafe {
        std::env::set_var(PRODUCTS, threads.to_string());
        std::env::set_var(CANDLE, own.to_string());
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    pool.map_err(|error| {
        Error::input(format!("cannot start {threads} threads: {error}"), "use fewer --threads")
    })
}
