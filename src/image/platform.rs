//! Platforms: operating system, processor architecture and its variant, with the choice among those of an index.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::manifest::{Descriptor, null_as_default};

/// A platform as it stands in an index entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// GOARCH name, such as `amd64`.
    #[serde(default)]
    pub architecture: String,
    /// GOOS name, such as `linux`.
    #[serde(default)]
    pub os: String,
    /// Windows only.
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Features of the operating system.
    #[serde(
        default,
        rename = "os.features",
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
    /// Such as `v7` of `arm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Features of the processor.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
}

/// Why a `--platform` value is not one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid platform {0:?}: expected OS/ARCH or OS/ARCH/VARIANT")]
pub struct PlatformError(pub String);

impl Platform {
    /// The platform of this machine.
    #[must_use]
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "x86" => ("386", None),
            "aarch64" => ("arm64", Some("v8")),
            "arm" => ("arm", Some("v7")),
            "powerpc64" => ("ppc64le", None),
            "loongarch64" => ("loong64", None),
            other => (other, None),
        };
        Self {
            architecture: architecture.to_owned(),
            os: "linux".to_owned(),
            os_version: None,
            os_features: Vec::new(),
            features: Vec::new(),
            variant: variant.map(ToOwned::to_owned),
        }
    }

    /// Parses `OS/ARCH[/VARIANT]`; an architecture alone means Linux.
    pub fn parse(text: &str) -> Result<Self, PlatformError> {
        let parts: Vec<&str> = text.split('/').collect();
        let invalid = || PlatformError(text.to_owned());
        if parts.iter().any(|part| {
            part.is_empty() || !part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        }) {
            return Err(invalid());
        }
        match parts[..] {
            ["linux"] => Ok(Self::host()),
            [architecture] => Ok(Self::normalised("linux", architecture, None)),
            [os, architecture] => Ok(Self::normalised(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::normalised(os, architecture, Some(variant))),
            _ => Err(invalid()),
        }
    }

    /// Builds a platform from names as people write them: `x86_64`, `aarch64`, `armhf` and so on.
    #[must_use]
    pub fn normalised(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let lower = architecture.to_ascii_lowercase();
        let variant = variant.map(str::to_ascii_lowercase).filter(|v| !v.is_empty());
        let (architecture, variant) = match (lower.as_str(), variant.as_deref()) {
            ("x86_64" | "x86-64" | "amd64", Some("v1")) => ("amd64", None),
            ("x86_64" | "x86-64" | "amd64", v) => ("amd64", v),
            ("i386" | "i486" | "i586" | "i686" | "386", v) => ("386", v),
            ("aarch64" | "arm64", None | Some("8" | "v8")) => ("arm64", Some("v8")),
            ("aarch64" | "arm64", v) => ("arm64", v),
            ("armhf", None) => ("arm", Some("v7")),
            ("armel", None) => ("arm", Some("v6")),
            ("arm", None) => ("arm", Some("v7")),
            ("arm", Some("5")) => ("arm", Some("v5")),
            ("arm", Some("6")) => ("arm", Some("v6")),
            ("arm", Some("7")) => ("arm", Some("v7")),
            ("ppc64el" | "powerpc64le", v) => ("ppc64le", v),
            (other, v) => (other, v),
        };
        Self {
            architecture: architecture.to_owned(),
            os: os.to_ascii_lowercase(),
            os_version: None,
            os_features: Vec::new(),
            features: Vec::new(),
            variant: variant.map(ToOwned::to_owned),
        }
    }

    /// The variants that a processor of this platform runs, best first; the last entry means "none stated".
    fn acceptable_variants(&self) -> Vec<Option<&str>> {
        let wanted = self.variant.as_deref();
        match (self.architecture.as_str(), wanted) {
            ("arm", Some(variant)) => {
                let all = ["v8", "v7", "v6", "v5"];
                let from = all.iter().position(|v| *v == variant);
                let mut list: Vec<_> = match from {
                    Some(from) => all[from..].iter().map(|v| Some(*v)).collect(),
                    None => vec![wanted],
                };
                list.push(None);
                list
            }
            // arm64 images are written both with v8 and without.
            ("arm64", Some("v8")) => vec![Some("v8"), None],
            (_, Some(_)) => vec![wanted, None],
            (_, None) => vec![None],
        }
    }

    /// Picks the entry for this platform: the best variant that it runs, and of equals the first.
    #[must_use]
    pub fn choose<'d>(&self, manifests: &'d [Descriptor]) -> Option<&'d Descriptor> {
        let fits = |descriptor: &&Descriptor, variant: Option<&str>| {
            descriptor.platform.as_ref().is_some_and(|p| {
                let p = Self::normalised(&p.os, &p.architecture, p.variant.as_deref());
                let stated = p.variant.as_deref();
                p.os == self.os && p.architecture == self.architecture && stated == variant
            })
        };
        self.acceptable_variants()
            .into_iter()
            .find_map(|variant| manifests.iter().find(|descriptor| fits(descriptor, variant)))
    }

    /// Whether an image made for `other` is what this platform asks for.
    #[must_use]
    pub fn accepts(&self, other: &Self) -> bool {
        let other = Self::normalised(&other.os, &other.architecture, other.variant.as_deref());
        other.os == self.os
            && other.architecture == self.architecture
            && (other.variant.is_none() || self.acceptable_variants().contains(&other.variant.as_deref()))
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(platforms: &[&str]) -> Vec<Descriptor> {
        let text: Vec<String> = platforms
            .iter()
            .enumerate()
            .map(|(i, p)| {
                let mut parts = p.split('/');
                let (os, arch) = (parts.next().unwrap(), parts.next().unwrap());
                let variant = parts.next().map(|v| format!(r#","variant":"{v}""#)).unwrap_or_default();
                format!(
                    r#"{{"mediaType":"m","size":{i},"digest":"sha256:{i:064x}","platform":{{"os":"{os}","architecture":"{arch}"{variant}}}}}"#
                )
            })
            .collect();
        serde_json::from_str(&format!("[{}]", text.join(","))).unwrap()
    }

    #[test]
    fn chooses_the_best_variant() {
        let all = index(&[
            "linux/amd64",
            "linux/arm/v5",
            "linux/arm/v6",
            "linux/arm/v7",
            "linux/arm64/v8",
            "windows/amd64",
        ]);
        for (wanted, chosen) in [
            ("linux/amd64", Some(0)),
            ("amd64", Some(0)),
            ("linux/x86_64", Some(0)),
            ("linux/amd64/v3", Some(0)),
            ("linux/arm/v7", Some(3)),
            ("linux/arm", Some(3)),
            ("linux/arm/v6", Some(2)),
            ("linux/arm/v8", Some(3)),
            ("linux/arm64", Some(4)),
            ("linux/aarch64", Some(4)),
            ("windows/amd64", Some(5)),
            ("linux/s390x", None),
        ] {
            let platform = Platform::parse(wanted).unwrap();
            assert_eq!(platform.choose(&all).map(|d| d.size), chosen, "{wanted}");
        }
        let plain = index(&["linux/arm64", "linux/arm"]);
        assert_eq!(Platform::parse("linux/arm64/v8").unwrap().choose(&plain).map(|d| d.size), Some(0));
        assert_eq!(Platform::parse("linux/arm/v7").unwrap().choose(&plain).map(|d| d.size), Some(1));
    }

    #[test]
    fn parses_and_refuses() {
        assert_eq!(Platform::parse("linux/arm/v7").unwrap().to_string(), "linux/arm/v7");
        assert_eq!(Platform::parse("Linux/AMD64").unwrap().to_string(), "linux/amd64");
        for text in ["", "/", "linux/", "/amd64", "a/b/c/d", "linux/am d64"] {
            assert_eq!(Platform::parse(text), Err(PlatformError(text.to_owned())), "{text:?}");
        }
    }
}
