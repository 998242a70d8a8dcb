//! Profiles and programs, run by an interpreter of the few BPF instructions in use.

use crate::kernel::cap::{Capability, CapabilitySet};
use crate::kernel::seccomp::{self, Instruction};

use super::table::Abi;
use super::*;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

fn errno(number: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | number as u32
}

/// What the kernel would do with `program` and this call.
fn run(program: &[Instruction], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let mut data = vec![number, architecture, 0, 0];
    data.extend(arguments.iter().flat_map(|argument| [*argument as u32, (argument >> 32) as u32]));
    let (mut at, mut accumulator) = (0_usize, 0_u32);
    loop {
        let Instruction { code, jump_true, jump_false, operand } = program[at];
        at += 1;
        let holds = match code {
            0x20 => {
                accumulator = data[operand as usize / 4];
                continue;
            }
            0x54 => {
                accumulator &= operand;
                continue;
            }
            0x05 => {
                at += operand as usize;
                continue;
            }
            0x06 => return operand,
            0x15 => accumulator == operand,
            0x25 => accumulator > operand,
            0x35 => accumulator >= operand,
            other => panic!("instruction {other:#x}"),
        };
        at += usize::from(if holds { jump_true } else { jump_false });
    }
}

fn call(program: &[Instruction], name: &str, first: &[u64]) -> u32 {
    let mut arguments = [0; 6];
    arguments[..first.len()].copy_from_slice(first);
    let number = Abi::native().number(name).unwrap();
    run(program, Abi::native().audit_number(), number, arguments)
}

fn default_program(capabilities: &[&str]) -> Vec<Instruction> {
    let set: CapabilitySet = capabilities.iter().filter_map(|name| Capability::from_name(name)).collect();
    compile_spec(&default_profile().resolve(set)).unwrap().program
}

#[test]
fn a_filter_made_ahead_is_for_its_capabilities_only() {
    assert_eq!(prepared::filter(CapabilitySet::EMPTY), None);
}

#[test]
fn s14_the_default_profile_refuses_what_is_dangerous() {
    let program = default_program(&["CHOWN", "SETUID", "SYS_CHROOT"]);
    let eperm = "add_key keyctl request_key bpf perf_event_open userfaultfd io_uring_setup kexec_load \
        open_by_handle_at pivot_root mount umount2 move_mount open_tree fsopen fsmount mount_setattr setns unshare \
        init_module finit_module delete_module swapon acct syslog quotactl sethostname reboot settimeofday";
    for name in eperm.split_whitespace() {
        assert_eq!(call(&program, name, &[]), errno(libc::EPERM), "{name}");
    }
    assert_eq!(call(&program, "clone3", &[]), errno(libc::ENOSYS));
    for flag in
        [0x0002_0000_u64, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000]
    {
        assert_eq!(call(&program, "clone", &[flag | 17]), errno(libc::EPERM), "{flag:#x}");
    }
    assert_eq!(call(&program, "clone", &[0x3d_0f00]), ALLOW);
    for name in
        "read write openat execve chroot ptrace socketpair setuid prctl seccomp wait4".split_whitespace()
    {
        assert_eq!(call(&program, name, &[]), ALLOW, "{name}");
    }
}

#[test]
fn s14_numbers_nobody_knows_do_not_exist() {
    let program = default_program(&[]);
    for number in [335 + 64, 600, 0x4000_0000, 0x4000_0001, u32::MAX] {
        assert_eq!(
            run(&program, Abi::native().audit_number(), number, [0; 6]),
            errno(libc::ENOSYS),
            "{number}"
        );
    }
    // Calls of the 32-bit ABI are closed unless a profile names it.
    assert_eq!(run(&program, Abi::X86.audit_number(), 3, [0; 6]), errno(libc::ENOSYS));
}

#[test]
fn s12_typing_into_terminals_is_refused_whatever_the_high_bits() {
    let program = default_program(&["SYS_ADMIN"]);
    for request in [0x5412, 0x541c] {
        for high in [0, 1 << 32, 0xffff_ffff << 32] {
            assert_eq!(call(&program, "ioctl", &[0, request | high]), errno(libc::EPERM), "{request:#x}");
        }
    }
    assert_eq!(call(&program, "ioctl", &[0, 0x5401]), ALLOW);
}

#[test]
fn s16_only_a_few_socket_families_exist() {
    for (capabilities, packet) in [(&[][..], false), (&["NET_RAW"][..], true)] {
        let program = default_program(capabilities);
        for family in 0..64_u64 {
            let allowed = matches!(family, 1 | 2 | 10 | 16) || family == 17 && packet;
            let expected = if allowed { ALLOW } else { errno(libc::EAFNOSUPPORT) };
            for high in [0, 7 << 32] {
                assert_eq!(call(&program, "socket", &[family | high]), expected, "{family}");
            }
        }
        assert_eq!(call(&program, "socket", &[16, 3, 9]), errno(libc::EINVAL), "audit");
    }
}

#[test]
fn capabilities_open_what_they_are_for() {
    let table = [
        ("SYS_ADMIN", "mount"),
        ("SYS_ADMIN", "unshare"),
        ("SYS_ADMIN", "clone3"),
        ("SYS_ADMIN", "bpf"),
        ("BPF", "bpf"),
        ("PERFMON", "perf_event_open"),
        ("SYSLOG", "syslog"),
        ("SYS_NICE", "mbind"),
        ("SYS_PTRACE", "kcmp"),
        ("SYS_TIME", "clock_settime"),
        ("DAC_READ_SEARCH", "open_by_handle_at"),
    ];
    let none = default_program(&[]);
    for (capability, name) in table {
        assert_ne!(call(&none, name, &[]), ALLOW, "{name}");
        assert_eq!(call(&default_program(&[capability]), name, &[]), ALLOW, "{name}");
    }
    assert_eq!(call(&default_program(&["SYS_ADMIN"]), "clone", &[0x1000_0000]), ALLOW);
    assert_ne!(call(&default_program(&["SYS_ADMIN"]), "keyctl", &[]), ALLOW);
}

#[test]
fn comparisons_cover_both_halves() {
    let program = |op: &str, value: u64, two: u64| {
        let json = serde_json::json!({"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW",
             "args": [{"index": 5, "value": value, "valueTwo": two, "op": op}]}]});
        compile_spec(&serde_json::from_value(json).unwrap()).unwrap().program
    };
    let values = [0, 1, 0xffff_ffff, 1 << 32, (1 << 32) + 1, (2 << 32) + 1, u64::MAX];
    type Holds = fn(u64, u64) -> bool;
    let table: [(&str, Holds); 6] = [
        ("SCMP_CMP_NE", |a, b| a != b),
        ("SCMP_CMP_LT", |a, b| a < b),
        ("SCMP_CMP_LE", |a, b| a <= b),
        ("SCMP_CMP_EQ", |a, b| a == b),
        ("SCMP_CMP_GE", |a, b| a >= b),
        ("SCMP_CMP_GT", |a, b| a > b),
    ];
    for (op, holds) in table {
        for value in values {
            let program = program(op, value, 0);
            for argument in values {
                let found = call(&program, "read", &[0, 0, 0, 0, 0, argument]) == ALLOW;
                assert_eq!(found, holds(argument, value), "{argument:#x} {op} {value:#x}");
            }
        }
    }
    let masked = program("SCMP_CMP_MASKED_EQ", 0xf_0000_000f, 0x1_0000_0001);
    assert_eq!(call(&masked, "read", &[0, 0, 0, 0, 0, 0xfff1_ffff_fff1]), ALLOW);
    assert_eq!(call(&masked, "read", &[0, 0, 0, 0, 0, 0xfff2_ffff_fff1]), 0x8000_0000);
}

#[test]
fn what_an_agent_decides_is_a_filter_of_its_own() {
    const NOTIFY: u32 = libc::SECCOMP_RET_USER_NOTIF;
    let json = serde_json::json!({"defaultAction": "SCMP_ACT_ERRNO", "listenerPath": "/agent",
        "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"], "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"},
        {"names": ["write"], "action": "SCMP_ACT_NOTIFY", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
        {"names": ["write"], "action": "SCMP_ACT_ALLOW"}]});
    let filter = compile_spec(&serde_json::from_value(json).unwrap()).unwrap();
    let notify = filter.notify.unwrap();
    let table = [
        ("read", 0, ALLOW, ALLOW),
        ("mkdir", 0, NOTIFY, ALLOW),
        ("write", 1, NOTIFY, ALLOW),
        ("write", 2, ALLOW, ALLOW),
        ("rmdir", 0, ALLOW, errno(libc::EPERM)),
    ];
    for (name, argument, first, second) in table {
        assert_eq!(call(&notify.program, name, &[argument]), first, "{name}({argument})");
        assert_eq!(call(&filter.program, name, &[argument]), second, "{name}({argument})");
    }
    // The kernel takes these flags with a listener only.
    let only = seccomp::FLAG_NEW_LISTENER | seccomp::FLAG_WAIT_KILLABLE_RECV;
    assert_eq!((notify.flags, filter.flags & only), (only, 0));
    assert!(notify.agent.needed);
}

#[test]
fn several_conditions_join_by_argument() {
    let json = serde_json::json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 2, "op": "SCMP_CMP_EQ"}]},
        {"names": ["write"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]}]});
    let program = compile_spec(&serde_json::from_value(json).unwrap()).unwrap().program;
    let allowed = |name, arguments: &[u64]| call(&program, name, arguments) == ALLOW;
    assert!(allowed("read", &[1, 2]) && !allowed("read", &[1, 3]) && !allowed("read", &[0, 2]));
    assert!(allowed("write", &[1]) && allowed("write", &[2]) && !allowed("write", &[3]));
}

#[test]
fn a_profile_may_open_the_32_bit_abi() {
    let json = br#"{"defaultAction": "SCMP_ACT_ERRNO", "archMap": [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}],
        "syscalls": [{"names": ["socketcall", "read"], "action": "SCMP_ACT_ALLOW"}]}"#;
    let spec = Profile::parse(json).unwrap().resolve(CapabilitySet::EMPTY);
    let program = compile_spec(&spec).unwrap().program;
    if Abi::native() == Abi::X86_64 {
        assert_eq!(run(&program, Abi::X86.audit_number(), 102, [0; 6]), ALLOW);
        assert_eq!(run(&program, Abi::X86.audit_number(), 103, [0; 6]), errno(libc::EPERM));
        assert_eq!(run(&program, Abi::X86_64.audit_number(), 102, [0; 6]), errno(libc::EPERM));
    }
}

#[test]
fn the_default_program_is_small() {
    let program = default_program(&["CHOWN", "SETUID", "NET_RAW"]);
    assert!(program.len() < 300, "{} instructions", program.len());
}

#[test]
fn wrong_profiles_are_refused() {
    for json in [
        "{}",
        "[]",
        r#"{"defaultAction": "SCMP_ACT_NOSUCH"}"#,
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "architectures": [], "archMap": []}"#,
    ] {
        assert!(Profile::parse(json.as_bytes()).is_err(), "{json}");
    }
    for json in [
        r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#,
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 70000}"#,
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]}"#,
    ] {
        let spec = Profile::parse(json.as_bytes()).unwrap().resolve(CapabilitySet::EMPTY);
        assert!(compile_spec(&spec).is_err(), "{json}");
    }
}
