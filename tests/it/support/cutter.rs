//! Connections that end in the middle: a proxy in front of a registry, and a registry that remembers what it got.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::image::sha256;

/// A proxy on a loopback port of its own. It serves until the test process ends.
#[derive(Debug)]
pub struct Cutter {
    port: u16,
    cuts: Arc<AtomicUsize>,
}

impl Cutter {
    /// Passes everything on to `port`, but ends the first `cuts` connections on which a client has sent `limit` bytes.
    pub fn new(port: u16, cuts: usize, limit: usize) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let own = listener.local_addr().unwrap().port();
        let left = Arc::new(AtomicUsize::new(cuts));
        let shared = Arc::clone(&left);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(("127.0.0.1", port))) else {
                    continue;
                };
                let (from, to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || pass(from, to, &AtomicUsize::new(0), 0));
                let left = Arc::clone(&shared);
                std::thread::spawn(move || pass(client, server, &left, limit));
            }
        });
        Self { port: own, cuts: left }
    }

    /// `localhost:PORT`.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// How many connections are still to be ended.
    pub fn left(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, cuts: &AtomicUsize, limit: usize) {
    let (mut buffer, mut count) = ([0; 16 << 10], 0);
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
        count += read;
        let take = |left: usize| left.checked_sub(1);
        if count >= limit && cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// What a [`Rememberer`] got.
#[derive(Debug, Default)]
pub struct Received {
    /// Whole blobs and manifests, by digest or name.
    pub blobs: BTreeMap<String, Vec<u8>>,
    /// Every request with the place from which its body was taken on.
    pub requests: Vec<String>,
    upload: Vec<u8>,
    cuts: usize,
}

/// A registry that takes uploads, one at a time, ends some of them in the middle and knows how far they came.
#[derive(Debug)]
pub struct Rememberer {
    port: u16,
    received: Arc<Mutex<Received>>,
}

impl Rememberer {
    /// Ends the first `cuts` streams after `limit` bytes.
    pub fn new(cuts: usize, limit: usize) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let received = Arc::new(Mutex::new(Received { cuts, ..Received::default() }));
        let shared = Arc::clone(&received);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, shared) = (client.unwrap(), Arc::clone(&shared));
                std::thread::spawn(move || while answer(&client, &shared, limit).is_some() {});
            }
        });
        Self { port, received }
    }

    /// `localhost:PORT`.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// What it has by now.
    pub fn received(&self) -> std::sync::MutexGuard<'_, Received> {
        self.received.lock().unwrap()
    }
}

/// Answers one request; nothing when the connection is at its end.
fn answer(client: &TcpStream, received: &Mutex<Received>, limit: usize) -> Option<()> {
    let mut input = BufReader::new(client);
    let mut line = String::new();
    input.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut length, mut chunked) = (0, false);
    loop {
        let mut header = String::new();
        input.read_line(&mut header).ok()?;
        let header = header.trim().to_ascii_lowercase();
        match header.split_once(": ") {
            Some(("content-length", value)) => length = value.parse().ok()?,
            Some(("transfer-encoding", _)) => chunked = true,
            Some(_) => {}
            None => break,
        }
    }
    let mut state = received.lock().unwrap();
    let start = state.upload.len();
    state.requests.push(format!("{method} {} {start}", path.split('?').next()?));
    let cut = (method == "PATCH" && state.cuts > 0).then_some(limit);
    let body = body(&mut input, length, chunked, cut)?;
    let say = |status: &str, more: &str| {
        let text = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n{more}\r\n");
        (&*client).write_all(text.as_bytes()).ok()
    };
    let location = "Location: /v2/x/blobs/uploads/one\r\n";
    match method.as_str() {
        "HEAD" => say("404 Not Found", ""),
        "POST" => {
            state.upload.clear();
            say("202 Accepted", location)
        }
        "PATCH" if cut.is_some() => {
            state.cuts -= 1;
            state.upload.extend(body);
            let _ = client.shutdown(Shutdown::Both);
            None
        }
        "PATCH" => {
            state.upload.extend(body);
            say("202 Accepted", location)
        }
        "GET" => {
            let last = state.upload.len().saturating_sub(1);
            say("204 No Content", &format!("{location}Range: 0-{last}\r\n"))
        }
        _ if path.contains("/manifests/") => {
            state.blobs.insert("manifest".to_owned(), body);
            say("201 Created", "")
        }
        _ => {
            let mut upload = std::mem::take(&mut state.upload);
            upload.extend(body);
            let name = sha256(&upload);
            let named = path.contains(name.trim_start_matches("sha256:"));
            state.blobs.insert(name, upload);
            say(if named { "201 Created" } else { "400 Bad Request" }, "")
        }
    }
}

fn body(
    input: &mut impl std::io::BufRead,
    length: usize,
    chunked: bool,
    cut: Option<usize>,
) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    if !chunked {
        input.take(cut.unwrap_or(length).min(length) as u64).read_to_end(&mut body).ok()?;
        return Some(body);
    }
    loop {
        let mut size = String::new();
        input.read_line(&mut size).ok()?;
        let size = u64::from_str_radix(size.trim(), 16).ok()?;
        let mut end = String::new();
        input.take(size).read_to_end(&mut body).ok()?;
        input.read_line(&mut end).ok()?;
        if size == 0 || cut.is_some_and(|cut| body.len() > cut) {
            return Some(body);
        }
    }
}
