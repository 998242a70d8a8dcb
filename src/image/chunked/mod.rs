//! Layers whose files can be had one by one: zstd:chunked and eStargz.
//!
//! Both are ordinary layers for whoever does not know them, zstd or gzip, in which each file, or piece of a large file, is
//! compressed for itself; a table of contents at the end says which content lies where. zstd:chunked:
//!
//!     [frame: headers of entries] [frame: a file's content, or several: its chunks] [frame: headers] ...
//!     [skippable frame: the table, JSON compressed by zstd]
//!     [skippable frame: tar-split, all bytes of the archive but content, compressed likewise]
//!     [skippable frame: the footer, seven numbers of 64 bits and a magic number]
//!
//! eStargz has gzip members in which the headers of the next entries follow a chunk, then a member with the table, a tar
//! archive of one JSON file, and an empty member of 51 bytes whose extra field says where the table begins.
//!
//! [`write`] makes zstd:chunked as containers/storage does. Reading uses a table in one way only: as a hint which pieces
//! of a blob some blob of the store has, too, byte for byte ([`plan`]). What comes out is the blob with the digest that
//! its manifest states, or it is thrown away; so nothing of a table needs to be believed, the store never knows that a
//! blob came in pieces, and whatever is odd costs bytes but no safety.

mod chunks;
mod frames;
pub(super) mod local;
pub(super) mod plan;
mod table;
pub(super) mod tail;
mod tar_split;
#[cfg(test)]
mod tests;
pub(super) mod write;

use std::collections::BTreeMap;

/// Annotations of a layer's descriptor.
pub(super) type Annotations = BTreeMap<String, String>;

/// Digest of the compressed table.
pub(super) const TABLE_DIGEST: &str = "io.github.containers.zstd-chunked.manifest-checksum";
/// Where the table is: `OFFSET:LENGTH:LENGTH UNCOMPRESSED:TYPE`, and the type is 1.
const TABLE_POSITION: &str = "io.github.containers.zstd-chunked.manifest-position";
/// Where the tar-split is: `OFFSET:LENGTH:LENGTH UNCOMPRESSED`.
const TAR_SPLIT_POSITION: &str = "io.github.containers.zstd-chunked.tarsplit-position";
/// Digest of the compressed tar-split: written once, now in the table.
const TAR_SPLIT_DIGEST: &str = "io.github.containers.zstd-chunked.tarsplit-checksum";
/// Digest of the JSON of eStargz's table.
const STARGZ_DIGEST: &str = "containerd.io/snapshot/stargz/toc.digest";

/// Magic number of the skippable frames.
const SKIPPABLE: [u8; 4] = [0x50, 0x2a, 0x4d, 0x18];
/// A skippable frame begins with the magic number and its length.
const SKIPPABLE_HEADER: u64 = 8;
/// What stands at the end of the footer.
const FOOTER_MAGIC: &[u8; 8] = b"GNUlInUx";
/// The footer without its frame.
const FOOTER: usize = 64;

/// Takes away what describes another form of the layer.
pub(super) fn forget(annotations: &mut Annotations) {
    for key in [TABLE_DIGEST, TABLE_POSITION, TAR_SPLIT_POSITION, TAR_SPLIT_DIGEST, STARGZ_DIGEST] {
        annotations.remove(key);
    }
}
