//! What CRIU writes down about its work: `stats-dump` and `stats-restore`, two magic numbers, a length, one message.

use std::path::Path;

use super::wire::Fields;
use crate::kernel::file;

/// Bytes before the message.
const HEADER: usize = 12;

/// Times in microseconds and numbers of pages, by the names that podman gives them.
pub type Statistics = Vec<(&'static str, u64)>;

const DUMP: [(u32, &str); 6] = [
    (1, "freezing_time"),
    (2, "frozen_time"),
    (3, "memdump_time"),
    (4, "memwrite_time"),
    (5, "pages_scanned"),
    (7, "pages_written"),
];
const RESTORE: [(u32, &str); 5] = [
    (1, "pages_compared"),
    (2, "pages_skipped_cow"),
    (3, "forking_time"),
    (4, "restore_time"),
    (5, "pages_restored"),
];

/// Those of the checkpoint in `images`.
#[must_use]
pub fn of_dump(images: &Path) -> Statistics {
    read(&images.join("stats-dump"), 1, &DUMP)
}

/// Those of the last restore from `images`.
#[must_use]
pub fn of_restore(images: &Path) -> Statistics {
    read(&images.join("stats-restore"), 2, &RESTORE)
}

fn read(path: &Path, part: u32, names: &[(u32, &'static str)]) -> Statistics {
    let bytes = file::read_limited(path, 64 << 10).unwrap_or_default();
    parse(bytes.get(HEADER..).unwrap_or_default(), part, names)
}

fn parse(bytes: &[u8], part: u32, names: &[(u32, &'static str)]) -> Statistics {
    let fields = Fields(bytes).message(part).unwrap_or(Fields(&[]));
    names.iter().map(|(field, name)| (*name, fields.number(*field).unwrap_or(0))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_field() {
        let bytes = b"\x0a\x06\x08\x05\x10\x0a\x38\x02";
        let found = parse(bytes, 1, &DUMP);
        assert_eq!(
            (found[0], found[1], found[5]),
            (("freezing_time", 5), ("frozen_time", 10), ("pages_written", 2))
        );
        assert_eq!(parse(b"", 2, &RESTORE)[3], ("restore_time", 0));
    }
}
