//! Memory of processes that live long and do little.

/// Gives free heap pages back to the kernel.
pub fn release() {
    // SAFETY: malloc_trim touches only memory that the allocator has free.
    unsafe { libc::malloc_trim(0) };
}
