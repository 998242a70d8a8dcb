//! Names of CDI devices: `VENDOR/CLASS=NAME`, such as `nvidia.com/gpu=all`.

/// A name, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name<'a> {
    /// `VENDOR/CLASS`.
    pub kind: &'a str,
    /// The device.
    pub device: &'a str,
}

/// Whether `text` has the form of a device's name, however wrong its parts are; a path never has.
#[must_use]
pub fn looks_like(text: &str) -> bool {
    !text.starts_with('/')
        && text.split_once('=').is_some_and(|(kind, _)| kind.contains('/') && !kind.starts_with('.'))
}

/// Takes a name apart.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<Name<'_>, String> {
    let (kind, device) = text.split_once('=').ok_or("it is not VENDOR/CLASS=NAME")?;
    check_kind(kind)?;
    check_device(device)?;
    Ok(Name { kind, device })
}

/// Checks `VENDOR/CLASS`.
pub(super) fn check_kind(kind: &str) -> Result<(), String> {
    let (vendor, class) = kind.split_once('/').ok_or_else(|| format!("{kind:?} is not VENDOR/CLASS"))?;
    for (what, part) in [("vendor", vendor), ("class", class)] {
        if !part.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Err(format!("the {what} {part:?} does not start with a letter"));
        }
        check_characters(what, part, "_-.")?;
    }
    Ok(())
}

/// Checks the name of a device of its kind.
pub(super) fn check_device(name: &str) -> Result<(), String> {
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(format!("the device name {name:?} does not start with a letter or digit"));
    }
    check_characters("device name", name, "_-.:")
}

fn check_characters(what: &str, part: &str, others: &str) -> Result<(), String> {
    if let Some(bad) = part.chars().find(|&c| !(c.is_ascii_alphanumeric() || others.contains(c))) {
        return Err(format!("the {what} {part:?} has the character {bad:?}"));
    }
    if !part.ends_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(format!("the {what} {part:?} does not end with a letter or digit"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        for (text, kind, device) in [
            ("nvidia.com/gpu=all", "nvidia.com/gpu", "all"),
            ("nvidia.com/gpu=0", "nvidia.com/gpu", "0"),
            ("v/c=d", "v/c", "d"),
            ("vendor.com/my.class_1-x=GPU-1f:0.1", "vendor.com/my.class_1-x", "GPU-1f:0.1"),
        ] {
            assert_eq!(parse(text).unwrap(), Name { kind, device }, "{text}");
            assert!(looks_like(text), "{text}");
        }
        for text in [
            "",
            "gpu=all",
            "nvidia.com/gpu",
            "nvidia.com/gpu=",
            "/gpu=all",
            "nvidia.com/=all",
            "1vendor/gpu=all",
            "vendor/a/b=all",
            "vendor/gpu=-x",
            "vendor/gpu=x-",
            "vendor./gpu=x",
            "vendor/gpu=x=y",
            "vendor/gpu=x y",
            "vendor/gpu=../x",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        for text in ["/dev/a=b", "/dev/null", "a=b", "./a/b=c"] {
            assert!(!looks_like(text), "{text}");
        }
    }
}
