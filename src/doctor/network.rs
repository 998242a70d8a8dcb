//! The network: the program and device behind `--network=pasta`, and what sysctls keep from users.

use std::path::PathBuf;

use rustix::fs::Access;

use super::{Finding, id, read};
use crate::engine::Engine;
use crate::network::pasta;

const TUN: &str = "/dev/net/tun";

pub(super) fn pasta(engine: &Engine) -> Finding {
    let program = engine.config().ok().and_then(|config| pasta::find(config, engine.env()));
    let tun = rustix::fs::access(TUN, Access::READ_OK | Access::WRITE_OK);
    judge_pasta(program, tun.err())
}

fn judge_pasta(program: Option<PathBuf>, tun: Option<rustix::io::Errno>) -> Finding {
    const BREAKS: &str = "networks of containers; --network=none and --network=host work";
    let Some(program) = program else {
        return Finding::problem(id::PASTA, "pasta is not installed", BREAKS)
            .fix("sudo apt-get install passt (Debian, Ubuntu) or sudo dnf install passt (Fedora)");
    };
    match tun {
        None => Finding::ok(id::PASTA, format!("{} and {TUN}", program.display())),
        Some(rustix::io::Errno::NOENT) => {
            Finding::problem(id::PASTA, format!("there is no {TUN}"), BREAKS).fix("sudo modprobe tun")
        }
        Some(error) => Finding::problem(id::PASTA, format!("{TUN} cannot be opened: {error}"), BREAKS)
            .fix(format!("sudo chmod 666 {TUN}")),
    }
}

pub(super) fn ports() -> Finding {
    judge_ports(read("/proc/sys/net/ipv4/ip_unprivileged_port_start").trim().parse().unwrap_or(1024))
}

fn judge_ports(first: u16) -> Finding {
    if first <= 80 {
        return Finding::ok(id::PORTS, format!("ports from {first} on can be published"));
    }
    Finding::warning(
        id::PORTS,
        format!("ports below {first} are root's"),
        "-p 80:80 and the like; -p 8080:80 works",
    )
    .fix("echo net.ipv4.ip_unprivileged_port_start=80 | sudo tee /etc/sysctl.d/80-ports.conf && sudo sysctl --system")
}

pub(super) fn ping(gid: u32) -> Finding {
    judge_ping(&read("/proc/sys/net/ipv4/ping_group_range"), gid)
}

fn judge_ping(range: &str, gid: u32) -> Finding {
    let mut ends = range.split_whitespace().map(str::parse::<u32>);
    let (Some(Ok(first)), Some(Ok(last))) = (ends.next(), ends.next()) else {
        return Finding::ok(id::PING, "the kernel does not restrict echo requests");
    };
    if gid == 0 || (first..=last).contains(&gid) {
        return Finding::ok(id::PING, "containers can send echo requests");
    }
    Finding::warning(id::PING, format!("groups {first} to {last} may send echo requests, yours is {gid}"), "ping to the outside")
        .fix("echo 'net.ipv4.ping_group_range=0 2147483647' | sudo tee /etc/sysctl.d/80-ping.conf && sudo sysctl --system")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[test]
    fn what_is_missing_for_a_network_is_told() {
        let program = || Some(PathBuf::from("/usr/bin/pasta"));
        assert_eq!(judge_pasta(program(), None).status, Status::Ok);
        assert!(judge_pasta(None, None).fix.contains("install passt"));
        assert_eq!(judge_pasta(program(), Some(rustix::io::Errno::NOENT)).fix, "sudo modprobe tun");
        assert!(judge_pasta(program(), Some(rustix::io::Errno::ACCESS)).fix.contains("chmod 666"));
    }

    #[test]
    fn sysctls_are_judged() {
        assert_eq!(judge_ports(80).status, Status::Ok);
        assert_eq!(judge_ports(1024).status, Status::Warning);
        assert_eq!(judge_ping("1\t0\n", 1000).status, Status::Warning);
        assert_eq!(judge_ping("0\t2147483647\n", 1000).status, Status::Ok);
        assert_eq!(judge_ping("", 1000).status, Status::Ok);
    }
}
