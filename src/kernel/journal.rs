//! Sending entries to systemd's journal by its native protocol.
//!
//! An entry is one datagram of fields: `KEY=value\n`, or for values with a newline `KEY\n`, the length as 64 bits
//! in little endian, the value, `\n`. An entry that is too large for a datagram goes as a sealed memory
//! file whose descriptor is sent instead.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::{Error, Result, socket};

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// A connection to the journal.
#[derive(Debug)]
pub struct Journal(OwnedFd);

impl Journal {
    /// Connects to the journal of this machine.
    ///
    /// # Errors
    /// When there is none.
    pub fn open() -> Result<Self> {
        Self::open_at(Path::new(SOCKET))
    }

    fn open_at(path: &Path) -> Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)
            .map_err(|e| Error::call("socket", "", e))?;
        socket::with_address(path, |address| rustix::net::connect(&socket, address))
            .map_err(|e| Error::path("connect", path, e))?;
        Ok(Self(socket))
    }

    /// Sends one entry. It waits while the journal is behind.
    ///
    /// # Errors
    /// When the journal is gone.
    pub fn send(&self, fields: &[(&str, &[u8])]) -> Result<()> {
        let entry = encode(fields);
        match socket::send_with_fds(self.0.as_fd(), &entry, &[]) {
            Err(e) if matches!(e.errno(), Some(libc::EMSGSIZE | libc::ENOBUFS)) => self.send_file(&entry),
            result => result,
        }
    }

    fn send_file(&self, entry: &[u8]) -> Result<()> {
        let error = |e: rustix::io::Errno| Error::call("memfd_create", "journal entry", e);
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("journal-entry", flags).map_err(error)?;
        let mut rest = entry;
        while !rest.is_empty() {
            let n = rustix::io::write(&file, rest).map_err(error)?;
            rest = &rest[n..];
        }
        // The journal reads it in place: nobody may change it meanwhile.
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals).map_err(error)?;
        socket::send_with_fds(self.0.as_fd(), &[], &[file.as_fd()])
    }
}

fn encode(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut entry = Vec::new();
    for (key, value) in fields {
        entry.extend_from_slice(key.as_bytes());
        if value.contains(&b'\n') {
            entry.push(b'\n');
            entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            entry.push(b'=');
        }
        entry.extend_from_slice(value);
        entry.push(b'\n');
    }
    entry
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _};
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn entries_are_those_of_the_protocol() {
        let entry = encode(&[("MESSAGE", b"one"), ("CODE", b"a\nb")]);
        assert_eq!(entry, b"MESSAGE=one\nCODE\n\x03\0\0\0\0\0\0\0a\nb\n");
    }

    #[test]
    fn long_entries_go_as_a_file() {
        let path = crate::kernel::scratch::path("journal");
        let _ = std::fs::remove_file(&path);
        let server = UnixDatagram::bind(&path).unwrap();
        let journal = Journal::open_at(&path).unwrap();
        journal.send(&[("A", b"x")]).unwrap();
        let mut buffer = [0; 64];
        let n = server.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..n], b"A=x\n");
        let long = vec![b'x'; 4 << 20];
        journal.send(&[("A", &long)]).unwrap();
        let (n, fds) = socket::recv_with_fds(server.as_fd(), &mut buffer).unwrap();
        assert_eq!((n, fds.len()), (0, 1));
        let mut file = std::fs::File::from(fds.into_iter().next().unwrap());
        file.rewind().unwrap();
        let mut text = Vec::new();
        file.read_to_end(&mut text).unwrap();
        assert_eq!(text.len(), long.len() + 3);
        std::fs::remove_file(path).unwrap();
    }
}
