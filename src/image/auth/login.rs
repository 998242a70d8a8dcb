//! Changes of stored credentials: login and logout. Whether a registry accepts them is asked by
//! [`crate::image::registry::check_login`].

use super::file::{self, Content};
use super::{AuthError, AuthStore, FILES, helper};
use crate::image::reference::{Reference, ReferenceError};
use crate::image::registries::Registries;
use crate::image::request::Credentials;

/// What `login` and `logout` were told to work on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginKey {
    /// The name of the entry: `HOST[/NAMESPACE[/REPOSITORY]]`.
    pub key: String,
    /// The registry to ask.
    pub host: String,
}

/// Why an argument names no registry.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No argument, and no `unqualified-search-registries`.
    #[error("no registries found in registries.conf, a registry must be provided")]
    NoDefault,
    /// Not a name.
    #[error("parse reference from {key:?}")]
    Reference {
        /// What was given.
        key: String,
        /// What is wrong.
        source: ReferenceError,
    },
    /// A name with tag or digest.
    #[error("reference {0:?} contains tag or digest")]
    Versioned(String),
}

impl LoginKey {
    /// Reads the argument; without one the first search registry is meant.
    pub fn parse(argument: Option<&str>, registries: &Registries) -> Result<Self, KeyError> {
        let Some(argument) = argument else {
            let host = registries.search_registries().first().ok_or(KeyError::NoDefault)?;
            return Ok(Self { key: host.clone(), host: host.clone() });
        };
        // A URL stands for its host.
        let stripped = argument.strip_prefix("https://").or(argument.strip_prefix("http://"));
        let key = match stripped {
            Some(rest) => rest.split('/').next().unwrap_or(rest),
            None => argument.trim_end_matches('/'),
        };
        let invalid = |source| KeyError::Reference { key: key.to_owned(), source };
        let Some((host, _)) = key.split_once('/') else {
            // A host alone; the grammar checks it with a path behind.
            // The dot only makes sure that it is read as a host.
            Reference::parse(&format!("check.{key}/x")).map_err(invalid)?;
            return Ok(Self { key: key.to_owned(), host: key.to_owned() });
        };
        let reference = Reference::parse(key).map_err(invalid)?;
        if reference.tag().is_some() || reference.digest().is_some() {
            return Err(KeyError::Versioned(reference.to_string()));
        }
        Ok(Self { key: key.to_owned(), host: host.to_owned() })
    }
}

impl AuthStore {
    /// Keeps credentials under `key`; returns where, for people.
    pub fn log_in(&self, key: &LoginKey, credentials: &Credentials) -> Result<String, AuthError> {
        for name in &self.helpers {
            if name != FILES {
                helper::store(&self.env, name, &key.host, credentials)?;
                return Ok(format!("credential helper: {name}"));
            }
            let Some(target) = self.target() else { continue };
            let mut content = file::read(target)?.unwrap_or_else(|| Content::empty(target.format));
            if let Some(name) = content.keeper_of(&key.host) {
                helper::store(&self.env, &name, &key.host, credentials)?;
                // Docker leaves an empty entry behind, by which others see who is logged in.
                if content.mark(&key.key) {
                    file::write(target, &content)?;
                }
                return Ok(format!("credential helper: {name}"));
            }
            content.set(&key.key, credentials);
            file::write(target, &content)?;
            self.remove_from(self.hiding(), key)?;
            return Ok(target.path.display().to_string());
        }
        Err(AuthError::Nowhere)
    }

    /// Forgets the credentials of `key`; false where there were none.
    pub fn log_out(&self, key: &LoginKey) -> Result<bool, AuthError> {
        let mut removed = false;
        for name in &self.helpers {
            if name != FILES {
                removed |= helper::erase(&self.env, name, &key.host)?;
                continue;
            }
            let Some(target) = self.target() else { continue };
            if let Some(name) = file::read(target)?.and_then(|content| content.keeper_of(&key.host)) {
                removed |= helper::erase(&self.env, &name, &key.host)?;
            }
            removed |= self.remove_from(&self.files[..=self.written], key)?;
        }
        Ok(removed)
    }

    /// Removes the entry of `key` from files; false where none has it.
    fn remove_from(&self, files: &[super::AuthFile], key: &LoginKey) -> Result<bool, AuthError> {
        let mut removed = false;
        for from in files {
            let Some(mut content) = file::read(from)? else { continue };
            if content.remove(&key.key) {
                file::write(from, &content)?;
                removed = true;
            }
        }
        Ok(removed)
    }

    /// Forgets all credentials in the file that login writes, in those that hide it, and in the helpers that it names.
    pub fn log_out_all(&self) -> Result<(), AuthError> {
        if self.files.is_empty() {
            return Err(AuthError::Nowhere);
        }
        for from in &self.files[..=self.written] {
            let Some(mut content) = file::read(from)? else { continue };
            for host in content.kept_elsewhere() {
                if let Some(name) = content.keeper_of(&host) {
                    helper::erase(&self.env, &name, &host)?;
                }
            }
            content.clear();
            file::write(from, &content)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let registries = Registries::default();
        let parse = |text: &str| LoginKey::parse(Some(text), &registries).map(|k| (k.key, k.host)).ok();
        let pair = |key: &str, host: &str| Some((key.to_owned(), host.to_owned()));
        assert_eq!(parse("q.io"), pair("q.io", "q.io"));
        assert_eq!(parse("https://q.io:5000/v2/x"), pair("q.io:5000", "q.io:5000"));
        assert_eq!(parse("q.io/ns/repo"), pair("q.io/ns/repo", "q.io"));
        assert_eq!(parse("localhost:5000"), pair("localhost:5000", "localhost:5000"));
        for text in ["q.io/a:1", "q.io/A", "q_.io", "q.io:x", "-a.io", ""] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert!(matches!(LoginKey::parse(None, &registries), Err(KeyError::NoDefault)));
    }
}
