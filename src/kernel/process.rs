//! Processes: clone, pidfds, waiting, exec and identity.
//!
//! Rules held here:
//! - [`clone3`] and [`fork`] refuse to run beside another thread: locks held by
//!   that thread would stay locked for ever in the child, and `setns` and
//!   `unshare` of user and mount namespaces fail there anyway.
//! - A process is named by a pidfd wherever one exists; a bare pid is checked
//!   with [`start_time`] before it is trusted (pids are reused).
//! - A child that never reaches `exec` leaves by [`exit_now`], which runs no
//!   destructor and flushes no buffer that it shares with its parent.

use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::OnceLock;

pub use rustix::process::{Pid, PidfdFlags, Signal};

use super::ns::NamespaceSet;
use super::{Error, Result, file};

/// libc's constant of this name overflows its type.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Where a successful clone or fork returns.
#[derive(Debug)]
pub enum Fork {
    /// In the parent: the child's pid and a pidfd for it.
    Parent {
        /// The child as the parent's pid namespace numbers it.
        pid: Pid,
        /// Handle to the child; readable once it has ended.
        pidfd: OwnedFd,
    },
    /// In the child.
    Child,
}

/// What [`clone3`] does besides copying the process.
#[derive(Debug, Default, Clone, Copy)]
pub struct CloneOptions<'a> {
    /// New namespaces of the child.
    pub namespaces: NamespaceSet,
    /// cgroup v2 directory in which the child starts. Moving it later by
    /// `cgroup.procs` costs about 0.7 ms (it waits for an RCU grace period).
    pub cgroup: Option<BorrowedFd<'a>>,
    /// Makes the child a sibling: its parent is the caller's parent.
    pub sibling: bool,
    /// The caller is itself a fresh copy of a process with one thread, so that this is not
    /// looked up again: it may see a /proc by now in which it does not occur.
    pub in_child: bool,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// It called exit with this code.
    Exited(i32),
    /// A signal ended it.
    Signaled {
        /// The signal's number.
        signal: i32,
        /// Whether the kernel wrote a core dump.
        core: bool,
    },
}

impl ExitStatus {
    /// The code as shells and containers show it: 128 + n for signal n.
    #[must_use]
    pub fn code(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Signaled { signal, .. } => 128 + signal,
        }
    }
}

/// Fails unless this process has exactly one thread.
pub fn require_single_thread() -> Result<()> {
    let count = fs::read_dir("/proc/self/task")
        .map_err(|source| Error::path("readdir", "/proc/self/task", source))?
        .count();
    if count == 1 {
        return Ok(());
    }
    let why = io::Error::other(format!("this process has {count} threads, but only one may clone"));
    Err(Error::call("clone", "", why))
}

/// Copies this process as `fork` does, with new namespaces and a pidfd.
pub fn clone3(options: CloneOptions<'_>) -> Result<Fork> {
    if !options.in_child {
        require_single_thread()?;
    }
    let mut pidfd: libc::c_int = -1;
    let mut flags = libc::CLONE_PIDFD as u64 | options.namespaces.bits();
    // SAFETY: clone_args is plain integers, for which all zeroes is valid.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.pidfd = (&raw mut pidfd) as u64;
    // CLONE_PARENT takes the exit signal of the caller and refuses one here.
    args.exit_signal = if options.sibling { 0 } else { libc::SIGCHLD as u64 };
    if options.sibling {
        flags |= libc::CLONE_PARENT as u64;
    }
    if let Some(cgroup) = options.cgroup {
        flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    args.flags = flags;
    // SAFETY: args is a valid clone_args of the size given; neither CLONE_VM
    // nor a stack is asked for, so the child returns here on a copy of this
    // stack, and there is no other thread whose locks it could inherit.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) };
    match result {
        -1 => Err(Error::call("clone3", options.namespaces.to_string(), io::Error::last_os_error())),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent {
            pid: Pid::from_raw(pid as i32).expect("clone3 gives the parent a positive pid"),
            // SAFETY: the kernel has just stored a new descriptor there, owned by nobody else.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        }),
    }
}

/// Copies this process by the C library's `fork`.
pub fn fork() -> Result<Fork> {
    require_single_thread()?;
    // SAFETY: single-threaded, so the child may use everything that it inherits.
    match unsafe { libc::fork() } {
        -1 => Err(Error::call("fork", "", io::Error::last_os_error())),
        0 => Ok(Fork::Child),
        pid => {
            let pid = Pid::from_raw(pid).expect("fork gives the parent a positive pid");
            // The child cannot be reaped by anyone else, so the pid is still its own.
            Ok(Fork::Parent { pid, pidfd: pidfd_open(pid)? })
        }
    }
}

/// Opens a pidfd for `pid`.
pub fn pidfd_open(pid: Pid) -> Result<OwnedFd> {
    rustix::process::pidfd_open(pid, PidfdFlags::empty())
        .map_err(|errno| Error::call("pidfd_open", pid.to_string(), errno))
}

/// Sends a signal to exactly this process, however its pid was reused.
pub fn pidfd_send_signal(pidfd: impl AsFd, signal: i32) -> Result<()> {
    // SAFETY: plain integers and a null siginfo; realtime signals, which
    // rustix's own wrapper cannot name, are wanted too.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_fd().as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    check(result, || ("pidfd_send_signal", signal.to_string())).map(drop)
}

/// Waits until the child behind `pidfd` ends, and reaps it.
pub fn wait_pidfd(pidfd: impl AsFd) -> Result<ExitStatus> {
    loop {
        match wait_pidfd_with(pidfd.as_fd(), 0) {
            Ok(Some(status)) => return Ok(status),
            Ok(None) => {}
            Err(error) if error.errno() == Some(libc::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reaps the child behind `pidfd` if it has ended.
pub fn try_wait_pidfd(pidfd: impl AsFd) -> Result<Option<ExitStatus>> {
    wait_pidfd_with(pidfd.as_fd(), libc::WNOHANG)
}

fn wait_pidfd_with(pidfd: BorrowedFd<'_>, options: i32) -> Result<Option<ExitStatus>> {
    wait_id(libc::P_PIDFD, pidfd.as_raw_fd() as libc::id_t, options)
        .map(|ended| ended.map(|(_, status)| status))
        .map_err(|error| Error::call("waitid", "", error))
}

/// Reaps any child that has ended, for the init process of a container:
/// `Ok(None)` while children run, an ECHILD error once there are none.
pub fn wait_any(block: bool) -> io::Result<Option<(Pid, ExitStatus)>> {
    wait_id(libc::P_ALL, 0, if block { 0 } else { libc::WNOHANG })
}

fn wait_id(kind: libc::idtype_t, id: libc::id_t, options: i32) -> io::Result<Option<(Pid, ExitStatus)>> {
    // SAFETY: siginfo_t is plain data, for which all zeroes is valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // __WALL also reaps siblings made by clone3 with CLONE_PARENT.
    // SAFETY: info outlives the call.
    let result = unsafe { libc::waitid(kind, id, &raw mut info, libc::WEXITED | libc::__WALL | options) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: waitid filled the SIGCHLD member, or left the zeroes.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    let Some(pid) = Pid::from_raw(pid) else { return Ok(None) };
    let status = match info.si_code {
        libc::CLD_EXITED => ExitStatus::Exited(status),
        code => ExitStatus::Signaled { signal: status, core: code == libc::CLD_DUMPED },
    };
    Ok(Some((pid, status)))
}

/// Ends this process at once: no destructors, no flushed buffers.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit only ends the process.
    unsafe { libc::_exit(code) }
}

/// Marks the descriptors from `first` to `last` close-on-exec.
pub fn close_range_cloexec(first: u32, last: u32) -> Result<()> {
    close_range_with(first, last, libc::CLOSE_RANGE_CLOEXEC)
}

/// Closes the descriptors from `first` to `last`, whoever owns them: only for
/// a child in which nothing of the parent's is used again.
pub fn close_range(first: u32, last: u32) -> Result<()> {
    close_range_with(first, last, 0)
}

fn close_range_with(first: u32, last: u32, flags: u32) -> Result<()> {
    // SAFETY: plain integers; closing is the caller's stated intent.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    check(result, || ("close_range", first.to_string())).map(drop)
}

/// Makes `target` another name of `source` that passes an exec, closing whatever it was.
pub fn duplicate_to(source: impl AsFd, target: RawFd) -> Result<()> {
    // SAFETY: plain integers. The caller says what happens to the number `target`, as with close_range.
    let result = unsafe { libc::dup2(source.as_fd().as_raw_fd(), target) };
    check(result.into(), || ("dup2", target.to_string())).map(drop)
}

/// Takes over a descriptor that an exec left open under a number that its maker told us, and
/// marks it close-on-exec.
pub fn adopt_descriptor(number: RawFd) -> Result<OwnedFd> {
    // SAFETY: fcntl on a number that is no open descriptor only fails.
    let result = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    check(result.into(), || ("fcntl(F_SETFD)", number.to_string()))?;
    // SAFETY: it is open, and by agreement with the program that executed us nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Argument or environment vector in the form that `execve` takes, built
/// before a clone so that the child allocates nothing.
#[derive(Debug)]
pub struct CStringArray {
    strings: Vec<CString>,
    pointers: Vec<*const libc::c_char>,
}

impl CStringArray {
    /// Takes the strings over.
    #[must_use]
    pub fn new(strings: Vec<CString>) -> Self {
        let mut pointers: Vec<_> = strings.iter().map(|s| s.as_ptr()).collect();
        pointers.push(std::ptr::null());
        Self { strings, pointers }
    }

    /// The strings.
    #[must_use]
    pub fn strings(&self) -> &[CString] {
        &self.strings
    }
}

/// Replaces this process by the program at `path`; returns only on failure.
pub fn execve(path: &CStr, arguments: &CStringArray, environment: &CStringArray) -> io::Error {
    // SAFETY: both arrays end with a null pointer and their strings live in the same value.
    unsafe { libc::execve(path.as_ptr(), arguments.pointers.as_ptr(), environment.pointers.as_ptr()) };
    io::Error::last_os_error()
}

/// Replaces this process by the program behind `program`; returns only on failure.
pub fn execveat(program: impl AsFd, arguments: &CStringArray, environment: &CStringArray) -> io::Error {
    // SAFETY: as for execve; the empty path with AT_EMPTY_PATH names the descriptor itself.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_fd().as_raw_fd(),
            c"".as_ptr(),
            arguments.pointers.as_ptr(),
            environment.pointers.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// What `/proc/PID/stat` says about a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// What it calls itself, at most 15 bytes.
    pub name: Vec<u8>,
    /// The letter of its state.
    pub state: u8,
    /// When it started, in clock ticks since boot.
    pub start_time: u64,
    /// Whether it has executed a program since it was forked.
    pub has_executed: bool,
}

/// Reads `/proc/PID/stat`.
pub fn stat(pid: Pid) -> Result<Stat> {
    let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
    let text = file::read_small(Path::new(&path))?;
    parse_stat(&text).ok_or_else(|| Error::path("parse", &path, io::Error::from(io::ErrorKind::InvalidData)))
}

fn parse_stat(text: &[u8]) -> Option<Stat> {
    /// `include/linux/sched.h`: forked but didn't exec.
    const PF_FORKNOEXEC: u32 = 0x40;
    // The command name may hold blanks and brackets: the last `)` ends it.
    let end = text.iter().rposition(|&b| b == b')')?;
    let start = text.iter().position(|&b| b == b'(')?;
    let name = text.get(start + 1..end)?.to_vec();
    let mut fields = text.get(end + 2..)?.split(|&b| b == b' ');
    let state = *fields.next()?.first()?;
    let mut number = |skipped| std::str::from_utf8(fields.nth(skipped)?).ok()?.parse::<u64>().ok();
    let flags = number(5)?;
    let start_time = number(12)?;
    Some(Stat { name, state, start_time, has_executed: flags & u64::from(PF_FORKNOEXEC) == 0 })
}

/// When `pid` started, in clock ticks since boot (field 22 of its stat): with
/// the pid this names a process of this boot for good.
pub fn start_time(pid: Pid) -> Result<u64> {
    stat(pid).map(|stat| stat.start_time)
}

/// Puts `title` in place of this process's arguments, which every user of the host can read in
/// `/proc/PID/cmdline` and which may hold secrets (`-e PASSWORD=…`).
pub fn hide_arguments(title: &str) -> Result<()> {
    let (start, size) = arguments()?;
    // The kernel reads on behind the end if the last byte is not 0.
    let mut text = title.as_bytes()[..title.len().min(size.saturating_sub(1))].to_vec();
    text.resize(size, 0);
    overwrite(&[(start, text)])
}

/// Puts asterisks in place of parts of this process's arguments: offset and length among all of them, each of which
/// ends with a 0. Nothing else moves, since pointers lead to the arguments.
pub fn hide_in_arguments(parts: &[(usize, usize)]) -> Result<()> {
    const SHOWN: usize = 3;
    let (start, size) = arguments()?;
    let inside = |(offset, length): &(usize, usize)| offset.saturating_add(*length) < size;
    let hidden = parts.iter().filter(|part| inside(part)).map(|(offset, length)| {
        let mut text = vec![b'*'; SHOWN.min(*length)];
        text.resize(*length, 0);
        (start + *offset as u64, text)
    });
    overwrite(&hidden.collect::<Vec<_>>())
}

/// Where the arguments of this process begin in its memory, and how long they are.
fn arguments() -> Result<(u64, usize)> {
    let path = "/proc/self/stat";
    let stat = fs::read_to_string(path).map_err(|source| Error::path("read", path, source))?;
    // Fields 48 and 49 are where the arguments begin and end; the command's name ends at the last ')'.
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = after.split_whitespace().skip(45).map(str::parse::<u64>);
    let (Some(Ok(start)), Some(Ok(end))) = (fields.next(), fields.next()) else {
        return Err(Error::path("parse", path, io::Error::from(io::ErrorKind::InvalidData)));
    };
    Ok((start, usize::try_from(end.saturating_sub(start)).unwrap_or_default()))
}

/// Writes into the memory of this process.
fn overwrite(parts: &[(u64, Vec<u8>)]) -> Result<()> {
    let path = "/proc/self/mem";
    let memory = fs::File::options().write(true).open(path);
    let write = |memory: fs::File| {
        parts.iter().try_for_each(|(at, text)| std::os::unix::fs::FileExt::write_all_at(&memory, text, *at))
    };
    memory.and_then(write).map_err(|source| Error::path("write", path, source))
}

/// The identity of this boot of the machine.
pub fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    static BOOT: OnceLock<String> = OnceLock::new();
    if let Some(boot) = BOOT.get() {
        return Ok(boot.clone());
    }
    let text = file::read_small(Path::new(path))?;
    Ok(BOOT.get_or_init(|| String::from_utf8_lossy(&text).trim().to_owned()).clone())
}

/// Turns the -1 of a raw call into an error with its operands.
fn check(result: libc::c_long, what: impl FnOnce() -> (&'static str, String)) -> Result<libc::c_long> {
    if result == -1 {
        let source = io::Error::last_os_error();
        let (call, detail) = what();
        return Err(Error::call(call, detail, source));
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_follow_the_shell() {
        assert_eq!(ExitStatus::Exited(3).code(), 3);
        assert_eq!(ExitStatus::Signaled { signal: 9, core: false }.code(), 137);
    }

    #[test]
    fn identity_of_this_process_is_readable() {
        assert!(start_time(rustix::process::getpid()).unwrap() > 0);
        assert_eq!(boot_id().unwrap().len(), 36);
    }

    #[test]
    fn stat_with_odd_command_names() {
        let line = b"12 (a) b (c) S 1 2 3 4 5 64 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        let name = b"a) b (c".to_vec();
        let stat = Stat { name, state: b'S', start_time: 4711, has_executed: false };
        assert_eq!(parse_stat(line), Some(stat));
        assert_eq!(parse_stat(b"12"), None);
    }

    #[test]
    fn clone_beside_a_thread_is_refused() {
        std::thread::scope(|scope| {
            let (sender, receiver) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || receiver.recv());
            assert!(clone3(CloneOptions::default()).is_err());
            drop(sender);
        });
    }
}
