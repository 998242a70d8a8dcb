//! `rbox image scp`: images to and from other machines, over ssh.
//!
//! The other side only needs a shell and rbox or podman. ssh runs in the caller's own namespace, where the user and her keys are
//! what they are; only the load enters another one, as a process of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cli::ensure::{own_program, run};
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::image::Reference;
use crate::kernel;

/// Securely copy images
///
/// Copies an image to or from another machine over ssh, or between two others. A place is written as [USER@]HOST[:PORT]::
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] IMAGE [HOST::]",
    after_help = "rbox image scp myimage:latest otherhost::\n  rbox image scp me@otherhost:2222::myimage:latest"
)]
pub struct Args {
    /// Suppress the output
    #[arg(long, short)]
    quiet: bool,
    /// Where from: an image that is here, or HOST::IMAGE
    source: String,
    /// Where to: HOST::, or a name for the image here
    destination: Option<String>,
}

/// One side of a copy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Side {
    /// What ssh is told; nothing for this machine and user.
    host: Option<String>,
    port: Option<String>,
    image: String,
}

/// A file that goes away with its holder.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Copies the image.
///
/// # Errors
/// When there is no such image, or the other side cannot be reached.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let mut source = parse(&args.source)?;
    let mut target = parse(args.destination.as_deref().unwrap_or_default())?;
    if source.image.is_empty() && !target.image.is_empty() && source.host.is_some() {
        // `scp HOST:: IMAGE` names the image at the other place.
        source.image = std::mem::take(&mut target.image);
    }
    if source.image.is_empty() {
        return Err(CommandError::new("a source image must be specified: invalid argument"));
    }
    if source.host.is_none() && target.host.is_none() {
        return Err(CommandError::new("neither side is another machine: invalid argument")
            .with_hint("`HOST::` behind the image names one; `tag` gives an image another name"));
    }
    let archive = temporary(engine)?;
    let path = archive.0.display().to_string();
    if source.host.is_some() {
        let what = format!("image save -- {}", quoted(&source.image)?);
        let output = create(&archive.0)?;
        ssh(engine, &source, &what, Stdio::null(), output.into())?;
    } else {
        let mut child = own_program(ui, engine);
        child.args(["save", "--quiet", "--format=docker-archive", "--output", &path, "--", &source.image]);
        run(child)?;
    }
    let name = Some(target.image.as_str()).filter(|name| !name.is_empty());
    if target.host.is_some() {
        let input = File::open(&archive.0).map_err(|error| kernel::Error::path("open", &archive.0, error))?;
        let quiet = if args.quiet { "-q" } else { "" };
        ssh(engine, &target, &format!("image load {quiet}"), input.into(), Stdio::inherit())?;
        if let Some(name) = name {
            let what = format!("tag {} {}", quoted(&source.image)?, quoted(name)?);
            ssh(engine, &target, &what, Stdio::null(), Stdio::inherit())?;
        }
        return Ok(ExitStatus::SUCCESS);
    }
    let mut child = own_program(ui, engine);
    child.args(["load", "--quiet", "--input", &path]);
    let loaded = run(child)?;
    let loaded = loaded.split_once(": ").map_or(loaded.as_str(), |(_, name)| name).to_owned();
    if let Some(name) = name {
        let mut child = own_program(ui, engine);
        child.args(["tag", "--", &loaded, name]);
        run(child)?;
    }
    if !args.quiet {
        ui.data(format_args!("Loaded image: {}", name.unwrap_or(&loaded)))?;
    }
    Ok(ExitStatus::SUCCESS)
}

/// Reads `[USER@]HOST[:PORT][/PATH]::[IMAGE]` or `IMAGE`.
fn parse(text: &str) -> Result<Side> {
    let Some((place, image)) = text.split_once("::") else {
        return Ok(Side { image: text.to_owned(), ..Side::default() });
    };
    let place = place.strip_prefix("ssh://").unwrap_or(place);
    // The path of a socket, which podman's names of places may have; none is needed.
    let place = place.split('/').next().unwrap_or(place);
    let (user, rest) = place.rsplit_once('@').map_or((None, place), |(user, rest)| (Some(user), rest));
    let (host, port) = rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
    let is_word = |text: &str| {
        // What begins with a dash would be an option of ssh.
        !text.is_empty()
            && !text.starts_with('-')
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    if !is_word(host) || !user.is_none_or(is_word) || port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err(CommandError::new(format!("{text:?} is no image of another machine: invalid argument"))
            .with_hint("other machines are written as [USER@]HOST[:PORT]::IMAGE"));
    }
    if host == "localhost" && port.is_none() {
        return Err(CommandError::new(format!(
            "not supported: {text:?}: only root can write to the images of another user"
        ))
        .with_hint(
            "`save` to a pipe into `sudo -u USER rbox load`, or go over ssh with `USER@127.0.0.1::`",
        ));
    }
    let host = user.map_or_else(|| host.to_owned(), |user| format!("{user}@{host}"));
    Ok(Side { host: Some(host), port: port.map(ToOwned::to_owned), image: image.to_owned() })
}

/// A name as a word of a remote shell.
fn quoted(name: &str) -> Result<String> {
    let is_name = Reference::parse(name).is_ok() || name.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_name {
        return Err(CommandError::new(format!("{name:?} is no name of an image: invalid argument")));
    }
    Ok(name.to_owned())
}

/// Runs rbox, or podman where there is none, on the other machine.
fn ssh(engine: &Engine, side: &Side, what: &str, input: Stdio, output: Stdio) -> Result<()> {
    let program = engine.env().find_program("ssh", []);
    let program = program
        .ok_or_else(|| CommandError::new("copying images needs the program ssh, which is not in $PATH"))?;
    let mut command = Command::new(&program);
    if let Some(port) = &side.port {
        command.args(["-p", port]);
    }
    let host = side.host.as_deref().unwrap_or_default();
    let script =
        format!("if command -v rbox >/dev/null 2>&1; then exec rbox {what}; else exec podman {what}; fi");
    command.args(["--", host, &script]).stdin(input).stdout(output);
    let status = command.status().map_err(|error| kernel::Error::path("execve", &program, error))?;
    if status.success() {
        return Ok(());
    }
    // ssh, or the other side, has said why.
    Err(CommandError::new(format!("copying an image by way of {host} failed")))
}

fn create(path: &Path) -> Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = File::options();
    let made = options.write(true).create_new(true).mode(0o600).open(path);
    Ok(made.map_err(|error| kernel::Error::path("open", path, error))?)
}

/// A name for an archive that nobody has.
fn temporary(engine: &Engine) -> Result<Temporary> {
    let folder = engine.env().absolute("TMPDIR").unwrap_or_else(|| PathBuf::from("/var/tmp"));
    let mut random = [0; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .map_err(std::io::Error::from)?;
    let name: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Temporary(folder.join(format!("rbox-scp-{name}.tar"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let side = |host: &str, port: Option<&str>, image: &str| Side {
            host: Some(host.to_owned()),
            port: port.map(ToOwned::to_owned),
            image: image.to_owned(),
        };
        assert_eq!(parse("a/b:1").unwrap(), Side { image: "a/b:1".into(), ..Side::default() });
        assert_eq!(parse("host::a:1").unwrap(), side("host", None, "a:1"));
        assert_eq!(parse("me@host:22::").unwrap(), side("me@host", Some("22"), ""));
        assert_eq!(parse("ssh://me@host:22/run/s.sock::x").unwrap(), side("me@host", Some("22"), "x"));
        for wrong in
            ["-oProxyCommand=x::a", "me@-x::a", "h;id::a", "h:x::a", "::a", "me@localhost::a", "localhost::"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(quoted("a; rm -rf /").is_err() && quoted("$(id)").is_err() && quoted("alpine:3").is_ok());
    }
}
