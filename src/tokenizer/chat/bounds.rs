//! Bounds of what a template may compute, because templates come from the model's files and are programs.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use minijinja::{Error, ErrorKind};

/// The longest text that a template may make, in bytes.
pub(super) const LONGEST: usize = 8 << 20;
/// How many bytes all texts together may have.
const ALL: usize = 512 << 20;
/// The longest list.
pub(super) const LONGEST_LIST: usize = 100_000;
/// How deep lists and objects may be nested where they are written.
pub(super) const DEEPEST: usize = 64;
/// The most instructions that are executed. A chat of 100 turns needs about 20,000.
const FUEL: usize = 1_000_000;
/// How many bytes of a template's own text may be written, at the most.
const RAW: usize = 256 << 20;

/// What a template has left.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<AtomicUsize>);

impl Budget {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(ALL)))
    }

    /// Makes a text.
    ///
    /// # Errors
    /// It is too long, or all texts together are.
    pub(super) fn text(&self, write: impl FnOnce(&mut Text) -> fmt::Result) -> Result<String, Error> {
        let mut text = Text { text: String::new(), left: LONGEST.min(self.0.load(Ordering::Relaxed)) };
        write(&mut text).map_err(|_| too_much("makes a text that is too long"))?;
        self.0.fetch_sub(text.text.len(), Ordering::Relaxed);
        Ok(text.text)
    }
}

/// A text up to a length. Writing more is an error.
pub(super) struct Text {
    text: String,
    left: usize,
}

impl Write for Text {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.left = self.left.checked_sub(part.len()).ok_or(fmt::Error)?;
        self.text.push_str(part);
        Ok(())
    }
}

/// How many instructions a template may execute whose longest text outside tags has `longest` bytes.
pub(super) fn fuel(longest: usize) -> u64 {
    FUEL.min(RAW / longest.max(1)) as u64
}

/// The error that a template exceeds a bound.
pub(super) fn too_much(what: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, what.to_owned())
}
