//! Unix sockets: pairs, servers and clients at paths of any length, and passing of descriptors.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use super::process::Pid;
use super::{Error, Result};

/// The most descriptors that one message carries.
pub const MAX_FDS: usize = 16;

/// Makes a connected pair of stream sockets.
///
/// # Errors
/// When the process has no free descriptors.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(|e| Error::call("socketpair", "", e))
}

/// Makes a connected pair of sockets that keep the borders of messages.
///
/// # Errors
/// When the process has no free descriptors.
pub fn packet_pair() -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|e| Error::call("socketpair", "", e))
}

/// Listens at `path`, replacing what a dead process left there. The socket does not wait in `accept`.
///
/// # Errors
/// When the directory is missing or not writable.
pub fn listen(path: &Path) -> Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(|e| Error::call("socket", "", e))?;
    match rustix::fs::unlink(path) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(e) => return Err(Error::path("unlink", path, e)),
    }
    // The file takes its mode from the socket, whatever the umask leaves of it.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(|e| Error::path("fchmod", path, e))?;
    with_address(path, |address| rustix::net::bind(&socket, address))
        .map_err(|e| Error::path("bind", path, e))?;
    rustix::net::listen(&socket, 16).map_err(|e| Error::path("listen", path, e))?;
    Ok(socket)
}

/// Connects to the socket at `path`.
///
/// # Errors
/// `ECONNREFUSED` when nobody listens, `ENOENT` when there is no socket.
pub fn connect(path: &Path) -> Result<OwnedFd> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|e| Error::call("socket", "", e))?;
    with_address(path, |address| rustix::net::connect(&socket, address))
        .map_err(|e| Error::path("connect", path, e))?;
    Ok(socket)
}

/// Connects to the socket with the abstract name `name`.
///
/// # Errors
/// `ECONNREFUSED` when nobody has that name.
pub fn connect_abstract(name: &str) -> Result<OwnedFd> {
    let failed = |e| Error::call("connect", format!("@{name}"), e);
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(failed)?;
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).map_err(failed)?;
    rustix::net::connect(&socket, &address).map_err(failed)?;
    Ok(socket)
}

/// The process that listens at the other end of a connection.
pub fn peer(connection: BorrowedFd<'_>) -> Result<Pid> {
    let credentials = rustix::net::sockopt::socket_peercred(connection);
    Ok(credentials.map_err(|errno| Error::call("getsockopt", "SO_PEERCRED", errno))?.pid)
}

/// Takes the next connection; `None` when there is none, or when it is gone again.
///
/// # Errors
/// When the process has no free descriptors.
pub fn accept(listener: BorrowedFd<'_>) -> Result<Option<OwnedFd>> {
    use rustix::io::Errno;
    match rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
        Ok(socket) => Ok(Some(socket)),
        Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => Ok(None),
        Err(e) => Err(Error::call("accept", "", e)),
    }
}

/// Sends one datagram to the socket at `address`: a path, or `@` and an abstract name.
///
/// # Errors
/// When nobody has that address.
pub fn send_datagram(address: &str, bytes: &[u8]) -> Result<()> {
    let failed = |e| Error::call("sendto", address, e);
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .map_err(failed)?;
    let connected = match address.strip_prefix('@') {
        Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes())
            .and_then(|address| rustix::net::connect(&socket, &address)),
        None => with_address(Path::new(address), |address| rustix::net::connect(&socket, address)),
    };
    connected.map_err(failed)?;
    send_with_fds(socket.as_fd(), bytes, &[])
}

/// Makes a socket at `path` that gets datagrams, replacing what a dead process left there. It does not wait.
///
/// # Errors
/// When the directory is missing or not writable.
pub fn receive_datagrams(path: &Path) -> Result<OwnedFd> {
    let failed = |e| Error::path("bind", path, e);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None).map_err(failed)?;
    match rustix::fs::unlink(path) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(e) => return Err(failed(e)),
    }
    with_address(path, |address| rustix::net::bind(&socket, address)).map_err(failed)?;
    Ok(socket)
}

/// Takes the next datagram, cut to the length of `buffer`; `None` when there is none. Descriptors that come with
/// it are closed.
///
/// # Errors
/// When the socket fails.
pub fn receive_datagram(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Option<usize>> {
    use rustix::io::Errno;
    match rustix::net::recv(socket, buffer, rustix::net::RecvFlags::DONTWAIT) {
        Ok((length, _)) => Ok(Some(length)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(e) => Err(Error::call("recv", "", e)),
    }
}

/// Calls `f` with an address of `path`. An address holds 107 bytes: longer paths go through a
/// descriptor of their directory, `/proc/self/fd/N/name`.
pub(super) fn with_address<T>(
    path: &Path,
    f: impl FnOnce(&SocketAddrUnix) -> rustix::io::Result<T>,
) -> rustix::io::Result<T> {
    if let Ok(address) = SocketAddrUnix::new(path) {
        return f(&address);
    }
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(rustix::io::Errno::NAMETOOLONG);
    };
    let dir = rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let short = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name);
    f(&SocketAddrUnix::new(&short)?)
}

/// Sends all of `bytes`, and `fds` with the first of them.
///
/// # Errors
/// When the other end is gone. SIGPIPE is not raised.
pub fn send_with_fds(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Error::call("sendmsg", "too many descriptors", rustix::io::Errno::INVAL));
    }
    let mut sent = 0;
    while sent < bytes.len() || (bytes.is_empty() && sent == 0) {
        let slices = [IoSlice::new(&bytes[sent..])];
        match rustix::net::sendmsg(socket, &slices, &mut control, SendFlags::NOSIGNAL) {
            Ok(n) => {
                sent += n;
                control.clear();
                if bytes.is_empty() {
                    return Ok(());
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Error::call("sendmsg", "", e)),
        }
    }
    Ok(())
}

/// Receives up to `buffer.len()` bytes and what descriptors came with them (close-on-exec). That the other end is
/// gone is the end, no bytes, also where it has left something unread (ECONNRESET).
///
/// # Errors
/// When the kernel refuses.
pub fn recv_with_fds(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = loop {
        let mut slices = [IoSliceMut::new(buffer)];
        match rustix::net::recvmsg(socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(message) => break message,
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CONNRESET) => return Ok((0, Vec::new())),
            Err(e) => return Err(Error::call("recvmsg", "", e)),
        }
    };
    let mut fds = Vec::new();
    for item in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = item {
            fds.extend(rights);
        }
    }
    Ok((message.bytes, fds))
}

/// Writes without waiting and without SIGPIPE; `None` when the other end takes nothing now.
///
/// # Errors
/// When the other end is gone.
pub fn send_now(socket: impl AsFd, bytes: &[u8]) -> Result<Option<usize>> {
    loop {
        match rustix::net::send(&socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(n) => return Ok(Some(n)),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Ok(None),
            Err(e) => return Err(Error::call("send", "", e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_travel() {
        let (a, b) = pair().unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        send_with_fds(a.as_fd(), b"hi", &[writer.as_fd()]).unwrap();
        drop(writer);
        let mut buffer = [0; 8];
        let (n, fds) = recv_with_fds(b.as_fd(), &mut buffer).unwrap();
        assert_eq!((&buffer[..n], fds.len()), (&b"hi"[..], 1));
        rustix::io::write(&fds[0], b"x").unwrap();
        assert_eq!(rustix::io::read(&reader, &mut buffer).unwrap(), 1);
        drop(a);
        assert_eq!(recv_with_fds(b.as_fd(), &mut buffer).unwrap().0, 0);
        let (a, b) = pair().unwrap();
        assert_eq!(send_now(&b, b"unread").unwrap(), Some(6));
        drop(a);
        assert_eq!(recv_with_fds(b.as_fd(), &mut buffer).unwrap().0, 0);
    }

    #[test]
    fn long_paths_work() {
        let dir = crate::kernel::scratch::path("socket");
        let deep = dir.join("d".repeat(120));
        std::fs::create_dir_all(&deep).unwrap();
        let path = deep.join("attach.sock");
        let server = listen(&path).unwrap();
        let client = connect(&path).unwrap();
        let peer = accept(server.as_fd()).unwrap().unwrap();
        assert_eq!(send_now(&client, b"x").unwrap(), Some(1));
        assert_eq!(rustix::io::read(&peer, &mut [0; 2]).unwrap(), 1);
        // A second server takes the path over.
        listen(&path).unwrap();
        std::fs::remove_dir_all(dir).unwrap();
    }
}
