//! Container ids and container names: parsed once, here, and never joined to a path unchecked.

use std::fmt;

use rustix::rand::{GetRandomFlags, getrandom};

use super::{Error, Result};
use crate::kernel;

/// 64 lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

impl ContainerId {
    /// How many digits an id has.
    pub const LENGTH: usize = 64;

    /// Makes a new random id.
    ///
    /// # Errors
    /// When the kernel has no random numbers.
    pub fn random() -> Result<Self> {
        let mut bytes = [0u8; Self::LENGTH / 2];
        getrandom(&mut bytes, GetRandomFlags::empty())
            .map_err(|e| kernel::Error::call("getrandom", "", e))?;
        let mut text = String::with_capacity(Self::LENGTH);
        for byte in bytes {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(digit), 16).expect("four bits are a digit"));
            }
        }
        Ok(Self(text))
    }

    /// Takes `text` as an id if it is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let whole = text.len() == Self::LENGTH && is_id_prefix(text);
        whole.then(|| Self(text.to_owned()))
    }

    /// The whole id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, as tables show them.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

/// Whether `text` could begin an id.
#[must_use]
pub fn is_id_prefix(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= ContainerId::LENGTH
        && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Checks a container name against the grammar `[a-zA-Z0-9][a-zA-Z0-9_.-]*`.
///
/// # Errors
/// [`Error::BadName`] for anything else; names become file names, so this is the one gate.
pub fn check_name(name: &str) -> Result<()> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    // 255 is the longest file name that every file system takes.
    if first && rest && name.len() <= 255 {
        return Ok(());
    }
    Err(Error::BadName { name: name.chars().take(128).collect() })
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

impl TryFrom<String> for ContainerId {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is not a container id"))
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_grammar() {
        for good in ["a", "A9", "web-1", "a.b_c", "0x"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        let long = "a".repeat(4096);
        for bad in ["", ".", "..", "-x", "_x", "a/b", "../../x", "a\nb", "é", "a b", &long] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_are_random_and_parse_back() {
        let (a, b) = (ContainerId::random().unwrap(), ContainerId::random().unwrap());
        assert_ne!(a, b);
        assert_eq!(ContainerId::parse(a.as_str()), Some(a));
        assert_eq!(ContainerId::parse("ABC"), None);
    }
}
