//! The allocator of the program: mimalloc, and an error message when there is no memory left.
//!
//! Tensors of many megabytes come and go with every operation. glibc's allocator returns such memory to the system
//! and gets it back page by page: on a long recording that takes more time than the computation.

use std::alloc::{GlobalAlloc, Layout};
use std::io::Write;

use mimalloc::MiMalloc;

/// The exit code for "could not judge".
const CODE: i32 = 2;

/// mimalloc. If it has no memory left, the program prints an error and a hint, and ends.
pub struct Allocator;

// SAFETY: every call is passed on to mimalloc unchanged, and its result is returned unless it is null.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        there(unsafe { MiMalloc.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        there(unsafe { MiMalloc.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        there(unsafe { MiMalloc.realloc(memory, layout, size) }, size)
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        unsafe { MiMalloc.dealloc(memory, layout) }
    }
}

fn there(memory: *mut u8, bytes: usize) -> *mut u8 {
    if memory.is_null() {
        give_up(bytes);
    }
    memory
}

/// Ends the program. Nothing may be allocated here, and files that are being written are temporary.
#[cold]
fn give_up(bytes: usize) -> ! {
    let mut stderr = std::io::stderr();
    let _ = writeln!(stderr, "error: out of memory: {bytes} more bytes were needed");
    let _ = writeln!(stderr, "hint: use a machine with more memory, a smaller model, or a shorter recording");
    std::process::exit(CODE)
}
