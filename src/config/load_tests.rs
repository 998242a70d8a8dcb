//! Search order, merging and errors of containers.conf, on real files.

use super::*;

struct Scratch {
    dir: PathBuf,
}

impl Scratch {
    fn new(test: &str) -> Self {
        let dir = crate::kernel::scratch::path(&format!("config-{test}"));
        fs::create_dir_all(&dir).unwrap();
        Self { dir }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        use std::io::Write as _;
        let path = self.dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        path
    }

    fn load(&self, uid: u32, variables: &[(&str, &Path)], modules: &[PathBuf]) -> Result<Config> {
        let places = Places {
            vendor: self.dir.join("usr/containers.conf"),
            admin: self.dir.join("etc/containers.conf"),
            user: Some(self.dir.join("home/containers.conf")),
            uid,
        };
        let env = Env::from_values(uid, uid, variables.iter().map(|(name, path)| (*name, path.as_os_str())));
        load(&env, &places, modules)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn without_files_the_defaults_count() {
    let scratch = Scratch::new("none");
    assert_eq!(scratch.load(1001, &[], &[]).unwrap(), Config::default());
}

#[test]
fn later_files_win_field_by_field() {
    let scratch = Scratch::new("order");
    let set = |name: &str, umask: &str| {
        scratch.file(name, &format!("[containers]\numask = \"{umask}\"\n"));
    };
    let umask = |uid| scratch.load(uid, &[], &[]).unwrap().containers.umask;
    scratch.file("usr/containers.conf", "[containers]\numask = \"1\"\npids_limit = 7\n[engine]\nretry = 9\n");
    let order = [
        "etc/containers.conf",
        "etc/containers.conf.d/10-a.conf",
        "etc/containers.conf.d/20-b.conf",
        "etc/containers.rootless.conf",
        "etc/containers.rootless.conf.d/a.conf",
        "etc/containers.rootless.conf.d/1001/a.conf",
        "home/containers.conf",
        "home/containers.conf.d/a.conf",
    ];
    for (index, name) in order.into_iter().enumerate() {
        let value = (index + 2).to_string();
        set(name, &value);
        assert_eq!(umask(1001), value, "{name}");
    }
    set("etc/containers.conf.d/ignored.txt", "x");
    set("etc/containers.rootless.conf.d/1002/a.conf", "x");
    let config = scratch.load(1001, &[], &[]).unwrap();
    assert_eq!((config.containers.pids_limit, config.engine.retry), (7, 9));
    assert_eq!(config.sources.len(), 9);
    fs::remove_dir_all(scratch.dir.join("home")).unwrap();
    assert_eq!(umask(0), "4", "root reads no rootless files");
}

#[test]
fn variables_replace_and_override() {
    let scratch = Scratch::new("variables");
    scratch.file("etc/containers.conf", "[containers]\numask = \"1\"\ntz = \"etc\"\n");
    let only = scratch.file("only.conf", "[containers]\numask = \"2\"\n");
    let over = scratch.file("over.conf", "[containers]\numask = \"3\"\n");
    let module = scratch.file("module.conf", "[containers]\numask = \"4\"\n[network]\ndns_bind_port = 5\n");
    let config = scratch.load(1, &[("CONTAINERS_CONF", &only)], &[]).unwrap();
    assert_eq!((config.containers.umask.as_str(), config.containers.tz.as_str()), ("2", ""));
    let variables: [(&str, &Path); 2] = [("CONTAINERS_CONF", &only), ("CONTAINERS_CONF_OVERRIDE", &over)];
    let config = scratch.load(1, &variables, std::slice::from_ref(&module)).unwrap();
    assert_eq!((config.containers.umask.as_str(), config.network.dns_bind_port), ("3", 5));
    assert_eq!(config.modules, [module]);
    let missing = scratch.dir.join("missing");
    let error = scratch.load(1, &[("CONTAINERS_CONF", &missing)], &[]).unwrap_err();
    assert!(matches!(error, Error::Read { .. }), "{error}");
    assert!(scratch.load(1, &[("CONTAINERS_CONF_OVERRIDE", &missing)], &[]).is_ok());
    assert!(scratch.load(1, &[("CONTAINERS_CONF", Path::new("/dev/null"))], &[]).is_ok());
}

#[test]
fn modules_are_searched_in_the_user_s_directory_first() {
    let scratch = Scratch::new("modules");
    let admin = scratch.file("etc/containers.conf.modules/m.conf", "[containers]\numask = \"1\"\n");
    let config = scratch.load(1, &[], &["m.conf".into()]).unwrap();
    assert_eq!(config.modules, [admin]);
    let user = scratch.file("home/containers.conf.modules/m.conf", "[containers]\numask = \"2\"\n");
    assert_eq!(scratch.load(1, &[], &["m.conf".into()]).unwrap().modules, [user]);
    let error = scratch.load(1, &[], &["nosuch".into()]).unwrap_err();
    assert!(error.to_string().starts_with("could not resolve module \"nosuch\": "), "{error}");
}

#[test]
fn lists_append_once_they_say_so() {
    let scratch = Scratch::new("append");
    let append = scratch.file("1.conf", "[containers]\nenv = [\"A=1\", {append=true}]\n");
    let plain = scratch.file("2.conf", "[containers]\nenv = [\"B=2\"]\n");
    let stop = scratch.file("3.conf", "[containers]\nenv = [\"C=3\", {append=false}]\n");
    let env = |modules: &[&PathBuf]| {
        let modules: Vec<PathBuf> = modules.iter().map(|&path| path.clone()).collect();
        scratch.load(1, &[], &modules).unwrap().containers.env
    };
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(env(&[&append]), [path, "A=1"]);
    assert_eq!(env(&[&append, &plain]), [path, "A=1", "B=2"]);
    assert_eq!(env(&[&append, &plain, &stop]), ["C=3"]);
    assert_eq!(env(&[&append, &stop, &plain]), ["B=2"]);
    assert_eq!(env(&[&plain]), ["B=2"]);
}

#[test]
fn named_tables_are_merged_by_name() {
    let scratch = Scratch::new("tables");
    scratch.file("etc/containers.conf", "[engine.runtimes]\na = [\"/a\"]\nb = [\"/b\"]\n");
    scratch.file("home/containers.conf", "[engine.runtimes]\nb = [\"/other\"]\nc = [\"/c\"]\n");
    let runtimes = scratch.load(1, &[], &[]).unwrap().engine.runtimes;
    let text: Vec<_> =
        runtimes.iter().map(|(name, paths)| format!("{name}={}", paths[0].display())).collect();
    assert_eq!(text, ["a=/a", "b=/other", "c=/c"]);
}

#[test]
fn keys_are_case_insensitive_and_unknown_ones_are_tolerated() {
    let scratch = Scratch::new("keys");
    scratch.file(
        "etc/containers.conf",
        "[Containers]\nUmask = \"1\"\nnosuch = 3\n[machine]\ncpus = 2\n[engine]\nNoSuch = [1]\n",
    );
    let config = scratch.load(1, &[], &[]).unwrap();
    assert_eq!(config.containers.umask, "1");
    let unknown: Vec<&str> = config.unknown.iter().filter_map(|text| text.split(": ").nth(1)).collect();
    assert_eq!(unknown, ["containers.nosuch", "engine.nosuch"]);
}

#[test]
fn capabilities_get_their_prefix() {
    let scratch = Scratch::new("capabilities");
    scratch.file("etc/containers.conf", "[containers]\ndefault_capabilities = [\"chown\", \"CAP_KILL\"]\n");
    let config = scratch.load(1, &[], &[]).unwrap();
    assert_eq!(config.containers.default_capabilities, ["CAP_CHOWN", "CAP_KILL"]);
}

#[test]
fn errors_name_the_file_and_the_key() {
    let cases = [
        ("[containers]\nsdf=\n", "line 2: "),
        ("# comment\n  # more\n[containers]\nsdf=\n", "line 4: "),
        ("[containers]\nsdf=\"\"\"\n# no comment\n\"\"\"\nx=\n", "line 5: "),
        (
            "[containers]\npids_limit = \"x\"\n",
            "`containers.pids_limit`: invalid type: string \"x\", expected i64",
        ),
        ("[containers]\nenv = \"x\"\n", "`containers.env`: invalid type: string \"x\", expected a sequence"),
        (
            "[containers]\nenv = [{prepend=true}]\n",
            "`containers.env`: unsupported attribute \"prepend\" in a list",
        ),
        ("containers = 3\n", "`containers` is not a table"),
    ];
    for (text, expected) in cases {
        let scratch = Scratch::new("errors");
        let path = scratch.file("home/containers.conf", text);
        let error = scratch.load(1, &[], &[]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: {expected}", path.display())), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}
