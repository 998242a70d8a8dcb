//! Capability lists of `--cap-add` and `--cap-drop`, and what comes out of them.

use crate::container::{Error, Result};
use crate::kernel::cap::{Capability, CapabilitySet};

/// Normalises names to `CAP_X` or `ALL`.
///
/// # Errors
/// When one is not the name of a capability.
pub fn normalise(names: &[String]) -> Result<Vec<String>> {
    names
        .iter()
        .map(|name| {
            if name.eq_ignore_ascii_case("all") {
                return Ok("ALL".to_owned());
            }
            let prefixed = name.to_ascii_uppercase();
            let prefixed = if prefixed.starts_with("CAP_") { prefixed } else { format!("CAP_{prefixed}") };
            match Capability::from_name(&prefixed) {
                Some(_) => Ok(prefixed),
                None => Err(Error::Invalid { what: format!("{prefixed:?}: unknown capability") }),
            }
        })
        .collect()
}

/// The capabilities that remain of `base` after `add` and `drop` (normalised names).
///
/// # Errors
/// When the lists contradict each other.
pub fn merge(base: &[String], add: &[String], drop: &[String], all: CapabilitySet) -> Result<CapabilitySet> {
    let invalid = |what: String| Err(Error::Invalid { what });
    let is_all = |name: &String| name == "ALL";
    let set = |names: &[String]| {
        names.iter().filter_map(|name| Capability::from_name(name)).collect::<CapabilitySet>()
    };
    if drop.iter().any(is_all) {
        if add.iter().any(is_all) {
            return invalid("adding all caps and dropping all caps not allowed".to_owned());
        }
        return Ok(set(add).intersection(all));
    }
    let (kept, add): (CapabilitySet, &[String]) =
        if add.iter().any(is_all) { (all, &[]) } else { (set(&normalise(base)?), add) };
    if let Some(both) = add.iter().find(|name| drop.contains(name)) {
        return invalid(format!("capability {both:?} cannot be dropped and added"));
    }
    let dropped = set(drop);
    let merged = kept.iter().chain(set(add).iter()).filter(|capability| !dropped.contains(*capability));
    Ok(merged.collect::<CapabilitySet>().intersection(all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::containers::DEFAULT_CAPABILITIES;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn merged(add: &[&str], drop: &[&str]) -> Result<u64> {
        let all = Capability::all().collect();
        let (add, drop) = (normalise(&owned(add))?, normalise(&owned(drop))?);
        merge(&owned(&DEFAULT_CAPABILITIES), &add, &drop, all).map(CapabilitySet::bits)
    }

    #[test]
    fn lists_merge_as_podmans() {
        let every = Capability::all().collect::<CapabilitySet>().bits();
        for (add, drop, bits) in [
            (&[][..], &[][..], 0x8004_05fb),
            (&["NET_RAW"], &[], 0x8004_25fb),
            (&["cap_net_raw", "net_raw"], &[], 0x8004_25fb),
            (&[], &["chown"], 0x8004_05fa),
            (&[], &["all"], 0),
            (&["setuid"], &["ALL"], 0x80),
            (&["all"], &[], every),
            (&["ALL"], &["sys_admin"], every & !(1 << 21)),
        ] {
            assert_eq!(merged(add, drop).unwrap(), bits, "{add:?} {drop:?}");
        }
        for (add, drop, text) in [
            (&["all"][..], &["all"][..], "adding all caps and dropping all caps not allowed"),
            (&["chown"], &["CAP_CHOWN"], "capability \"CAP_CHOWN\" cannot be dropped and added"),
            (&["bogus"], &[], "\"CAP_BOGUS\": unknown capability"),
            (&[""], &[], "\"CAP_\": unknown capability"),
        ] {
            assert_eq!(merged(add, drop).unwrap_err().to_string(), text);
        }
    }
}
