//! Makes sure that the image of a new container is here.
//!
//! A pull runs in a child process, another rbox: the process that starts a container must have
//! one thread for all its life, and stay outside of the user's namespace, and a pull does neither.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use super::args::create::CreateArgs;
use super::args::registry::check_authfile;
use super::error::{CommandError, Result};
use super::exit::ExitStatus;
use super::secrets::Secrets;
use super::session;
use super::ui::Ui;
use crate::container::create::{CreateRequest, RootFs};
use crate::engine::Engine;
use crate::events::Event;
use crate::image::list::choose;
use crate::image::{Error, Platform, PullPolicy};
use crate::store;

/// Names with one of these in front do not come from a registry, or not only.
const TRANSPORTS: [&str; 7] =
    ["docker-archive:", "oci-archive:", "oci:", "dir:", "docker://", "docker-daemon:", "containers-storage:"];

/// Brings the image of `request` into the store, if it names one that is not there.
///
/// # Errors
/// When it cannot be had.
pub fn image(ui: &mut Ui, engine: &Engine, args: &CreateArgs, request: &mut CreateRequest) -> Result<()> {
    let flags = &args.image;
    if let Some(path) = &flags.authfile {
        check_authfile(path)?;
    }
    if flags.platform.is_some() && (flags.arch.is_some() || flags.os.is_some()) {
        return Err(CommandError::new("--platform option can not be specified with --arch or --os"));
    }
    let RootFs::Image { reference, id } = &mut request.rootfs else { return Ok(()) };
    let text = flags.pull.as_deref().unwrap_or(&engine.config()?.engine.pull_policy);
    let policy: PullPolicy =
        text.parse().map_err(|error: crate::image::PullPolicyError| CommandError::new(error.to_string()))?;
    if reference == store::HELLO {
        let mut child = own_program(ui, engine);
        child.args(["internals", "builtin"]);
        *id = Some(run(child)?);
        return Ok(());
    }
    let transport = TRANSPORTS.iter().any(|transport| reference.starts_with(transport));
    let any_platform =
        flags.platform.is_none() && flags.arch.is_none() && flags.os.is_none() && flags.variant.is_none();
    let here = if transport { None } else { Some(engine.store()?.find_any(reference)) };
    if let Some(Ok(found)) = &here
        && found.record.list
    {
        *id = Some(of_list(ui, engine, args, reference, &found.record)?);
        return Ok(());
    }
    if any_platform && matches!(policy, PullPolicy::Missing | PullPolicy::Never) {
        match here {
            Some(Ok(found)) => {
                // It counts as pulled, though there was nothing to do.
                let event = Event::image("pull", &found.record.id.to_string(), reference);
                engine.events()?.emit(&[event]);
                return Ok(());
            }
            Some(Err(store::Error::NotFound { .. })) if policy == PullPolicy::Missing => {}
            Some(Err(error)) => return Err(error.into()),
            None => {}
        }
    }
    let mut child = own_program(ui, engine);
    child.arg("pull").arg(format!("--policy={policy}"));
    pull_flags(args, &mut child);
    let pulled = pull(child, &secrets(args), reference)?;
    // The name as typed says more than the id, as long as it leads there.
    if transport || !any_platform {
        *id = Some(pulled);
    }
    Ok(())
}

/// The image of the list `name`, which is here, for the platform that is asked for or this machine's.
fn of_list(
    ui: &Ui,
    engine: &Engine,
    args: &CreateArgs,
    name: &str,
    list: &store::ImageRecord,
) -> Result<String> {
    let store = engine.store()?;
    let flags = &args.image;
    let host = Platform::host();
    let platform = match &flags.platform {
        Some(text) => Platform::parse(text).map_err(|error| CommandError::new(error.to_string()))?,
        None => Platform::normalised(
            flags.os.as_deref().unwrap_or(&host.os),
            flags.arch.as_deref().unwrap_or(&host.architecture),
            flags.variant.as_deref().or(host.variant.as_deref().filter(|_| flags.arch.is_none())),
        ),
    };
    let (digest, local) = choose(store, list, name, Some(platform))?;
    if let Some(record) = local {
        return Ok(record.id.to_string());
    }
    let source = list.sources.get(&digest.to_string());
    let source = source.ok_or_else(|| Error::NotKnown(digest.to_string()))?;
    let mut child = own_program(ui, engine);
    child.args(["pull", "--policy=missing"]);
    pull_flags(args, &mut child);
    pull(child, &secrets(args), &format!("docker://{source}@{digest}"))
}

fn secrets(args: &CreateArgs) -> Secrets {
    Secrets { creds: args.image.creds.clone(), decryption_key: args.image.decryption_key.clone() }
}

/// Runs `child`, a pull without the name of the image yet; the id of the image.
///
/// # Errors
/// As [`run`].
pub fn pull(mut child: Command, secrets: &Secrets, name: &str) -> Result<String> {
    secrets.announce(&mut child);
    child.args(["--", name]);
    finish(child, secrets)
}

/// This program with the same options before the command name.
pub fn own_program(ui: &Ui, engine: &Engine) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0(ui.program());
    let options = &engine.options;
    let paths = [
        ("--root", &options.root),
        ("--runroot", &options.runroot),
        ("--imagestore", &options.image_store),
        ("--tmpdir", &options.tmpdir),
        ("--volumepath", &options.volume_path),
    ];
    for (flag, path) in paths {
        if let Some(path) = path {
            command.arg(flag).arg(path);
        }
    }
    if let Some(backend) = &options.events_backend {
        command.arg("--events-backend").arg(backend);
    }
    for module in &options.modules {
        command.arg("--module").arg(module);
    }
    if let Some(driver) = &options.storage_driver {
        command.arg("--storage-driver").arg(driver);
    }
    for option in &options.storage_options {
        command.arg("--storage-opt").arg(option);
    }
    command.arg(format!("--log-level={}", ui.level().name()));
    command
}

fn pull_flags(args: &CreateArgs, child: &mut Command) {
    let flags = &args.image;
    let texts = [
        ("--arch", &flags.arch),
        ("--os", &flags.os),
        ("--variant", &flags.variant),
        ("--platform", &flags.platform),
        ("--retry-delay", &flags.retry_delay),
    ];
    for (flag, value) in texts {
        if let Some(value) = value {
            child.arg(format!("{flag}={value}"));
        }
    }
    let paths = [
        ("--authfile", &flags.authfile),
        ("--cert-dir", &flags.cert_dir),
        ("--signature-policy", &flags.signature_policy),
    ];
    for (flag, path) in paths {
        if let Some(path) = path {
            child.arg(flag).arg(path);
        }
    }
    if let Some(retry) = flags.retry {
        child.arg(format!("--retry={retry}"));
    }
    if let Some(verify) = flags.tls_verify {
        child.arg(format!("--tls-verify={verify}"));
    }
    if flags.quiet {
        child.arg("--quiet");
    }
}

/// Runs the child, which tells about itself on standard error; the last line that it prints, such as an image id.
///
/// # Errors
/// When it fails; it has said why.
pub fn run(child: Command) -> Result<String> {
    finish(child, &Secrets::default())
}

fn finish(mut child: Command, secrets: &Secrets) -> Result<String> {
    let failed = |error| crate::kernel::Error::path("execve", "/proc/self/exe", error);
    let mut running = secrets.start(child.stdout(Stdio::piped())).map_err(failed)?;
    let mut text = String::new();
    if let Some(mut output) = running.stdout.take() {
        output.read_to_string(&mut text).map_err(failed)?;
    }
    let status = running.wait().map_err(failed)?;
    if !status.success() {
        // It has said why.
        return Err(CommandError::silent(ExitStatus::ERROR));
    }
    Ok(text.lines().last().unwrap_or_default().trim().to_owned())
}

/// Removes the container that `--replace` names, if there is one, and in any case one that should be gone.
///
/// # Errors
/// When it cannot be removed.
pub fn replaced(ui: &mut Ui, engine: &Engine, request: &CreateRequest) -> Result<()> {
    let Some(name) = request.identity.name.as_deref() else { return Ok(()) };
    if !request.identity.replace {
        if let Ok(Some(record)) = engine.containers()?.by_name(name) {
            session::clear_abandoned(ui, engine, &engine.containers()?, &record);
        }
        return Ok(());
    }
    // A damaged one is removed all the same.
    if matches!(engine.containers()?.by_name(name), Ok(None)) {
        return Ok(());
    }
    let mut child = own_program(ui, engine);
    child.args(["rm", "--force", "--ignore", "--volumes=false", "--", name]);
    run(child).map(drop)
}
