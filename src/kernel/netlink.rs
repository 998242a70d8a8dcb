//! Network devices by rtnetlink: finding them, moving them to another network namespace with their addresses.
//!
//! A message is a header (`nlmsghdr`), a fixed part, and attributes (`rtattr`), each padded to four bytes, all numbers
//! in the machine's order. A request is answered by one `NLMSG_ERROR` (whose error 0 is the acknowledgement), or, where
//! it asks for a list, by messages up to `NLMSG_DONE`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};

use super::{Error, Result};

/// The kernel sends no datagram that is larger, however large the buffer.
const BUFFER: usize = 32 * 1024;
const HEADER: usize = 16;
/// Lengths of `ifinfomsg` and `ifaddrmsg`.
const LINK: usize = 16;
const ADDRESS: usize = 8;
/// Flags of an address that say how it is used, and not what became of it.
const KEPT_FLAGS: u32 = libc::IFA_F_NODAD | libc::IFA_F_NOPREFIXROUTE | libc::IFA_F_HOMEADDRESS;

/// A network device, as it is before it is moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its name.
    pub name: String,
    index: i32,
    addresses: Vec<Address>,
}

/// One address of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Address {
    family: u8,
    prefix: u8,
    flags: u32,
    /// `IFA_ADDRESS`, `IFA_LOCAL` and `IFA_BROADCAST`, as far as they are there.
    attributes: Vec<(u16, Vec<u8>)>,
}

/// A socket in the network namespace in which it was made.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    serial: u32,
}

impl Netlink {
    /// Opens one in the caller's network namespace.
    ///
    /// # Errors
    /// When there is no network in this kernel.
    pub fn open() -> Result<Self> {
        // Protocol 0 is NETLINK_ROUTE.
        let socket =
            rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)
                .map_err(|errno| Error::call("socket", "AF_NETLINK", errno))?;
        Ok(Self { socket, serial: 0 })
    }

    /// The device of the name `name`, with the addresses that would be lost by a move: those that an administrator has
    /// set and that are meant for the whole network.
    ///
    /// # Errors
    /// When there is none (`ENODEV`).
    pub fn device(&mut self, name: &str) -> Result<Device> {
        let index = self.index(name)?;
        let mut request = Message::new(libc::RTM_GETADDR, libc::NLM_F_DUMP as u16);
        request.bytes.extend([0; ADDRESS]);
        let mut addresses = Vec::new();
        self.ask(request, name, |kind, body| {
            if kind == libc::RTM_NEWADDR
                && let Some((of, address)) = parse_address(body)
                && of == index
            {
                addresses.extend(address);
            }
        })?;
        Ok(Device { name: name.to_owned(), index, addresses })
    }

    /// Moves a device to the network namespace `namespace`, where it is called `name`. In one request: the old name
    /// may be taken there. The device is down then and has no address.
    ///
    /// # Errors
    /// When the name is taken there (`EEXIST`), or the caller has no rights over both namespaces.
    pub fn move_to(&mut self, device: &Device, namespace: BorrowedFd<'_>, name: &str) -> Result<()> {
        let mut request = Message::change(device.index, false);
        request.attribute(libc::IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
        request.attribute(libc::IFLA_IFNAME, &terminated(name));
        self.ask(request, &device.name, |_, _| {})
    }

    /// Gives the device of the name `name` the addresses that `device` had, and brings it up.
    ///
    /// # Errors
    /// When it is not there.
    pub fn restore(&mut self, device: &Device, name: &str) -> Result<()> {
        // Another device may have had its number here.
        let index = self.index(name)?;
        for address in &device.addresses {
            let flags = (libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16;
            let mut request = Message::new(libc::RTM_NEWADDR, flags);
            let scope = libc::RT_SCOPE_UNIVERSE;
            request.bytes.extend([address.family, address.prefix, address.flags as u8, scope]);
            request.bytes.extend(index.to_ne_bytes());
            for (kind, value) in &address.attributes {
                request.attribute(*kind, value);
            }
            request.attribute(libc::IFA_FLAGS, &address.flags.to_ne_bytes());
            self.ask(request, name, |_, _| {})?;
        }
        self.ask(Message::change(index, true), name, |_, _| {})
    }

    fn index(&mut self, name: &str) -> Result<i32> {
        let mut request = Message::new(libc::RTM_GETLINK, 0);
        request.bytes.extend([0; LINK]);
        request.attribute(libc::IFLA_IFNAME, &terminated(name));
        let mut found = None;
        self.ask(request, name, |kind, body| {
            if kind == libc::RTM_NEWLINK {
                found = field(body, 4).map(i32::from_ne_bytes);
            }
        })?;
        found.ok_or_else(|| Error::call("rtnetlink", name, io::Error::from_raw_os_error(libc::ENODEV)))
    }

    /// Sends a request and hands each message of the answer to `each`, up to its end.
    fn ask(&mut self, mut request: Message, what: &str, mut each: impl FnMut(u16, &[u8])) -> Result<()> {
        let fail = |source: io::Error| Error::call("rtnetlink", what, source);
        self.serial += 1;
        request.finish(self.serial);
        rustix::net::send(&self.socket, &request.bytes, SendFlags::empty()).map_err(|e| fail(e.into()))?;
        let mut buffer = vec![0; BUFFER];
        loop {
            let (length, _) = rustix::io::retry_on_intr(|| {
                rustix::net::recv(&self.socket, buffer.as_mut_slice(), RecvFlags::empty())
            })
            .map_err(|errno| fail(errno.into()))?;
            for (kind, serial, body) in messages(&buffer[..length]) {
                if serial != self.serial {
                    continue;
                }
                match i32::from(kind) {
                    // A list that failed half-way says so at its end.
                    libc::NLMSG_DONE | libc::NLMSG_ERROR => {
                        return match field(body, 0).map(i32::from_ne_bytes) {
                            Some(0) => Ok(()),
                            Some(error) => Err(fail(io::Error::from_raw_os_error(-error))),
                            None => Err(fail(io::ErrorKind::InvalidData.into())),
                        };
                    }
                    _ => each(kind, body),
                }
            }
        }
    }
}

/// A request being written.
struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// All are acknowledged, so that one answer tells the end; lists have an end of their own.
    fn new(kind: u16, flags: u16) -> Self {
        let list = flags & libc::NLM_F_DUMP as u16 == libc::NLM_F_DUMP as u16;
        let end = if list { 0 } else { libc::NLM_F_ACK as u16 };
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | end | libc::NLM_F_REQUEST as u16).to_ne_bytes());
        Self { bytes }
    }

    /// One that changes a device.
    fn change(index: i32, up: bool) -> Self {
        let mut message = Self::new(libc::RTM_NEWLINK, 0);
        let up = if up { libc::IFF_UP as u32 } else { 0 };
        message.bytes.extend([0; 4]);
        message.bytes.extend(index.to_ne_bytes());
        // The flags, and which of them count.
        message.bytes.extend(up.to_ne_bytes());
        message.bytes.extend(up.to_ne_bytes());
        message
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(4 + value.len()).expect("names and addresses are short");
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(&mut self, serial: u32) {
        let length = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&serial.to_ne_bytes());
    }
}

fn terminated(name: &str) -> Vec<u8> {
    [name.as_bytes(), b"\0"].concat()
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// Kind, serial and body of each message in a datagram; what is cut off is left out.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, u32, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(field(bytes, 0)?) as usize;
        let kind = u16::from_ne_bytes(field(bytes, 4)?);
        let serial = u32::from_ne_bytes(field(bytes, 8)?);
        let body = bytes.get(HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, serial, body))
    })
}

fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(field(bytes, 0)?));
        let kind = u16::from_ne_bytes(field(bytes, 2)?);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The device of an address, and the address if it is one that a move shall keep.
fn parse_address(body: &[u8]) -> Option<(i32, Option<Address>)> {
    let [family, prefix, flags, scope] = field(body, 0)?;
    let index = i32::from_ne_bytes(field(body, 4)?);
    let mut address = Address { family, prefix, flags: u32::from(flags), attributes: Vec::new() };
    for (kind, value) in attributes(body.get(ADDRESS..)?) {
        match kind {
            libc::IFA_FLAGS => address.flags = field(value, 0).map_or(address.flags, u32::from_ne_bytes),
            libc::IFA_ADDRESS | libc::IFA_LOCAL | libc::IFA_BROADCAST => {
                address.attributes.push((kind, value.to_owned()));
            }
            _ => {}
        }
    }
    // One that a server has lent, or that the kernel has made of the network's prefix, is the old place's.
    let kept = scope == libc::RT_SCOPE_UNIVERSE && address.flags & libc::IFA_F_PERMANENT != 0;
    address.flags &= KEPT_FLAGS;
    Some((index, kept.then_some(address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_padded_and_cut_ones_are_left_out() {
        let mut message = Message::change(7, true);
        message.attribute(libc::IFLA_IFNAME, &terminated("ab"));
        message.finish(3);
        assert_eq!(message.bytes.len(), HEADER + LINK + 8);
        let twice = [&message.bytes[..], &message.bytes[..]].concat();
        let found: Vec<_> = messages(&twice).collect();
        assert_eq!(found.len(), 2);
        let (kind, serial, body) = found[1];
        assert_eq!((kind, serial), (libc::RTM_NEWLINK, 3));
        assert_eq!(field(body, 4).map(i32::from_ne_bytes), Some(7));
        assert_eq!(attributes(&body[LINK..]).collect::<Vec<_>>(), [(libc::IFLA_IFNAME, &b"ab\0"[..])]);
        assert_eq!(messages(&twice[..twice.len() - 1]).count(), 1);
        for bytes in [&[][..], &[0; 3], &[0; 16], &[255; 16]] {
            assert_eq!(messages(bytes).count(), 0, "{bytes:?}");
            assert_eq!(attributes(bytes).count(), 0, "{bytes:?}");
        }
    }

    #[test]
    fn addresses_of_the_old_place_stay_there() {
        let address = |flags: u32, scope: u8| {
            let mut message = Message { bytes: vec![2, 24, flags as u8, scope] };
            message.bytes.extend(5_i32.to_ne_bytes());
            message.attribute(libc::IFA_LOCAL, &[192, 0, 2, 1]);
            message.attribute(libc::IFA_FLAGS, &flags.to_ne_bytes());
            message.bytes
        };
        let (index, kept) = parse_address(&address(libc::IFA_F_PERMANENT, libc::RT_SCOPE_UNIVERSE)).unwrap();
        let kept = kept.unwrap();
        assert_eq!((index, kept.prefix, kept.flags), (5, 24, 0));
        assert_eq!(kept.attributes, [(libc::IFA_LOCAL, vec![192, 0, 2, 1])]);
        for (flags, scope) in [(0, libc::RT_SCOPE_UNIVERSE), (libc::IFA_F_PERMANENT, libc::RT_SCOPE_LINK)] {
            assert_eq!(parse_address(&address(flags, scope)).unwrap().1, None);
        }
        assert!(parse_address(&[0; 7]).is_none());
    }
}
