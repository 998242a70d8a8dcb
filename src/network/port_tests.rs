//! Tables for the grammar of `--publish` and the normalisation of mappings.

use super::*;

fn mapping(ip: Option<&str>, host: u16, container: u16, range: u16, protocol: Protocol) -> PortMapping {
    PortMapping {
        host_ip: ip.map(|ip| ip.parse().unwrap()),
        host_port: host,
        container_port: container,
        range,
        protocol,
    }
}

#[test]
fn grammar() {
    use Protocol::{Sctp, Tcp, Udp};
    let cases = [
        ("80", vec![mapping(None, 0, 80, 1, Tcp)]),
        ("8080:80", vec![mapping(None, 8080, 80, 1, Tcp)]),
        (":80", vec![mapping(None, 0, 80, 1, Tcp)]),
        ("127.0.0.1::80", vec![mapping(Some("127.0.0.1"), 0, 80, 1, Tcp)]),
        ("127.0.0.1:8080:80/udp", vec![mapping(Some("127.0.0.1"), 8080, 80, 1, Udp)]),
        ("0.0.0.0:8080:80", vec![mapping(None, 8080, 80, 1, Tcp)]),
        ("[::1]:8080:80", vec![mapping(Some("::1"), 8080, 80, 1, Tcp)]),
        ("[::]:8080:80", vec![mapping(Some("::"), 8080, 80, 1, Tcp)]),
        ("[192.0.2.10]:8080:80/tcp", vec![mapping(Some("192.0.2.10"), 8080, 80, 1, Tcp)]),
        ("8000-8002:80-82", vec![mapping(None, 8000, 80, 3, Tcp)]),
        ("80-82", vec![mapping(None, 0, 80, 3, Tcp)]),
        ("1-65535:1-65535", vec![mapping(None, 1, 1, 65535, Tcp)]),
        ("53:53/udp,tcp,udp", vec![mapping(None, 53, 53, 1, Tcp), mapping(None, 53, 53, 1, Udp)]),
        ("53:53/TCP", vec![mapping(None, 53, 53, 1, Tcp)]),
        ("53:53/sctp", vec![mapping(None, 53, 53, 1, Sctp)]),
    ];
    for (value, expected) in cases {
        assert_eq!(parse(value).unwrap(), expected, "{value}");
    }
}

#[test]
fn senseless_values() {
    let cases = [
        ("", "must provide a non-empty container port to publish"),
        ("80:", "must provide a non-empty container port to publish"),
        ("80/", "must provide a non-empty protocol to publish"),
        ("80/tcp/udp", "invalid port format - protocol can only be specified once"),
        ("80/icmp", "unrecognized protocol \"icmp\" in port mapping"),
        ("a:80", "parsing host port: invalid port number: strconv.Atoi: parsing \"a\": invalid syntax"),
        ("0", "parsing container port: port numbers must be between 1 and 65535 (inclusive), got 0"),
        ("65536", "parsing container port: port numbers must be between 1 and 65535 (inclusive), got 65536"),
        ("-80", "parsing container port: port numbers cannot be negative"),
        ("80-", "parsing container port: must provide ending number for port range"),
        (
            "82-80",
            "parsing container port: the end port of a range must be higher than the start port - 80 is not higher than 82",
        ),
        (
            "1-2-3",
            "parsing container port: invalid port format - port ranges are formatted as startPort-stopPort",
        ),
        ("8000-8001:80-82", "host and container port ranges have different lengths: 2 vs 3"),
        ("::80", "must provide a non-empty container host IP to publish"),
        ("x:80:80", "cannot parse \"x\" as an IP address"),
        ("1:2:3:4", "invalid port format - format is [[hostIP:]hostPort:]containerPort"),
        ("::1]:80:80", "invalid port format - IPv6 addresses must be enclosed by []"),
        ("[::1]80:80", "invalid port format - IPv6 address must be followed by a colon (':')"),
        ("[::1]:80", "invalid port format - must provide host and destination port if specifying an IP"),
        ("[::1]:1:2:3", "invalid port format - when v6 address specified, must be [ipv6]:hostPort:ctrPort"),
        ("[::1]:[::1]:3", "invalid port format - at most one IPv6 address can be specified in a --publish"),
    ];
    for (value, expected) in cases {
        assert_eq!(parse(value).unwrap_err().to_string(), expected, "{value}");
    }
}

fn assign_values(values: &[&str], exposed: &[(u16, Protocol)]) -> Result<Vec<PortMapping>> {
    let mappings: Vec<_> = values.iter().flat_map(|value| parse(value).unwrap()).collect();
    let mut next = 40_000;
    assign(&mappings, exposed, |_| {
        next += 1;
        Some(next - 1)
    })
}

#[test]
fn mappings_that_touch_are_joined() {
    use Protocol::{Tcp, Udp};
    let cases: [(&[&str], Vec<PortMapping>); 6] = [
        (&["81:81", "80:80", "82:82"], vec![mapping(None, 80, 80, 3, Tcp)]),
        (&["80:80", "80:80"], vec![mapping(None, 80, 80, 1, Tcp)]),
        (&["80:80", "81:90"], vec![mapping(None, 80, 80, 1, Tcp), mapping(None, 81, 90, 1, Tcp)]),
        (&["80-90:80-90", "85:85"], vec![mapping(None, 80, 80, 11, Tcp)]),
        (&["80:80", "80:80/udp"], vec![mapping(None, 80, 80, 1, Tcp), mapping(None, 80, 80, 1, Udp)]),
        (
            &["80:80", "127.0.0.1:80:90"],
            vec![mapping(None, 80, 80, 1, Tcp), mapping(Some("127.0.0.1"), 80, 90, 1, Tcp)],
        ),
    ];
    for (values, expected) in cases {
        assert_eq!(assign_values(values, &[]).unwrap(), expected, "{values:?}");
    }
}

#[test]
fn contradictions_are_refused() {
    let conflict = assign_values(&["80:80", "80:81"], &[]).unwrap_err();
    assert_eq!(conflict.to_string(), "conflicting port mappings for host port 80 (protocol tcp)");
    let too_long = mapping(None, 65_535, 1, 2, Protocol::Tcp);
    let err = assign(&[too_long], &[], |_| None).unwrap_err();
    assert_eq!(err.to_string(), "host port range exceeds maximum allowable port number");
    let err = assign(&parse("80").unwrap(), &[], |_| None).unwrap_err();
    assert_eq!(err.to_string(), "failed to find an open port to expose container port 80 on the host");
}

#[test]
fn open_and_exposed_ports_get_free_ones() {
    use Protocol::{Tcp, Udp};
    let assigned = assign_values(&["40000:1", "80", "81"], &[(80, Tcp), (443, Tcp), (443, Udp)]).unwrap();
    assert_eq!(
        assigned,
        [
            mapping(None, 40_000, 1, 1, Tcp),
            mapping(None, 40_001, 80, 1, Tcp),
            mapping(None, 40_002, 81, 1, Tcp),
            mapping(None, 40_003, 443, 1, Tcp),
            mapping(None, 40_004, 443, 1, Udp),
        ]
    );
}

#[test]
fn exposed_ranges() {
    assert_eq!(parse_expose("80").unwrap(), [(80, Protocol::Tcp)]);
    assert_eq!(parse_expose("80-81/udp").unwrap(), [(80, Protocol::Udp), (81, Protocol::Udp)]);
    assert!(parse_expose("x").unwrap_err().to_string().starts_with("invalid range format for --expose: x"));
}

#[test]
fn taken_ports_are_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let wanted = [mapping(Some("127.0.0.1"), port, 80, 1, Protocol::Tcp)];
    let error = check_free(&wanted).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot publish the port: listen tcp 127.0.0.1:{port}: bind"));
    assert!(check_free(&[mapping(Some("127.0.0.1"), port, 80, 1, Protocol::Sctp)]).is_ok());
    drop(taken);
    assert!(check_free(&wanted).is_ok());
}
