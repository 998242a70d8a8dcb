//! The user's service manager, systemd: the only one who may move processes out of a login session.
//!
//! It listens at `systemd/private` in the user's runtime directory, for her alone; where that is not to be had it is
//! reached by the session bus. A request is sent at once and its answer read later, so that what the manager does
//! takes place beside other work. The greeting goes out with the request:
//!
//! ```text
//! client  NUL "AUTH EXTERNAL" "DATA" "BEGIN"  [Hello, AddMatch, Subscribe]  StartTransientUnit
//! server  "DATA" "OK guid"                    …  return(job)  signal JobRemoved(job, result)
//! ```
//!
//! Who asks is known to the other side by the kernel, so no id is said, which would be another one in a user namespace.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::wire::{self, Message, Method, Reader, Writer};
use crate::kernel::{self, poll, socket};
use crate::runtime::error::{Error, Result};

/// A manager that takes longer is stuck.
const PATIENCE: Duration = Duration::from_secs(25);

const GREETING: &[u8] = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n";

/// The serial of the call that matters; those before it have lower ones.
const SERIAL: u32 = 9;

const BUS: Method = Method {
    destination: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
    name: "",
};

const MANAGER: Method = Method {
    destination: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
    name: "",
};

/// Where the manager of a user is to be found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Address {
    /// Her runtime directory, such as /run/user/1000.
    pub runtime: Option<PathBuf>,
    /// `DBUS_SESSION_BUS_ADDRESS`, if it is set.
    pub bus: Option<String>,
}

impl Address {
    /// The address of the machine's own manager, which serves the host's root alone.
    #[must_use]
    pub fn of_machine() -> Self {
        Self { runtime: Some(PathBuf::from("/run")), bus: None }
    }

    /// The address of the manager below which a cgroup lies, as its path says: `…/user@UID.service/…`.
    #[must_use]
    pub fn of_cgroup(path: &Path) -> Option<Self> {
        let uid = path.iter().find_map(|name| {
            let uid = name.to_str()?.strip_prefix("user@")?.strip_suffix(".service")?;
            uid.parse::<u32>().ok()
        })?;
        Some(Self { runtime: Some(Path::new("/run/user").join(uid.to_string())), bus: None })
    }

    /// Whether somebody may listen there.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.private().is_some_and(|path| path.exists()) || self.bus_path().is_some()
    }

    fn private(&self) -> Option<PathBuf> {
        Some(self.runtime.as_ref()?.join("systemd/private"))
    }

    /// The first Unix socket of the session bus's address.
    fn bus_path(&self) -> Option<BusPath> {
        let Some(text) = self.bus.as_deref().filter(|text| !text.is_empty()) else {
            let path = self.runtime.as_ref()?.join("bus");
            return path.exists().then_some(BusPath::File(path));
        };
        text.split(';').find_map(|address| {
            let pairs = address.strip_prefix("unix:")?.split(',');
            pairs.filter_map(|pair| pair.split_once('=')).find_map(|(key, value)| match key {
                "path" => Some(BusPath::File(PathBuf::from(unescape(value)?))),
                "abstract" => Some(BusPath::Abstract(unescape(value)?)),
                _ => None,
            })
        })
    }

    fn connect(&self) -> Result<(OwnedFd, Peer)> {
        let direct = self.private().map(|path| socket::connect(&path));
        if let Some(Ok(socket)) = direct {
            return Ok((socket, Peer::Manager));
        }
        let bus = match self.bus_path() {
            Some(BusPath::File(path)) => Some(socket::connect(&path)),
            Some(BusPath::Abstract(name)) => Some(socket::connect_abstract(&name)),
            None => None,
        };
        match (bus, direct) {
            (Some(Ok(socket)), _) => Ok((socket, Peer::Bus)),
            (Some(Err(error)), _) | (None, Some(Err(error))) => Err(error.into()),
            (None, _) => Err(Error::unsupported("a service manager of the user: there is none")),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum BusPath {
    File(PathBuf),
    Abstract(String),
}

/// Addresses have `%xx` in place of what is special in them.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    /// The manager.
    Manager,
    /// The session bus.
    Bus,
}

/// A request on its way.
#[derive(Debug)]
pub(super) struct Request {
    socket: OwnedFd,
    /// What was received and not understood yet.
    bytes: Vec<u8>,
    greeted: bool,
    deadline: Instant,
}

impl Request {
    /// Asks for a scope of the name `name` below `slice` with this process in it.
    pub(super) fn scope(address: &Address, name: &str, slice: &str, description: &str) -> Result<Self> {
        Self::send(address, "StartTransientUnit", "ssa(sv)a(sa(sv))", |body| {
            body.string(name);
            body.string("fail");
            body.array(8, |properties| {
                properties.property("Description", "s", |value| value.string(description));
                // 0 is whoever asks, also from a pid namespace.
                properties.property("PIDs", "au", |value| value.array(4, |list| list.number(0)));
                properties.property("Slice", "s", |value| value.string(slice));
                properties.property("Delegate", "b", |value| value.boolean(true));
                properties.property("CollectMode", "s", |value| value.string("inactive-or-failed"));
            });
            body.array(8, |_| {});
        })
    }

    /// Asks for this process to be moved into `below` of the unit `unit`.
    pub(super) fn attach(address: &Address, unit: &str, below: &str) -> Result<Self> {
        Self::send(address, "AttachProcessesToUnit", "ssau", |body| {
            body.string(unit);
            body.string(below);
            body.array(4, |list| list.number(0));
        })
    }

    fn send(
        address: &Address,
        name: &'static str,
        signature: &str,
        arguments: impl FnOnce(&mut Writer),
    ) -> Result<Self> {
        let (socket, peer) = address.connect()?;
        let mut bytes = GREETING.to_vec();
        if peer == Peer::Bus {
            bytes.extend(wire::call(1, Method { name: "Hello", ..BUS }, "", |_| {}));
            bytes.extend(wire::call(2, Method { name: "AddMatch", ..BUS }, "s", |body| {
                body.string("type='signal',sender='org.freedesktop.systemd1',member='JobRemoved'");
            }));
            bytes.extend(wire::call(3, Method { name: "Subscribe", ..MANAGER }, "", |_| {}));
        }
        bytes.extend(wire::call(SERIAL, Method { name, ..MANAGER }, signature, arguments));
        socket::send_with_fds(socket.as_fd(), &bytes, &[])?;
        Ok(Self { socket, bytes: Vec::new(), greeted: false, deadline: Instant::now() + PATIENCE })
    }

    /// Waits until the request was answered.
    pub(super) fn answered(mut self) -> Result<()> {
        loop {
            match self.message()? {
                Message::Return { to: SERIAL, .. } => return Ok(()),
                Message::Error { to, name, body } => return Err(refused(to, name, &body)),
                _ => {}
            }
        }
    }

    /// Waits until the job that the request has started is done.
    pub(super) fn done(mut self) -> Result<()> {
        let mut job = None;
        // The end may be told before the answer.
        let mut ended: Vec<(String, String)> = Vec::new();
        loop {
            match self.message()? {
                Message::Return { to: SERIAL, body } => {
                    job = Some(Reader::new(&body).string().map_err(|_| nonsense())?.to_owned());
                }
                Message::Error { to, name, body } => return Err(refused(to, name, &body)),
                Message::Signal { member, body } if member == "JobRemoved" => {
                    ended.push(removed_job(&body).map_err(|_| nonsense())?);
                }
                _ => {}
            }
            let Some(job) = &job else { continue };
            if let Some((_, result)) = ended.iter().find(|(removed, _)| removed == job) {
                return match result.as_str() {
                    "done" => Ok(()),
                    other => Err(Error::Manager {
                        name: String::new(),
                        what: format!("the job for the cgroup ended as {other:?}"),
                    }),
                };
            }
        }
    }

    /// The next message.
    fn message(&mut self) -> Result<Message> {
        loop {
            if !self.greeted {
                self.greeted = self.take_greeting()?;
            }
            if self.greeted
                && let Some((message, length)) = wire::take(&self.bytes).map_err(|_| nonsense())?
            {
                self.bytes.drain(..length);
                return Ok(message);
            }
            self.receive()?;
        }
    }

    /// Takes the two lines of the greeting, once they are there.
    fn take_greeting(&mut self) -> Result<bool> {
        let lines: Vec<&[u8]> = self.bytes.split_inclusive(|byte| *byte == b'\n').take(2).collect();
        let [first, second] = lines[..] else { return Ok(false) };
        if !second.ends_with(b"\n") {
            return Ok(false);
        }
        if !first.starts_with(b"DATA") || !second.starts_with(b"OK ") {
            return Err(Error::Manager {
                name: String::new(),
                what: "it does not know the caller".to_owned(),
            });
        }
        let length = first.len() + second.len();
        self.bytes.drain(..length);
        Ok(true)
    }

    fn receive(&mut self) -> Result<()> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let what = format!("no answer within {} s", PATIENCE.as_secs());
            return Err(Error::Manager { name: String::new(), what });
        }
        if !poll::readable(self.socket.as_fd(), Some(left))? {
            return Ok(());
        }
        let mut buffer = [0; 4096];
        let (count, _) = socket::recv_with_fds(self.socket.as_fd(), &mut buffer)?;
        if count == 0 {
            let closed = rustix::io::Errno::CONNRESET;
            return Err(kernel::Error::call("recv", "the service manager", closed).into());
        }
        self.bytes.extend(&buffer[..count]);
        Ok(())
    }
}

/// Job and result of the signal `JobRemoved(u id, o job, s unit, s result)`.
fn removed_job(body: &[u8]) -> Result<(String, String), wire::Malformed> {
    let mut reader = Reader::new(body);
    reader.number()?;
    let job = reader.string()?.to_owned();
    reader.string()?;
    Ok((job, reader.string()?.to_owned()))
}

fn refused(to: u32, name: String, body: &[u8]) -> Error {
    let what = Reader::new(body).string().unwrap_or(&name).to_owned();
    let what = if to == SERIAL { what } else { format!("the session bus refuses: {what}") };
    Error::Manager { name, what }
}

fn nonsense() -> Error {
    Error::Manager { name: String::new(), what: "an answer that is none".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found() {
        let address = |bus: &str| Address { runtime: None, bus: Some(bus.to_owned()) };
        let file = |path: &str| Some(BusPath::File(PathBuf::from(path)));
        for (text, expected) in [
            ("unix:path=/run/user/1000/bus", file("/run/user/1000/bus")),
            ("unix:guid=12,path=/a%20b", file("/a b")),
            ("tcp:host=x;unix:path=/x", file("/x")),
            ("unix:abstract=/tmp/dbus-x,guid=1", Some(BusPath::Abstract("/tmp/dbus-x".to_owned()))),
            ("tcp:host=localhost,port=1", None),
            ("unix:path=/a%2", None),
            ("", None),
        ] {
            assert_eq!(address(text).bus_path(), expected, "{text}");
        }
        let below = Path::new("/user.slice/user-1000.slice/user@1000.service/user.slice/x.scope");
        assert_eq!(Address::of_cgroup(below).unwrap().runtime.unwrap(), Path::new("/run/user/1000"));
        for other in ["/system.slice/x.service", "/user.slice/user@x.service", "/user@1.service.d"] {
            assert_eq!(Address::of_cgroup(Path::new(other)), None, "{other}");
        }
    }

    /// What a manager says, to a request whose bytes nobody reads.
    fn answers(lines: &[&[u8]]) -> Request {
        let (ours, theirs) = socket::pair().unwrap();
        for bytes in lines {
            socket::send_with_fds(theirs.as_fd(), bytes, &[]).unwrap();
        }
        Request { socket: ours, bytes: Vec::new(), greeted: false, deadline: Instant::now() + PATIENCE }
    }

    /// As `busctl` records them: a return of SERIAL with a job, and the end of that job.
    fn return_of(job: &str) -> Vec<u8> {
        let mut bytes = vec![b'l', 2, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0];
        bytes.extend([5, 1, b'u', 0, SERIAL as u8, 0, 0, 0]);
        bytes.extend((job.len() as u32).to_le_bytes());
        bytes.extend(job.bytes());
        bytes.push(0);
        let body = (bytes.len() - 24) as u32;
        bytes[4..8].copy_from_slice(&body.to_le_bytes());
        bytes
    }

    fn removal_of(job: &str, result: &str) -> Vec<u8> {
        let mut bytes = vec![b'l', 4, 1, 1, 0, 0, 0, 0, 2, 0, 0, 0, 19, 0, 0, 0];
        bytes.extend([3, 1, b's', 0, 10, 0, 0, 0]);
        bytes.extend(b"JobRemoved\0\0\0\0\0\0");
        bytes.extend([7, 0, 0, 0]);
        for text in [job, "x.scope", result] {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes.extend((text.len() as u32).to_le_bytes());
            bytes.extend(text.bytes());
            bytes.push(0);
        }
        let body = (bytes.len() - 40) as u32;
        bytes[4..8].copy_from_slice(&body.to_le_bytes());
        bytes
    }

    #[test]
    fn jobs_are_waited_for() {
        let greeting: &[u8] = b"DATA\r\nOK 1234\r\n";
        let (job, other) = (return_of("/job/1"), removal_of("/job/9", "failed"));
        let (done, failed) = (removal_of("/job/1", "done"), removal_of("/job/1", "canceled"));
        answers(&[greeting, &other, &job, &done]).done().unwrap();
        answers(&[b"DATA\r", b"\nOK 12\r", b"\n", &done[..9], &done[9..], &job]).done().unwrap();
        answers(&[greeting, &job]).answered().unwrap();
        let error = answers(&[greeting, &job, &failed]).done().unwrap_err();
        assert!(error.to_string().contains("canceled"), "{error}");
        for bad in [
            &b"REJECTED EXTERNAL\r\nERROR\r\n"[..],
            b"DATA\r\nERROR x\r\n",
            b"DATA\r\nOK 1\r\nxxxxxxxxxxxxxxxxxxx",
            b"DATA\r\n",
        ] {
            assert!(answers(&[bad]).done().is_err());
        }
    }
}
