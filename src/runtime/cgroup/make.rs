//! Making the cgroup of a container: where it is, which controllers it has, its limits.
//!
//! A cgroup has a controller if its parent hands it out (`cgroup.subtree_control`), and a parent that has processes of
//! its own hands out none (EBUSY). In a scope nobody is in the way; elsewhere the caller's cgroup is emptied into a leaf
//! of its own first.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;

use super::{Cgroup, MOUNT, below_mount, devices, is_version_2, own_cgroup};
use crate::kernel::{self, path::RootDir};
use crate::runtime::error::{Error, NoController, Result};
use crate::runtime::plan::{CgroupPlan, Plan};

/// What a container's cgroup has where it can be had, also without limits: they count for `stats`, tell of the
/// out-of-memory killer, and take limits later.
const USUAL: [&str; 2] = ["memory", "pids"];

/// The leaf for the processes that stood in the way.
const SUPERVISOR: &str = "supervisor";

/// Files that a container may do without.
const SWAP: &str = "memory.swap.max";

/// Makes the cgroup of a container and applies its limits. `None` where there can be none
/// and none is needed.
pub(in crate::runtime) fn create(plan: &Plan) -> Result<Option<Cgroup>> {
    if plan.cgroup.disabled {
        return Ok(None);
    }
    match make(plan) {
        Ok(cgroup) => Ok(Some(cgroup)),
        // A path that cannot be a container's is no matter of what can be had here.
        Err(error @ Error::Invalid { .. }) if plan.cgroup.path.is_some() => Err(error),
        Err(_) if plan.cgroup.settings.is_empty() && !plan.cgroup.required && !devices::are_needed(plan) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The path of a cgroup that another runtime shall make for a container: absolute from the root of the
/// hierarchy. `None` where there can be none and none is needed.
pub(in crate::runtime) fn path_for_other(plan: &Plan) -> Result<Option<PathBuf>> {
    if plan.cgroup.disabled {
        return Ok(None);
    }
    let needed = !plan.cgroup.settings.is_empty() || plan.cgroup.required;
    match place(plan).and_then(|directory| may_make(&directory, &plan.cgroup).map(|()| directory)) {
        Ok(directory) => Ok(Some(Path::new("/").join(directory.strip_prefix(MOUNT).unwrap_or(&directory)))),
        Err(_) if !needed => Ok(None),
        Err(error) => Err(error),
    }
}

/// Prepares what is above the cgroup `path`, and sees whether the caller may make it.
fn may_make(path: &Path, plan: &CgroupPlan) -> Result<()> {
    hand_out(path, plan)?;
    let parent = path.parent().expect("it lies below the mount");
    rustix::fs::access(parent, rustix::fs::Access::WRITE_OK).map_err(|errno| {
        let first = plan.settings.first().map(|(file, _)| file.as_str());
        explain(kernel::Error::path("access", parent, errno).into(), first, parent)
    })
}

fn make(plan: &Plan) -> Result<Cgroup> {
    let path = place(plan)?;
    hand_out(&path, &plan.cgroup)?;
    if plan.cgroup.all_controllers {
        hand_out_rest(&path);
    }
    let cgroup = match rustix::fs::mkdir(&path, Mode::from_raw_mode(0o755)) {
        Ok(()) => Cgroup::open(&path)?,
        Err(rustix::io::Errno::EXIST) => take_over(&path)?,
        Err(errno) => return Err(kernel::Error::path("mkdir", &path, errno).into()),
    };
    match apply(&cgroup, &plan.cgroup).and_then(|()| devices::enforce(plan, &cgroup)) {
        Ok(()) => Ok(cgroup),
        Err(error) => {
            let _ = cgroup.remove();
            Err(error)
        }
    }
}

/// A cgroup that somebody has made for the container, or left behind: with processes in it, it is another's, and they
/// would be killed with the container. In a frozen one nobody would ever see it start.
fn take_over(path: &Path) -> Result<Cgroup> {
    let refuse = |why: &str| Err(Error::invalid("linux.cgroupsPath", format!("{why}: {}", path.display())));
    if fs::read_to_string(path.join("cgroup.events")).is_ok_and(|text| text.contains("populated 1")) {
        return refuse("the container's cgroup is not empty");
    }
    let cgroup = Cgroup::open(path)?;
    if cgroup.is_frozen()? {
        return refuse("the container's cgroup is frozen");
    }
    Ok(cgroup)
}

/// The directory of the container's cgroup, whose parent exists then.
fn place(plan: &Plan) -> Result<PathBuf> {
    let first = plan.cgroup.settings.first().map(|(file, _)| file.as_str());
    if !is_version_2() {
        return Err(match first {
            Some(file) => no_controller(file, NoController::Version1),
            None => Error::unsupported("a cgroup: this host does not use cgroup v2 alone"),
        });
    }
    let relative = match &plan.cgroup.path {
        // systemd's form SLICE:PREFIX:NAME; without its manager only the last parts can be used.
        Some(path) if path.to_string_lossy().contains(':') => {
            let text = path.to_string_lossy();
            let mut parts = text.splitn(3, ':').skip(1);
            let name = format!("{}-{}.scope", parts.next().unwrap_or("rbox"), parts.next().unwrap_or(""));
            base()?.join(name)
        }
        Some(path) if path.is_absolute() => path.clone(),
        Some(path) => base()?.join(path),
        None => base()?.join(format!("libpod-{}", name(plan))),
    };
    let path = below_mount(&relative)?;
    let parent = path.parent().expect("it lies below the mount");
    if !parent.exists() {
        make_all(parent).map_err(|error| explain(error, first, parent))?;
    }
    Ok(path)
}

/// The cgroup below which containers go: the caller's, or the one that it was before it was emptied.
fn base() -> Result<PathBuf> {
    let own = own_cgroup()?;
    Ok(match own.parent() {
        Some(parent) if own.ends_with(SUPERVISOR) => parent.to_owned(),
        _ => own,
    })
}

fn name(plan: &Plan) -> String {
    if plan.identity.id.is_empty() { std::process::id().to_string() } else { plan.identity.id.clone() }
}

fn make_all(path: &Path) -> Result<()> {
    let root = RootDir::open(Path::new(MOUNT))?;
    let relative = path.strip_prefix(MOUNT).unwrap_or(path);
    root.create_dir_all(relative, Mode::from_raw_mode(0o755))?;
    Ok(())
}

fn controller_of(file: &str) -> &str {
    file.split('.').next().unwrap_or(file)
}

fn no_controller(file: &str, why: NoController) -> Error {
    Error::NoController { controller: controller_of(file).to_owned(), file: file.to_owned(), why }
}

/// What a refusal in a directory that is not the user's means for the limit `file`.
fn explain(error: Error, file: Option<&str>, directory: &Path) -> Error {
    let denied = match &error {
        Error::Kernel(error) => matches!(error.errno(), Some(libc::EACCES | libc::EPERM | libc::EROFS)),
        _ => false,
    };
    match file {
        Some(file) if denied => {
            no_controller(file, NoController::NotDelegated { cgroup: directory.to_owned() })
        }
        _ => error,
    }
}

/// Words of a file such as `cgroup.controllers`.
fn words(directory: &Path, file: &str) -> Vec<String> {
    let text = fs::read_to_string(directory.join(file)).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// Lets the parent of `path` hand out the controllers that the container needs, and those that it can use.
fn hand_out(path: &Path, plan: &CgroupPlan) -> Result<()> {
    let parent = path.parent().expect("it lies below the mount");
    let there = words(parent, "cgroup.controllers");
    let mut wanted: Vec<&str> = Vec::new();
    for (file, _) in &plan.settings {
        let controller = controller_of(file);
        if controller == "cgroup" || wanted.contains(&controller) {
            continue;
        }
        if !there.iter().any(|known| known == controller) {
            return Err(no_controller(file, NoController::NotDelegated { cgroup: parent.to_owned() }));
        }
        wanted.push(controller);
    }
    let needed = wanted.len();
    let optional = plan.optional.iter().map(|(file, _)| controller_of(file));
    for controller in optional.chain(USUAL) {
        if !wanted.contains(&controller) && there.iter().any(|known| known == controller) {
            wanted.push(controller);
        }
    }
    let handed = words(parent, "cgroup.subtree_control");
    let missing = |controllers: &[&str]| {
        let missing = controllers.iter().filter(|name| !handed.iter().any(|known| known == *name));
        missing.map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ")
    };
    let all = missing(&wanted);
    if all.is_empty() || !is_occupied(parent) && enable(parent, &all).is_ok() {
        return Ok(());
    }
    // Without them it is as good as nothing only if something was asked for.
    let first = plan.settings.first().map(|(file, _)| file.as_str());
    let asked = missing(&wanted[..needed]);
    if asked.is_empty() {
        return Ok(());
    }
    let enabled = if is_occupied(parent) { Err(busy(parent)) } else { enable(parent, &asked) };
    match enabled {
        Ok(()) => Ok(()),
        Err(Error::Kernel(error)) if error.errno() == Some(libc::EBUSY) => {
            empty(parent).map_err(|error| explain(error, first, parent))?;
            enable(parent, &missing(&wanted)).map_err(|_| match first {
                Some(file) => no_controller(file, NoController::Occupied { cgroup: parent.to_owned() }),
                None => Error::unsupported("a cgroup with controllers"),
            })
        }
        Err(error) => Err(explain(error, first, parent)),
    }
}

/// Whether processes are in the way of controllers. Those that can count threads the kernel would take nonetheless: for
/// threads, so that no process could be put below any more (EOPNOTSUPP). The root of the whole hierarchy, which has no
/// type, is an exception.
fn is_occupied(directory: &Path) -> bool {
    directory.join("cgroup.type").exists()
        && Cgroup::open(directory).and_then(|cgroup| cgroup.processes()).is_ok_and(|all| !all.is_empty())
}

fn busy(directory: &Path) -> Error {
    kernel::Error::path("write", directory.join("cgroup.subtree_control"), rustix::io::Errno::BUSY).into()
}

/// Lets the parent of `path` hand out whatever else it has. Some cannot be had everywhere: that of the processor not
/// beside real-time processes.
fn hand_out_rest(path: &Path) {
    let parent = path.parent().expect("it lies below the mount");
    if is_occupied(parent) {
        return;
    }
    let handed = words(parent, "cgroup.subtree_control");
    for controller in words(parent, "cgroup.controllers").iter().filter(|name| !handed.contains(name)) {
        let _ = enable(parent, &format!("+{controller}"));
    }
}

fn enable(directory: &Path, controllers: &str) -> Result<()> {
    if controllers.is_empty() {
        return Ok(());
    }
    Cgroup::open(directory)?.write("cgroup.subtree_control", controllers)
}

/// Moves the processes of a cgroup into a leaf below it. It is delegated to the user, so all of them are hers.
fn empty(directory: &Path) -> Result<()> {
    let leaf = directory.join(SUPERVISOR);
    match rustix::fs::mkdir(&leaf, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(errno) => return Err(kernel::Error::path("mkdir", &leaf, errno).into()),
    }
    let (from, to) = (Cgroup::open(directory)?, Cgroup::open(&leaf)?);
    for process in from.processes()? {
        match to.write("cgroup.procs", &process.to_string()) {
            // It has ended meanwhile.
            Err(Error::Kernel(error)) if error.errno() == Some(libc::ESRCH) => {}
            written => written?,
        }
    }
    Ok(())
}

/// Writes the limits.
fn apply(cgroup: &Cgroup, plan: &CgroupPlan) -> Result<()> {
    for (file, value) in &plan.optional {
        // Defaults hold where they can.
        let _ = cgroup.write(file, value);
    }
    plan.settings.iter().try_for_each(|(file, value)| set(cgroup, file, value))
}

/// Writes one limit, which must not exceed what the cgroups above have.
fn set(cgroup: &Cgroup, file: &str, value: &str) -> Result<()> {
    fits(cgroup.path(), file, value)?;
    match cgroup.write(file, value) {
        Err(Error::Kernel(error)) => match error.errno() {
            // The kernel was built or started without it, and the limit is one on top of that of memory.
            Some(libc::ENOENT) if file == SWAP => Ok(()),
            Some(libc::ENOENT) if file == "io.weight" => set_bfq_weight(cgroup, value),
            Some(libc::ENOENT | libc::EOPNOTSUPP) => {
                Err(Error::unsupported(format!("{file}: this kernel has no such limit")))
            }
            Some(libc::EINVAL | libc::ERANGE) => {
                Err(Error::invalid(file, format!("the kernel does not take {value:?}")))
            }
            Some(libc::ENODEV | libc::ENXIO) => {
                Err(Error::invalid(file, format!("{value:?} is not about a whole disk")))
            }
            _ => Err(error.into()),
        },
        written => written,
    }
}

/// Checks a limit of the cgroup `path`, which need not exist, against those above it.
fn fits(path: &Path, file: &str, value: &str) -> Result<()> {
    let Some((above, limit)) = exceeded(path, file, value) else { return Ok(()) };
    let above = above.strip_prefix(MOUNT).unwrap_or(&above);
    let why = format!("{value} is more than the {limit} that the cgroup /{} has", above.display());
    Err(Error::invalid(file, why))
}

/// Without the cost model the scheduler BFQ has weights, from 1 to 1000.
fn set_bfq_weight(cgroup: &Cgroup, value: &str) -> Result<()> {
    let scaled = value.rsplit_once(' ').and_then(|(device, weight)| {
        let weight = weight.parse::<u64>().ok()?;
        Some(format!("{device} {}", (weight / 10).clamp(1, 1000)))
    });
    let written = cgroup.write("io.bfq.weight", scaled.as_deref().unwrap_or(value));
    written.map_err(|_| Error::unsupported("io.weight: this kernel has no weights of block devices"))
}

/// The nearest cgroup above whose limit is lower, and that limit.
fn exceeded(path: &Path, file: &str, value: &str) -> Option<(PathBuf, String)> {
    let above = path.ancestors().skip(1).take_while(|above| *above != Path::new(MOUNT));
    if file == "cpuset.cpus" || file == "cpuset.mems" {
        let parent = path.parent()?;
        let all = fs::read_to_string(parent.join(format!("{file}.effective"))).ok()?;
        let (all, wanted) = (numbers(&all)?, numbers(value)?);
        let inside = wanted.iter().all(|number| all.contains(number));
        return (!inside).then(|| (parent.to_owned(), format_numbers(&all)));
    }
    let wanted = share(file, value)?;
    above.into_iter().find_map(|above| {
        let text = fs::read_to_string(above.join(file)).ok()?;
        let limit = share(file, text.trim())?;
        (wanted > limit).then(|| (above.to_owned(), text.trim().to_owned()))
    })
}

/// A limit as a number that can be compared; `None` where it is none or has another form.
fn share(file: &str, value: &str) -> Option<f64> {
    match file {
        "memory.max" | "pids.max" => value.parse::<u64>().ok().map(|value| value as f64),
        "cpu.max" => {
            let (quota, period) = value.split_once(' ')?;
            Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok().filter(|period| *period > 0.0)?)
        }
        _ => None,
    }
}

/// `0-2,5` as numbers; `None` when it is no such list.
#[must_use]
pub fn numbers(text: &str) -> Option<Vec<u32>> {
    let mut all = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<u32>().ok()?, last.trim().parse::<u32>().ok()?);
        // No machine has more.
        if first > last || last > 0xffff {
            return None;
        }
        all.extend(first..=last);
    }
    Some(all)
}

fn format_numbers(all: &[u32]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Changes limits of a living container, all or none of them as far as the kernel lets it: what was written is
/// written back when a later one is refused.
///
/// # Errors
/// As for a new container.
pub fn change(directory: &Path, settings: &[(String, String)]) -> Result<()> {
    let plan = CgroupPlan { settings: settings.to_vec(), ..CgroupPlan::default() };
    hand_out(directory, &plan)?;
    let cgroup = Cgroup::open(directory)?;
    let mut before: Vec<(&str, String)> = Vec::new();
    for (file, value) in settings {
        let old = fs::read_to_string(directory.join(file)).unwrap_or_default();
        if let Err(error) = set(&cgroup, file, value) {
            for (file, old) in before.iter().rev() {
                let _ = cgroup.write(file, old.trim());
            }
            return Err(error);
        }
        before.push((file, old));
    }
    Ok(())
}

/// The error for a limit of a container that has no cgroup.
#[must_use]
pub fn none(file: &str) -> Error {
    no_controller(file, if is_version_2() { NoController::NoCgroup } else { NoController::Version1 })
}

/// Whether a container of this user can have the limit `value` in `file`, as far as it can be told
/// before one is made: `below` is the cgroup of her service manager, if there is one.
///
/// # Errors
/// Names the controller that is missing, and why, or the cgroup above that has less.
pub fn available(file: &str, value: &str, below: Option<&Path>) -> Result<()> {
    if !is_version_2() {
        return Err(no_controller(file, NoController::Version1));
    }
    let directory = match below {
        Some(path) => below_mount(path)?,
        None => below_mount(&base()?)?,
    };
    // One that cannot be seen from here is tried.
    let known = directory.join("cgroup.controllers").exists();
    let controller = controller_of(file);
    let there = || words(&directory, "cgroup.controllers").iter().any(|name| name == controller);
    if known && controller != "cgroup" && !there() {
        return Err(no_controller(file, NoController::NotDelegated { cgroup: directory }));
    }
    let writable = rustix::fs::access(&directory, rustix::fs::Access::WRITE_OK).is_ok();
    if below.is_none() && known && !writable {
        return Err(no_controller(file, NoController::NotDelegated { cgroup: directory }));
    }
    fits(&directory.join("container"), file, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(directory: &Path, name: &str, text: &str) {
        use std::io::Write as _;
        fs::File::create(directory.join(name)).unwrap().write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn lists_are_read() {
        assert_eq!(numbers("0-2,5\n"), Some(vec![0, 1, 2, 5]));
        assert_eq!(numbers(""), Some(Vec::new()));
        for bad in ["a", "2-1", "1-", "-1", "0-99999999999", "0-4000000000", "1;2"] {
            assert_eq!(numbers(bad), None, "{bad}");
        }
    }

    #[test]
    fn limits_are_compared() {
        assert!(share("cpu.max", "150000 100000") > share("cpu.max", "100000 100000"));
        assert_eq!(share("cpu.max", "max 100000"), None);
        assert_eq!(share("cpu.max", "1 0"), None);
        assert_eq!(share("memory.max", "max"), None);
        assert!(share("memory.max", "2") > share("memory.max", "1"));
        assert_eq!(share("memory.high", "1"), None);
    }

    #[test]
    fn a_lower_limit_above_is_found() {
        let top = kernel::scratch::path("cgroup");
        let deep = top.join("parent/container");
        fs::create_dir_all(&deep).unwrap();
        write(&top, "memory.max", "1000\n");
        write(&top, "parent/memory.max", "max\n");
        write(&top, "parent/cpuset.cpus.effective", "0-1\n");
        let found = exceeded(&deep, "memory.max", "1001").unwrap();
        assert_eq!(found, (top.clone(), "1000".to_owned()));
        assert_eq!(exceeded(&deep, "memory.max", "1000"), None);
        assert_eq!(exceeded(&deep, "memory.max", "max"), None);
        assert_eq!(exceeded(&deep, "cpuset.cpus", "1"), None);
        assert!(exceeded(&deep, "cpuset.cpus", "0-2").is_some());
        fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn a_controller_that_is_not_there_is_named() {
        let top = kernel::scratch::path("controllers");
        fs::create_dir_all(&top).unwrap();
        write(&top, "cgroup.controllers", "memory pids\n");
        let settings = |file: &str| CgroupPlan {
            settings: vec![(file.to_owned(), "1".to_owned())],
            ..CgroupPlan::default()
        };
        let error = hand_out(&top.join("x"), &settings("io.max")).unwrap_err();
        assert!(matches!(&error, Error::NoController { controller, .. } if controller == "io"), "{error}");
        fs::remove_dir_all(top).unwrap();
    }
}
