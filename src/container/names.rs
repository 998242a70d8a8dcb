//! Names for containers that were given none: an adjective and the name of a scientist or engineer.

use rustix::rand::{GetRandomFlags, getrandom};

use super::Result;
use crate::kernel;

/// A random name; `attempt` makes it longer when short ones turn out to be taken.
///
/// # Errors
/// When the kernel has no random numbers.
pub fn random(attempt: u32) -> Result<String> {
    let mut bytes = [0u8; 8];
    getrandom(&mut bytes, GetRandomFlags::empty()).map_err(|e| kernel::Error::call("getrandom", "", e))?;
    let number = usize::try_from(u64::from_ne_bytes(bytes) >> 1).unwrap_or_default();
    let left = ADJECTIVES[number % ADJECTIVES.len()];
    let right = PEOPLE[number / ADJECTIVES.len() % PEOPLE.len()];
    Ok(if attempt < 3 { format!("{left}_{right}") } else { format!("{left}_{right}_{:04x}", number >> 47) })
}

const ADJECTIVES: &[&str] = &[
    "able", "agile", "amber", "ample", "apt", "avid", "azure", "blithe", "bold", "brave", "breezy", "bright",
    "brisk", "calm", "candid", "cheery", "civil", "clever", "cosmic", "crisp", "daring", "dapper", "deft",
    "eager", "earnest", "elated", "fair", "famous", "fervent", "fleet", "fluent", "fond", "frank", "fresh",
    "gentle", "gifted", "glad", "golden", "grand", "hale", "handy", "happy", "hardy", "honest", "humble",
    "ideal", "jolly", "jovial", "keen", "kind", "lively", "loyal", "lucid", "lucky", "mellow", "merry",
    "mighty", "modest", "neat", "nimble", "noble", "patient", "placid", "plucky", "polite", "proud", "quick",
    "quiet", "rapid", "ready", "robust", "serene", "sharp", "silent", "sincere", "smart", "snug", "solid",
    "spry", "stable", "steady", "stoic", "sturdy", "subtle", "sunny", "swift", "tender", "tidy", "tranquil",
    "trusty", "upbeat", "valiant", "vivid", "warm", "wise", "witty", "zany", "zealous",
];

const PEOPLE: &[&str] = &[
    "abel",
    "agnesi",
    "ampere",
    "archimedes",
    "avogadro",
    "babbage",
    "banach",
    "bernoulli",
    "bohr",
    "boole",
    "borg",
    "bose",
    "boyle",
    "brahe",
    "cantor",
    "carson",
    "cauchy",
    "celsius",
    "chandrasekhar",
    "cori",
    "coulomb",
    "curie",
    "cuvier",
    "dalton",
    "darwin",
    "dijkstra",
    "dirac",
    "euclid",
    "euler",
    "faraday",
    "fermat",
    "fermi",
    "feynman",
    "fourier",
    "franklin",
    "galileo",
    "galois",
    "gauss",
    "germain",
    "goedel",
    "goodall",
    "hamilton",
    "hawking",
    "heisenberg",
    "herschel",
    "hertz",
    "hilbert",
    "hodgkin",
    "hooke",
    "hopper",
    "hubble",
    "humboldt",
    "hypatia",
    "johnson",
    "joule",
    "kepler",
    "khayyam",
    "knuth",
    "kolmogorov",
    "kovalevskaya",
    "lagrange",
    "lamarr",
    "laplace",
    "lavoisier",
    "leakey",
    "leavitt",
    "leibniz",
    "linnaeus",
    "lovelace",
    "maxwell",
    "mcclintock",
    "meitner",
    "mendel",
    "mendeleev",
    "mirzakhani",
    "newton",
    "noether",
    "ohm",
    "pascal",
    "pasteur",
    "pauli",
    "payne",
    "planck",
    "poincare",
    "ptolemy",
    "ramanujan",
    "ride",
    "riemann",
    "ritchie",
    "rosalind",
    "rubin",
    "rutherford",
    "sagan",
    "schroedinger",
    "shannon",
    "sinoussi",
    "tesla",
    "thales",
    "torvalds",
    "turing",
    "volta",
    "wallace",
    "wiles",
    "wing",
    "wu",
    "yalow",
    "yonath",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::id::check_name;

    #[test]
    fn random_names_are_valid() {
        for attempt in 0..5 {
            assert!(check_name(&random(attempt).unwrap()).is_ok());
        }
    }
}
