//! `volume …`, and volumes in the life of containers.

use serde_json::Value;

use super::support::TestEnv;
use super::support::image::{busybox_config, busybox_entries, dir, file};

const IMAGE: &str = "localhost/busybox";

fn loaded(name: &str) -> TestEnv {
    let env = TestEnv::new(name);
    let mut entries = busybox_entries();
    entries.extend([dir("seed"), file("seed/from-image", "image\n")]);
    env.load_image("localhost/busybox:latest", &entries, &busybox_config());
    env
}

#[track_caller]
fn ok(env: &TestEnv, args: &[&str]) -> String {
    let outcome = env.run(args);
    assert_eq!(outcome.code, 0, "{args:?}: {outcome:#?}");
    outcome.stdout.trim_end().to_owned()
}

#[track_caller]
fn fails(env: &TestEnv, code: i32, args: &[&str], message: &str) {
    let outcome = env.run(args);
    assert_eq!(outcome.code, code, "{args:?}: {outcome:#?}");
    assert!(outcome.stderr.contains(message), "{args:?}: {outcome:#?}");
}

fn run(env: &TestEnv, options: &[&str], script: &str) -> String {
    let mut args = vec!["run", "--rm", "--network=none"];
    args.extend(options);
    args.extend([IMAGE, "sh", "-c", script]);
    ok(env, &args)
}

#[test]
fn volumes_are_made_listed_and_removed() {
    let env = TestEnv::new("volumes");
    assert_eq!(ok(&env, &["volume", "ls"]), "");
    assert_eq!(ok(&env, &["volume", "create", "--label", "a=b", "--opt", "o=nosuid", "one"]), "one");
    let anonymous = ok(&env, &["volume", "create"]);
    assert_eq!(anonymous.len(), 64);
    fails(
        &env,
        125,
        &["volume", "create", "one"],
        "volume with name one already exists: volume already exists",
    );
    assert_eq!(ok(&env, &["volume", "create", "--ignore", "one"]), "one");
    assert_eq!(ok(&env, &["volume", "ls", "-q", "--filter", "label=a"]), "one");
    assert_eq!(ok(&env, &["volume", "ls", "--format", "{{.Name}} {{.Labels.a}}", "-f", "name=on"]), "one b");
    assert!(ok(&env, &["volume", "ls"]).starts_with("DRIVER"));
    fails(&env, 125, &["volume", "ls", "-f", "x=y"], "\"x\" is an invalid volume filter");
    fails(
        &env,
        125,
        &["volume", "ls", "-q", "--format", "x"],
        "quiet and format flags cannot be used together",
    );
    let inspected: Value = serde_json::from_str(&ok(&env, &["volume", "inspect", "one"])).unwrap();
    assert_eq!(inspected[0]["Options"]["o"], "nosuid");
    assert_eq!(inspected[0]["NeedsCopyUp"], true);
    assert_eq!(ok(&env, &["inspect", "--type=volume", "-f", "{{.Name}}", "one"]), "one");
    fails(&env, 125, &["volume", "inspect", "none"], "no such volume none");
    assert_eq!(env.run(["volume", "exists", "none"]).code, 1);
    assert_eq!(ok(&env, &["volume", "exists", "one"]), "");
    // The beginning of a name is enough, if it is the only one.
    assert_eq!(ok(&env, &["volume", "rm", &anonymous[..20]]), anonymous);
    fails(&env, 1, &["volume", "rm", "none"], "no volume with name \"none\" found: no such volume");
    assert_eq!(ok(&env, &["volume", "rm", "-f", "none", "one"]), "one");
    assert_eq!(ok(&env, &["volume", "rm", "-a", "-f"]), "");
    assert_eq!(ok(&env, &["volume", "ls", "-q"]), "");
    fails(&env, 125, &["volume", "rm"], "choose either one or more volumes or all");
}

#[test]
fn s93_names_of_volumes_are_no_paths() {
    let env = TestEnv::new("s93volumes");
    let long = "a".repeat(4096);
    for name in ["..", "../x", "a/b", ".", "-x", "a\nb", "\u{e4}", &long] {
        assert_eq!(env.run(["volume", "create", "--", name]).code, 125, "{name}");
        assert_eq!(env.run(["volume", "exists", "--", name]).code, 1, "{name}");
        assert_eq!(env.run(["volume", "rm", "--", name]).code, 1, "{name}");
    }
}

#[test]
fn a_used_volume_stays() {
    let env = loaded("usedvolume");
    let id = ok(&env, &["create", "--network=none", "-v", "vol:/vol", IMAGE, "true"]);
    let text = format!("volume vol is being used by the following container(s): {id}: volume is being used");
    fails(&env, 2, &["volume", "rm", "vol"], &text);
    assert_eq!(ok(&env, &["volume", "prune", "-f"]), "");
    assert_eq!(ok(&env, &["volume", "ls", "-q", "-f", "dangling=false"]), "vol");
    assert_eq!(ok(&env, &["volume", "rm", "-f", "vol"]), "vol");
    assert_eq!(ok(&env, &["ps", "-aq"]), "");
    ok(&env, &["volume", "create", "other"]);
    let asked = env.run_with_input(["volume", "prune"], b"N\n");
    assert!(asked.stdout.contains("\nother\nAre you sure"), "{asked:#?}");
    assert_eq!(ok(&env, &["volume", "prune", "-f"]), "other");
}

#[test]
fn anonymous_volumes_go_with_their_container() {
    let env = loaded("anonymous");
    run(&env, &["-v", "/x"], "echo a > /x/f");
    assert_eq!(ok(&env, &["volume", "ls", "-q"]), "");
    ok(&env, &["run", "--network=none", "--name=c", "-v", "/x", IMAGE, "true"]);
    assert_eq!(ok(&env, &["volume", "ls", "-f", "anonymous=true", "-q"]).len(), 64);
    ok(&env, &["rm", "-v", "c"]);
    assert_eq!(ok(&env, &["volume", "ls", "-q"]), "");
}

#[test]
fn s41_an_image_is_copied_into_a_volume_once() {
    let env = loaded("s41volume");
    let needs =
        |env: &TestEnv| ok(env, &["volume", "inspect", "-f", "{{.NeedsCopyUp}} {{.NeedsChown}}", "v"]);
    run(&env, &["-v", "v:/nowhere"], "true");
    assert_eq!(needs(&env), "true true");
    assert_eq!(run(&env, &["-v", "v:/seed"], "cat /seed/from-image"), "image");
    assert_eq!(needs(&env), "false false");
    run(&env, &["-v", "v:/seed"], "rm /seed/*");
    assert_eq!(run(&env, &["-v", "v:/seed"], "ls /seed"), "");
    // Content that was there first is not touched.
    run(&env, &["-v", "w:/seed:nocopy"], "echo mine > /seed/from-image");
    assert_eq!(run(&env, &["-v", "w:/seed"], "cat /seed/from-image"), "mine");
}

#[test]
fn a_part_of_a_volume_is_never_something_else() {
    let env = loaded("volume-part");
    let work = env.work();
    std::fs::write(work.join("secret"), "of the host\n").unwrap();
    let script = format!(
        "mkdir -p /v/a/b; echo part > /v/a/b/f; ln -s a/b /v/in; ln -s /a/b /v/rooted; ln -s ../../../../../.. /v/up; ln -s {} /v/out",
        work.display()
    );
    run(&env, &["-v", "data:/v"], &script);
    let part = |below: &str| format!("type=volume,src=data,dst=/p,volume-subpath={below}");
    for below in ["a/b", "in", "rooted"] {
        assert_eq!(run(&env, &["--mount", &part(below)], "cat /p/f"), "part", "{below}");
    }
    // Up is the volume itself.
    assert_eq!(run(&env, &["--mount", &part("up")], "cat /p/a/b/f"), "part");
    let mount = part("out");
    fails(
        &env,
        126,
        &["run", "--rm", "--network=none", "--mount", &mount, IMAGE, "cat", "/p/secret"],
        "no such file",
    );
}

#[test]
fn an_overlay_over_a_volume_keeps_it_as_it_is() {
    let env = loaded("volumeoverlay");
    run(&env, &["-v", "v:/x"], "echo first > /x/f");
    assert_eq!(
        run(&env, &["-v", "v:/x:O"], "cat /x/f; echo second > /x/f; rm /x/f; echo new > /x/g; ls /x"),
        "first\ng"
    );
    assert_eq!(run(&env, &["-v", "v:/x"], "ls /x; cat /x/f"), "f\nfirst");
    // What was written stays with the container, and the volume is in use.
    ok(
        &env,
        &[
            "run",
            "--network=none",
            "--name=c",
            "-v",
            "v:/x:O",
            IMAGE,
            "sh",
            "-c",
            "echo again >> /x/n; cat /x/n",
        ],
    );
    assert_eq!(ok(&env, &["start", "-a", "c"]), "again\nagain");
    assert!(ok(&env, &["inspect", "c"]).contains("\"Name\": \"v\""));
    fails(&env, 2, &["volume", "rm", "v"], "being used");
    let (upper, work) = (env.work().join("upper"), env.work().join("upper-work"));
    for dir in [&upper, &work] {
        std::fs::create_dir(dir).unwrap();
    }
    let chosen = format!("v:/x:O,upperdir={},workdir={}", upper.display(), work.display());
    run(&env, &["-v", &chosen], "echo kept > /x/k");
    assert_eq!(std::fs::read_to_string(upper.join("k")).unwrap(), "kept\n");
    fails(&env, 125, &["run", "--rm", "-v", "v:/x:O,ro", IMAGE, "true"], "can't use 'O' with other options");
    fails(&env, 125, &["run", "--rm", "-v", "v:/x:O,upperdir=/x", IMAGE, "true"], "must set both");
}

#[test]
fn driver_options_decide_what_is_mounted() {
    let env = loaded("voldriver");
    ok(
        &env,
        &["volume", "create", "-o", "type=tmpfs", "-o", "o=size=2M,noexec", "-o", "device=tmpfs", "mem"],
    );
    let line = run(&env, &["-v", "mem:/vol"], "grep ' /vol ' /proc/mounts");
    assert!(
        line.starts_with("tmpfs /vol tmpfs") && line.contains("size=2048k") && line.contains("noexec"),
        "{line}"
    );
    let host = env.work().join("host");
    std::fs::create_dir(&host).unwrap();
    std::fs::write(host.join("f"), "host\n").unwrap();
    let device = format!("device={}", host.display());
    ok(&env, &["volume", "create", "-o", "type=none", "-o", "o=bind,ro", "-o", &device, "dir"]);
    assert_eq!(run(&env, &["-v", "dir:/vol"], "cat /vol/f; touch /vol/g || echo refused"), "host\nrefused");
    fails(
        &env,
        125,
        &["volume", "create", "-o", "type=bind", "-o", "device=/bogus", "x"],
        "invalid volume option device for driver 'local': faccessat /bogus: no such file or directory",
    );
    fails(
        &env,
        125,
        &["volume", "create", "-o", "type=nfs", "-o", "device=h:/x", "x"],
        "only root can mount it",
    );
    fails(&env, 125, &["volume", "create", "-d", "nosuch", "x"], "no volume plugin with name nosuch");
    // What a mount creates has the same options.
    let option = "--mount=type=volume,src=new,dst=/vol,volume-opt=type=tmpfs,volume-opt=o=size=1m";
    assert!(run(&env, &[option], "grep ' /vol ' /proc/mounts").contains("size=1024k"));
    assert_eq!(ok(&env, &["volume", "inspect", "-f", "{{.Options.type}}", "new"]), "tmpfs");
}

#[test]
fn a_volume_gets_the_owner_that_was_asked_for() {
    let env = loaded("volowner");
    ok(&env, &["volume", "create", "--uid=5", "--gid=6", "a"]);
    assert_eq!(run(&env, &["-v", "a:/vol"], "stat -c %u:%g /vol"), "5:6");
    assert_eq!(ok(&env, &["volume", "inspect", "-f", "{{.UID}} {{.GID}}", "a"]), "5 6");
    run(&env, &["--mount=type=volume,src=b,dst=/vol,volume-opt=o=uid=7"], "true");
    assert_eq!(run(&env, &["-v", "b:/vol"], "stat -c %u:%g /vol"), "7:0");
}

#[test]
fn volume_mount_needs_unshare() {
    let env = TestEnv::new("volmount");
    ok(&env, &["volume", "create", "v"]);
    fails(&env, 125, &["volume", "mount", "v"], "in rootless mode, must execute `podman unshare` first");
    let rbox = std::env::var("RBOX_TEST_BIN").unwrap();
    let shown = ok(&env, &["unshare", &rbox, "volume", "mount", "v"]);
    assert_eq!(shown, ok(&env, &["volume", "inspect", "-f", "{{.Mountpoint}}", "v"]));
    assert_eq!(ok(&env, &["volume", "unmount", "v"]), "v");
    fails(&env, 125, &["volume", "unmount", "none"], "no such volume");
}

#[test]
fn volumes_are_exported_and_imported() {
    let env = loaded("voltransfer");
    run(&env, &["-v", "a:/vol"], "mkdir /vol/d; echo x > /vol/d/f; chown 5:6 /vol/d/f; ln -s d /vol/l");
    ok(&env, &["volume", "create", "b"]);
    let tar = env.command(["volume", "export", "a"]).output().unwrap().stdout;
    let outcome = env.run_with_input(["volume", "import", "b", "-"], &tar);
    assert_eq!(outcome.code, 0, "{outcome:#?}");
    assert_eq!(run(&env, &["-v", "b:/vol"], "cat /vol/l/f; stat -c %u:%g /vol/d/f"), "x\n5:6");
    let path = env.work().join("vol.tar");
    ok(&env, &["volume", "export", "-o", path.to_str().unwrap(), "a"]);
    ok(&env, &["volume", "import", "b", path.to_str().unwrap()]);
    fails(&env, 125, &["volume", "export", "none"], "no such volume");
    fails(&env, 125, &["volume", "import", "b", "/no/such"], "no such file or directory");
    let outcome = env.run_with_input(["volume", "import", "b", "-"], &[b'x'; 2000]);
    assert_eq!(outcome.code, 125, "{outcome:#?}");
}
