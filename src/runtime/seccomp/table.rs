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

/// Lines of name and numbers, sorted by name.
const TABLE: &str = include_str!("syscalls.txt");

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

/// Numbers by name for one ABI.
#[derive(Debug)]
pub(super) struct Table(Vec<(&'static str, u32)>);

impl Table {
    pub(super) fn of(abi: Abi) -> Self {
        let entry = |line: &'static str| {
            let mut fields = line.split(' ');
            let name = fields.next()?;
            Some((name, fields.nth(abi.column())?.parse().ok()?))
        };
        Self(TABLE.lines().skip(1).filter_map(entry).collect())
    }

    pub(super) fn number(&self, name: &str) -> Option<u32> {
        self.0.binary_search_by_key(&name, |(known, _)| known).ok().map(|index| self.0[index].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_right() {
        let names: Vec<&str> = TABLE.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
        assert!(names.is_sorted());
        let table = Table::of(Abi::native());
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
            assert_eq!(table.number(name).map(i64::from), Some(number), "{name}");
        }
        assert_eq!(Table::of(Abi::X86).number("socketcall"), Some(102));
        assert_eq!(table.number("nosuch"), None);
    }
}
