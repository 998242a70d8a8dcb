//! Signals: masks, dispositions, and a descriptor to read them from.
//!
//! rbox installs no signal handlers: a process that must react to signals blocks them and
//! polls a [`SignalFd`]. Handlers run at any instruction, a descriptor is read when convenient.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::{io, ptr};

use super::{Error, Result};

/// A set of signals.
#[derive(Clone, Copy)]
pub struct SignalSet(libc::sigset_t);

impl SignalSet {
    /// No signal.
    #[must_use]
    pub fn empty() -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset initialises the whole set and cannot fail on a valid pointer.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            Self(set.assume_init())
        }
    }

    /// Every signal.
    #[must_use]
    pub fn all() -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigfillset initialises the whole set and cannot fail on a valid pointer.
        unsafe {
            libc::sigfillset(set.as_mut_ptr());
            Self(set.assume_init())
        }
    }

    /// Exactly `signals`.
    #[must_use]
    pub fn of(signals: &[i32]) -> Self {
        let mut set = Self::empty();
        for &signal in signals {
            set.add(signal);
        }
        set
    }

    /// Adds `signal`; numbers that are no signal are ignored.
    pub fn add(&mut self, signal: i32) {
        // SAFETY: the set is initialised; a bad number makes the call fail without effect.
        unsafe { libc::sigaddset(&raw mut self.0, signal) };
    }

    /// Takes `signal` out.
    pub fn remove(&mut self, signal: i32) {
        // SAFETY: the set is initialised; a bad number makes the call fail without effect.
        unsafe { libc::sigdelset(&raw mut self.0, signal) };
    }

    /// Whether `signal` is in the set.
    #[must_use]
    pub fn contains(&self, signal: i32) -> bool {
        // SAFETY: the set is initialised.
        unsafe { libc::sigismember(&raw const self.0, signal) == 1 }
    }
}

impl std::fmt::Debug for SignalSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries((1..=64).filter(|&n| self.contains(n))).finish()
    }
}

/// Makes `set` the calling thread's signal mask and returns the earlier one.
///
/// # Errors
/// Never on Linux; the signature keeps the call honest.
pub fn set_mask(set: &SignalSet) -> Result<SignalSet> {
    let mut old = SignalSet::empty();
    // SAFETY: both pointers are to initialised sets that live through the call.
    let rc = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set.0, &raw mut old.0) };
    if rc == 0 { Ok(old) } else { Err(Error::call("sigprocmask", "", io::Error::from_raw_os_error(rc))) }
}

/// Blocks every signal that can be blocked and returns the earlier mask.
///
/// # Errors
/// As [`set_mask`].
pub fn block_all() -> Result<SignalSet> {
    set_mask(&SignalSet::all())
}

/// Adds `signals` to the mask and returns the earlier one.
///
/// # Errors
/// As [`set_mask`].
pub fn block(signals: &SignalSet) -> Result<SignalSet> {
    let mut old = SignalSet::empty();
    // SAFETY: both pointers are to initialised sets that live through the call.
    let rc = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const signals.0, &raw mut old.0) };
    if rc == 0 { Ok(old) } else { Err(Error::call("sigprocmask", "", io::Error::from_raw_os_error(rc))) }
}

/// Gives every signal its default disposition: a program started by `execve` inherits "ignored",
/// and Rust's own start-up ignores SIGPIPE.
pub fn reset_dispositions() {
    /// The kernel's `struct sigaction` with its handler, flags, restorer and mask all zero, and the size of the mask.
    const DEFAULT: [u64; 4] = [0; 4];
    const MASK_SIZE: usize = 8;
    for signal in 1..=64 {
        // Not by libc, which keeps 32 and 33 to itself: a caller that ignores them would be inherited from.
        // SAFETY: the kernel reads the structure during the call, and SIG_DFL runs no code of this process.
        // SIGKILL and SIGSTOP are refused, without effect.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, DEFAULT.as_ptr(), ptr::null::<u64>(), MASK_SIZE)
        };
    }
}

/// Ignores `signal` from now on.
pub fn ignore(signal: i32) {
    set_disposition(signal, libc::SIG_IGN);
}

/// Gives `signal` its default effect again.
pub fn restore_default(signal: i32) {
    set_disposition(signal, libc::SIG_DFL);
}

/// Sets a disposition that is no handler. glibc keeps 32 and 33 for itself and refuses them.
fn set_disposition(signal: i32, how: libc::sighandler_t) {
    // SAFETY: SIG_DFL and SIG_IGN run no code of this process.
    unsafe { libc::signal(signal, how) };
}

/// Sends `signal` to this very process.
pub fn raise(signal: i32) {
    // SAFETY: no memory is involved.
    unsafe { libc::raise(signal) };
}

/// A signal as read from a [`SignalFd`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Its number.
    pub signal: i32,
    /// Who sent it; for SIGCHLD the child.
    pub pid: u32,
    /// `si_code`: `SI_KERNEL` (0x80) for keys on the terminal.
    pub code: i32,
}

/// A descriptor that is readable while one of its signals is pending.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    /// Opens a descriptor for `signals`, which must be blocked. Reads do not wait.
    ///
    /// # Errors
    /// When the process has no free descriptor.
    pub fn new(signals: &SignalSet) -> Result<Self> {
        // SAFETY: the set is initialised; -1 asks for a new descriptor.
        let fd = unsafe { libc::signalfd(-1, &raw const signals.0, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(Error::call("signalfd", "", io::Error::last_os_error()));
        }
        // SAFETY: the kernel just made this descriptor for us.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Takes the next pending signal, `None` if there is none.
    ///
    /// # Errors
    /// When the kernel refuses the read.
    pub fn read(&self) -> Result<Option<Received>> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
        let size = size_of::<libc::signalfd_siginfo>();
        loop {
            // SAFETY: the buffer has exactly the size that is passed.
            let n = unsafe { libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), size) };
            if n == isize::try_from(size).expect("128 bytes") {
                // SAFETY: the kernel filled the whole structure.
                let info = unsafe { ptr::read(info.as_ptr()) };
                let signal = i32::try_from(info.ssi_signo).unwrap_or(0);
                return Ok(Some(Received { signal, pid: info.ssi_pid, code: info.ssi_code }));
            }
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => return Ok(None),
                _ => return Err(Error::call("read", "signalfd", error)),
            }
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Names and numbers of the signals of Linux on this architecture, without `SIG`.
pub const NAMES: &[(&str, i32)] = &[
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
    // Other names of the above.
    ("CLD", libc::SIGCHLD),
    ("IOT", libc::SIGABRT),
    ("POLL", libc::SIGIO),
];

/// The lowest and highest real-time signal as programs see them (glibc keeps 32 and 33).
const REAL_TIME: (i32, i32) = (34, 64);

/// Parses `TERM`, `SIGTERM`, `sigterm`, `15`, `RTMIN`, `RTMIN+3`, `RTMAX-1`.
#[must_use]
pub fn parse(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=REAL_TIME.1).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(n, _)| *n == name) {
        return Some(*number);
    }
    let (base, offset) = if let Some(rest) = name.strip_prefix("RTMIN") {
        (REAL_TIME.0, rest.strip_prefix('+').or_else(|| rest.is_empty().then_some("0"))?.parse::<i32>().ok()?)
    } else {
        let rest = name.strip_prefix("RTMAX")?;
        let back = rest.strip_prefix('-').or_else(|| rest.is_empty().then_some("0"))?;
        (REAL_TIME.1, -back.parse::<i32>().ok()?)
    };
    let number = base.checked_add(offset)?;
    (REAL_TIME.0..=REAL_TIME.1).contains(&number).then_some(number)
}

/// The name of `signal` with `SIG`, such as `SIGTERM` or `SIGRTMIN+3`; the number where there is none.
#[must_use]
pub fn name(signal: i32) -> String {
    if let Some((name, _)) = NAMES.iter().find(|(_, n)| *n == signal) {
        return format!("SIG{name}");
    }
    match signal - REAL_TIME.0 {
        0 => "SIGRTMIN".to_owned(),
        n @ 1..=30 => format!("SIGRTMIN+{n}"),
        _ => signal.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_and_print() {
        let table = [
            ("TERM", Some(15)),
            ("SIGTERM", Some(15)),
            ("sigkill", Some(9)),
            ("9", Some(9)),
            ("0", None),
            ("65", None),
            ("RTMIN+3", Some(37)),
            ("SIGRTMAX-1", Some(63)),
            ("RTMIN-1", None),
            ("RTMIN+31", None),
            ("", None),
            ("SIG", None),
            ("NOPE", None),
            ("-1", None),
        ];
        for (text, number) in table {
            assert_eq!(parse(text), number, "{text}");
        }
        assert_eq!(name(15), "SIGTERM");
        assert_eq!(name(37), "SIGRTMIN+3");
        for number in 1..=64 {
            assert!(matches!(number, 32 | 33) || parse(&name(number)) == Some(number), "{number}");
        }
    }

    #[test]
    fn sets_hold_what_was_added() {
        let mut set = SignalSet::of(&[1, 15]);
        assert!(set.contains(1) && set.contains(15) && !set.contains(2));
        set.remove(1);
        assert_eq!(format!("{set:?}"), "{15}");
        assert!(SignalSet::all().contains(17));
    }
}
