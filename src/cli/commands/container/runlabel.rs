//! `rbox container runlabel`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cli::ensure;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::secrets::Secrets;
use crate::cli::ui::Ui;
use crate::cli::values::go_bool;
use crate::config::Env;
use crate::engine::Engine;
use crate::store;

/// Execute the command described by an image label
///
/// Executes a command as described by a container image label. In the label, `podman` and `docker` are this program; NAME, IMAGE, OPT1, OPT2, OPT3, PWD and HOME are replaced.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] LABEL IMAGE [ARG...]",
    after_help = "rbox container runlabel run imageID\n  rbox container runlabel install imageID arg1 arg2\n  rbox container runlabel --display run myImage"
)]
pub struct Args {
    /// Path of the authentication file. Use REGISTRY_AUTH_FILE environment variable to override
    #[arg(long, value_name = "string")]
    authfile: Option<PathBuf>,
    /// Pathname of a directory containing TLS certificates and keys
    #[arg(long, value_name = "Pathname")]
    cert_dir: Option<PathBuf>,
    /// Credentials (USERNAME:PASSWORD) to use for authenticating to a registry
    #[arg(long, value_name = "Credentials")]
    creds: Option<String>,
    /// Preview the command that the label would run
    #[arg(long)]
    display: bool,
    /// Assign a name to the container
    #[arg(long, short, value_name = "string")]
    name: Option<String>,
    /// Optional parameter to pass for install
    #[arg(long, value_name = "string", hide = true)]
    opt1: Option<String>,
    /// Optional parameter to pass for install
    #[arg(long, value_name = "string", hide = true)]
    opt2: Option<String>,
    /// Optional parameter to pass for install
    #[arg(long, value_name = "string", hide = true)]
    opt3: Option<String>,
    /// Pull the image if it does not exist locally prior to executing the label contents
    #[arg(long, short, hide = true, num_args = 0..=1, default_missing_value = "true", value_parser = go_bool)]
    pull: Option<bool>,
    /// Suppress output information when installing images
    #[arg(long, short)]
    quiet: bool,
    /// Replace existing container with a new one from the image
    #[arg(long)]
    replace: bool,
    /// Require HTTPS and verify certificates when contacting registries
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_parser = go_bool)]
    tls_verify: Option<bool>,
    label: String,
    image: String,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs what the label says.
///
/// # Errors
/// When there is no such image or label, or the command fails.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    bring(ui, engine, &args)?;
    let found = engine.store()?.find_image(&args.image)?;
    let label = args.label.strip_prefix('/').unwrap_or(&args.label);
    let labels = &found.record.labels;
    let text = labels.iter().find(|(key, _)| key.eq_ignore_ascii_case(label)).map_or("", |(_, text)| text);
    if text.is_empty() {
        let image = &args.image;
        return Err(CommandError::new(format!("cannot find the value of label: {label} in image: {image}")));
    }
    let id = found.record.id.to_string();
    let tags = engine.store()?.names_of(&found.record.id)?;
    let image = found.name.or_else(|| tags.into_iter().next().map(|tag| tag.name));
    let image = image.unwrap_or_else(|| id.clone());
    let named = if id.starts_with(&args.image) { &image } else { &args.image };
    let name = args.name.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| short_name(named));
    let options = [&args.opt1, &args.opt2, &args.opt3].map(|option| option.clone().unwrap_or_default());
    let meaning = Meaning { name: &name, image: &image, options: &options, env: engine.env() };
    let (program, words) = meaning.command(text, &args.arguments, ui.program())?;
    if args.display {
        let own = std::env::args().next().unwrap_or_default();
        let shown: Vec<&str> = std::iter::once(&own).chain(&words).map(String::as_str).collect();
        ui.data(format_args!("command: {}", shown.join(" ")))?;
        return Ok(ExitStatus::SUCCESS);
    }
    if args.replace {
        replace(ui, engine, &words)?;
    }
    ui.flush()?;
    run(command(ui, engine, program), &words, &options, args.quiet)
}

/// Pulls the image, if it is not here.
fn bring(ui: &Ui, engine: &Engine, args: &Args) -> Result<()> {
    if args.pull == Some(false)
        || !matches!(engine.store()?.find_image(&args.image), Err(store::Error::NotFound { .. }))
    {
        return Ok(());
    }
    let mut child = ensure::own_program(ui, engine);
    child.arg("pull");
    for (flag, path) in [("--authfile", &args.authfile), ("--cert-dir", &args.cert_dir)] {
        if let Some(path) = path {
            child.arg(flag).arg(path);
        }
    }
    if let Some(verify) = args.tls_verify {
        child.arg(format!("--tls-verify={verify}"));
    }
    if args.quiet {
        child.arg("--quiet");
    }
    let secrets = Secrets { creds: args.creds.clone(), ..Secrets::default() };
    ensure::pull(child, &secrets, &args.image).map(drop)
}

/// Removes the container whose name the command gives to a new one.
fn replace(ui: &Ui, engine: &Engine, words: &[String]) -> Result<()> {
    let Some(at) = words.iter().position(|word| word == "--name") else { return Ok(()) };
    let Some(name) = words.get(at + 1) else { return Ok(()) };
    let mut child = ensure::own_program(ui, engine);
    child.args(["rm", "--force", "--ignore", "--volumes=false", "--", name]);
    ensure::run(child).map(drop)
}

/// What a label's command begins with.
#[derive(Debug, PartialEq, Eq)]
enum Program {
    Own,
    Path(String),
}

fn command(ui: &Ui, engine: &Engine, program: Program) -> Command {
    match program {
        Program::Own => ensure::own_program(ui, engine),
        Program::Path(program) => Command::new(program),
    }
}

fn run(mut command: Command, words: &[String], options: &[String; 3], quiet: bool) -> Result<ExitStatus> {
    command.args(words).env("PODMAN_RUNLABEL_NESTED", "1");
    for (name, value) in ["OPT1", "OPT2", "OPT3"].into_iter().zip(options) {
        if !value.is_empty() {
            command.env(name, value);
        }
    }
    if quiet {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    }
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().map_err(|e| crate::kernel::Error::path("execve", program, e))?;
    match status.code() {
        Some(0) => Ok(ExitStatus::SUCCESS),
        Some(code) => Err(CommandError::new(format!("exit status {code}"))),
        None => Err(CommandError::new(status.to_string())),
    }
}

/// The last part of an image's name, without its tag: a container may be called so.
fn short_name(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split(':').next().unwrap_or(last).to_owned()
}

/// What the words of a label stand for.
struct Meaning<'a> {
    name: &'a str,
    image: &'a str,
    options: &'a [String; 3],
    env: &'a Env,
}

impl Meaning<'_> {
    /// The program of the label's command, and what it gets.
    fn command(&self, text: &str, more: &[String], own: &str) -> Result<(Program, Vec<String>)> {
        let split = |text: &str| {
            shlex::split(text).ok_or_else(|| CommandError::new(format!("the label {text:?} has open quotes")))
        };
        let words = split(&[text, &more.join(" ")].join(" "))?;
        let Some((first, rest)) = words.split_first() else {
            return Err(CommandError::new("the label has no command"));
        };
        let rest: Vec<String> = rest.iter().map(|word| self.word(word)).collect();
        let rest = split(&self.expand(&rest.join(" ")))?;
        Ok((program(first, own)?, rest))
    }

    /// A word with NAME and IMAGE replaced.
    fn word(&self, word: &str) -> String {
        let mut word = word.to_owned();
        for (placeholder, value) in [("NAME", self.name), ("IMAGE", self.image)] {
            if word == placeholder {
                return value.to_owned();
            }
            word = word
                .replace(&format!("${placeholder}"), value)
                .replace(&format!("${{{placeholder}}}"), value);
            let ending = format!("={placeholder}");
            if let Some(begin) = word.strip_suffix(&ending) {
                word = format!("{begin}={value}");
            }
        }
        word
    }

    /// Replaces `$NAME` and `${NAME}`; names that nobody knows are nothing.
    fn expand(&self, text: &str) -> String {
        let (mut out, mut rest) = (String::new(), text);
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let braced = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
            let (name, behind) =
                braced.unwrap_or_else(|| after.split_at(after.find(|c| !is_part(c)).unwrap_or(after.len())));
            match name {
                "" => out.push('$'),
                name => out.push_str(&self.variable(name)),
            }
            rest = behind;
        }
        out + rest
    }

    fn variable(&self, name: &str) -> String {
        let lossy = |path: &Path| path.to_string_lossy().into_owned();
        match name {
            "OPT1" => self.options[0].clone(),
            "OPT2" => self.options[1].clone(),
            "OPT3" => self.options[2].clone(),
            "PWD" => std::env::current_dir().map(|dir| lossy(&dir)).unwrap_or_default(),
            "HOME" => self.env.path("HOME").map(lossy).unwrap_or_default(),
            _ => String::new(),
        }
    }
}

fn program(word: &str, own: &str) -> Result<Program> {
    let file = Path::new(word).file_name().unwrap_or_default();
    if word == "podman" || word == own || file == "docker" {
        return Ok(Program::Own);
    }
    if !word.contains('/') && !word.starts_with('.') {
        return Ok(Program::Path(word.to_owned()));
    }
    let path = std::path::absolute(word)?;
    if !path.exists() {
        return Err(CommandError::new(format!("stat {}: no such file or directory", path.display())));
    }
    Ok(Program::Path(path.to_string_lossy().into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_become_commands() {
        let env = Env::from_values(0, 0, [("HOME", "/home/u")]);
        let options = ["--opt".to_owned(), String::new(), "three".to_owned()];
        let meaning = Meaning { name: "c", image: "localhost/i:1", options: &options, env: &env };
        let words = |text: &str, more: &[&str]| {
            let more: Vec<String> = more.iter().map(|&word| word.to_owned()).collect();
            meaning.command(text, &more, "rbox").map(|(program, words)| (program, words.join("|")))
        };
        let own = |text: &str| (Program::Own, text.to_owned());
        for (text, more, expected) in [
            ("podman run IMAGE", &[][..], own("run|localhost/i:1")),
            (
                "docker run --name NAME ${IMAGE} $NAME x=NAME y=IMAGE z=IMAGES",
                &["a", "b"],
                own("run|--name|c|localhost/i:1|c|x=c|y=localhost/i:1|z=IMAGES|a|b"),
            ),
            (
                "/usr/bin/docker ${OPT1} -v $HOME:/h '${OPT2}' $OPT3 ${UNKNOWN} 5$",
                &[],
                own("--opt|-v|/home/u:/h|three|5$"),
            ),
            ("echo 'a  b'", &[], (Program::Path("echo".to_owned()), "a|b".to_owned())),
        ] {
            assert_eq!(words(text, more).unwrap(), expected, "{text}");
        }
        assert!(words("podman 'run", &[]).is_err());
        assert!(words("/no/such/program", &[]).is_err());
        assert_eq!(short_name("quay.io/a/b:1"), "b");
    }
}
