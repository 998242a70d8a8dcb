//! The allocator of the program.
//!
//! musl's own maps and unmaps memory for each group of blocks: two hundred system calls in a short command. The lock is
//! the standard library's, whose two instructions are in line where nobody else holds it.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dlmalloc::Dlmalloc;

/// A heap for all threads.
#[derive(Debug)]
pub struct Allocator(Mutex<Heap>);

struct Heap(Dlmalloc);

// SAFETY: the heap is a set of pointers to memory that it owns, none of which belong to a thread.
unsafe impl Send for Heap {}

impl std::fmt::Debug for Heap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Heap")
    }
}

impl Allocator {
    /// An empty heap.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(Heap(Dlmalloc::new())))
    }

    fn heap(&self) -> MutexGuard<'_, Heap> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Allocator {
    fn default() -> Self {
        Self::new()
    }
}

// Not in line: at each of some ten thousand places it would make the program a tenth larger, and no faster.
// SAFETY: dlmalloc keeps the contract of GlobalAlloc, under the lock; it neither panics nor allocates through us.
unsafe impl GlobalAlloc for Allocator {
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller's.
        unsafe { self.heap().0.malloc(layout.size(), layout.align()) }
    }

    #[inline(never)]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as the caller's.
        unsafe { self.heap().0.free(block, layout.size(), layout.align()) }
    }

    #[inline(never)]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller's.
        unsafe { self.heap().0.calloc(layout.size(), layout.align()) }
    }

    #[inline(never)]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller's.
        unsafe { self.heap().0.realloc(block, layout.size(), layout.align(), size) }
    }
}
