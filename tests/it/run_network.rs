//! Networks of containers: modes, published ports, names, and the end of what forwards.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use super::support::TestEnv;

const IMAGE: &str = "localhost/busybox";

fn loaded(name: &str) -> TestEnv {
    let env = TestEnv::new(name);
    env.busybox();
    env
}

/// An address of the host that is not on its loopback.
fn outer_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("198.51.100.1:9").expect("the host has a route");
    socket.local_addr().unwrap().ip()
}

fn free_port() -> u16 {
    TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port()
}

/// What the other end sends, once it can be reached.
#[track_caller]
fn read_from(address: SocketAddr) -> String {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let mut text = String::new();
        if let Ok(mut stream) = TcpStream::connect(address) {
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let _ = stream.write_all(b"x\n");
            if stream.read_to_string(&mut text).is_ok() && !text.is_empty() {
                return text;
            }
        }
        assert!(Instant::now() < deadline, "nobody answers at {address}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Processes of this user whose command line contains `text`.
fn processes_with(text: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(text)
        })
        .collect()
}

#[track_caller]
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn none_has_a_loopback_interface_only() {
    let env = loaded("net-none");
    let links = env.ok(["run", "--rm", "--network=none", IMAGE, "ip", "-o", "link"]);
    assert!(links.lines().count() == 1 && links.contains("lo:") && links.contains("UP"), "{links}");
    let hosts = env.ok([
        "run",
        "--rm",
        "--network=none",
        "--hostname",
        "me",
        "--name",
        "it",
        IMAGE,
        "cat",
        "/etc/hosts",
    ]);
    assert!(hosts.contains("127.0.0.1\tme it\n") || hosts.ends_with("127.0.0.1\tme it"), "{hosts}");
}

#[test]
fn host_is_the_host_s_namespace() {
    let env = loaded("net-host");
    let inside = env.ok(["run", "--rm", "--network=host", IMAGE, "readlink", "/proc/self/ns/net"]);
    assert_eq!(Path::new(&inside), fs::read_link("/proc/self/ns/net").unwrap());
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(env.ok(["run", "--rm", "--network=host", IMAGE, "hostname"]), name.trim());
}

#[test]
fn pasta_is_the_default_and_its_address_is_known_by_name() {
    let env = loaded("net-pasta");
    let script = "ip -o -4 addr show scope global; cat /etc/hosts /etc/resolv.conf";
    let output = env.ok(["run", "--rm", "--hostname", "me", "--name", "it", IMAGE, "sh", "-c", script]);
    let address = outer_address();
    assert!(output.contains(&format!("inet {address}/")), "{output}");
    assert!(output.contains(&format!("{address}\tme it\n")), "{output}");
    assert!(output.contains("nameserver 169.254.1.1\n"), "{output}");
}

#[test]
fn names_servers_and_hosts_can_be_given() {
    let env = loaded("net-names");
    let args = [
        "run",
        "--rm",
        "--dns=192.0.2.53",
        "--dns-search=lan.example",
        "--dns-option=ndots:3",
        "--add-host=db;cache:192.0.2.7",
        IMAGE,
        "cat",
        "/etc/resolv.conf",
        "/etc/hosts",
    ];
    let output = env.ok(args);
    let expected = "search lan.example\nnameserver 192.0.2.53\noptions ndots:3\n192.0.2.7\tdb cache\n";
    assert!(output.starts_with(expected), "{output}");
    let hidden = env.ok(["run", "--rm", "--network=none", "--no-hosts", IMAGE, "ls", "/etc"]);
    assert!(!hidden.lines().any(|name| name == "hosts"), "{hidden}");
    env.fails(125, ["run", "--rm", "--network=none", "--dns=nonsense", IMAGE, "true"]);
    env.fails(125, ["run", "--rm", "--network=none", "--add-host=x", IMAGE, "true"]);
}

#[test]
fn s104_a_published_port_keeps_the_source_address() {
    // S104: whoever trusts 127.0.0.1 inside must not take the whole world for it.
    let env = loaded("net-publish");
    let port = free_port();
    let publish = format!("{port}:80");
    let server = "while true; do nc -l -p 80 -e /bin/sh -c 'read x; cat /proc/net/tcp /proc/net/tcp6'; done";
    env.ok(["create", "--name", "web", "-p", &publish, IMAGE, "sh", "-c", server]);
    // As podman: what does not run has no ports, whatever one asks for.
    assert_eq!((env.ok(["port", "web"]), env.ok(["port", "web", "81"])), (String::new(), String::new()));
    env.ok(["start", "web"]);
    assert_eq!(env.ok(["port", "web"]), format!("80/tcp -> 0.0.0.0:{port}"));
    assert_eq!(env.ok(["port", "web", "80/tcp"]), format!("0.0.0.0:{port}"));
    assert!(env.fails(125, ["port", "web", "81"]).contains("failed to find published port \"81\""));
    let address = outer_address();
    let table = read_from(SocketAddr::new(address, port));
    let IpAddr::V4(v4) = address else { panic!("{address}") };
    // /proc/net writes addresses in host byte order; the server's port is 0050, state 01 is connected.
    let peer = format!("{:08X}", u32::from_le_bytes(v4.octets()));
    let connections: Vec<&str> =
        table.lines().filter(|line| line.contains(":0050 ") && line.contains(" 01 ")).collect();
    assert!(connections.iter().any(|line| line.contains(&format!("{peer}:"))), "{peer} in {table}");
    assert!(!connections.iter().any(|line| line.contains("0100007F:")), "{table}");
    env.ok(["rm", "-f", "-t", "0", "web"]);
    let listener = TcpListener::bind(SocketAddr::new(address, port));
    assert!(listener.is_ok(), "the port is free again at once: {listener:?}");
}

#[test]
fn s105_a_port_of_the_loopback_is_not_reachable_from_outside() {
    // S105.
    let env = loaded("net-loopback");
    let port = free_port();
    let publish = format!("127.0.0.1:{port}:80");
    env.ok([
        "run",
        "-d",
        "--name",
        "web",
        "-p",
        &publish,
        IMAGE,
        "sh",
        "-c",
        "while true; do echo hi | nc -l -p 80; done",
    ]);
    assert_eq!(read_from(SocketAddr::new([127, 0, 0, 1].into(), port)), "hi\n");
    assert!(TcpStream::connect(SocketAddr::new(outer_address(), port)).is_err());
    env.ok(["rm", "-f", "-t", "0", "web"]);
}

#[test]
fn f52_a_taken_port_and_an_unknown_protocol_are_clear_errors() {
    let env = loaded("net-conflict");
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = env.fails(126, ["run", "--rm", "-p", &format!("{port}:80"), IMAGE, "true"]);
    assert!(error.contains(&format!("listen tcp 0.0.0.0:{port}: bind: address already in use")), "{error}");
    let error = env.fails(126, ["run", "--rm", "-p", "1234:80/sctp", IMAGE, "true"]);
    assert!(error.contains("can't forward protocol: sctp"), "{error}");
    let error = env.fails(125, ["run", "--rm", "-p", "80:80", "-p", "80:81", IMAGE, "true"]);
    assert!(error.contains("conflicting port mappings for host port 80 (protocol tcp)"), "{error}");
    assert_eq!(env.ok(["ps", "-aq"]), "");
}

#[test]
fn a_network_can_be_shared_and_joined_by_its_file() {
    let env = loaded("net-shared");
    env.ok(["run", "-d", "--name", "first", "--hostname", "first", IMAGE, "sleep", "1000"]);
    let of_first = env.ok(["exec", "first", "readlink", "/proc/self/ns/net"]);
    let shared = env.ok(["run", "--rm", "--network=container:first", IMAGE, "readlink", "/proc/self/ns/net"]);
    assert_eq!(shared, of_first);
    let hosts = env.ok(["run", "--rm", "--network=container:first", IMAGE, "cat", "/etc/hosts"]);
    assert!(hosts.contains("first"), "{hosts}");
    // S112: whose network it is, the kernel decides; what is no network is refused before.
    for path in ["/etc/passwd", "/proc/self/ns/uts", "relative", "/proc/../proc/1/ns/net", "/proc/1/ns/net"] {
        let outcome = env.run(["run", "--rm", &format!("--network=ns:{path}"), IMAGE, "true"]);
        assert!((125..=126).contains(&outcome.code), "{path}: {outcome:?}");
    }
    env.ok(["rm", "-f", "-t", "0", "first"]);
    env.fails(125, ["run", "--rm", "--network=container:nosuch", IMAGE, "true"]);
}

#[test]
fn pasta_ends_with_the_container_and_with_its_monitor() {
    let env = loaded("net-end");
    let marker = env.run_dir().to_str().unwrap().to_owned();
    env.ok(["run", "--rm", IMAGE, "true"]);
    wait_until("pasta of a finished container ends", || processes_with(&marker).is_empty());
    env.ok(["run", "-d", "--name", "c", IMAGE, "sleep", "1000"]);
    assert_eq!(processes_with(&marker).len(), 1, "one pasta");
    env.ok(["kill", "c"]);
    env.ok(["wait", "c"]);
    wait_until("pasta of a killed container ends", || processes_with(&marker).is_empty());
    env.ok(["start", "c"]);
    assert_eq!(processes_with(&marker).len(), 1, "one pasta after a restart");
    env.ok(["rm", "-f", "-t", "0", "c"]);
    wait_until("pasta of a removed container ends", || processes_with(&marker).is_empty());
}

#[test]
fn options_of_pasta_reach_it() {
    let env = loaded("net-options");
    let link =
        env.ok(["run", "--rm", "--network=pasta:-m,1280,-I,wan0", IMAGE, "ip", "-o", "link", "show", "wan0"]);
    assert!(link.contains("mtu 1280"), "{link}");
    let error = env.fails(126, ["run", "--rm", "--network=pasta:--nonsense", IMAGE, "true"]);
    assert!(error.contains("pasta failed with exit code 1"), "{error}");
    for (network, code) in [("nosuch", 125), ("bridge", 125)] {
        env.fails(code, ["run", "--rm", "--network", network, IMAGE, "true"]);
    }
}

#[test]
fn the_end_of_pasta_is_told_and_the_container_stays() {
    let env = loaded("net-lost");
    env.ok(["run", "-d", "--name", "c", IMAGE, "sleep", "1000"]);
    let id = env.ok(["inspect", "--format", "{{.Id}}", "c"]);
    let state = env.data().join("containers").join(&id).join("state.json");
    let state: serde_json::Value = serde_json::from_slice(&fs::read(state).unwrap()).unwrap();
    let pid = i32::try_from(state["network"]["helper"]["pid"].as_i64().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let shown = || env.ok(["inspect", "--format", "{{.State.Status}} {{.State.Error}}", "c"]);
    wait_until("the loss is shown", || shown().contains("has lost its network"));
    assert!(shown().starts_with("running the container has lost its network: "), "{}", shown());
    assert!(env.run(["logs", "c"]).stderr.contains("has lost its network"));
    assert_eq!(env.ok(["exec", "c", "echo", "alive"]), "alive");
    // The next run has a network again, and no error.
    env.ok(["restart", "-t", "0", "c"]);
    assert_eq!(shown(), "running ");
    assert!(env.ok(["exec", "c", "ip", "-o", "addr"]).lines().count() > 2);
}
