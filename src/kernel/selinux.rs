//! SELinux: the contexts of processes and files.
//!
//! A context is `user:role:type`, with `:level` in policies that have levels; a level has colons of its own
//! (`s0:c1,c2`). The kernel takes and gives it as text, with or without a NUL at the end.

use std::fmt;
use std::os::fd::AsFd;
use std::path::Path;
use std::str::FromStr;

use rustix::fs::{Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use super::path::proc_fd_path;

/// Where the kernel shows the policy.
const FILES: &str = "/sys/fs/selinux";

/// The attribute that holds a file's context.
pub const ATTRIBUTE: &str = "security.selinux";

/// The largest context that is read: `PAGE_SIZE` is what the kernel writes into files of /proc.
const MAX_CONTEXT: usize = 4096;

/// Whether the kernel runs SELinux with a policy. A system without one has no file system for it, or an empty mount point.
#[must_use]
pub fn is_enabled() -> bool {
    Path::new(FILES).join("enforce").exists()
}

/// A context in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The SELinux user.
    pub user: String,
    /// The role; `object_r` for files.
    pub role: String,
    /// The type; of a process its domain.
    pub kind: String,
    /// Sensitivity and categories, or a range of both.
    pub level: Option<String>,
}

/// A text that is no context.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an SELinux context (user:role:type[:level])")]
pub struct NotAContext {
    /// The text.
    pub text: String,
}

impl Context {
    /// The same with other categories.
    #[must_use]
    pub fn with_level(&self, level: &str) -> Self {
        Self { level: Some(level.to_owned()), ..self.clone() }
    }
}

impl FromStr for Context {
    type Err = NotAContext;

    fn from_str(text: &str) -> Result<Self, NotAContext> {
        let mut parts = text.splitn(4, ':').map(str::to_owned);
        let is_text =
            |part: &String| !part.is_empty() && !part.chars().any(|c| c.is_control() || c.is_whitespace());
        let mut next = || parts.next().filter(is_text);
        let parsed = (|| Some(Self { user: next()?, role: next()?, kind: next()?, level: None }))();
        let invalid = || NotAContext { text: text.to_owned() };
        let parsed = parsed.ok_or_else(invalid)?;
        match parts.next() {
            Some(level) if !is_text(&level) => Err(invalid()),
            level => Ok(Self { level, ..parsed }),
        }
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.user, self.role, self.kind)?;
        self.level.as_ref().map_or(Ok(()), |level| write!(f, ":{level}"))
    }
}

/// The context of this process, where the kernel tells one.
#[must_use]
pub fn current() -> Option<Context> {
    let text = std::fs::read_to_string("/proc/thread-self/attr/current").ok()?;
    text.trim_end_matches(['\0', '\n']).parse().ok()
}

/// Whether what the policy forbids is only logged.
#[must_use]
pub fn is_permissive() -> bool {
    std::fs::read_to_string(Path::new(FILES).join("enforce")).is_ok_and(|text| text.trim() == "0")
}

/// Whether the policy lets a process with the context `source` do `permission` of `class` to what has `target`; nothing
/// where the kernel does not tell.
#[must_use]
pub fn allows(source: &str, target: &str, class: &str, permission: &str) -> Option<bool> {
    let class = Path::new(FILES).join("class").join(class);
    let number = |path: &Path| std::fs::read_to_string(path).ok()?.trim().parse::<u32>().ok();
    let index = number(&class.join("index"))?;
    let bit = 1_u32.checked_shl(number(&class.join("perms").join(permission))?.checked_sub(1)?)?;
    let file =
        rustix::fs::open(Path::new(FILES).join("access"), OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .ok()?;
    rustix::io::write(&file, format!("{source} {target} {index} {bit:x}").as_bytes()).ok()?;
    // What is allowed, in hexadecimal, comes first.
    let mut answer = [0_u8; 256];
    let length = rustix::io::read(&file, &mut answer).ok()?;
    let text = std::str::from_utf8(&answer[..length]).ok()?;
    Some(u32::from_str_radix(text.split(' ').next()?, 16).ok()? & bit != 0)
}

/// The context of a file, also by an `O_PATH` handle; nothing where its file system has none.
///
/// # Errors
/// Whatever getxattr(2) says.
pub fn file_context(file: impl AsFd) -> rustix::io::Result<Option<String>> {
    let mut buffer = [0_u8; MAX_CONTEXT];
    match rustix::fs::getxattr(proc_fd_path(file.as_fd()).as_str(), ATTRIBUTE, &mut buffer) {
        Ok(len) => {
            let text = String::from_utf8_lossy(&buffer[..len]);
            Ok(Some(text.trim_end_matches('\0').to_owned()))
        }
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Gives a file another context, also by an `O_PATH` handle, which may be one of a symbolic link.
///
/// # Errors
/// `OPNOTSUPP` where the file system has no contexts of its own, `INVAL` for one that the policy does not know.
pub fn set_file_context(file: impl AsFd, context: &str) -> rustix::io::Result<()> {
    rustix::fs::setxattr(
        proc_fd_path(file.as_fd()).as_str(),
        ATTRIBUTE,
        context.as_bytes(),
        XattrFlags::empty(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_have_three_or_four_parts() {
        for text in [
            "system_u:object_r:container_file_t:s0:c1,c2",
            "unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023",
            "u:r:t",
            "u:r:t:s0",
        ] {
            assert_eq!(text.parse::<Context>().unwrap().to_string(), text);
        }
        for text in ["", "u", "u:r", "u:r:", ":r:t", "u:r:t:", "u:r t:x", "u:r:t:s0\n", "unconfined"] {
            assert!(text.parse::<Context>().is_err(), "{text:?}");
        }
        let context: Context = "u:r:t:s0:c1,c2".parse().unwrap();
        assert_eq!(context.level.as_deref(), Some("s0:c1,c2"));
        assert_eq!(context.with_level("s0").to_string(), "u:r:t:s0");
    }
}
