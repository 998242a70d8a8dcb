//! `rbox pull`.

use std::path::PathBuf;

use crate::cli::args::registry::{PlatformArgs, RegistryArgs, decryption_keys};
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::progress::PullProgress;
use crate::cli::secrets::Secrets;
use crate::cli::ui::Ui;
use crate::engine::Engine;
use crate::events::Event;
use crate::image::transport::Transport;
use crate::image::{self, Context, PullPolicy, PullRequest};
use crate::store::ImageId;

/// Pull an image from a registry
///
/// Pulls an image from a registry and stores it locally.
///
/// An image can be pulled by tag or digest. If a tag is not specified, the image with the 'latest' tag is pulled.
#[derive(Debug, clap::Args)]
#[command(after_help = "rbox pull imageName\n  rbox pull fedora:latest")]
pub struct Args {
    /// All tagged images in the repository will be pulled
    #[arg(long, short)]
    all_tags: bool,
    /// Key needed to decrypt the image (e.g. /path/to/key.pem)
    #[arg(long, value_name = "stringArray")]
    decryption_key: Vec<String>,
    /// This is a Docker specific option and is a NOOP
    #[arg(long)]
    disable_content_trust: bool,
    /// Pull image policy ("always"|"missing"|"never"|"newer")
    #[arg(long, alias = "pull", value_name = "string", default_value = "always")]
    policy: String,
    /// Suppress output information when pulling images
    #[arg(long, short)]
    quiet: bool,
    /// Pathname of signature policy file (not usually used)
    #[arg(long, value_name = "Pathname", hide = true)]
    signature_policy: Option<PathBuf>,
    /// Take credentials and keys from another rbox, which has no arguments for them
    #[arg(long, hide = true)]
    secrets_from_stdin: bool,
    #[command(flatten)]
    platform: PlatformArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    /// What to pull
    #[arg(required = true)]
    image: Vec<String>,
}

/// Pulls each image and prints its id.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let policy: PullPolicy =
        args.policy.parse().map_err(|error: image::PullPolicyError| CommandError::new(error.to_string()))?;
    let mut registry = args.registry;
    let mut keys = args.decryption_key;
    if args.secrets_from_stdin {
        let secrets = Secrets::read()?;
        registry.take_credentials(secrets.creds);
        keys.extend(secrets.decryption_key);
    }
    let mut request = PullRequest {
        name: String::new(),
        policy,
        platform: args.platform.into_platform()?,
        all_tags: args.all_tags,
        decryption: decryption_keys(&keys)?,
        registry: registry.into_options(engine.config()?)?,
    };
    if args.quiet {
        ui.set_quiet(true);
    }
    warn_about_stores(ui, engine, &args.image)?;
    let mut last = None;
    for name in args.image {
        request.name = name;
        let pulled = {
            let mut progress = PullProgress::new(ui);
            let context = Context { policy_file: args.signature_policy.as_deref(), ..engine.images()? };
            image::pull(context, &request, &mut progress)
        };
        match pulled {
            Ok(ids) => {
                let event = |id: &ImageId| Event::image("pull", &id.to_string(), &request.name);
                engine.events()?.emit(&ids.iter().map(event).collect::<Vec<_>>());
                ids.iter().try_for_each(|id| ui.data(id))?;
            }
            Err(error) => {
                // The others are pulled all the same; the last failure ends the command.
                let error = CommandError::from(error);
                let mut event = Event::image("pull-error", "", &request.name);
                error.message().clone_into(&mut event.error);
                engine.events()?.emit(&[event]);
                if let Some(earlier) = last.replace(error) {
                    ui.error(&earlier);
                }
            }
        }
    }
    last.map_or(Ok(ExitStatus::SUCCESS), Err)
}

/// Says that stores are not read in which podman would have looked first.
fn warn_about_stores(ui: &mut Ui, engine: &Engine, names: &[String]) -> Result<()> {
    let mut plain = names.iter().filter(|name| matches!(Transport::parse(name), Ok(None)));
    let Some(name) = plain.next() else { return Ok(()) };
    for store in &engine.paths()?.additional_stores {
        let is_ours = store.join("store.json").exists();
        let store = store.display();
        if is_ours {
            ui.warn(format_args!(
                "{store}, of additionalimagestores in storage.conf, is not searched: the files of its layers are its owner's, whose \
                 ids your containers do not have (`{} push IMAGE oci:DIR:NAME` writes what `pull oci:DIR:NAME` of everybody reads)",
                ui.program().to_owned()
            ));
            continue;
        }
        ui.warn(format_args!(
            "{store}, of additionalimagestores in storage.conf, is not searched: it is a store of podman's form \
             (`{} pull 'containers-storage:[overlay@{store}]{name}'` brings an image over)",
            ui.program().to_owned()
        ));
    }
    Ok(())
}
