//! A real registry server on a free loopback port: Debian's docker-registry, open or with TLS and basic auth.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::env::tool;

/// The user that a secured registry knows.
pub const USER: &str = "tester";
/// Her password.
pub const PASSWORD: &str = "p4ss:w0rd";

/// A running registry; ended when dropped.
#[derive(Debug)]
pub struct Registry {
    process: Child,
    dir: PathBuf,
    port: u16,
}

impl Registry {
    /// An open registry over plain HTTP with its files below `dir`.
    pub fn open(dir: &Path) -> Self {
        Self::start(dir, "")
    }

    /// A registry over TLS (CA in `ca.crt`) that asks for a password.
    pub fn secured(dir: &Path) -> Self {
        make_certificate(dir);
        let htpasswd = tool("htpasswd", ["-Bbn", USER, PASSWORD]).stdout;
        std::fs::write(dir.join("htpasswd"), htpasswd).unwrap();
        let dir_text = dir.display();
        Self::start(
            dir,
            &format!(
                "  tls:\n    certificate: {dir_text}/server.crt\n    key: {dir_text}/server.key\n\
                 auth:\n  htpasswd:\n    realm: test\n    path: {dir_text}/htpasswd\n"
            ),
        )
    }

    fn start(dir: &Path, more: &str) -> Self {
        let port = free_port();
        let data = dir.join("registry-data");
        std::fs::create_dir_all(&data).unwrap();
        let config = dir.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: false\nstorage:\n  filesystem:\n    \
             rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: 127.0.0.1:{port}\n{more}",
            data.display()
        );
        std::fs::write(&config, text).unwrap();
        let log = std::fs::File::create(dir.join("registry.log")).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("Debian's docker-registry is a requirement");
        let registry = Self { process, dir: dir.to_owned(), port };
        registry.wait_until_up();
        registry
    }

    fn wait_until_up(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "the registry did not start:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// `localhost:PORT`.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// Its port on the loopback device.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("registry.log")).unwrap_or_default()
    }

    /// The requests that it has answered, as `METHOD PATH STATUS`.
    pub fn requests(&self) -> Vec<String> {
        let log = self.log();
        let request = |line: &str| {
            let mut parts = line.split('"');
            let (_, request, rest) = (parts.next()?, parts.next()?, parts.next()?);
            let (method, path) = request.strip_suffix(" HTTP/1.1")?.split_once(' ')?;
            Some(format!("{method} {path} {}", rest.split_whitespace().next()?))
        };
        log.lines().filter_map(request).collect()
    }

    /// What skopeo says about `name`.
    pub fn inspect(&self, name: &str) -> serde_json::Value {
        let text = tool(
            "skopeo",
            [
                "inspect",
                "--raw",
                "--tls-verify=false",
                "--creds",
                &format!("{USER}:{PASSWORD}"),
                &format!("docker://{}/{name}", self.host()),
            ],
        );
        serde_json::from_str(&text.stdout).unwrap()
    }

    /// Uploads the docker-archive `archive` as `name` with skopeo.
    pub fn push_archive(&self, archive: &Path, name: &str) {
        let source = format!("docker-archive:{}", archive.display());
        self.copy(&source, name);
    }

    /// Copies any skopeo `source` to `name` of this registry.
    pub fn copy(&self, source: &str, name: &str) {
        let credentials = format!("{USER}:{PASSWORD}");
        tool(
            "skopeo",
            [
                "--insecure-policy",
                "copy",
                "--quiet",
                "--all",
                "--dest-tls-verify=false",
                "--dest-creds",
                &credentials,
                source,
                &format!("docker://{}/{name}", self.host()),
            ],
        );
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A loopback port that nothing listens on just now.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// Makes an authority in `dir`: `ca.crt` and `ca.key`.
pub fn make_authority(dir: &Path) {
    let path = |name: &str| dir.join(name).display().to_string();
    tool(
        "openssl",
        [
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=rbox test CA",
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-keyout",
            &path("ca.key"),
            "-out",
            &path("ca.crt"),
        ],
    );
}

fn make_certificate(dir: &Path) {
    make_authority(dir);
    let path = |name: &str| dir.join(name).display().to_string();
    tool(
        "openssl",
        [
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=localhost",
            "-keyout",
            &path("server.key"),
            "-out",
            &path("server.csr"),
        ],
    );
    std::fs::write(dir.join("ext"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
    tool(
        "openssl",
        [
            "x509",
            "-req",
            "-days",
            "2",
            "-in",
            &path("server.csr"),
            "-CA",
            &path("ca.crt"),
            "-CAkey",
            &path("ca.key"),
            "-CAcreateserial",
            "-extfile",
            &path("ext"),
            "-out",
            &path("server.crt"),
        ],
    );
}
