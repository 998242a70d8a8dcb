//! Images for tests, written by another tar implementation than rbox's own.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::Digest as _;

use super::env::probe_binary;

/// One entry of a layer.
#[derive(Debug, Clone)]
pub enum Entry {
    Dir(&'static str, u32),
    File(String, u32, Vec<u8>),
    Link(String, String),
    Hard(String, String),
}

/// A layer as tar bytes; names are written as they are, however hostile.
pub fn layer(entries: &[Entry]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mtime(1_600_000_000);
        header.set_uid(0);
        header.set_gid(0);
        let (name, link, data): (&str, Option<&str>, &[u8]) = match entry {
            Entry::Dir(name, mode) => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(*mode);
                (name, None, &[])
            }
            Entry::File(name, mode, data) => {
                header.set_entry_type(tar::EntryType::Regular);
                header.set_mode(*mode);
                (name, None, data)
            }
            Entry::Link(name, target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_mode(0o777);
                (name, Some(target), &[])
            }
            Entry::Hard(name, target) => {
                header.set_entry_type(tar::EntryType::Link);
                header.set_mode(0o644);
                (name, Some(target), &[])
            }
        };
        header.set_size(data.len() as u64);
        // Raw fields: the safe setters refuse `..` and absolute names.
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name.as_bytes());
        if let Some(link) = link {
            old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        }
        header.set_cksum();
        builder.append(&header, data).unwrap();
    }
    builder.into_inner().unwrap()
}

/// The entries of a small system: busybox with links for its applets, and the probe as /probe.
pub fn busybox_entries() -> Vec<Entry> {
    let busybox = std::fs::read("/bin/busybox").expect("Debian's busybox-static is a requirement");
    let probe = std::fs::read(probe_binary()).expect("the probe is built with the tests");
    let mut entries = vec![
        Entry::Dir("bin/", 0o755),
        Entry::Dir("etc/", 0o755),
        Entry::Dir("tmp/", 0o1777),
        Entry::Dir("root/", 0o700),
        Entry::File("bin/busybox".into(), 0o755, busybox),
        Entry::File("probe".into(), 0o755, probe),
        Entry::File(
            "etc/passwd".into(),
            0o644,
            b"root:x:0:0:root:/root:/bin/sh\nworker:x:1000:2000:Worker:/home/worker:/bin/sh\n".to_vec(),
        ),
        Entry::File("etc/group".into(), 0o644, b"root:x:0:\nstaff:x:2000:\nextra:x:3000:worker\n".to_vec()),
    ];
    for applet in [
        "sh", "true", "false", "echo", "cat", "ls", "id", "sleep", "ps", "env", "mount", "umount", "touch",
        "mkdir", "rm", "pwd", "stat", "kill", "grep", "test", "head", "tail", "wc", "dd", "seq", "hostname",
        "ip", "nc", "wget", "ping", "trap", "mknod", "ln", "chmod", "chown", "su", "stty", "tty", "date",
        "find", "readlink", "sort", "yes", "printf", "df", "unshare", "nslookup", "httpd", "uname", "nproc",
    ] {
        entries.push(Entry::Link(format!("bin/{applet}"), "busybox".into()));
    }
    entries
}

/// A docker-archive at `path` with the given layers and config overrides.
pub fn docker_archive(path: &Path, name: &str, layers: &[Vec<u8>], config: &Value) {
    let diff_ids: Vec<_> = layers.iter().map(|l| format!("sha256:{}", sha256(l))).collect();
    let config = json!({
        "architecture": architecture(), "os": "linux", "created": "2020-09-13T12:26:40Z",
        "config": config, "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": layers.iter().map(|_| json!({"created": "2020-09-13T12:26:40Z", "created_by": "test"}))
            .collect::<Vec<_>>(),
    });
    let config = serde_json::to_vec(&config).unwrap();
    let config_name = format!("{}.json", sha256(&config));
    let names: Vec<_> = layers.iter().map(|l| format!("{}.tar", sha256(l))).collect();
    let manifest = json!([{"Config": config_name, "RepoTags": [name], "Layers": names}]);
    let mut builder = tar::Builder::new(std::fs::File::create(path).unwrap());
    append(&mut builder, &config_name, &config);
    for (name, layer) in names.iter().zip(layers) {
        append(&mut builder, name, layer);
    }
    append(&mut builder, "manifest.json", &serde_json::to_vec(&manifest).unwrap());
    builder.into_inner().unwrap().flush().unwrap();
}

/// A docker-archive of the busybox system, called `name`, in `dir`.
pub fn busybox_archive(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join("busybox.tar");
    let config = json!({"Env": ["PATH=/bin"], "Cmd": ["sh"]});
    docker_archive(&path, name, &[layer(&busybox_entries())], &config);
    path
}

/// Go's name of this machine's architecture.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The hexadecimal sha256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> String {
    sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn append(builder: &mut tar::Builder<std::fs::File>, name: &str, data: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(data.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, name, data).unwrap();
}
