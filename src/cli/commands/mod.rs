//! The command table: one file a command, one row a command.
//!
//! A row is `file: "name", "noun name|alias" => Where;` (see [`super`] for the
//! whole pattern). The first name is the canonical one.

use clap::ArgMatches;
use clap::FromArgMatches as _;

use super::error::CommandError;
use super::exit::ExitStatus;
use super::ui::Ui;
use crate::engine::Engine;

pub mod artifact;
pub mod attach;
pub mod commit;
pub mod completion;
pub mod container;
pub mod cp;
pub mod create;
pub mod diff;
pub mod doctor;
pub mod events;
pub mod exec;
pub mod export;
pub mod healthcheck;
pub mod image;
pub mod info;
pub mod init;
pub mod inspect;
pub mod internals;
pub mod kill;
pub mod login;
pub mod logout;
pub mod logs;
pub mod manifest;
pub mod mount;
pub mod network;
pub mod oci;
pub mod pause;
pub mod pod;
pub mod port;
pub mod ps;
pub mod pull;
pub mod push;
pub mod rename;
pub mod restart;
pub mod rm;
pub mod run;
pub mod search;
pub mod start;
pub mod stats;
pub mod stop;
pub mod system;
pub mod top;
pub mod unshare;
pub mod update;
pub mod version;
pub mod volume;
pub mod wait;

/// In which user namespace a command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    /// In the caller's: reads records only, or forks what enters another one by itself.
    Caller,
    /// In the user's namespace with the sub-ids mapped: everything that writes
    /// files of several owners. It is entered before `exec`, while there is one thread.
    User,
}

/// One row of the table.
#[derive(Debug)]
pub struct Spec {
    /// Where the command stands: `name`, or `noun name` (nouns may stand under nouns), each with `|alias`es.
    pub names: &'static [&'static str],
    /// The user namespace it runs in.
    pub place: Where,
    /// Adds its arguments.
    pub augment: fn(clap::Command) -> clap::Command,
    /// Converts its arguments and runs it.
    pub exec: fn(&mut Ui, &Engine, &mut ArgMatches) -> Result<ExitStatus, CommandError>,
}

/// A noun that groups commands.
#[derive(Debug)]
pub struct Group {
    /// The noun; one that stands under another has both.
    pub name: &'static str,
    /// One line for the list of commands.
    pub about: &'static str,
    /// Whether it is left out of that list.
    pub hidden: bool,
}

const fn group(name: &'static str, about: &'static str) -> Group {
    Group { name, about, hidden: false }
}

/// The nouns. One without commands is not shown.
pub static GROUPS: &[Group] = &[
    group("artifact", "Manage OCI artifacts"),
    group("container", "Manage containers"),
    group("healthcheck", "Manage health checks on containers"),
    group("image", "Manage images"),
    group("image trust", "Manage container image trust policy"),
    group("manifest", "Manipulate manifest lists and image indexes"),
    group("network", "Manage networks"),
    group("pod", "Manage pods"),
    group("secret", "Manage secrets"),
    group("system", "Manage the system"),
    group("system connection", "Manage remote API service destinations"),
    group("volume", "Manage volumes"),
    Group { name: "internals", about: "What rbox calls itself with", hidden: true },
];

macro_rules! commands {
    ($($($module:ident)::+ : $($name:literal),+ => $place:ident;)+) => {
        /// Every command.
        pub static COMMANDS: &[Spec] = &[$(
            Spec {
                names: &[$($name),+],
                place: Where::$place,
                augment: <$($module)::+::Args as clap::Args>::augment_args,
                exec: |ui, engine, matches| {
                    let args = $($module)::+::Args::from_arg_matches_mut(matches)
                        .map_err(|error| CommandError::new(error.to_string()))?;
                    $($module)::+::exec(ui, engine, args)
                },
            },
        )+];
    };
}

commands! {
    artifact::add: "artifact add" => Caller;
    artifact::extract: "artifact extract" => Caller;
    artifact::inspect: "artifact inspect" => Caller;
    artifact::list: "artifact ls|list" => Caller;
    artifact::pull: "artifact pull" => Caller;
    artifact::push: "artifact push" => Caller;
    artifact::rm: "artifact rm|remove" => Caller;
    attach: "attach", "container attach" => Caller;
    commit: "commit", "container commit" => Caller;
    completion: "completion" => Caller;
    container::checkpoint: "container checkpoint" => Caller;
    container::restore: "container restore" => Caller;
    container::cleanup: "container cleanup" => User;
    container::clone: "container clone" => Caller;
    container::exists: "container exists" => Caller;
    container::prune: "container prune" => User;
    container::runlabel: "container runlabel" => Caller;
    cp: "cp", "container cp" => Caller;
    create: "create", "container create" => Caller;
    events: "events", "system events" => Caller;
    diff: "diff" => Caller;
    diff::container: "container diff" => Caller;
    diff::image: "image diff" => Caller;
    doctor: "doctor" => Caller;
    exec: "exec", "container exec" => Caller;
    export: "export", "container export" => Caller;
    healthcheck: "healthcheck run" => Caller;
    image::exists: "image exists" => Caller;
    image::history: "history", "image history" => Caller;
    image::import: "import", "image import" => User;
    image::inspect: "image inspect" => Caller;
    image::list: "images", "image list|ls" => Caller;
    image::load: "load", "image load" => User;
    image::mount: "image mount" => Caller;
    image::mount::unmount: "image unmount|umount" => Caller;
    image::prune: "image prune" => User;
    image::rm: "rmi", "image rm" => User;
    image::save: "save", "image save" => Caller;
    image::scp: "image scp" => Caller;
    image::sign: "image sign" => Caller;
    image::tag: "tag", "image tag" => Caller;
    image::tree: "image tree" => Caller;
    image::trust::show: "image trust show" => Caller;
    image::trust::set: "image trust set" => Caller;
    image::untag: "untag", "image untag" => Caller;
    info: "info", "system info" => Caller;
    init: "init", "container init" => Caller;
    inspect: "inspect" => Caller;
    inspect::container_only: "container inspect" => Caller;
    internals::builtin: "internals builtin" => User;
    internals::generate: "internals generate" => Caller;
    internals::hello: "internals hello" => Caller;
    kill: "kill", "container kill" => Caller;
    login: "login" => Caller;
    logout: "logout" => Caller;
    logs: "logs", "container logs" => Caller;
    manifest::edit::add: "manifest add" => Caller;
    manifest::edit::annotate: "manifest annotate" => Caller;
    manifest::edit::create: "manifest create" => Caller;
    manifest::edit::remove: "manifest remove" => Caller;
    manifest::edit::rm: "manifest rm" => User;
    manifest::inspect: "manifest inspect" => Caller;
    manifest::inspect::exists: "manifest exists" => Caller;
    manifest::push: "manifest push" => User;
    mount: "mount", "container mount" => Caller;
    mount::unmount: "unmount|umount", "container unmount|umount" => Caller;
    network::create: "network create" => Caller;
    network::exists: "network exists" => Caller;
    network::inspect: "network inspect" => Caller;
    network::list: "network ls|list" => Caller;
    network::prune: "network prune" => Caller;
    network::rm: "network rm|remove" => Caller;
    pause: "pause", "container pause" => Caller;
    pause::unpause: "unpause", "container unpause" => Caller;
    pod::create: "pod create" => Caller;
    pod::exists: "pod exists" => Caller;
    pod::list: "pod ps|ls|list" => Caller;
    pod::prune: "pod prune" => Caller;
    pod::rm: "pod rm" => Caller;
    port: "port", "container port" => Caller;
    ps: "ps", "container ps|list|ls" => Caller;
    pull: "pull", "image pull" => User;
    push: "push", "image push" => Caller;
    rename: "rename", "container rename" => Caller;
    restart: "restart", "container restart" => Caller;
    rm: "rm", "container rm" => User;
    run: "run", "container run" => Caller;
    search: "search", "image search" => Caller;
    start: "start", "container start" => Caller;
    stats: "stats", "container stats" => Caller;
    stop: "stop", "container stop" => Caller;
    system::check: "system check" => User;
    system::connection: "system connection list|ls" => Caller;
    system::df: "system df" => User;
    system::migrate: "system migrate" => User;
    system::migrate::renumber: "system renumber" => Caller;
    system::prune: "system prune" => User;
    system::reset: "system reset" => User;
    top: "top", "container top" => Caller;
    unshare: "unshare" => Caller;
    update: "update", "container update" => Caller;
    version: "version" => Caller;
    volume::create: "volume create" => Caller;
    volume::exists: "volume exists" => Caller;
    volume::transfer::export: "volume export" => Caller;
    volume::transfer::import: "volume import" => Caller;
    volume::inspect: "volume inspect" => Caller;
    volume::list: "volume ls|list" => Caller;
    volume::mount: "volume mount" => Caller;
    volume::mount::unmount: "volume unmount|umount" => Caller;
    volume::prune: "volume prune" => Caller;
    volume::reload: "volume reload" => Caller;
    volume::rm: "volume rm|remove" => Caller;
    wait: "wait", "container wait" => Caller;
}
