//! What an unpacker has to remember until the end: directories, whose mode and times are set last, and
//! whiteouts. Keyed by the real path in the layer, links resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::Problem;

/// Bytes of memory that one layer's bookkeeping may take; ordinary images need a hundredth.
const MAX_BYTES: usize = 96 << 20;

/// Attributes of a directory, to be set at the end.
#[derive(Debug, Clone, Default)]
pub(super) struct Attributes {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: (i64, u32),
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A directory or whiteout of the layer.
#[derive(Debug, Clone)]
pub(super) enum Node {
    /// A directory with its attributes; without, it was only implied by an entry inside.
    Directory { attributes: Option<Attributes>, mtime: (i64, u32) },
    /// A whiteout.
    Whiteout,
}

/// The directories and whiteouts of a layer.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: BTreeMap<Vec<u8>, Node>,
    opaque: BTreeSet<Vec<u8>>,
    bytes: usize,
}

impl Tree {
    pub(super) fn insert(&mut self, path: &[u8], node: Node) -> Result<(), Problem> {
        let attributes = match &node {
            Node::Directory { attributes: Some(attributes), .. } => {
                attributes.xattrs.iter().map(|(name, value)| name.len() + value.len() + 48).sum()
            }
            _ => 0,
        };
        self.take(path.len() + 160 + attributes)?;
        self.nodes.insert(path.to_vec(), node);
        Ok(())
    }

    pub(super) fn is_whiteout(&self, path: &[u8]) -> bool {
        matches!(self.nodes.get(path), Some(Node::Whiteout))
    }

    pub(super) fn is_known(&self, path: &[u8]) -> bool {
        self.nodes.contains_key(path)
    }

    pub(super) fn set_opaque(&mut self, path: &[u8]) -> Result<(), Problem> {
        self.take(path.len() + 64)?;
        self.opaque.insert(path.to_vec());
        Ok(())
    }

    pub(super) fn is_opaque(&self, path: &[u8]) -> bool {
        self.opaque.contains(path)
    }

    /// The opaque directories. One whose name is not UTF-8 cannot be recorded, and cannot have been implied.
    pub(super) fn opaque(&self) -> Vec<String> {
        self.opaque.iter().filter_map(|path| String::from_utf8(path.clone()).ok()).collect()
    }

    /// Forgets `path` and everything below it.
    pub(super) fn remove(&mut self, path: &[u8]) {
        let start = [path, b"/"].concat();
        // `0` follows `/`: the first name that does not start with the prefix.
        let end = [path, b"0"].concat();
        let below = (Bound::Included(start), Bound::Excluded(end));
        let gone: Vec<_> = self.nodes.range(below.clone()).map(|(path, _)| path.clone()).collect();
        for path in gone {
            self.nodes.remove(&path);
        }
        let gone: Vec<_> = self.opaque.range(below).cloned().collect();
        for path in gone {
            self.opaque.remove(&path);
        }
        self.nodes.remove(path);
        self.opaque.remove(path);
    }

    /// Whiteouts below an opaque directory: they hide nothing, and in a directory that no other layer
    /// shares overlay would list them as entries that cannot be looked up.
    pub(super) fn useless_whiteouts(&self) -> Vec<&[u8]> {
        let below_opaque = |path: &[u8]| {
            let slashes = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
            self.opaque.contains(&b""[..]) || slashes.into_iter().any(|at| self.opaque.contains(&path[..at]))
        };
        let whiteouts = self.nodes.iter().filter(|(_, node)| matches!(node, Node::Whiteout));
        whiteouts.map(|(path, _)| path.as_slice()).filter(|path| below_opaque(path)).collect()
    }

    /// Directories, children before their parents.
    pub(super) fn directories(&self) -> impl Iterator<Item = (&[u8], Option<&Attributes>, (i64, u32))> {
        self.nodes.iter().rev().filter_map(|(path, node)| match node {
            Node::Directory { attributes, mtime } => Some((path.as_slice(), attributes.as_ref(), *mtime)),
            Node::Whiteout => None,
        })
    }

    fn take(&mut self, bytes: usize) -> Result<(), Problem> {
        self.bytes += bytes;
        if self.bytes > MAX_BYTES {
            return Err(Problem::Text("the layer has too many directories".to_owned()));
        }
        Ok(())
    }
}
