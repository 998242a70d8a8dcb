//! The time zone in which times are printed for this user, by the rules of Go's `time` package: `$TZ` is the path of a
//! file or a name in the system's database, without it `/etc/localtime` counts, and what cannot be found is UTC.
//!
//! One file is read. To ask `jiff` for the zone of the system would list its whole database first, which takes longer
//! than all the rest of `rbox ps`.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};
use std::sync::OnceLock;

use jiff::tz::TimeZone;

use super::env::{Env, name};

/// The database of the system, in the places where Go looks.
const DATABASES: [&str; 4] =
    ["/usr/share/zoneinfo", "/usr/share/lib/zoneinfo", "/usr/lib/locale/TZ", "/etc/zoneinfo"];

/// The zone of this process; looked for once.
pub fn local() -> TimeZone {
    static LOCAL: OnceLock<TimeZone> = OnceLock::new();
    LOCAL.get_or_init(|| find(Env::capture().get(name::TZ)).unwrap_or(TimeZone::UTC)).clone()
}

/// The zone that a value of `$TZ` means.
fn find(variable: Option<&OsStr>) -> Option<TimeZone> {
    let Some(variable) = variable else { return read(Path::new("/etc/localtime")) };
    let name = variable.as_bytes();
    let name = OsStr::from_bytes(name.strip_prefix(b":").unwrap_or(name));
    let path = Path::new(name);
    if path.is_absolute() {
        return read(path);
    }
    let is_name = !name.is_empty() && path.components().all(|part| matches!(part, Component::Normal(_)));
    let known = DATABASES.iter().filter(|_| is_name).find_map(|dir| read(&Path::new(dir).join(path)));
    // More than Go has: the rules themselves, as in `CET-1CEST,M3.5.0,M10.5.0/3`.
    known.or_else(|| TimeZone::posix(name.to_str()?).ok())
}

fn read(path: &Path) -> Option<TimeZone> {
    TimeZone::tzif("Local", &fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn zones_are_found_as_go_finds_them() {
        let winter: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let offset = |text: &str| find(Some(OsStr::new(text))).map(|zone| zone.to_offset(winter).seconds());
        let cases = [
            ("UTC", Some(0)),
            ("Asia/Tokyo", Some(9 * 3600)),
            (":Asia/Tokyo", Some(9 * 3600)),
            ("/usr/share/zoneinfo/Asia/Tokyo", Some(9 * 3600)),
            ("CET-1CEST,M3.5.0,M10.5.0/3", Some(3600)),
            ("", None),
            ("No/Where", None),
            ("../zoneinfo/Asia/Tokyo", None),
            ("/etc/passwd", None),
        ];
        for (text, expected) in cases {
            assert_eq!(offset(text), expected, "{text}");
        }
        let zone = find(Some(OsStr::new("Asia/Tokyo"))).unwrap();
        assert_eq!(winter.to_zoned(zone).strftime("%z %Z").to_string(), "+0900 JST");
    }
}
