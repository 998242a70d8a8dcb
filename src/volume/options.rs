//! Options of the local volume driver: what `volume create --opt` and `volume-opt=` may say.
//!
//! They are kept as podman shows them: `type`, `device` and `o` as given, and what `o` says of owner and size
//! once more in capitals. What needs root to mount (devices, NFS) is refused at once, not at the first use.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::error::{Error, Result};

/// What containers see as the content of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backing {
    /// The volume's own directory.
    Directory,
    /// A directory of the host's.
    Bind {
        /// The directory.
        device: PathBuf,
        /// Mount options.
        options: Vec<String>,
    },
    /// Memory, fresh for every container.
    Tmpfs {
        /// Mount options.
        options: Vec<String>,
    },
}

/// Flags that every kind of mount can have.
const FLAGS: [&str; 8] = ["ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec"];
/// Further flags of a bind mount.
const BIND_FLAGS: [&str; 6] = ["bind", "rbind", "private", "rprivate", "slave", "rslave"];
/// What a tmpfs takes beside the flags.
const TMPFS_KEYS: [&str; 5] = ["size", "nr_inodes", "mode", "uid", "gid"];

impl Backing {
    /// What a volume with these options shows.
    #[must_use]
    pub fn of(options: &BTreeMap<String, String>) -> Self {
        let get = |key: &str| options.get(key).map(String::as_str).unwrap_or_default();
        let words: Vec<&str> = get("o").split(',').filter(|word| !word.is_empty()).collect();
        let is_bind = words.iter().any(|word| matches!(*word, "bind" | "rbind"));
        let key = |word: &str| word.split('=').next().unwrap_or_default().to_owned();
        let kept = |keys: &[&str]| {
            let known = |word: &&&str| FLAGS.contains(*word) || keys.contains(&key(word).as_str());
            words.iter().filter(known).map(|word| (*word).to_owned()).collect()
        };
        match get("type").to_ascii_lowercase().as_str() {
            "tmpfs" => Self::Tmpfs { options: kept(&TMPFS_KEYS) },
            kind if kind == "bind" || is_bind => {
                Self::Bind { device: get("device").into(), options: kept(&BIND_FLAGS) }
            }
            _ => Self::Directory,
        }
    }
}

/// Parsed options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DriverOptions {
    /// As the record keeps them.
    pub options: BTreeMap<String, String>,
    /// `o=uid=`
    pub uid: Option<u32>,
    /// `o=gid=`
    pub gid: Option<u32>,
    /// `o=timeout=`
    pub timeout: u32,
}

impl DriverOptions {
    /// Parses `KEY[=VALUE]` texts; of several with one key the last counts.
    ///
    /// # Errors
    /// When a key is not known, a number is none, or the mount would need root.
    pub fn parse(texts: &[String]) -> Result<Self> {
        let mut parsed = Self::default();
        let given: BTreeMap<&str, &str> =
            texts.iter().map(|text| text.split_once('=').unwrap_or((text, ""))).collect();
        for (key, value) in given {
            match key.to_ascii_lowercase().as_str() {
                "o" => parsed.mount_options(value)?,
                "type" | "device" | "uid" | "gid" | "size" | "inodes" | "noquota" | "copy" | "nocopy" => {
                    parsed.options.insert(key.to_owned(), value.to_owned());
                }
                _ => return Err(Error::DriverOption { key: key.to_owned() }),
            }
        }
        parsed.check()?;
        Ok(parsed)
    }

    fn mount_options(&mut self, text: &str) -> Result<()> {
        let mut kept = Vec::new();
        for word in text.split(',') {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            let mut note = |key: &str| drop(self.options.insert(key.to_owned(), value.to_owned()));
            match key.to_ascii_lowercase().as_str() {
                "size" => {
                    if !value.starts_with(|c: char| c.is_ascii_digit()) {
                        return Err(number("size", value, format!("invalid size: '{value}'")));
                    }
                    note("SIZE");
                }
                "inodes" => {
                    integer::<u64>("inodes", value)?;
                    note("INODES");
                }
                "uid" => {
                    note("UID");
                    self.uid = Some(id("UID", "uid", word, value)?);
                }
                "gid" => {
                    note("GID");
                    self.gid = Some(id("GID", "gid", word, value)?);
                }
                "noquota" => {
                    self.options.insert("NOQUOTA".to_owned(), "true".to_owned());
                    continue;
                }
                "timeout" => {
                    self.timeout = integer("Timeout", value)?;
                    continue;
                }
                _ => {}
            }
            kept.push(word);
        }
        if !kept.is_empty() {
            self.options.insert("o".to_owned(), kept.join(","));
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let get = |key: &str| self.options.get(key).map(String::as_str).unwrap_or_default();
        let has = |key: &str| self.options.contains_key(key);
        let kind = get("type").to_ascii_lowercase();
        let limited = has("SIZE") || has("INODES");
        if has("NOQUOTA") && limited {
            return Err(Error::Rule("volume options size and inodes cannot be used without quota"));
        }
        match Backing::of(&self.options) {
            Backing::Tmpfs { .. } if has("INODES") => {
                Err(Error::Rule("volume option inodes not supported on tmpfs filesystem"))
            }
            Backing::Tmpfs { .. } => self.known_words(&TMPFS_KEYS),
            Backing::Bind { .. } | Backing::Directory if limited => Err(Error::Rule(
                "volume options size and inodes not supported. Filesystem does not support Project Quota",
            )),
            Backing::Bind { device, .. } if device.exists() => self.known_words(&BIND_FLAGS),
            Backing::Bind { device, .. } => Err(Error::NoDevice { path: device }),
            Backing::Directory if matches!(kind.as_str(), "" | "none") && !has("device") => {
                self.known_words(&[])
            }
            Backing::Directory => {
                let kind = if kind.is_empty() { "none" } else { &kind };
                let what = format!(
                    "a volume of type {kind} on device {:?}: only root can mount it (types bind and tmpfs work)",
                    get("device")
                );
                Err(Error::Unsupported { what })
            }
        }
    }

    /// Refuses words of `o` that the mount would not get.
    fn known_words(&self, keys: &[&str]) -> Result<()> {
        let words = self.options.get("o").map(String::as_str).unwrap_or_default();
        for word in words.split(',').filter(|word| !word.is_empty()) {
            let key = word.split('=').next().unwrap_or_default();
            let known = FLAGS.contains(&word)
                || keys.contains(&key)
                || matches!(key, "uid" | "gid" | "copy" | "nocopy");
            if !known {
                return Err(Error::DriverOption { key: word.to_owned() });
            }
        }
        Ok(())
    }

    /// Whether content of the image is never copied into the volume.
    #[must_use]
    pub fn forbids_copy(options: &BTreeMap<String, String>) -> bool {
        let word = |word: &str| options.get("o").is_some_and(|o| o.split(',').any(|other| other == word));
        options.contains_key("nocopy") || word("nocopy")
    }
}

fn number(what: &'static str, value: &str, why: String) -> Error {
    Error::Number { what, value: value.to_owned(), why }
}

fn integer<T: std::str::FromStr>(what: &'static str, value: &str) -> Result<T> {
    value
        .parse()
        .map_err(|_| number(what, value, format!("strconv.ParseUint: parsing {value:?}: invalid syntax")))
}

fn id(what: &'static str, key: &'static str, word: &str, value: &str) -> Result<u32> {
    if !word.contains('=') {
        return Err(Error::Argument { option: key.to_owned() });
    }
    integer(what, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(texts: &[&str]) -> Result<DriverOptions> {
        DriverOptions::parse(&texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn options_tell_the_backing() {
        let backing = |texts: &[&str]| Backing::of(&parse(texts).unwrap().options);
        assert_eq!(backing(&[]), Backing::Directory);
        assert_eq!(backing(&["o=uid=5"]), Backing::Directory);
        let tmpfs = Backing::Tmpfs { options: vec!["size=2M".to_owned(), "noexec".to_owned()] };
        assert_eq!(backing(&["type=tmpfs", "o=size=2M,noexec", "device=tmpfs"]), tmpfs);
        let bind = |word: &str| Backing::Bind { device: "/".into(), options: vec![word.to_owned()] };
        assert_eq!(backing(&["type=none", "o=bind", "device=/"]), bind("bind"));
        assert_eq!(backing(&["type=bind", "o=ro", "device=/"]), bind("ro"));
        let parsed = parse(&["o=uid=5,gid=6,timeout=7"]).unwrap();
        assert_eq!((parsed.uid, parsed.gid, parsed.timeout), (Some(5), Some(6), 7));
        assert_eq!(parsed.options["UID"], "5");
    }

    #[test]
    fn what_cannot_be_mounted_is_refused() {
        for (texts, message) in [
            (&["x=y"][..], "invalid mount option x for driver 'local': invalid argument"),
            (&["o=size=2M"], "volume options size and inodes not supported."),
            (&["type=tmpfs", "o=inodes=5"], "volume option inodes not supported on tmpfs"),
            (&["type=tmpfs", "o=frob"], "invalid mount option frob"),
            (&["type=bind", "device=/no/such"], "faccessat /no/such: no such file or directory"),
            (&["type=nfs", "device=host:/x"], "only root can mount it"),
            (&["device=/dev/sda1"], "only root can mount it"),
            (&["o=uid=x"], "cannot convert UID x to integer"),
            (&["o=uid"], "must provide an argument"),
            (&["o=noquota,size=5"], "cannot be used without quota"),
        ] {
            let error = parse(texts).unwrap_err().to_string();
            assert!(error.contains(message), "{texts:?}: {error}");
        }
    }
}
