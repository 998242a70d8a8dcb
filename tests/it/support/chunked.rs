//! Images whose layers have tables of contents, served by a registry that counts.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::TestEnv;
use super::fake::{Answer, FakeRegistry, Request};
use super::image::{OciImage, busybox_config, gzip, sha256};

pub const MANIFEST_CHECKSUM: &str = "io.github.containers.zstd-chunked.manifest-checksum";
pub const MANIFEST_POSITION: &str = "io.github.containers.zstd-chunked.manifest-position";
pub const STARGZ: &str = "containerd.io/snapshot/stargz/toc.digest";
/// Media type of layers compressed by zstd.
pub const TAR_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// Bytes that nothing compresses.
pub fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..size).map(|_| next()).collect()
}

/// An image of one layer as rbox writes zstd:chunked: the blob with its descriptor in the manifest.
pub fn zstd_chunked(layer: &[u8]) -> OciImage {
    let env = TestEnv::new("makechunked");
    env.load_layers("localhost/made:1", &[layer.to_vec()], &busybox_config());
    let dir = env.work().join("made");
    let to = format!("oci:{}:made", dir.display());
    env.ok(["push", "-q", "--compression-format=zstd:chunked", "localhost/made:1", &to]);
    let blob = |digest: &Value| {
        std::fs::read(dir.join("blobs").join(digest.as_str().unwrap().replace(':', "/"))).unwrap()
    };
    let index: Value = serde_json::from_slice(&std::fs::read(dir.join("index.json")).unwrap()).unwrap();
    let manifest: Value = serde_json::from_slice(&blob(&index["manifests"][0]["digest"])).unwrap();
    let config = serde_json::from_slice(&blob(&manifest["config"]["digest"])).unwrap();
    let mut image = OciImage {
        layers: vec![(blob(&manifest["layers"][0]["digest"]), TAR_ZSTD)],
        config,
        manifest: Value::Null,
    };
    image.describe();
    image.manifest["layers"][0]["annotations"] = manifest["layers"][0]["annotations"].clone();
    image
}

/// The numbers of a footer: offset, length and uncompressed length of the table, type, and the same of tar-split.
pub fn footer(blob: &[u8]) -> [u64; 7] {
    let footer = &blob[blob.len() - 64..];
    assert_eq!(&footer[56..], b"GNUlInUx");
    std::array::from_fn(|at| u64::from_le_bytes(*footer[8 * at..].first_chunk().unwrap()))
}

/// The table of the layer of an image.
pub fn table(image: &OciImage) -> Value {
    let blob = &image.layers[0].0;
    let [at, length, ..] = footer(blob).map(|number| usize::try_from(number).unwrap());
    serde_json::from_slice(&zstd::decode_all(&blob[at..at + length]).unwrap()).unwrap()
}

/// The same image with another table. The blob is another one; what it unpacks to is the same.
pub fn with_table(image: &OciImage, table: &[u8]) -> OciImage {
    let blob = &image.layers[0].0;
    let [at, _, _, _, split, split_length, split_size] = footer(blob);
    let slice =
        |at: u64, length: u64| &blob[usize::try_from(at).unwrap()..usize::try_from(at + length).unwrap()];
    let compressed = zstd::encode_all(table, 3).unwrap();
    let length = compressed.len() as u64;
    let numbers = [at, length, table.len() as u64, 1, at + length + 8, split_length, split_size];
    let mut end: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    end.extend(b"GNUlInUx");
    let mut bytes = slice(0, at - 8).to_vec();
    for content in [&compressed[..], slice(split, split_length), &end] {
        bytes.extend([0x50, 0x2a, 0x4d, 0x18]);
        bytes.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
        bytes.extend(content);
    }
    let mut other = image.clone();
    other.layers[0].0 = bytes;
    other.describe();
    other.manifest["layers"][0]["annotations"] = json!({
        MANIFEST_CHECKSUM: format!("sha256:{}", sha256(&compressed)),
        MANIFEST_POSITION: format!("{at}:{length}:{}:1", table.len()),
    });
    other
}

/// An image of one layer as eStargz: chunks in members of their own, each with the headers that follow it.
pub fn stargz(layer: &[u8]) -> OciImage {
    let mut entries = Vec::new();
    let mut cuts = vec![0];
    for entry in tar::Archive::new(layer).entries().unwrap() {
        let mut entry = entry.unwrap();
        let (name, size) = (entry.path().unwrap().display().to_string(), entry.size());
        let mut description = json!({
            "name": name, "type": if entry.header().entry_type().is_dir() { "dir" } else { "reg" }, "size": size,
            "modtime": "2020-09-13T12:26:40Z", "mode": entry.header().mode().unwrap(), "NumLink": 0,
        });
        if size > 0 {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            description["digest"] = json!(format!("sha256:{}", sha256(&content)));
            description["chunkDigest"] = description["digest"].clone();
            description["offset"] = json!(cuts.len());
            cuts.push(usize::try_from(entry.raw_file_position()).unwrap());
        }
        entries.push(description);
    }
    // The archive goes on with the table, so it ends behind that.
    cuts.push(layer.len() - 1024);
    let members: Vec<Vec<u8>> = cuts.windows(2).map(|cut| gzip(&layer[cut[0]..cut[1]])).collect();
    let offset = |at: usize| members[..at].iter().map(Vec::len).sum::<usize>();
    for entry in &mut entries {
        if let Some(at) = entry["offset"].as_u64() {
            entry["offset"] = json!(offset(usize::try_from(at).unwrap()));
        }
    }
    let table = serde_json::to_vec(&json!({"version": 1, "entries": entries})).unwrap();
    let last =
        super::image::layer(&[super::image::Entry::File("stargz.index.json".into(), 0o444, table.clone())]);
    let mut blob = members.concat();
    let at = blob.len();
    blob.extend(gzip(&last));
    blob.extend([0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 26, 0, b'S', b'G', 22, 0]);
    blob.extend(format!("{at:016x}STARGZ").bytes());
    blob.extend([1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
    let plain = [&layer[..layer.len() - 1024], &last].concat();
    let mut image = OciImage::new(&[plain], &busybox_config());
    image.layers[0] = (blob, super::image::TAR_GZIP);
    image.describe();
    image.manifest["layers"][0]["annotations"] = json!({STARGZ: format!("sha256:{}", sha256(&table))});
    image
}

/// A registry with images under names of their own, which counts what it sends of blobs.
pub struct Counted {
    pub registry: FakeRegistry,
    sent: Arc<AtomicU64>,
}

impl Counted {
    pub fn serve(
        images: &[(&str, &OciImage)],
        rule: impl Fn(&Request, usize, Answer) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let mut contents = BTreeMap::from([("/v2/".into(), ("application/json".into(), b"{}".to_vec()))]);
        for (name, image) in images {
            let manifest = serde_json::to_vec(&image.manifest).unwrap();
            let kind = image.manifest["mediaType"].as_str().unwrap().to_owned();
            for tag in ["latest".to_owned(), format!("sha256:{}", sha256(&manifest))] {
                contents.insert(format!("/v2/{name}/manifests/{tag}"), (kind.clone(), manifest.clone()));
            }
            let mut blob = |descriptor: &Value, bytes: Vec<u8>| {
                let path = format!("/v2/{name}/blobs/{}", descriptor["digest"].as_str().unwrap());
                contents.insert(path, ("application/octet-stream".to_owned(), bytes));
            };
            blob(&image.manifest["config"], serde_json::to_vec(&image.config).unwrap());
            for (descriptor, (bytes, _)) in
                image.manifest["layers"].as_array().unwrap().iter().zip(&image.layers)
            {
                blob(descriptor, bytes.clone());
            }
        }
        let sent = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&sent);
        let rule = move |request: &Request, before: usize, answer: Answer| {
            let answer = rule(request, before, answer);
            if request.path.contains("/blobs/") && request.method == "GET" {
                let length = answer.cut_after.unwrap_or(usize::MAX).min(answer.body.len());
                count.fetch_add(length as u64, Ordering::Relaxed);
            }
            answer
        };
        Self { registry: FakeRegistry::start(contents, Box::new(rule)), sent }
    }

    /// The name of an image for `pull`.
    pub fn image(&self, name: &str) -> String {
        format!("{}/{name}:latest", self.registry.host())
    }

    /// Bytes of blobs that were sent since the last call.
    pub fn sent(&self) -> u64 {
        self.sent.swap(0, Ordering::Relaxed)
    }
}
