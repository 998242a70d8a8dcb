//! Names for containers that were given none: an adjective and somebody who moved the field.

use rustix::rand::{GetRandomFlags, getrandom};

const ADJECTIVES: [&str; 64] = [
    "able", "amber", "ample", "apt", "arctic", "avid", "azure", "balmy", "blithe", "bold", "brave", "breezy",
    "bright", "brisk", "calm", "candid", "cheery", "civil", "clever", "coral", "cosy", "crisp", "deft",
    "dewy", "eager", "early", "fair", "fleet", "fluent", "fond", "frank", "frosty", "gentle", "glad",
    "golden", "grand", "hardy", "hazel", "honest", "jolly", "keen", "kind", "lively", "lucid", "mellow",
    "merry", "mild", "modest", "neat", "nimble", "patient", "placid", "plucky", "polite", "prompt", "quick",
    "quiet", "ready", "serene", "silver", "steady", "sunny", "tidy", "witty",
];

const SURNAMES: [&str; 64] = [
    "abel", "babbage", "bell", "boole", "borg", "bose", "brahe", "cantor", "cauchy", "cerf", "church",
    "conway", "curie", "dahl", "darwin", "dijkstra", "diffie", "euclid", "euler", "faraday", "fermat",
    "fermi", "fourier", "franklin", "galois", "gauss", "goedel", "hamming", "hellman", "hilbert", "hoare",
    "hopper", "huffman", "hypatia", "joule", "kay", "kepler", "knuth", "lamarr", "lamport", "leibniz",
    "lovelace", "maxwell", "meitner", "mendel", "moore", "morse", "neumann", "newton", "noether", "ohm",
    "pascal", "perlman", "planck", "ritchie", "shannon", "tesla", "thompson", "torvalds", "turing", "volta",
    "watt", "wirth", "zuse",
];

/// A random name; `attempt` above 0 adds digits, since the plain ones may be used up.
pub(super) fn random(attempt: u32) -> String {
    let mut bytes = [0u8; 4];
    // Without randomness every attempt proposes the same name, with another number.
    let _ = getrandom(&mut bytes, GetRandomFlags::empty());
    let adjective = ADJECTIVES[usize::from(bytes[0]) % ADJECTIVES.len()];
    let surname = SURNAMES[usize::from(bytes[1]) % SURNAMES.len()];
    if attempt == 0 {
        return format!("{adjective}_{surname}");
    }
    format!("{adjective}_{surname}{}", u32::from(bytes[2]) + 256 * (attempt - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::id::check_name;

    #[test]
    fn names_follow_the_grammar() {
        for attempt in 0..50 {
            let name = random(attempt);
            assert!(check_name(&name).is_ok() && name.contains('_'), "{name}");
        }
    }

    #[test]
    fn words_are_unique() {
        for list in [ADJECTIVES, SURNAMES] {
            let set: std::collections::BTreeSet<_> = list.iter().collect();
            assert_eq!(set.len(), list.len());
        }
    }
}
