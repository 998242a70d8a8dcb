//! The monitor's side of attached clients.
//!
//! A client that reads slowly, or not at all, never holds up the container as long as there is a log:
//! up to [`QUEUE`] bytes are kept for it, and then it is served from the log file until it
//! has caught up. Only without a log does a slow client slow the container down, because then
//! it is the one place where the output exists.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::SendFlags;

use super::log::{Missed, Replay, Writer};
use super::protocol::{Decoder, Frame, HEADER, Hello, MAX_PAYLOAD, Stream, VERSION, output_header};
use crate::kernel::poll::Events;
use crate::kernel::socket;

/// How much is kept in memory for one client.
const QUEUE: usize = 64 * 1024;

/// The most clients; more are refused, because each costs memory and descriptors.
const MOST: usize = 64;

/// One attached client.
#[derive(Debug)]
struct Client {
    id: u64,
    socket: OwnedFd,
    decoder: Decoder,
    /// Whole frames that are not sent yet, from `sent` on.
    queue: Vec<u8>,
    sent: usize,
    /// Set while the client is served from the log.
    replay: Option<Replay>,
    wants: Option<Hello>,
    /// To be sent once everything else is.
    exit: Option<i32>,
    gone: bool,
}

/// What a client asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Bytes for standard input.
    Stdin(Vec<u8>),
    /// End of standard input.
    StdinEnd,
    /// Another terminal size.
    Resize(crate::kernel::tty::WindowSize),
    /// A signal.
    Signal(i32),
    /// The start of the program.
    Start,
}

/// All attached clients.
#[derive(Debug)]
pub(super) struct Clients {
    list: Vec<Client>,
    next_id: u64,
    hello: Hello,
}

impl Clients {
    pub(super) fn new(terminal: bool, stdin: bool) -> Self {
        let hello = Hello { version: VERSION, stdin, stdout: true, stderr: !terminal, terminal };
        Self { list: Vec::new(), next_id: 0, hello }
    }

    /// Takes a new connection; `wants` where it is known without a first frame.
    pub(super) fn add(&mut self, socket: OwnedFd, wants: Option<Hello>) {
        if self.list.len() >= MOST {
            return;
        }
        let mut client = Client {
            id: self.next_id,
            socket,
            decoder: Decoder::default(),
            queue: Vec::new(),
            sent: 0,
            replay: None,
            wants,
            exit: None,
            gone: false,
        };
        client.send(&Frame::Hello(self.hello));
        self.next_id += 1;
        self.list.push(client);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// What to wait for, client by client.
    pub(super) fn sources(&self) -> impl Iterator<Item = (BorrowedFd<'_>, Events)> {
        self.list.iter().map(|client| {
            let events = Events { readable: true, writable: client.has_work(), hangup: false };
            (client.socket.as_fd(), events)
        })
    }

    /// Whether the container's output has to wait.
    pub(super) fn hold_output(&self, log: Option<&Writer>) -> bool {
        log.is_none() && self.list.iter().any(|client| !client.gone && client.pending() > 0)
    }

    /// Sends a frame to every client.
    pub(super) fn send_all(&mut self, frame: &Frame) {
        for client in &mut self.list {
            client.send(frame);
        }
    }

    /// Gives everyone the exit code, each after the output that it still has to get.
    pub(super) fn send_exit(&mut self, code: i32, log: Option<&Writer>) {
        for client in &mut self.list {
            client.exit = Some(code);
            client.work(log);
        }
        self.sweep();
    }

    /// Gives output to every client that wants it. It is in the log already.
    pub(super) fn output(&mut self, stream: Stream, bytes: &[u8], log: Option<&Writer>) {
        for client in &mut self.list {
            client.output(stream, bytes, log);
        }
        self.sweep();
    }

    /// Tells client `id` that its input was taken.
    pub(super) fn taken(&mut self, id: u64, count: usize) {
        if let Some(client) = self.list.iter_mut().find(|client| client.id == id) {
            client.send(&Frame::Taken(u32::try_from(count).unwrap_or(u32::MAX)));
        }
    }

    /// Serves the clients by what `poll` said about them, in the order of [`Self::sources`].
    pub(super) fn serve(&mut self, ready: &[Events], log: Option<&Writer>) -> Vec<(u64, Wish)> {
        let mut wishes = Vec::new();
        for (client, events) in self.list.iter_mut().zip(ready) {
            if events.readable || events.hangup {
                client.receive(&mut wishes);
            }
            if events.writable {
                client.work(log);
            }
        }
        self.sweep();
        wishes
    }

    /// Lets go of all clients that are gone or have everything.
    fn sweep(&mut self) {
        self.list.retain(|client| !client.gone);
    }
}

impl Client {
    fn pending(&self) -> usize {
        self.queue.len() - self.sent
    }

    fn has_work(&self) -> bool {
        self.pending() > 0 || self.replay.is_some() || self.exit.is_some()
    }

    fn wants(&self, stream: Stream) -> bool {
        self.wants.is_some_and(|wants| match stream {
            Stream::Stdout => wants.stdout,
            Stream::Stderr => wants.stderr,
        })
    }

    /// Queues a frame and sends what can be sent.
    fn send(&mut self, frame: &Frame) {
        frame.encode(&mut self.queue);
        self.flush();
    }

    fn output(&mut self, stream: Stream, bytes: &[u8], log: Option<&Writer>) {
        if self.gone || self.replay.is_some() || !self.wants(stream) {
            return;
        }
        for piece in bytes.chunks(MAX_PAYLOAD) {
            let header = output_header(stream, piece.len());
            let sent = if self.pending() == 0 { self.send_slices(&header, piece) } else { 0 };
            self.queue.extend_from_slice(&header[sent.min(HEADER)..]);
            self.queue.extend_from_slice(&piece[sent.saturating_sub(HEADER)..]);
        }
        if self.pending() > QUEUE
            && let Some(log) = log
        {
            match Replay::new(log, log.position()) {
                Ok(replay) => self.replay = Some(replay),
                // No descriptor left for it: rather one client less than a container that stops.
                Err(_) => self.gone = true,
            }
        }
    }

    /// Sends header and payload without copying them together; returns how much went.
    fn send_slices(&mut self, header: &[u8], payload: &[u8]) -> usize {
        let slices = [IoSlice::new(header), IoSlice::new(payload)];
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match rustix::net::sendmsg(&self.socket, &slices, &mut Default::default(), flags) {
            Ok(n) => n,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(_) => {
                self.gone = true;
                0
            }
        }
    }

    /// Sends queued bytes. Whether all of them went.
    fn flush(&mut self) -> bool {
        while self.pending() > 0 {
            match socket::send_now(&self.socket, &self.queue[self.sent..]) {
                Ok(Some(n)) => self.sent += n,
                Ok(None) => return false,
                Err(_) => {
                    self.gone = true;
                    return false;
                }
            }
        }
        self.queue = Vec::new();
        self.sent = 0;
        true
    }

    /// Sends what is queued, then what was missed, then the exit.
    fn work(&mut self, log: Option<&Writer>) {
        while self.flush() {
            if let (Some(replay), Some(log)) = (&mut self.replay, log) {
                match replay.next(log, MAX_PAYLOAD) {
                    Ok(Missed::Output(stream, bytes)) if self.wants(stream) => {
                        for piece in bytes.chunks(MAX_PAYLOAD) {
                            Frame::Output(stream, piece.to_vec()).encode(&mut self.queue);
                        }
                    }
                    Ok(Missed::Output(..)) => {}
                    Ok(Missed::Gap) | Err(_) => {
                        // After an error the client goes on live; it is told that it missed something.
                        Frame::Gap.encode(&mut self.queue);
                    }
                    Ok(Missed::Nothing) => self.replay = None,
                }
            } else if let Some(code) = self.exit.take() {
                Frame::Exit(code).encode(&mut self.queue);
                self.flush();
                self.gone = self.pending() == 0;
                return;
            } else {
                return;
            }
        }
    }

    /// Reads what the client sent.
    fn receive(&mut self, wishes: &mut Vec<(u64, Wish)>) {
        let mut buffer = [0; 4096];
        loop {
            match rustix::net::recv(&self.socket, &mut buffer, rustix::net::RecvFlags::DONTWAIT) {
                Ok((0, _)) => break self.gone = true,
                Ok((n, _)) => self.decoder.push(&buffer[..n]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => break self.gone = true,
            }
            if !self.take_frames(wishes) {
                break;
            }
        }
    }

    /// Handles all whole frames; `false` when the client talks nonsense.
    fn take_frames(&mut self, wishes: &mut Vec<(u64, Wish)>) -> bool {
        loop {
            let wish = match self.decoder.next_frame() {
                Ok(None) => return true,
                Ok(Some(Frame::Hello(hello))) => {
                    self.wants = Some(hello);
                    continue;
                }
                Ok(Some(Frame::Stdin(bytes))) => Wish::Stdin(bytes),
                Ok(Some(Frame::StdinEnd)) => Wish::StdinEnd,
                Ok(Some(Frame::Resize(size))) => Wish::Resize(size),
                Ok(Some(Frame::Signal(signal))) => Wish::Signal(signal),
                Ok(Some(Frame::Start)) => Wish::Start,
                Ok(Some(_)) => continue,
                Err(_) => {
                    self.gone = true;
                    return false;
                }
            };
            wishes.push((self.id, wish));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::line::Format;
    use crate::monitor::log::Options;

    fn drain(socket: &OwnedFd, decoder: &mut Decoder) -> Vec<Frame> {
        let mut buffer = [0; 8192];
        let mut frames = Vec::new();
        while let Ok((n, _)) = rustix::net::recv(socket, &mut buffer, rustix::net::RecvFlags::DONTWAIT) {
            if n == 0 {
                break;
            }
            decoder.push(&buffer[..n]);
            while let Some(frame) = decoder.next_frame().unwrap() {
                frames.push(frame);
            }
        }
        frames
    }

    fn bytes_of(frames: &[Frame]) -> usize {
        frames.iter().map(|f| if let Frame::Output(_, b) = f { b.len() } else { 0 }).sum()
    }

    /// A client that does not read costs a bounded queue and gets everything once it reads.
    #[test]
    fn f31_stopped_client_catches_up_from_the_log() {
        let dir = crate::kernel::scratch::path("clients");
        std::fs::create_dir_all(&dir).unwrap();
        let mut log = Writer::open(&Options {
            path: dir.join("l"),
            format: Format::K8s,
            max_size: 0,
            max_files: 0,
            compress: false,
        })
        .unwrap();
        let (ours, theirs) = socket::pair().unwrap();
        let mut clients = Clients::new(false, false);
        clients.add(ours, None);
        let wants = Hello { version: 1, stdin: false, stdout: true, stderr: true, terminal: false };
        rustix::io::write(&theirs, &Frame::Hello(wants).to_bytes()).unwrap();
        let readable = Events { readable: true, ..Events::NONE };
        clients.serve(&[readable], Some(&log));
        let chunk = vec![b'x'; 32 * 1024];
        for _ in 0..100 {
            log.append(Stream::Stdout, &chunk);
            clients.output(Stream::Stdout, &chunk, Some(&log));
            assert!(!clients.hold_output(Some(&log)));
            assert!(clients.list[0].queue.len() <= QUEUE + 2 * chunk.len());
        }
        clients.send_exit(7, Some(&log));
        let mut decoder = Decoder::default();
        let mut frames = Vec::new();
        for _ in 0..1000 {
            frames.extend(drain(&theirs, &mut decoder));
            if clients.is_empty() {
                break;
            }
            clients.serve(&[Events::WRITE], Some(&log));
        }
        assert_eq!(bytes_of(&frames), 100 * chunk.len());
        assert_eq!(frames.last(), Some(&Frame::Exit(7)));
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn without_a_log_the_output_waits() {
        let (ours, theirs) = socket::pair().unwrap();
        let mut clients = Clients::new(false, false);
        clients.add(ours, None);
        let wants = Hello { version: 1, stdin: false, stdout: true, stderr: false, terminal: false };
        rustix::io::write(&theirs, &Frame::Hello(wants).to_bytes()).unwrap();
        clients.serve(&[Events { readable: true, ..Events::NONE }], None);
        let chunk = vec![b'x'; 32 * 1024];
        for _ in 0..100 {
            if clients.hold_output(None) {
                break;
            }
            clients.output(Stream::Stdout, &chunk, None);
        }
        assert!(clients.hold_output(None));
        drop(theirs);
        clients.serve(&[Events { readable: true, writable: true, hangup: true }], None);
        assert!(clients.is_empty() && !clients.hold_output(None));
    }
}
