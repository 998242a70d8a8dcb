//! `rbox run`.

use std::io;
use std::time::Duration;

use crate::cli::args::create::{CreateArgs, request};
use crate::cli::args::fds;
use crate::cli::ensure;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::secrets;
use crate::cli::session::{self, Attachment, Inheritance};
use crate::cli::ui::Ui;
use crate::cli::values::go_bool;
use crate::container::create::{self, CreateRequest, Created};
use crate::container::{self, Record};
use crate::engine::Engine;
use crate::kernel::tty;
use crate::monitor::client::Wanted;
use crate::network::Mode;
use crate::userns;

/// Run a command in a new container
///
/// Runs a command in a new container from the given image
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] IMAGE [COMMAND [ARG...]]",
    after_help = "rbox run imageID ls -alF /etc\n  rbox run --network=host imageID dnf -y install java\n  rbox run --volume /var/hostdir:/var/ctrdir -i -t fedora /bin/bash"
)]
pub struct Args {
    #[command(flatten)]
    create: CreateArgs,
    /// Run container in background and print container ID
    #[arg(long, short)]
    detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "[a-Z]")]
    detach_keys: Option<String>,
    /// Add entries to /etc/passwd and /etc/group
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_parser = go_bool)]
    passwd: Option<bool>,
    /// Pass a file descriptor into the container
    #[arg(long, value_name = "uints")]
    preserve_fd: Vec<String>,
    /// Pass a number of additional file descriptors into the container
    #[arg(long, value_name = "uint", value_parser = crate::cli::args::go::parse_u32)]
    preserve_fds: Option<u32>,
    /// Remove image unless used by other containers, implies --rm
    #[arg(long)]
    rmi: bool,
    /// Proxy received signals to the process
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_parser = go_bool)]
    sig_proxy: Option<bool>,
}

/// Creates and starts a container; in the foreground the exit code is the container's.
///
/// # Errors
/// When the container cannot be created (125) or its command not be run (126, 127).
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    if args.rmi && args.create.identity.rm == Some(false) {
        return Err(CommandError::new("the --rmi option does not work without --rm"));
    }
    let flags = &args.create.process;
    if flags.tty && flags.interactive && !tty::is_terminal(io::stdin()) {
        ui.warn("The input device is not a TTY. The --tty and --interactive flags might not work properly");
    }
    warn_about_flags(ui, &args.create);
    let extra = fds::preserved(args.preserve_fds.unwrap_or(0), &args.preserve_fd)?;
    // The helpers that write the id maps take longer than anything else: they work while the container is made.
    let entering = userns::begin(engine.paths()?, engine.user_maps(), linger(engine, &args)?)?;
    let mut request = request::request(engine, &args.create)?;
    request.create_command = secrets::command_line();
    request.remove |= args.rmi;
    request.remove_image = args.rmi;
    request.user.passwd = args.passwd.unwrap_or(true);
    let wanted = streams(&args, &request)?;
    let detach_keys = session::detach_keys(engine, args.detach_keys.as_deref())?;

    ensure::image(ui, engine, &args.create, &mut request)?;
    ensure::replaced(ui, engine, &request)?;
    warn_about_ports(ui, &request);
    let created = create::create(engine, request).map_err(not_run)?;
    for warning in &created.warnings {
        ui.warn(warning);
    }
    let attachment = Attachment { wanted, detach_keys, proxy_signals: args.sig_proxy.unwrap_or(true) };
    start(
        ui,
        engine,
        created,
        args.detach,
        &attachment,
        Inheritance { extra, entering: Some(entering), ..Inheritance::default() },
    )
}

/// How long the user's namespace is held for further commands: not at all where the caller's cgroup is to be split,
/// because no process must be left in it.
fn linger(engine: &Engine, args: &Args) -> Result<Option<Duration>> {
    let split = args.create.resources.cgroups.as_deref() == Some("split");
    if split { Ok(None) } else { Ok(engine.env().linger()?) }
}

/// 125, but for what podman finds out only when it starts the container.
fn not_run(error: container::Error) -> CommandError {
    use container::Error::{RuntimeFlag, UnknownHostUser};
    let at_start = matches!(error, UnknownHostUser { .. } | RuntimeFlag { .. });
    let error = not_created(error);
    if at_start { error.with_status(ExitStatus::from_code(126)) } else { error }
}

/// A name that is taken can be taken over.
pub(super) fn not_created(error: container::Error) -> CommandError {
    let taken = matches!(error, container::Error::NameInUse { .. });
    let error = CommandError::from(error);
    match taken {
        true => {
            CommandError::new(format!("{}, or use --replace to instruct Podman to do so.", error.message()))
        }
        false => error,
    }
}

/// What podman says about flags that have no effect any more.
pub(super) fn warn_about_flags(ui: &mut Ui, args: &CreateArgs) {
    if args.resources.kernel_memory.is_some() {
        ui.warn("The --kernel-memory flag is no longer supported. This flag is a noop.");
    }
    for warning in args.resources.limits.warnings() {
        ui.warn(warning);
    }
}

/// Ports are of no use where the container has no network of its own.
fn warn_about_ports(ui: &mut Ui, request: &CreateRequest) {
    let mode = &request.network.mode;
    if !request.network.ports.is_empty() && !matches!(mode, Mode::Pasta(_)) {
        let name = if matches!(mode, Mode::Path(_)) { "path" } else { mode.name() };
        ui.status(format_args!(
            "Port mappings have been discarded because \"{name}\" network namespace mode does not support them"
        ));
    }
}

fn start(
    ui: &mut Ui,
    engine: &Engine,
    created: Created,
    detach: bool,
    attachment: &Attachment,
    mut inheritance: Inheritance,
) -> Result<ExitStatus> {
    let Created { record, lock, blueprint, .. } = created;
    inheritance.blueprint = Some(blueprint);
    let connection =
        session::start(ui, engine, &record, lock, attachment.wanted, inheritance).map_err(refused)?;
    let passthrough = record.log.driver == crate::container::record::LogDriver::Passthrough;
    if detach {
        if !passthrough {
            ui.data(&record.id)?;
        }
        return Ok(ExitStatus::SUCCESS);
    }
    if !attachment.wanted.stdout && !attachment.wanted.stderr && !passthrough {
        // Nothing will be seen of it, so its name is.
        ui.data(&record.id)?;
    }
    let status = session::follow(ui, engine, &record, connection, attachment)?;
    if record.lifecycle.auto_remove_image {
        warn_of_image(ui, engine, &record)?;
    }
    Ok(status)
}

/// The monitor has removed the image, unless it must stay.
fn warn_of_image(ui: &mut Ui, engine: &Engine, record: &Record) -> Result<()> {
    let users = engine.containers()?.image_users(&record.root.image_id)?;
    if let Some(user) = users.first() {
        ui.warn(format_args!(
            "Failed to remove image {:?}: image used by {user}: image is in use by a container",
            record.root.image_given
        ));
    }
    Ok(())
}

/// A start that failed: 127 where the command was not found, 126 for all else, as podman has it.
fn refused(error: CommandError) -> CommandError {
    if error.status() == ExitStatus::ERROR { error.with_status(ExitStatus::NOT_EXECUTABLE) } else { error }
}

/// Which streams the caller takes part in.
fn streams(args: &Args, request: &CreateRequest) -> Result<Wanted> {
    if args.detach {
        return Ok(Wanted::NOTHING);
    }
    if request.attach.is_empty() {
        return Ok(Wanted { stdin: request.interactive, stdout: true, stderr: true });
    }
    if request.log.driver.as_deref().is_some_and(|driver| driver.starts_with("passthrough")) {
        return Err(CommandError::new(
            "cannot specify --attach with --log-driver=passthrough: invalid argument",
        ));
    }
    let mut wanted = Wanted { stdin: request.interactive, stdout: false, stderr: false };
    for stream in &request.attach {
        match stream.to_ascii_lowercase().as_str() {
            "stdin" => wanted.stdin = true,
            "stdout" => wanted.stdout = true,
            "stderr" => wanted.stderr = true,
            _ => {
                return Err(CommandError::new(format!(
                    "invalid stream {stream:?} for --attach - must be one of stdin, stdout, or stderr: invalid argument"
                )));
            }
        }
    }
    Ok(wanted)
}
