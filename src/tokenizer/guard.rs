//! Runs code of the `tokenizers` crate, and turns a panic in it into an error.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// Whether this thread runs guarded code, whose panics are not printed.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `call`.
///
/// # Errors
/// It panics; the text is the message of the panic. Nothing is printed.
pub(super) fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                before(info);
            }
        }));
    });
    let outer = GUARDED.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(call));
    GUARDED.set(outer);
    result.map_err(|payload| format!("the crate `tokenizers` panicked: {}", message(&*payload)))
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.and_then(|text| text.lines().next()).unwrap_or("without a message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::guarded;

    #[test]
    fn a_panic_becomes_an_error_with_its_message() {
        assert_eq!(guarded(|| 1), Ok(1));
        let error = guarded(|| -> u32 { panic!("token {} is missing\nmore", 3) });
        assert_eq!(error, Err("the crate `tokenizers` panicked: token 3 is missing".into()));
    }
}
