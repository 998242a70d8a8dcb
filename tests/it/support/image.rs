//! Images for tests, written by another tar implementation than rbox's own.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::Digest as _;

use super::env::probe_binary;

/// One entry of a layer.
#[derive(Debug, Clone)]
pub enum Entry {
    Dir(String, u32),
    File(String, u32, Vec<u8>),
    Link(String, String),
    Hard(String, String),
    /// Type byte of the header (`3` character, `4` block device, `6` FIFO), major and minor number.
    Node(String, u8, u32, u32),
    /// Records of a PAX header for the entry that follows.
    Pax(Vec<(String, String)>),
    /// The entry with another owner.
    Owned(u32, u32, Box<Entry>),
    /// Bytes written as they are.
    Raw(Vec<u8>),
}

/// A folder with mode 0755.
pub fn dir(name: &str) -> Entry {
    Entry::Dir(name.into(), 0o755)
}

/// A file with mode 0644.
pub fn file(name: &str, data: &str) -> Entry {
    Entry::File(name.into(), 0o644, data.into())
}

/// A symbolic link.
pub fn link(name: &str, target: &str) -> Entry {
    Entry::Link(name.into(), target.into())
}

/// A hard link.
pub fn hard(name: &str, target: &str) -> Entry {
    Entry::Hard(name.into(), target.into())
}

/// A layer as tar bytes; names are written as they are, however hostile.
pub fn layer(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        append_entry(&mut bytes, entry, (0, 0));
    }
    bytes.extend([0; 1024]);
    bytes
}

fn append_entry(bytes: &mut Vec<u8>, entry: &Entry, owner: (u32, u32)) {
    match entry {
        Entry::Dir(name, mode) => append_member(bytes, b'5', name, "", *mode, owner, &[]),
        Entry::File(name, mode, data) => append_member(bytes, b'0', name, "", *mode, owner, data),
        Entry::Link(name, target) => append_member(bytes, b'2', name, target, 0o777, owner, &[]),
        Entry::Hard(name, target) => append_member(bytes, b'1', name, target, 0o644, owner, &[]),
        Entry::Node(name, kind, major, minor) => {
            let mut header = header(*kind, name, "", 0o666, owner, 0);
            header.set_device_major(*major).unwrap();
            header.set_device_minor(*minor).unwrap();
            header.set_cksum();
            bytes.extend(header.as_bytes());
        }
        Entry::Pax(records) => {
            let text: String = records.iter().map(|(key, value)| pax_record(key, value)).collect();
            append_member(bytes, b'x', "pax", "", 0o644, owner, text.as_bytes());
        }
        Entry::Owned(uid, gid, entry) => append_entry(bytes, entry, (*uid, *gid)),
        Entry::Raw(raw) => bytes.extend(raw),
    }
}

#[expect(clippy::too_many_arguments, reason = "the fields of a header, in its order")]
/// One member: a header and its data, padded; GNU long-name members before it where the fields are too short.
fn append_member(
    bytes: &mut Vec<u8>,
    kind: u8,
    name: &str,
    link: &str,
    mode: u32,
    owner: (u32, u32),
    data: &[u8],
) {
    for (long, text) in [(b'L', name), (b'K', link)] {
        if text.len() > 100 {
            let mut data = text.as_bytes().to_vec();
            data.push(0);
            append_member(bytes, long, "././@LongLink", "", 0o644, (0, 0), &data);
        }
    }
    bytes.extend(header(kind, name, link, mode, owner, data.len() as u64).as_bytes());
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
}

/// A header with raw fields: the safe setters of the tar crate refuse `..` and absolute names.
pub fn header(kind: u8, name: &str, link: &str, mode: u32, owner: (u32, u32), size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_mode(mode);
    header.set_mtime(1_600_000_000);
    header.set_uid(owner.0.into());
    header.set_gid(owner.1.into());
    header.set_size(size);
    let old = header.as_old_mut();
    let (name, link) = (name.as_bytes(), link.as_bytes());
    let (name, link) = (&name[..name.len().min(100)], &link[..link.len().min(100)]);
    old.name[..name.len()].copy_from_slice(name);
    old.linkname[..link.len()].copy_from_slice(link);
    header.set_cksum();
    header
}

fn pax_record(key: &str, value: &str) -> String {
    let body = format!(" {key}={value}\n");
    let mut length = body.len() + 1;
    while body.len() + length.to_string().len() != length {
        length += 1;
    }
    format!("{length}{body}")
}

/// The entries of a small system: busybox with links for its applets, and the probe as /probe.
pub fn busybox_entries() -> Vec<Entry> {
    let busybox = std::fs::read("/bin/busybox").expect("Debian's busybox-static is a requirement");
    let probe = std::fs::read(probe_binary()).expect("the probe is built with the tests");
    let mut entries = vec![
        dir("bin/"),
        dir("etc/"),
        Entry::Dir("tmp/".into(), 0o1777),
        Entry::Dir("root/".into(), 0o700),
        Entry::File("bin/busybox".into(), 0o755, busybox),
        Entry::File("probe".into(), 0o755, probe),
        file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nworker:x:1000:2000:Worker:/home/worker:/bin/sh\n"),
        file("etc/group", "root:x:0:\nstaff:x:2000:\nextra:x:3000:worker\n"),
    ];
    for applet in [
        "sh", "true", "false", "echo", "cat", "ls", "id", "sleep", "ps", "env", "mount", "umount", "touch",
        "mkdir", "rm", "pwd", "stat", "kill", "grep", "test", "head", "tail", "wc", "dd", "seq", "hostname",
        "ip", "nc", "wget", "ping", "trap", "mknod", "ln", "chmod", "chown", "su", "stty", "tty", "date",
        "find", "readlink", "sort", "yes", "printf", "df", "unshare", "nslookup", "httpd", "uname", "nproc",
    ] {
        entries.push(link(&format!("bin/{applet}"), "busybox"));
    }
    entries
}

/// The config document of an image with these layers.
pub fn image_config(layers: &[Vec<u8>], config: &Value) -> Value {
    let diff_ids: Vec<_> = layers.iter().map(|l| format!("sha256:{}", sha256(l))).collect();
    json!({
        "architecture": architecture(), "os": "linux", "created": "2020-09-13T12:26:40Z",
        "config": config, "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": layers.iter().map(|_| json!({"created": "2020-09-13T12:26:40Z", "created_by": "test"}))
            .collect::<Vec<_>>(),
    })
}

/// A docker-archive at `path` with the given layers and config overrides.
pub fn docker_archive(path: &Path, name: &str, layers: &[Vec<u8>], config: &Value) {
    let config = serde_json::to_vec(&image_config(layers, config)).unwrap();
    let config_name = format!("{}.json", sha256(&config));
    let names: Vec<_> = layers.iter().map(|l| format!("{}.tar", sha256(l))).collect();
    let manifest = json!([{"Config": config_name, "RepoTags": [name], "Layers": names}]);
    let mut members = vec![(config_name, config)];
    members.extend(names.into_iter().zip(layers.iter().cloned()));
    members.push(("manifest.json".into(), serde_json::to_vec(&manifest).unwrap()));
    archive(path, &members);
}

/// The blobs of an OCI image, open to tampering before they are written.
#[derive(Debug, Clone)]
pub struct OciImage {
    /// Layer bytes as stored, and their media type.
    pub layers: Vec<(Vec<u8>, &'static str)>,
    pub config: Value,
    pub manifest: Value,
}

/// Media types of layers.
pub const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
pub const TAR_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

impl OciImage {
    /// A correct image of uncompressed layers.
    pub fn new(layers: &[Vec<u8>], config: &Value) -> Self {
        let config = image_config(layers, config);
        let layers: Vec<_> = layers.iter().map(|l| (l.clone(), TAR)).collect();
        let mut image = Self { layers, config, manifest: Value::Null };
        image.describe();
        image
    }

    /// Makes the manifest fit the config and the layers.
    pub fn describe(&mut self) {
        let config = serde_json::to_vec(&self.config).unwrap();
        let layers: Vec<_> = self.layers.iter().map(|(bytes, kind)| descriptor(bytes, kind)).collect();
        self.manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor(&config, "application/vnd.oci.image.config.v1+json"), "layers": layers,
        });
    }

    /// Writes an oci-archive; blobs are stored under the digests that the manifest claims.
    pub fn write(&self, path: &Path, name: &str) {
        let manifest = serde_json::to_vec(&self.manifest).unwrap();
        let mut entry = descriptor(&manifest, "application/vnd.oci.image.manifest.v1+json");
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        let index = json!({"schemaVersion": 2, "manifests": [entry]});
        let mut members = vec![
            ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
            ("index.json".to_owned(), serde_json::to_vec(&index).unwrap()),
            (format!("blobs/sha256/{}", sha256(&manifest)), manifest.clone()),
            (blob_path(&self.manifest["config"]), serde_json::to_vec(&self.config).unwrap()),
        ];
        let described = self.manifest["layers"].as_array().unwrap();
        members
            .extend(described.iter().zip(&self.layers).map(|(d, (bytes, _))| (blob_path(d), bytes.clone())));
        archive(path, &members);
    }
}

fn blob_path(descriptor: &Value) -> String {
    format!("blobs/sha256/{}", descriptor["digest"].as_str().unwrap().trim_start_matches("sha256:"))
}

/// A descriptor of `bytes`.
pub fn descriptor(bytes: &[u8], media_type: &str) -> Value {
    json!({"mediaType": media_type, "digest": format!("sha256:{}", sha256(bytes)), "size": bytes.len()})
}

/// A tar archive of plain members.
pub fn archive(path: &Path, members: &[(String, Vec<u8>)]) {
    let mut bytes = Vec::new();
    for (name, data) in members {
        append_member(&mut bytes, b'0', name, "", 0o644, (0, 0), data);
    }
    bytes.extend([0; 1024]);
    std::fs::File::create(path).unwrap().write_all(&bytes).unwrap();
}

/// A docker-archive of the busybox system, called `name`, in `dir`.
pub fn busybox_archive(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join("busybox.tar");
    docker_archive(&path, name, &[layer(&busybox_entries())], &busybox_config());
    path
}

/// What the busybox image runs.
pub fn busybox_config() -> Value {
    json!({"Env": ["PATH=/bin"], "Cmd": ["sh"]})
}

/// Go's name of this machine's architecture.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `bytes` as one gzip member.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The hexadecimal sha256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> String {
    sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}
