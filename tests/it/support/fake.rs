//! A registry that misbehaves as told: a plain HTTP server on a free loopback port whose answers the test scripts.
//!
//! It serves the blobs and manifests of one repository; a rule may change, delay, cut or replace any answer.

use std::collections::BTreeMap;
use std::io::{BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::image::{OciImage, sha256};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
}

impl Request {
    /// A header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What is sent back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Ends the connection after so many bytes of the body.
    pub cut_after: Option<usize>,
    /// Waits between pieces of the body.
    pub pause: Option<(usize, Duration)>,
    /// Announces this length instead of the true one.
    pub claimed_length: Option<u64>,
}

impl Answer {
    /// An answer with a body.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            cut_after: None,
            pause: None,
            claimed_length: None,
        }
    }

    /// The same with a header.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// Decides about an answer: gets the request, how many of its kind came before, and the honest answer.
pub type Rule = Box<dyn Fn(&Request, usize, Answer) -> Answer + Send + Sync>;

/// The running server.
pub struct FakeRegistry {
    port: u16,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl std::fmt::Debug for FakeRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeRegistry").field("port", &self.port).finish_non_exhaustive()
    }
}

impl FakeRegistry {
    /// Serves `image` as `test:latest`, with `rule` in between.
    pub fn serve(image: &OciImage, rule: Rule) -> Self {
        let manifest = serde_json::to_vec(&image.manifest).unwrap();
        let mut contents = BTreeMap::new();
        let kind = image.manifest["mediaType"].as_str().unwrap_or_default().to_owned();
        for name in ["latest".to_owned(), format!("sha256:{}", sha256(&manifest))] {
            contents.insert(format!("/v2/test/manifests/{name}"), (kind.clone(), manifest.clone()));
        }
        let mut blob = |descriptor: &Value, bytes: Vec<u8>| {
            let path = format!("/v2/test/blobs/{}", descriptor["digest"].as_str().unwrap());
            contents.insert(path, ("application/octet-stream".to_owned(), bytes));
        };
        blob(&image.manifest["config"], serde_json::to_vec(&image.config).unwrap());
        for (descriptor, (bytes, _)) in image.manifest["layers"].as_array().unwrap().iter().zip(&image.layers)
        {
            blob(descriptor, bytes.clone());
        }
        contents.insert("/v2/".into(), ("application/json".into(), b"{}".to_vec()));
        Self::start(contents, rule)
    }

    /// Serves these paths: media type and bytes.
    pub fn start(contents: BTreeMap<String, (String, Vec<u8>)>, rule: Rule) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, rule, contents) = (Arc::clone(&seen), Arc::new(rule), Arc::new(contents));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, rule, contents) = (Arc::clone(&log), Arc::clone(&rule), Arc::clone(&contents));
                std::thread::spawn(move || {
                    // A client that goes away is the client's business.
                    let _ = converse(stream, &contents, &rule, &log);
                });
            }
        });
        Self { port, seen }
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The name of the image for `pull`.
    pub fn image(&self) -> String {
        format!("{}/test:latest", self.host())
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

fn converse(
    stream: TcpStream,
    contents: &BTreeMap<String, (String, Vec<u8>)>,
    rule: &Rule,
    log: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    while let Some(request) = read_request(&mut reader)? {
        let before = {
            let mut log = log.lock().unwrap();
            let before = log.iter().filter(|r| r.method == request.method && r.path == request.path).count();
            log.push(request.clone());
            before
        };
        let answer = rule(&request, before, honest(&request, contents));
        if !send(&mut stream, &request, &answer)? {
            break;
        }
    }
    Ok(())
}

fn read_request(reader: &mut impl std::io::BufRead) -> std::io::Result<Option<Request>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let Some(first) = lines.first() else { return Ok(None) };
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let headers = lines[1..].iter().filter_map(|l| l.split_once(':'));
    let headers = headers.map(|(n, v)| (n.to_lowercase(), v.trim().to_owned())).collect();
    Ok(Some(Request { method: method.into(), path: path.into(), headers }))
}

/// What a registry would say; ranges as in `bytes=N-` and `bytes=N-M`.
fn honest(request: &Request, contents: &BTreeMap<String, (String, Vec<u8>)>) -> Answer {
    let Some((kind, bytes)) = contents.get(&request.path) else {
        return Answer::new(404, r#"{"errors":[{"code":"NAME_UNKNOWN","message":"not here"}]}"#);
    };
    let answer = match range(request, bytes.len()) {
        Some((first, last)) => {
            let range = format!("bytes {first}-{last}/{}", bytes.len());
            Answer::new(206, &bytes[first..=last]).with("Content-Range", range)
        }
        None => Answer::new(200, bytes.clone()),
    };
    answer
        .with("Content-Type", kind.clone())
        .with("Docker-Content-Digest", format!("sha256:{}", sha256(bytes)))
}

fn range(request: &Request, length: usize) -> Option<(usize, usize)> {
    let (first, last) = request.header("range").strip_prefix("bytes=")?.split_once('-')?;
    let first: usize = first.parse().ok().filter(|first| *first < length)?;
    Some((first, last.parse().unwrap_or(usize::MAX).min(length - 1)))
}

/// Sends an answer; says whether the connection may go on.
fn send(stream: &mut TcpStream, request: &Request, answer: &Answer) -> std::io::Result<bool> {
    let length = answer.claimed_length.unwrap_or(answer.body.len() as u64);
    let mut head = format!("HTTP/1.1 {} Scripted\r\nContent-Length: {length}\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    if request.method == "HEAD" {
        return Ok(true);
    }
    let end = answer.cut_after.unwrap_or(answer.body.len()).min(answer.body.len());
    match answer.pause {
        Some((piece, pause)) => {
            for bytes in answer.body[..end].chunks(piece) {
                stream.write_all(bytes)?;
                std::thread::sleep(pause);
            }
        }
        None => stream.write_all(&answer.body[..end])?,
    }
    Ok(answer.cut_after.is_none() && answer.claimed_length.is_none())
}
