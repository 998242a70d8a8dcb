//! Terminals: raw mode that is always given back, window sizes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::termios::{self, OptionalActions, Termios, Winsize};

use super::{Error, Result};

/// Whether `fd` is a terminal.
#[must_use]
pub fn is_terminal(fd: impl AsFd) -> bool {
    termios::isatty(fd)
}

/// Rows and columns of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

/// Lets a line end of a program be one byte, as in a file, and not the two that a screen needs.
pub fn keep_line_ends(fd: impl AsFd) -> Result<()> {
    let mut modes =
        rustix::termios::tcgetattr(&fd).map_err(|errno| Error::call("ioctl(TCGETS)", "terminal", errno))?;
    modes.output_modes.remove(rustix::termios::OutputModes::ONLCR);
    rustix::termios::tcsetattr(&fd, rustix::termios::OptionalActions::Now, &modes)
        .map_err(|errno| Error::call("ioctl(TCSETS)", "terminal", errno))
}

/// The size of the terminal `fd`.
///
/// # Errors
/// When `fd` is no terminal.
pub fn window_size(fd: impl AsFd) -> Result<WindowSize> {
    let size = termios::tcgetwinsize(fd).map_err(|e| Error::call("ioctl", "TIOCGWINSZ", e))?;
    Ok(WindowSize { rows: size.ws_row, columns: size.ws_col })
}

/// Sets the size of the terminal `fd`; its foreground processes get SIGWINCH if it changed.
///
/// # Errors
/// When `fd` is no terminal.
pub fn set_window_size(fd: impl AsFd, size: WindowSize) -> Result<()> {
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    termios::tcsetwinsize(fd, size).map_err(|e| Error::call("ioctl", "TIOCSWINSZ", e))
}

/// Opens the other side of the terminal whose master is `master`, without a path: the
/// terminal may live in a mount namespace that nobody outside should look into.
///
/// # Errors
/// When `master` is no master of a terminal.
pub fn open_peer(master: BorrowedFd<'_>) -> Result<OwnedFd> {
    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer};
    ioctl_tiocgptpeer(master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
        .map_err(|e| Error::call("ioctl", "TIOCGPTPEER", e))
}

/// A terminal in raw mode; dropping it restores the earlier mode.
///
/// Signals must be blocked and read from a `SignalFd` while a guard lives, so that no signal
/// ends the process around `drop`. Only SIGKILL leaves the terminal raw, as for every program.
#[derive(Debug)]
pub struct RawMode {
    /// Own copy, so that the mode comes back even after the caller closed its descriptor.
    fd: OwnedFd,
    earlier: Termios,
}

impl RawMode {
    /// Puts the terminal `fd` into raw mode.
    ///
    /// # Errors
    /// When `fd` is no terminal.
    pub fn enter(fd: BorrowedFd<'_>) -> Result<Self> {
        let earlier = termios::tcgetattr(fd).map_err(|e| Error::call("tcgetattr", "", e))?;
        let fd = fd.try_clone_to_owned().map_err(|e| Error::call("dup", "", e))?;
        let mut raw = earlier.clone();
        raw.make_raw();
        termios::tcsetattr(&fd, OptionalActions::Now, &raw)
            .map_err(|e| Error::call("tcsetattr", "raw mode", e))?;
        Ok(Self { fd, earlier })
    }

    /// Puts the terminal back to raw mode, after the process was stopped and continued.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn renew(&self) -> Result<()> {
        let mut raw = self.earlier.clone();
        raw.make_raw();
        termios::tcsetattr(&self.fd, OptionalActions::Now, &raw)
            .map_err(|e| Error::call("tcsetattr", "raw mode", e))
    }

    /// Gives the earlier mode back now; a later drop does it again, harmlessly.
    pub fn restore(&self) {
        // A process of the background that sets modes is stopped by SIGTTOU unless it is blocked,
        // which the caller has seen to. A terminal that hung up needs no restoring.
        let _ = termios::tcsetattr(&self.fd, OptionalActions::Flush, &self.earlier);
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        self.restore();
    }
}

/// Reads one line from the terminal `fd` without showing it: a password.
///
/// The terminal is raw meanwhile, so that a ctrl-C does not end the process with the echo off.
///
/// # Errors
/// When `fd` is no terminal, cannot be read, or the user gives up (`Interrupted`).
pub fn read_hidden_line(fd: impl AsFd) -> Result<String> {
    const CTRL_C: u8 = 3;
    const CTRL_D: u8 = 4;
    const CTRL_U: u8 = 21;
    const BACKSPACE: [u8; 2] = [8, 127];
    let fd = fd.as_fd();
    let _raw = RawMode::enter(fd)?;
    let fail = |e: std::io::Error| Error::call("read", "password", e);
    let mut line: Vec<u8> = Vec::new();
    loop {
        let mut byte = [0];
        let count =
            rustix::io::retry_on_intr(|| rustix::io::read(fd, &mut byte)).map_err(|e| fail(e.into()))?;
        match byte[0] {
            _ if count == 0 => break,
            b'\r' | b'\n' => break,
            CTRL_C => return Err(fail(std::io::ErrorKind::Interrupted.into())),
            CTRL_D if line.is_empty() => return Err(fail(std::io::ErrorKind::UnexpectedEof.into())),
            CTRL_U => line.clear(),
            // A character of several bytes goes as a whole.
            byte if BACKSPACE.contains(&byte) => while line.pop().is_some_and(|last| last & 0xc0 == 0x80) {},
            byte => line.push(byte),
        }
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

#[cfg(test)]
mod tests {
    use rustix::fs::OFlags;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::*;

    #[test]
    fn raw_mode_is_given_back() {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave =
            rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY, rustix::fs::Mode::empty()).unwrap();
        let before = termios::tcgetattr(&slave).unwrap();
        let guard = RawMode::enter(slave.as_fd()).unwrap();
        let during = termios::tcgetattr(&slave).unwrap();
        assert_ne!(before.local_modes, during.local_modes);
        drop(guard);
        assert_eq!(before.local_modes, termios::tcgetattr(&slave).unwrap().local_modes);
        let size = WindowSize { rows: 40, columns: 100 };
        set_window_size(&master, size).unwrap();
        assert_eq!(window_size(&slave).unwrap(), size);
    }
}
