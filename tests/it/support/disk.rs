//! A file system that is small enough to be filled.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use super::TestEnv;
use super::env::wait_until;

/// The small file system that `tests/run` mounts; one test at a time has it.
#[derive(Debug)]
pub struct SmallDisk {
    _turn: MutexGuard<'static, ()>,
    pub path: PathBuf,
}

impl SmallDisk {
    pub fn take() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let path =
            PathBuf::from(std::env::var_os("RBOX_TEST_SMALL").expect("tests/run mounts a small tmpfs"));
        // Stores of earlier tests, with downloads that could go on.
        for entry in fs::read_dir(&path).unwrap().flatten() {
            let _ = fs::remove_dir_all(entry.path());
        }
        Self { _turn: turn, path }
    }

    /// Gives the space back.
    pub fn free(&self) {
        fs::remove_file(self.path.join("filler")).unwrap();
        // A process that another test is just making has a copy of every descriptor until it executes its program.
        wait_until("the space is free", || {
            rustix::fs::statvfs(&self.path).is_ok_and(|space| space.f_bavail > 100)
        });
    }

    /// Leaves no byte free.
    pub fn fill(&self) {
        let mut filler = fs::File::create(self.path.join("filler")).unwrap();
        let chunk = [0_u8; 1 << 16];
        while std::io::Write::write_all(&mut filler, &chunk).is_ok() {}
        // The rest of the last block too.
        while std::io::Write::write_all(&mut filler, &[0]).is_ok() {}
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.path.join("filler"));
    }
}

/// An environment whose store is on the small disk.
pub fn on_small_disk(name: &str) -> (SmallDisk, TestEnv) {
    let disk = SmallDisk::take();
    let mut env = TestEnv::new(name);
    env.set("XDG_DATA_HOME", disk.path.join(name).to_str().unwrap());
    (disk, env)
}
