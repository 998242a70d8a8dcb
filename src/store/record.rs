//! Records of images, tags and layers, as they lie on disk.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Digest;

/// The version of every record that this rbox writes.
pub const VERSION: u32 = 1;

/// An image's id: the SHA-256 of its configuration, as 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageId(String);

impl ImageId {
    /// The id of the image with this configuration.
    #[must_use]
    pub fn of(config: &[u8]) -> Self {
        Self(Digest::of(config).hex())
    }

    /// An id for something that has no configuration.
    ///
    /// # Errors
    /// When the kernel has no random numbers.
    pub fn random() -> std::io::Result<Self> {
        let mut bytes = [0; 32];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// All 64 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits, as tables show them.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..12]
    }

    /// The digest of the configuration blob.
    #[must_use]
    pub fn digest(&self) -> Digest {
        format!("sha256:{}", self.0).parse().expect("an image id holds 64 hexadecimal digits")
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ImageId {
    type Err = super::DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        format!("sha256:{hex}").parse::<Digest>().map(|_| Self(hex.to_owned()))
    }
}

impl TryFrom<String> for ImageId {
    type Error = super::DigestError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ImageId> for String {
    fn from(id: ImageId) -> Self {
        id.0
    }
}

/// `images/ID.json`: what `images`, `run` and garbage collection need without reading the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Version of the format; [`VERSION`].
    pub version: u32,
    /// The image's id. The configuration is the blob of that digest.
    pub id: ImageId,
    /// Digest of the platform's own manifest, a blob.
    #[serde(default)]
    pub manifest: Option<Digest>,
    /// Other manifests of the same configuration that were pulled, such as indexes; blobs too.
    #[serde(default)]
    pub manifests: Vec<Digest>,
    /// The layers, lowest first.
    pub layers: Vec<ImageLayer>,
    /// A layer on top of all that repairs directories which a layer archive only implied; the store
    /// fills it in ([`super::Store::put_image`]).
    #[serde(default)]
    pub attributes: Option<Digest>,
    /// What the unpacked layers take on disk, as `images` shows it; the store fills it in.
    #[serde(default)]
    pub size: u64,
    /// `created` of the configuration, RFC 3339.
    #[serde(default)]
    pub created: Option<String>,
    /// Platform.
    #[serde(default)]
    pub architecture: String,
    /// Operating system.
    #[serde(default)]
    pub os: String,
    /// Platform variant.
    #[serde(default)]
    pub variant: Option<String>,
    /// Labels of the configuration.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// A list of images that is made here, and no image: it has neither configuration nor layers, its id is random,
    /// and the manifest is its index.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub list: bool,
    /// Of a list: where images come from that are not here, by the digests of their manifests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, String>,
}

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageLayer {
    /// The layer in the store: the digest of its uncompressed archive.
    pub diff_id: Digest,
    /// The layer as it was pulled, a blob; none for layers that were never in an archive.
    #[serde(default)]
    pub blob: Option<Digest>,
    /// Media type of that blob.
    #[serde(default)]
    pub media_type: Option<String>,
}

impl ImageRecord {
    /// The layers to mount, lowest first: those of the image and the repairing one.
    #[must_use]
    pub fn mount_layers(&self) -> Vec<Digest> {
        self.layers.iter().map(|layer| layer.diff_id.clone()).chain(self.attributes.clone()).collect()
    }
}

/// `tags/NAME`: a name and what it means. The name is in the record, since a long one is hashed for the
/// file's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagRecord {
    /// Version of the format; [`VERSION`].
    pub version: u32,
    /// The full name, such as `docker.io/library/alpine:latest`, or `…@sha256:…` for a pull by digest.
    pub name: String,
    /// The image.
    pub image: ImageId,
    /// Digest of what was pulled under that name (an index or a manifest); none for a local name.
    #[serde(default)]
    pub manifest: Option<Digest>,
}

/// `layers/ID/layer.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// Version of the format; [`VERSION`].
    pub version: u32,
    /// The layer's id: the digest of the uncompressed archive.
    pub id: Digest,
    /// Bytes of file content.
    pub size: u64,
    /// What the files take on disk, as du counts: written here so that nobody has to walk the tree for it.
    #[serde(default)]
    pub disk: u64,
    /// Bytes of the uncompressed archive.
    pub archive_size: u64,
    /// Entries of the archive.
    pub entries: u64,
    /// Directories that the archive only implied: their mode and owner come from lower layers.
    /// The root is the empty string.
    #[serde(default)]
    pub implied: Vec<String>,
    /// Directories that hide what lower layers have in them; the root is the empty string.
    #[serde(default)]
    pub opaque: Vec<String>,
    /// Owners were dropped because the user has a single id; a user with sub-ids unpacks again.
    #[serde(default)]
    pub squashed: bool,
    /// The largest uid that owns anything, as the archive says; `--userns=auto` asks for it.
    #[serde(default)]
    pub max_uid: u32,
    /// The largest gid.
    #[serde(default)]
    pub max_gid: u32,
    /// Device nodes that were left out: nobody can make them in a user namespace.
    #[serde(default)]
    pub devices: u64,
    /// Extended attributes that were left out, because the file system cannot keep them or because a layer
    /// must not carry them.
    #[serde(default)]
    pub dropped_xattrs: u64,
}
