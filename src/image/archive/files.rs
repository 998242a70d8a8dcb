//! The files of an archive or folder by name.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use super::ArchiveError;
use crate::image::manifest::DOCUMENT_MAX;
use crate::kernel::path::RootDir;
use crate::store::tar::{Archive, Kind, Limits};

/// No archive of images has more members.
const MEMBERS_MAX: u64 = 200_000;
/// Links may lead to links, but not for long.
const LINKS_MAX: usize = 8;

/// A run of bytes in a file.
#[derive(Debug, Clone)]
pub(super) struct Content {
    file: Arc<File>,
    offset: u64,
    size: u64,
}

impl Content {
    /// Its length.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Reads at a place in it, without moving anything that others see.
    pub(super) fn read_at(&self, buffer: &mut [u8], position: u64) -> std::io::Result<usize> {
        let left = usize::try_from(self.size.saturating_sub(position)).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        self.file.read_at(&mut buffer[..wanted], self.offset + position)
    }

    /// Reads all of it.
    pub(super) fn read(&self, name: &str, max: u64) -> Result<Vec<u8>, ArchiveError> {
        if self.size > max {
            return Err(ArchiveError::Size { name: name.to_owned(), expected: max, actual: self.size });
        }
        let mut bytes = vec![0; usize::try_from(self.size).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut bytes, self.offset)?;
        Ok(bytes)
    }
}

/// Where files are looked up.
#[derive(Debug)]
pub(super) enum Files {
    /// Members of an archive, which is one seekable file.
    Archive { file: Arc<File>, members: HashMap<String, Member> },
    /// A folder.
    Folder(RootDir),
}

/// A member of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Member {
    File {
        offset: u64,
        size: u64,
    },
    /// Another member's name.
    Link(String),
}

impl Files {
    /// Opens a folder.
    pub(super) fn folder(path: &Path) -> Result<Self, ArchiveError> {
        Ok(Self::Folder(RootDir::open(path)?))
    }

    /// Reads the headers of an archive.
    pub(super) fn archive(file: File) -> Result<Self, ArchiveError> {
        let members = index(&file)?;
        Ok(Self::Archive { file: Arc::new(file), members })
    }

    /// Looks a file up.
    pub(super) fn find(&self, name: &str) -> Result<Option<Content>, ArchiveError> {
        match self {
            Self::Archive { file, members } => {
                let mut name = name.to_owned();
                for _ in 0..LINKS_MAX {
                    match members.get(&name) {
                        None => return Ok(None),
                        Some(Member::File { offset, size }) => {
                            return Ok(Some(Content {
                                file: Arc::clone(file),
                                offset: *offset,
                                size: *size,
                            }));
                        }
                        Some(Member::Link(target)) => name.clone_from(target),
                    }
                }
                Err(ArchiveError::Refused("the archive's links lead in circles"))
            }
            Self::Folder(root) => {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
                let file = match root.open_file(name, flags, Mode::empty()) {
                    Ok(file) => file,
                    Err(error) if error.errno() == Some(libc::ENOENT) => return Ok(None),
                    Err(error) => return Err(error.into()),
                };
                let meta = file.metadata()?;
                if !meta.is_file() {
                    return Err(ArchiveError::Refused(
                        "the folder has something else than a file in place of one",
                    ));
                }
                Ok(Some(Content { file: Arc::new(file), offset: 0, size: meta.len() }))
            }
        }
    }

    /// Looks up a file that must be there.
    pub(super) fn get(&self, name: &str) -> Result<Content, ArchiveError> {
        self.find(name)?.ok_or_else(|| ArchiveError::Missing(name.to_owned()))
    }

    /// Reads a document.
    pub(super) fn document(&self, name: &str) -> Result<Vec<u8>, ArchiveError> {
        self.get(name)?.read(name, DOCUMENT_MAX)
    }
}

/// Where each member of the archive is. Of equal names the last one counts, as for everybody who unpacks.
fn index(file: &File) -> Result<HashMap<String, Member>, ArchiveError> {
    let limits = Limits { max_entries: MEMBERS_MAX, ..Limits::NONE };
    let mut archive = Archive::without_digest(file, limits);
    let mut members = HashMap::new();
    while let Some(entry) = archive.next_entry()? {
        let header = &entry.header;
        let Some(name) = std::str::from_utf8(&header.path).ok().and_then(clean) else { continue };
        let member = match header.kind {
            Kind::File if header.sparse => {
                return Err(ArchiveError::Refused("sparse files in an archive of images"));
            }
            Kind::File => Member::File { offset: entry.offset(), size: header.size },
            Kind::Symlink | Kind::HardLink => {
                // The target of a symbolic link is relative to the link's folder, that of a hard link to the root.
                let base = match header.kind {
                    Kind::Symlink => name.rsplit_once('/').map_or("", |(folder, _)| folder),
                    _ => "",
                };
                let target = std::str::from_utf8(&header.link).ok();
                let Some(target) = target.and_then(|link| clean(&format!("{base}/{link}"))) else {
                    return Err(ArchiveError::Refused("a link leads out of the archive"));
                };
                Member::Link(target)
            }
            _ => continue,
        };
        members.insert(name, member);
    }
    Ok(members)
}

/// A name without `.` and `..`; nothing where it leads out of the archive.
fn clean(name: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s62_names_stay_inside() {
        for (name, cleaned) in [
            ("./a/b", Some("a/b")),
            ("a/../b", Some("b")),
            ("/a", Some("a")),
            ("../a", None),
            ("a/../../b", None),
            ("a/..", None),
            ("", None),
        ] {
            assert_eq!(clean(name).as_deref(), cleaned, "{name}");
        }
    }
}
