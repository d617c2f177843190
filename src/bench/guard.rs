//! Runs a call that may panic, and returns the panic's message instead.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

thread_local! {
    /// Is this thread inside a guarded call?
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// How many guarded calls run now. A panic of a pool's thread belongs to one of them.
static CALLS: AtomicUsize = AtomicUsize::new(0);

/// Calls `call`; `Err` is the message of its panic, which is not printed.
pub fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            let of_pool = rayon::current_thread_index().is_some() && CALLS.load(Ordering::Relaxed) > 0;
            if !of_pool && !GUARDED.get() {
                print(panic);
            }
        }));
    });
    GUARDED.set(true);
    CALLS.fetch_add(1, Ordering::Relaxed);
    let outcome = panic::catch_unwind(AssertUnwindSafe(call));
    CALLS.fetch_sub(1, Ordering::Relaxed);
    GUARDED.set(false);
    outcome.map_err(|panic| message(panic.as_ref()))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_message() {
        assert_eq!(guarded(|| 3), Ok(3));
        let empty: Vec<i32> = vec![];
        let message = guarded(|| empty[0]).unwrap_err();
        assert!(message.contains("index out of bounds"), "{message}");
    }
}
