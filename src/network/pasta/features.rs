//! What the installed pasta can do, learned once for each binary.
//!
//! `RUN/pasta.json` holds what is known about one binary, which is identified by device,
//! inode, size and time of change:
//!
//! ```json
//! {"version":1,"binary":[66,1234,340000,1700000000,0],"map_guest_addr":true}
//! ```

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::Mode;
use serde::{Deserialize, Serialize};

use crate::config::Paths;
use crate::kernel::file::{self, Durability};

/// Options that not every version has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Features {
    /// `--map-guest-addr`, from 2024-08-14 on.
    pub(super) map_guest_addr: bool,
    /// Whether it opens namespaces with CAP_SYS_PTRACE. That came during 2023 and shows nowhere,
    /// so it is assumed from 2024-08-14 on; see [`super::lender`].
    pub(super) opens_any: bool,
}

impl Features {
    /// Those of the versions before and after 2024-08-14.
    pub(super) const fn of_version(recent: bool) -> Self {
        Self { map_guest_addr: recent, opens_any: recent }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Known {
    version: u32,
    binary: Identity,
    map_guest_addr: bool,
}

/// Device, inode, size, and seconds and nanoseconds of the last change.
type Identity = (u64, u64, u64, i64, i64);

const FILE: &str = "pasta.json";
const VERSION: u32 = 1;

/// The features of `program`: from the file if it knows this very binary, else from its help.
pub(super) fn of(program: &Path, paths: &Paths) -> Features {
    let Some(binary) = identity(program) else { return from_help("") };
    let known = fs::read(paths.run.join(FILE)).ok();
    if let Some(known) = known.and_then(|text| serde_json::from_slice::<Known>(&text).ok())
        && known.version == VERSION
        && known.binary == binary
    {
        return Features::of_version(known.map_guest_addr);
    }
    let features = from_help(&help(program));
    let known = Known { version: VERSION, binary, map_guest_addr: features.map_guest_addr };
    // Only a cache: without it, the next start asks again.
    let text = serde_json::to_vec(&known).expect("numbers are always JSON");
    let mode = Mode::RUSR | Mode::WUSR;
    let _ = file::write_atomic(&paths.run, OsStr::new(FILE), &text, mode, Durability::None);
    features
}

fn identity(program: &Path) -> Option<Identity> {
    let meta = fs::metadata(program).ok()?;
    Some((meta.dev(), meta.ino(), meta.size(), meta.ctime(), meta.ctime_nsec()))
}

/// Versions differ in which stream the help goes to.
fn help(program: &Path) -> String {
    let output = Command::new(program).arg("--help").env_clear().stdin(Stdio::null()).output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
    )
}

fn from_help(text: &str) -> Features {
    Features::of_version(text.contains("--map-guest-addr"))
}
