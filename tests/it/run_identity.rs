//! `run`: who the process is, inside and on the host.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use serde_json::{Value, json};

use super::support::TestEnv;
use super::support::image::{Entry, busybox_entries, dir, file};

const IMAGE: &str = "localhost/busybox";

fn loaded(name: &str) -> TestEnv {
    let env = TestEnv::new(name);
    env.busybox();
    env
}

/// The four user ids, the four group ids and the supplementary groups of the probe.
fn ids(report: &Value) -> (String, String, String) {
    let field = |name: &str| report["status"][name].as_str().unwrap_or_default().to_owned();
    (field("Uid"), field("Gid"), field("Groups"))
}

#[test]
fn users_are_looked_up_in_the_image() {
    let env = loaded("users");
    for (user, uid, gid, groups) in [
        ("0", 0, 0, "0"),
        ("root", 0, 0, "0"),
        ("1000", 1000, 2000, "2000 3000"),
        ("worker", 1000, 2000, "2000 3000"),
        ("1", 1, 0, "0"),
        ("1:2", 1, 2, "2"),
        ("worker:extra", 1000, 3000, "3000"),
        ("1000:2000", 1000, 2000, "2000"),
        ("0:3000", 0, 3000, "3000"),
        ("65535:65535", 65535, 65535, "65535"),
    ] {
        let report = env.probe(&["--user", user], &["report"]);
        let (found_uid, found_gid, found_groups) = ids(&report);
        assert_eq!(found_uid, format!("{uid} {uid} {uid} {uid}"), "{user}");
        assert_eq!(found_gid, format!("{gid} {gid} {gid} {gid}"), "{user}");
        assert_eq!(found_groups, groups, "{user}");
    }
}

#[test]
fn s08_groups_are_exactly_those_asked_for() {
    let env = TestEnv::new("s08");
    let mut entries = busybox_entries();
    entries.push(Entry::Owned(0, 2000, Box::new(Entry::File("guarded".into(), 0o707, b"secret".to_vec()))));
    env.load_image("localhost/busybox:latest", &entries, &json!({"Env": ["PATH=/bin"]}));
    let report = env.probe(&["-u", "1000:2000", "--group-add", "3000"], &["report"]);
    assert_eq!(report["status"]["Groups"], "2000 3000");
    // A mode that gives the group less than others: whoever lacks the group gets in.
    let args =
        ["run", "--rm", "--network=none", "-u", "1000:2000", "--group-add", "3000", IMAGE, "cat", "/guarded"];
    let outcome = env.run(args);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (1, ""), "{outcome:#?}");
    // The same in exec, with a primary group from the passwd file.
    env.ok(["run", "-d", "--name", "s08", "--network=none", IMAGE, "sleep", "1000"]);
    assert_eq!(env.run(["exec", "-u", "worker", "s08", "cat", "/guarded"]).code, 1);
    assert_eq!(env.ok(["exec", "-u", "5:6", "s08", "cat", "/guarded"]), "secret");
    env.ok(["rm", "-f", "-t", "0", "s08"]);
}

#[test]
fn s09_user_strings_are_never_misread_as_root() {
    let env = loaded("s09");
    let refused = [
        "0x0",
        " 1",
        "-1",
        "2147483648",
        "4294967295",
        "4294967296",
        "nosuch",
        "1:nosuch",
        "1:2:3",
        "18446744073709551616",
    ];
    let expected = |user: &str| match user {
        ":5" => "0 5",
        ":" => "0 0",
        "010" => "10 0",
        "1000:" => "1000 2000",
        _ => "refused",
    };
    let script = "echo $(id -u) $(id -g)";
    env.ok(["run", "-d", "--name", "s09", "--network=none", IMAGE, "sleep", "1000"]);
    for user in refused.into_iter().chain([":5", ":", "010", "1000:"]) {
        let by_run = env.run(["run", "--rm", "--network=none", "--user", user, IMAGE, "sh", "-c", script]);
        let by_exec = env.run(["exec", "--user", user, "s09", "sh", "-c", script]);
        env.load_image("localhost/user:1", &busybox_entries(), &json!({"Env": ["PATH=/bin"], "User": user}));
        let by_image = env.run(["run", "--rm", "--network=none", "localhost/user:1", "sh", "-c", script]);
        for (way, outcome) in [("run", by_run), ("exec", by_exec), ("image", by_image)] {
            let found = if outcome.code == 0 { outcome.stdout.trim_end() } else { "refused" };
            // Refusing what podman tolerates is safe; another identity is not.
            assert!(!user.starts_with(':') || found != "refused", "{way} {user:?}: {outcome:#?}");
            assert!(found == "refused" || found == expected(user), "{way} {user:?}: {outcome:#?}");
            assert!(matches!(outcome.code, 0 | 125..=127 | 255), "{way} {user:?}: {outcome:#?}");
            assert!(!outcome.stderr.contains("panicked"), "{outcome:#?}");
        }
    }
    env.ok(["rm", "-f", "-t", "0", "s09"]);
}

#[test]
fn s11_set_user_id_programs_gain_nothing_without_new_privileges() {
    let env = TestEnv::new("s11");
    let mut entries = busybox_entries();
    let Some(Entry::File(_, _, probe)) =
        entries.iter().find(|e| matches!(e, Entry::File(n, ..) if n == "probe")).cloned()
    else {
        unreachable!("the system holds the probe")
    };
    entries.push(Entry::File("setuid".into(), 0o4755, probe));
    env.load_image("localhost/setuid:1", &entries, &json!({"Env": ["PATH=/bin"]}));
    let uids = |options: &[&str]| {
        let mut args = vec!["run", "--rm", "--network=none", "-u", "1000"];
        args.extend(options);
        args.extend(["localhost/setuid:1", "/setuid", "report"]);
        let report: Value = serde_json::from_str(&env.ok(args)).unwrap();
        (ids(&report).0, report["status"]["NoNewPrivs"].clone(), report["status"]["CapEff"].clone())
    };
    for option in ["no-new-privileges", "no-new-privileges=true", "no-new-privileges:true"] {
        let found = uids(&["--security-opt", option]);
        assert_eq!(found, ("1000 1000 1000 1000".into(), json!("1"), json!("0000000000000000")), "{option}");
    }
    // The familiar default, on which su and sudo in images rely.
    assert_eq!(uids(&[]).0, "1000 0 0 0");
    // --user with no mention of privileges has none by itself.
    assert_eq!(uids(&["--security-opt", "no-new-privileges=false"]).1, "0");
}

#[test]
fn default_map_makes_the_user_root_inside() {
    let env = loaded("map");
    let report = env.probe(&[], &["report"]);
    let own = rustix::process::getuid().as_raw();
    let map = |name: &str| {
        let lines = report[name].as_array().unwrap();
        lines
            .iter()
            .map(|l| {
                l.as_str().unwrap().split_whitespace().map(|n| n.parse::<u64>().unwrap()).collect::<Vec<_>>()
            })
            .collect::<Vec<_>>()
    };
    // Seen from inside, the parent of the container's namespace is the user's own.
    let uids = map("uid_map");
    assert_eq!(uids[0][0], 0);
    assert!(uids.iter().map(|line| line[2]).sum::<u64>() >= 65536, "{uids:?}");
    let folder = env.work().join("shared");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    let volume = format!("{}:/v", folder.display());
    env.ok(["run", "--rm", "--network=none", "-v", &volume, IMAGE, "touch", "/v/by-root"]);
    env.ok(["run", "--rm", "--network=none", "-u", "1000", "-v", &volume, IMAGE, "touch", "/v/by-worker"]);
    assert_eq!(std::fs::metadata(folder.join("by-root")).unwrap().uid(), own);
    let worker = std::fs::metadata(folder.join("by-worker")).unwrap().uid();
    assert!(worker != own && worker != 1000, "{worker}");
}

#[test]
fn keep_id_gives_the_user_her_own_ids() {
    let env = loaded("keepid");
    let own = rustix::process::getuid().as_raw();
    let group = rustix::process::getgid().as_raw();
    let folder = env.work().join("shared");
    std::fs::create_dir(&folder).unwrap();
    let volume = format!("{}:/v", folder.display());
    for (mode, uid, gid) in [("keep-id", own, group), ("keep-id:uid=200,gid=210", 200, 210)] {
        let userns = format!("--userns={mode}");
        let script = "touch /v/file && echo $(id -u) $(id -g) && ls -ldn /root | tr -s ' ' | cut -d' ' -f3";
        let args =
            ["run", "--rm", "--network=none", &userns, "-v", &volume, IMAGE, "busybox", "sh", "-c", script];
        assert_eq!(env.ok(args), format!("{uid} {gid}\n0"), "{mode}");
        assert_eq!(std::fs::metadata(folder.join("file")).unwrap().uid(), own, "{mode}");
        std::fs::remove_file(folder.join("file")).unwrap();
    }
    let args = ["run", "--rm", "--network=none", "--userns=keep-id", "--user", "0", IMAGE, "id", "-u"];
    assert_eq!(env.ok(args), "0");
}

#[test]
fn other_user_namespace_modes_map_what_they_say() {
    let env = loaded("userns");
    // Pairs of an id inside and its id in the user's namespace: how ranges are cut is not the point.
    let map = |options: &[&str]| {
        let report = env.probe(options, &["report"]);
        let mut pairs = Vec::new();
        for line in report["uid_map"].as_array().unwrap() {
            let numbers: Vec<u32> =
                line.as_str().unwrap().split_whitespace().map(|n| n.parse().unwrap()).collect();
            pairs.extend((0..numbers[2]).map(|i| (numbers[0] + i, numbers[1] + i)));
        }
        pairs.sort_unstable();
        pairs
    };
    let shifted: Vec<_> = (0..500).map(|i| (i, i + 1)).collect();
    assert_eq!(map(&["--uidmap=0:1:500", "--gidmap=0:1:500"]), shifted);
    let swapped: Vec<_> = (0..20).map(|i| (i, (i + 10) % 20)).collect();
    assert_eq!(map(&["--uidmap=0:10:10", "--uidmap=10:0:10", "--gidmap=0:0:100"]), swapped);
    let nomap = map(&["--userns=nomap"]);
    assert_eq!(nomap[0], (0, 1), "nothing inside may be the user");
    assert_eq!(map(&["--userns=auto:size=300"]).len(), 300);
    assert!(env.fails(125, ["run", "--rm", "--userns=nosuch", IMAGE, "true"]).contains("nosuch"));
    assert!(!env.fails(125, ["run", "--rm", "--uidmap=x:0:1", IMAGE, "true"]).is_empty());
    let outcome = env.run(["run", "--rm", "--uidmap=0:0:99999999", "--gidmap=0:0:99999999", IMAGE, "true"]);
    assert!((125..=126).contains(&outcome.code) && !outcome.stderr.contains("panicked"), "{outcome:#?}");
}

#[test]
fn passwd_gets_an_entry_for_a_user_without_one() {
    let env = loaded("passwd");
    let own = rustix::process::getuid().as_raw();
    let args = ["run", "--rm", "--network=none", "--userns=keep-id", IMAGE, "cat", "/etc/passwd"];
    let text = env.ok(args);
    assert!(text.lines().any(|line| line.split(':').nth(2) == Some(&own.to_string())), "{text}");
    let args = ["run", "--rm", "--network=none", "--user", "1234:5678", IMAGE, "cat", "/etc/passwd"];
    let text = env.ok(args);
    assert!(text.lines().any(|line| line.starts_with("1234:") || line.contains(":1234:5678:")), "{text}");
    let args =
        ["run", "--rm", "--network=none", "--user", "1234", "--passwd=false", IMAGE, "cat", "/etc/passwd"];
    assert!(!env.ok(args).contains("1234"));
}

#[test]
fn home_follows_the_user() {
    let env = loaded("home");
    for (user, home) in [("worker", "/home/worker"), ("0", "/root"), ("777", "/")] {
        let args = ["run", "--rm", "--network=none", "--user", user, IMAGE, "sh", "-c", "echo $HOME"];
        assert_eq!(env.ok(args), home, "{user}");
    }
}

#[test]
fn files_of_the_image_keep_their_owners() {
    let env = TestEnv::new("owners");
    let mut entries = busybox_entries();
    for (number, uid) in [0, 1, 1000, 65534].into_iter().enumerate() {
        entries.push(Entry::Owned(uid, uid + 1, Box::new(file(&format!("owned{number}"), "x"))));
    }
    entries.push(Entry::Owned(33, 34, Box::new(dir("var"))));
    env.load_image("localhost/owners:1", &entries, &json!({"Env": ["PATH=/bin"]}));
    let script = "stat -c %u:%g /owned0 /owned1 /owned2 /owned3 /var";
    let args = ["run", "--rm", "--network=none", "localhost/owners:1", "sh", "-c", script];
    assert_eq!(env.ok(args), "0:1\n1:2\n1000:1001\n65534:65535\n33:34");
}
