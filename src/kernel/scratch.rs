//! Places for the files of unit tests: in memory where possible, and with names that no other test, process or
//! killed earlier run has. Process ids are no such names: every process namespace counts from 1.

use std::path::{Path, PathBuf};

/// A path that does not exist, below `TMPDIR`, or in memory if that is not set.
pub(crate) fn path(test: &str) -> PathBuf {
    let (asked, memory) = (std::env::temp_dir(), Path::new("/dev/shm"));
    let base = if asked == Path::new("/tmp") && memory.is_dir() { memory } else { &asked };
    let mut random = [0; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).unwrap();
    base.join(format!("rbox-test-{test}-{:016x}", u64::from_ne_bytes(random)))
}
