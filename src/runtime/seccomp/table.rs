//! Names and numbers of system calls.

/// A system call ABI that rbox can filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Abi {
    /// 64-bit x86.
    X86_64,
    /// 32-bit x86, also on a 64-bit kernel.
    X86,
    /// 64-bit ARM.
    Aarch64,
}

/// A line of name and numbers; lines are sorted by name.
#[derive(Clone, Copy)]
struct Call {
    name: &'static str,
    /// By [`Abi::column`].
    numbers: [u32; 3],
}

/// The number of a call that an ABI lacks.
const ABSENT: u32 = u32::MAX;

const TEXT: &[u8] = include_bytes!("syscalls.txt");

/// Read by the compiler: every start and every `exec` asks for hundreds of numbers.
static CALLS: [Call; line_count() - 1] = calls();

const fn line_count() -> usize {
    let (mut count, mut at) = (0, 0);
    while at < TEXT.len() {
        count += (TEXT[at] == b'\n') as usize;
        at += 1;
    }
    count
}

const fn calls() -> [Call; line_count() - 1] {
    let mut calls = [Call { name: "", numbers: [ABSENT; 3] }; line_count() - 1];
    let (mut line, mut at) = (0, word(0).1);
    // The first line says what the columns are.
    while TEXT[at - 1] != b'\n' {
        at = word(at).1;
    }
    while line < calls.len() {
        let (name, mut next) = word(at);
        calls[line].name = match std::str::from_utf8(name) {
            Ok(name) => name,
            Err(_) => panic!("names are ASCII"),
        };
        let mut column = 0;
        while column < 3 {
            let digits;
            (digits, next) = word(next);
            calls[line].numbers[column] = number(digits);
            column += 1;
        }
        at = next;
        line += 1;
    }
    calls
}

/// The word at `from`, and where the next one begins.
const fn word(from: usize) -> (&'static [u8], usize) {
    let mut end = from;
    while TEXT[end] != b' ' && TEXT[end] != b'\n' {
        end += 1;
    }
    (TEXT.split_at(end).0.split_at(from).1, end + 1)
}

const fn number(digits: &[u8]) -> u32 {
    if digits[0] == b'-' {
        return ABSENT;
    }
    let (mut number, mut at) = (0, 0);
    while at < digits.len() {
        number = number * 10 + (digits[at] - b'0') as u32;
        at += 1;
    }
    number
}

impl Abi {
    /// The ABI that this program itself uses.
    #[must_use]
    pub const fn native() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 }
    }

    /// The `AUDIT_ARCH_…` number by which a filter sees the ABI.
    #[must_use]
    pub const fn audit_number(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
        }
    }

    /// The names by which Docker's profiles mean this ABI.
    #[must_use]
    pub const fn go_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::X86 => "x86",
            Self::Aarch64 => "arm64",
        }
    }

    const fn column(self) -> usize {
        match self {
            Self::X86_64 => 0,
            Self::X86 => 1,
            Self::Aarch64 => 2,
        }
    }
}

impl Abi {
    /// The number of a call, unless this ABI lacks it.
    pub(super) fn number(self, name: &str) -> Option<u32> {
        let index = CALLS.binary_search_by_key(&name, |call| call.name).ok()?;
        Some(CALLS[index].numbers[self.column()]).filter(|number| *number != ABSENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_right() {
        assert!(CALLS.is_sorted_by(|a, b| a.name < b.name));
        let native = Abi::native();
        let known = [
            ("read", libc::SYS_read),
            ("clone3", libc::SYS_clone3),
            ("mount_setattr", libc::SYS_mount_setattr),
            ("newfstatat", libc::SYS_newfstatat),
            ("sendfile", libc::SYS_sendfile),
            ("fadvise64", libc::SYS_fadvise64),
            ("sync_file_range", libc::SYS_sync_file_range),
            ("memfd_secret", libc::SYS_memfd_secret),
            ("io_uring_setup", libc::SYS_io_uring_setup),
            ("getdents64", libc::SYS_getdents64),
        ];
        for (name, number) in known {
            assert_eq!(native.number(name).map(i64::from), Some(number), "{name}");
        }
        assert_eq!(Abi::X86.number("socketcall"), Some(102));
        assert_eq!(Abi::Aarch64.number("socketcall"), None);
        assert_eq!(native.number("nosuch"), None);
    }
}
