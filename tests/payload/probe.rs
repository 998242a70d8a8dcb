//! PROBE: a static helper that tests run inside containers. It prints, as JSON, what a process there has and can do.
//!
//! `probe report` what the process was given; `probe syscalls` the answer of each dangerous system call;
//! `probe sockets` of each socket family, `probe raw-sockets` of those that forge packets; `probe tty` of terminal injection; `probe exe-writers SECONDS` tries to
//! open every process's executable for writing (CVE-2019-5736) and prints how often that worked;
//! `probe handle SOCKET NAME` what a file gives in a directory that comes in by a socket; `probe abstract NAME` what
//! connecting to an abstract socket gives;
//! `probe paths PATH...` what reading and writing each gives; `probe find-key NAME` where a key is found.
//! On the host, `probe answer` decides the calls that wait at its standard input, as a seccomp agent does, and prints
//! which they were; `probe with-key NAME COMMAND...` runs a command in a session keyring that holds such a key.

#![expect(clippy::print_stdout, reason = "the report goes to standard output")]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let report = match args.get(1).map(String::as_str) {
        Some("report") => report(),
        Some("syscalls") => syscalls(),
        Some("sockets") => sockets(),
        Some("raw-sockets") => raw_sockets(),
        Some("tty") => terminal_injection(),
        Some("exe-writers") => exe_writers(args.get(2).and_then(|s| s.parse().ok()).unwrap_or(2)),
        Some("handle") => json!(through_handle(&args[2], &args[3]).unwrap_or_else(|error| error.to_string())),
        Some("abstract") => json!(connect_abstract(&args[2]).err().and_then(|error| error.raw_os_error())),
        Some("paths") => args[2..].iter().map(|path| (path.clone(), path_access(path))).collect(),
        Some("find-key") => find_key(&args[2]),
        Some("answer") => answer_calls().map_or_else(|error| json!(error.to_string()), Value::from),
        Some("with-key") => with_key(&args[2], &args[3..]),
        other => json!({"error": format!("unknown mode {other:?}")}),
    };
    println!("{report}");
}

fn report() -> Value {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let names = [
        "Uid",
        "Gid",
        "Groups",
        "NStgid",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
        "Umask",
    ];
    json!({
        "status": names.iter().map(|n| (*n, field(n))).collect::<BTreeMap<_, _>>(),
        "fds": open_files(),
        "mountinfo": lines("/proc/self/mountinfo"),
        "uid_map": lines("/proc/self/uid_map"),
        "gid_map": lines("/proc/self/gid_map"),
        "cgroup": lines("/proc/self/cgroup"),
        "limits": lines("/proc/self/limits"),
        "keys": lines("/proc/keys"),
        "env": std::env::vars().collect::<BTreeMap<_, _>>(),
        "cwd": std::env::current_dir().map(|d| d.display().to_string()).unwrap_or_default(),
        "hostname": fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim(),
        "parent_root": fs::read_dir("/proc/1/root").map(std::iter::Iterator::count).map_err(|e| e.to_string()).ok(),
    })
}

fn open_files() -> BTreeMap<String, String> {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return BTreeMap::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?.display().to_string();
            // The descriptor of this very listing is not a finding.
            let own = target.starts_with("/proc/") && target.ends_with("/fd");
            (!own).then(|| (entry.file_name().to_string_lossy().into_owned(), target))
        })
        .collect()
}

fn lines(path: &str) -> Vec<String> {
    fs::read_to_string(path).map(|t| t.lines().map(str::to_owned).collect()).unwrap_or_default()
}

/// Makes a raw system call and says `ok` or the errno's number.
fn call(number: libc::c_long, args: [libc::c_long; 5]) -> Value {
    // SAFETY: the arguments are numbers and null pointers; a wrong one makes the call fail.
    let result = unsafe { libc::syscall(number, args[0], args[1], args[2], args[3], args[4]) };
    if result >= 0 { json!("ok") } else { json!(io::Error::last_os_error().raw_os_error()) }
}

fn syscalls() -> Value {
    let newuser = libc::c_long::from(libc::CLONE_NEWUSER);
    let newns = libc::c_long::from(libc::CLONE_NEWNS);
    let table: &[(&str, libc::c_long, [libc::c_long; 5])] = &[
        ("add_key", libc::SYS_add_key, [0; 5]),
        ("keyctl", libc::SYS_keyctl, [0, -3, 0, 0, 0]),
        ("request_key", libc::SYS_request_key, [0; 5]),
        ("bpf", libc::SYS_bpf, [0; 5]),
        ("perf_event_open", libc::SYS_perf_event_open, [0; 5]),
        ("userfaultfd", libc::SYS_userfaultfd, [0; 5]),
        ("io_uring_setup", libc::SYS_io_uring_setup, [1, 0, 0, 0, 0]),
        ("kexec_load", libc::SYS_kexec_load, [0; 5]),
        ("open_by_handle_at", libc::SYS_open_by_handle_at, [0; 5]),
        ("pivot_root", libc::SYS_pivot_root, [0; 5]),
        ("mount", libc::SYS_mount, [0; 5]),
        ("umount2", libc::SYS_umount2, [0; 5]),
        ("move_mount", libc::SYS_move_mount, [-1, 0, -1, 0, 0]),
        ("open_tree", libc::SYS_open_tree, [-1, 0, 1, 0, 0]),
        ("fsopen", libc::SYS_fsopen, [0; 5]),
        ("mount_setattr", libc::SYS_mount_setattr, [-1, 0, 0, 0, 0]),
        ("setns", libc::SYS_setns, [-1, 0, 0, 0, 0]),
        ("unshare_user", libc::SYS_unshare, [newuser, 0, 0, 0, 0]),
        ("unshare_mount", libc::SYS_unshare, [newns, 0, 0, 0, 0]),
        ("clone3", libc::SYS_clone3, [0; 5]),
        ("init_module", libc::SYS_init_module, [0; 5]),
        ("swapon", libc::SYS_swapon, [0; 5]),
        ("acct", libc::SYS_acct, [0; 5]),
        ("syslog", libc::SYS_syslog, [10, 0, 0, 0, 0]),
        ("quotactl", libc::SYS_quotactl, [0; 5]),
        ("reboot", libc::SYS_reboot, [0; 5]),
        ("nosuchcall", 100_000, [0; 5]),
    ];
    table.iter().map(|(name, number, args)| ((*name).to_owned(), call(*number, *args))).collect()
}

/// Sockets through which packets of any content and origin are sent.
fn raw_sockets() -> Value {
    let raw = libc::c_long::from(libc::SOCK_RAW);
    [("raw_icmp", libc::AF_INET, 1), ("raw_icmp6", libc::AF_INET6, 58), ("packet", libc::AF_PACKET, 0)]
        .iter()
        .map(|(name, family, protocol)| {
            ((*name).to_owned(), call(libc::SYS_socket, [(*family).into(), raw, *protocol, 0, 0]))
        })
        .collect()
}

fn sockets() -> Value {
    let stream = libc::c_long::from(libc::SOCK_STREAM);
    let raw = libc::c_long::from(libc::SOCK_RAW);
    (0..=50_i32)
        .map(|family| {
            let kind = if matches!(family, libc::AF_NETLINK | libc::AF_PACKET) { raw } else { stream };
            (family.to_string(), call(libc::SYS_socket, [family.into(), kind, 0, 0, 0]))
        })
        .collect()
}

fn terminal_injection() -> Value {
    let high = 1_i64 << 32;
    let byte = Box::into_raw(Box::new(b'x')) as libc::c_long;
    let tiocsti = i64::from(u32::try_from(libc::TIOCSTI).unwrap_or_default());
    let tioclinux = 0x541c_i64;
    json!({
        "tiocsti": call(libc::SYS_ioctl, [0, tiocsti, byte, 0, 0]),
        "tiocsti_high": call(libc::SYS_ioctl, [0, tiocsti | high, byte, 0, 0]),
        "tioclinux": call(libc::SYS_ioctl, [0, tioclinux, byte, 0, 0]),
    })
}

/// Tries to open the executable of every process for writing, as an attacker who waits for rbox to enter.
///
/// "busy" is a failure too: that executable could be written as soon as nobody runs it. A read-only mount
/// answers EROFS before "busy" only when truncation is asked for.
fn exe_writers(seconds: u64) -> Value {
    let end = Instant::now() + Duration::from_secs(seconds);
    let identity = |meta: &fs::Metadata| (meta.dev(), meta.ino());
    let own: Vec<_> = ["/probe", "/bin/busybox"]
        .iter()
        .filter_map(|path| Some(identity(&fs::metadata(path).ok()?)))
        .collect();
    let (mut tries, mut reached, mut refused, mut writable) =
        (0_u64, 0_u64, BTreeMap::new(), BTreeMap::new());
    while Instant::now() < end {
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            if !entry.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit) {
                continue;
            }
            tries += 1;
            // A handle first: the process may execute something else at any moment.
            let handle =
                fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(entry.path().join("exe"));
            let handle = match handle {
                Ok(handle) => handle,
                Err(error) => {
                    *refused.entry(error.to_string()).or_insert(0_u64) += 1;
                    continue;
                }
            };
            if handle.metadata().is_ok_and(|meta| own.contains(&identity(&meta))) {
                continue;
            }
            reached += 1;
            let by_handle = format!("/proc/self/fd/{}", handle.as_raw_fd());
            let target = fs::read_link(&by_handle).map(|t| t.display().to_string()).unwrap_or_default();
            match fs::OpenOptions::new().write(true).truncate(true).open(&by_handle) {
                Ok(_) => *writable.entry(target).or_insert(0_u64) += 1,
                Err(error) if error.raw_os_error() == Some(libc::ETXTBSY) => {
                    *writable.entry(format!("{target} (busy)")).or_insert(0) += 1;
                }
                Err(error) => *refused.entry(format!("{target}: {error}")).or_insert(0_u64) += 1,
            }
        }
    }
    json!({"tries": tries, "reached": reached, "refused": refused, "writable": writable})
}

/// What reading (a number of bytes or names) and opening for writing give; errors as errno numbers.
fn path_access(path: &str) -> Value {
    let errno = |error: io::Error| json!({"errno": error.raw_os_error()});
    let read = match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => {
            fs::read_dir(path).map_or_else(errno, |entries| json!({"entries": entries.count()}))
        }
        Ok(_) => read_some(path).map_or_else(errno, |length| json!({"bytes": length})),
        Err(error) => errno(error),
    };
    let write = fs::OpenOptions::new().write(true).open(path).map_or_else(errno, |_| json!("ok"));
    json!({"read": read, "write": write})
}

fn read_some(path: &str) -> io::Result<usize> {
    use std::io::Read as _;
    let mut buffer = [0_u8; 4096];
    fs::File::open(path)?.read(&mut buffer)
}

/// Reads a file in a directory whose descriptor somebody sends.
fn through_handle(socket: &str, name: &str) -> io::Result<String> {
    use std::os::fd::FromRawFd as _;
    let connection = std::os::unix::net::UnixStream::connect(socket)?;
    let (mut byte, mut control) = ([0_u8; 1], [0_u64; 8]);
    let mut part = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    // SAFETY: all zeros is a valid message header.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: the header leads to buffers of the sizes that it says; the message was filled by the kernel before it is read.
    let directory = unsafe {
        if libc::recvmsg(connection.as_raw_fd(), &raw mut message, 0) < 0 {
            return Err(io::Error::last_os_error());
        }
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        if header.is_null() {
            return Err(io::Error::other("no descriptor came"));
        }
        *libc::CMSG_DATA(header).cast::<libc::c_int>()
    };
    let name = c_string(name);
    // SAFETY: the name is a C string.
    let file = unsafe { libc::openat(directory, name.as_ptr(), libc::O_RDONLY) };
    if file < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, and nobody else's.
    io::read_to_string(unsafe { fs::File::from_raw_fd(file) })
}

/// Answers calls until nobody is left who could make one: `sethostname` with an error, `getppid` with a number; all others
/// go on to the kernel.
fn answer_calls() -> io::Result<Vec<Value>> {
    // Structures seccomp_notif and seccomp_notif_resp of linux/seccomp.h, in words of eight bytes, and their ioctls.
    const RECEIVE: u64 = 0xc050_2100;
    const SEND: u64 = 0xc018_2101;
    const GO_ON: u64 = 1;
    let check = |result: libc::c_int| if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) };
    let mut answered = Vec::new();
    loop {
        let mut waited = libc::pollfd { fd: 0, events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry is given, and one is there.
        if check(unsafe { libc::poll(&raw mut waited, 1, 60_000) })? == 0
            || waited.revents & libc::POLLIN == 0
        {
            return Ok(answered);
        }
        let mut call = [0_u64; 10];
        // SAFETY: the kernel writes a notification, which has the size of the array.
        check(unsafe { libc::ioctl(0, RECEIVE as _, call.as_mut_ptr()) })?;
        let number = libc::c_long::from(call[2] as i32);
        let mut answer = [call[0], 0, 0];
        match number {
            libc::SYS_getppid => answer[1] = 4242,
            // The error is the lower half of a word, the flags are the upper one.
            libc::SYS_sethostname => answer[2] = u64::from((-libc::EBUSY).cast_unsigned()),
            _ => answer[2] = GO_ON << 32,
        }
        // SAFETY: the kernel reads an answer, which has the size of the array.
        check(unsafe { libc::ioctl(0, SEND as _, answer.as_mut_ptr()) })?;
        answered.push(json!({"call": number, "pid": call[1] as u32, "arguments": &call[4..10]}));
    }
}

fn connect_abstract(name: &str) -> io::Result<()> {
    use std::os::linux::net::SocketAddrExt as _;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    std::os::unix::net::UnixStream::connect_addr(&address).map(drop)
}

const SESSION_KEYRING: libc::c_long = -3;

fn find_key(name: &str) -> Value {
    let listed = lines("/proc/keys").iter().any(|line| line.contains(name));
    let (kind, wanted) = (c_string("user"), c_string(name));
    // -2 process, -3 session, -4 user, -5 user session
    let found: BTreeMap<_, _> = (2..=5)
        .map(|ring: libc::c_long| {
            let keyctl_search = 10;
            let args =
                [keyctl_search, -ring, kind.as_ptr() as libc::c_long, wanted.as_ptr() as libc::c_long, 0];
            (format!("-{ring}"), call(libc::SYS_keyctl, args))
        })
        .collect();
    json!({"listed": listed, "found": found})
}

fn with_key(name: &str, command: &[String]) -> Value {
    use std::os::unix::process::CommandExt as _;
    let keyctl_join_session = 1;
    let joined = call(libc::SYS_keyctl, [keyctl_join_session, 0, 0, 0, 0]);
    let (kind, wanted) = (c_string("user"), c_string(name));
    let (kind, wanted) = (kind.as_ptr() as libc::c_long, wanted.as_ptr() as libc::c_long);
    let add = || call(libc::SYS_add_key, [kind, wanted, wanted, 1, SESSION_KEYRING]);
    // The quota of keys is the user's: other tests' containers may use it up for a moment.
    let (mut added, begin) = (add(), Instant::now());
    while added == libc::EDQUOT && begin.elapsed().as_secs() < 30 {
        std::thread::sleep(Duration::from_millis(100));
        added = add();
    }
    if joined != "ok" || added != "ok" {
        return json!({"error": "no keyring", "joined": joined, "added": added});
    }
    let error = std::process::Command::new(&command[0]).args(&command[1..]).exec();
    json!({"error": error.to_string()})
}

fn c_string(text: &str) -> std::ffi::CString {
    std::ffi::CString::new(text).expect("arguments hold no NUL")
}
