//! `--security-profile`: how a container is confined where nobody says otherwise.
//!
//! `default` is what podman's users are used to. `strict` takes the stronger choice wherever the two differ:
//!
//! | | default | strict |
//! |---|---|---|
//! | setuid programs | gain rights | gain none (no_new_privs) |
//! | ids | root inside is the caller | no id inside is the caller's (`--userns=nomap`) |
//! | capabilities | podman's eleven | without `CAP_SETPCAP` |
//! | published ports | on all addresses | on 127.0.0.1 |
//! | proxy variables | the caller's | none |
//! | log | grows | 10 MiB, three files |
//! | /dev | writable | read-only |
//! | /sys in a shared network | the host's, read-only | none |
//! | IPC namespace | can be joined | cannot |
//! | open files | as many as allowed | 1024, the program may raise that to 524288 |
//! | out of memory | as the caller | 200 points before her other programs |
//! | what lies outside of the root | cannot be named | cannot be used either (Landlock) |
//!
//! An option for one of these wins over the profile.

use serde::{Deserialize, Serialize};

use super::{Security, Ulimit};
use crate::container::{Error, Result};

/// A log file of a strict container, in bytes.
pub const LOG_SIZE: u64 = 10 << 20;
/// How many of them there are.
pub const LOG_FILES: u32 = 3;
/// How much earlier than its caller a strict container is ended when memory runs out.
pub const OOM_SCORE: i32 = 200;

/// How a container is confined where nobody says otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecurityProfile {
    /// As podman.
    #[default]
    Default,
    /// The stronger choice.
    Strict,
}

impl SecurityProfile {
    /// Reads the value of `--security-profile`.
    ///
    /// # Errors
    /// When there is no such profile.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "" | "default" => Ok(Self::Default),
            "strict" => Ok(Self::Strict),
            _ => Err(Error::Invalid {
                what: format!("invalid security profile {text:?}: must be default or strict"),
            }),
        }
    }

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Strict => "strict",
        }
    }

    /// Whether it is the strict one.
    #[must_use]
    pub const fn is_strict(self) -> bool {
        matches!(self, Self::Strict)
    }
}

impl Security {
    /// Whether the strict profile counts for what `--privileged` is about.
    #[must_use]
    pub const fn confines_strictly(&self) -> bool {
        self.profile.is_strict() && !self.privileged
    }

    /// Whether programs inside see SELinux and may change labels (`label=nested`).
    #[must_use]
    pub fn nests_labels(&self) -> bool {
        self.label.iter().any(|label| label == "nested")
    }

    /// Whether exec gains no rights. Off by default: sudo, ping and su of ordinary images rely on setuid programs, and
    /// podman and docker leave them working.
    #[must_use]
    pub fn refuses_new_privileges(&self) -> bool {
        self.no_new_privileges.unwrap_or(self.confines_strictly())
    }

    /// Whether what lies outside of the root cannot be used. Not by default: each path costs a walk up to the root,
    /// nothing can be mounted, and the processes of `exec` cannot look into those of the container.
    #[must_use]
    pub fn encloses(&self) -> bool {
        let mounts = self.cap_add.iter().any(|name| name == "ALL" || name == "CAP_SYS_ADMIN");
        self.landlock.unwrap_or(self.confines_strictly() && !mounts)
    }

    /// The capabilities that the lists of the request start from.
    #[must_use]
    pub fn base_capabilities(&self, configured: &[String]) -> Vec<String> {
        let kept = |name: &&String| !(self.profile.is_strict() && name.ends_with("SETPCAP"));
        configured.iter().filter(kept).cloned().collect()
    }

    /// The limits that stand for the usual ones.
    #[must_use]
    pub fn limits(&self) -> Vec<Ulimit> {
        if !self.profile.is_strict() {
            return Vec::new();
        }
        vec![Ulimit { name: "nofile".to_owned(), soft: 1024, hard: 524_288 }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_have_names() {
        for profile in [SecurityProfile::Default, SecurityProfile::Strict] {
            assert_eq!(SecurityProfile::parse(profile.as_str()).unwrap(), profile);
        }
        for text in ["Strict", "none", "strict "] {
            assert!(SecurityProfile::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn options_win_over_the_profile() {
        let strict = || Security { profile: SecurityProfile::Strict, ..Security::default() };
        assert!(strict().refuses_new_privileges() && strict().encloses());
        assert!(!Security::default().refuses_new_privileges() && !Security::default().encloses());
        let off = Security { no_new_privileges: Some(false), landlock: Some(false), ..strict() };
        assert!(!off.refuses_new_privileges() && !off.encloses());
        let privileged = Security { privileged: true, ..strict() };
        assert!(!privileged.refuses_new_privileges() && !privileged.encloses());
        let mounting = Security { cap_add: vec!["CAP_SYS_ADMIN".to_owned()], ..strict() };
        assert!(mounting.refuses_new_privileges() && !mounting.encloses());
        let configured = ["CAP_CHOWN".to_owned(), "CAP_SETPCAP".to_owned()];
        assert_eq!(strict().base_capabilities(&configured), ["CAP_CHOWN"]);
        assert_eq!(Security::default().base_capabilities(&configured), configured);
    }
}
