//! `rbox manifest push`.

use std::path::PathBuf;

use super::find;
use crate::cli::args::registry::RegistryArgs;
use crate::cli::commands::commit::write_file;
use crate::cli::commands::image::rm::remove_lists;
use crate::cli::commands::push::{CompressionArgs, SigningArgs, destination, file_layers, parse_format};
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::progress::PullProgress;
use crate::cli::ui::Ui;
use crate::cli::values::go_bool;
use crate::engine::Engine;
use crate::image::archive::{SaveListRequest, save_list};
use crate::image::compress::Settings;
use crate::image::encryption::EncryptionKeys;
use crate::image::push::{ListPushRequest, push_list};
use crate::image::transport::Transport;

/// Push a manifest list or image index to a registry
///
/// Pushes manifest lists and image indexes to registries.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] LIST [DESTINATION]",
    after_help = "rbox manifest push mylist:v1.11 docker://quay.io/myuser/image-name:v1.11"
)]
pub struct Args {
    /// add instances with selected compression while pushing
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    add_compression: Vec<String>,
    /// also push the images in the list
    #[arg(long, num_args = 0..=1, default_value_t = true, default_missing_value = "true",
        action = clap::ArgAction::Set, value_parser = go_bool)]
    all: bool,
    #[command(flatten)]
    compression: CompressionArgs,
    /// after copying the image, write the digest of the resulting digest to the file
    #[arg(long, value_name = "string")]
    digestfile: Option<PathBuf>,
    /// manifest type (oci or v2s2) to attempt to use when pushing the manifest list (default is manifest type of source)
    #[arg(long, short, value_name = "string")]
    format: Option<String>,
    /// neither require HTTPS nor verify certificates when accessing the registry
    #[arg(long, hide = true)]
    insecure: bool,
    /// remove the local manifest list after push
    #[arg(long, short, hide = true)]
    purge: bool,
    /// don't output progress information when pushing lists
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    /// remove the manifest list if push succeeds
    #[arg(long)]
    rm: bool,
    #[command(flatten)]
    signing: SigningArgs,
    list: String,
    destination: Option<String>,
}

/// Pushes the list.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let also = args
        .add_compression
        .iter()
        .map(|format| Settings::parse(format, None).map_err(|error| CommandError::new(error.to_string())));
    let also = also.collect::<Result<Vec<_>>>()?;
    if !also.is_empty() && !args.all {
        return Err(CommandError::new(
            "--add-compression needs the images to be pushed: do without --all=false",
        ));
    }
    let signing = args.signing.into_signing()?;
    let format = args.format.as_deref().map(parse_format).transpose()?.flatten();
    let (compression, recompress) = args.compression.into_settings(engine.config()?)?;
    let mut registry = args.registry.into_options(engine.config()?)?;
    if args.insecure {
        if registry.tls_verify.is_some() {
            return Err(CommandError::new("--insecure may not be used with --tls-verify"));
        }
        registry.tls_verify = Some(false);
    }
    let list = find(engine, &args.list)
        .map_err(|error| error.context(format!("retrieving local image from image name {}", args.list)))?;
    let text = args.destination.unwrap_or_else(|| args.list.clone());
    let destination = destination(&text)?;
    if args.quiet {
        ui.set_quiet(true);
    }
    let digest = {
        let mut progress = PullProgress::new(ui);
        let (all, encryption) = (args.all, EncryptionKeys::default());
        match destination {
            Transport::Docker(destination) => {
                let request = ListPushRequest {
                    list,
                    destination,
                    all,
                    format,
                    compression,
                    recompress,
                    also,
                    signing,
                    encryption,
                    registry,
                };
                push_list(engine.images()?, &request, &mut progress)?
            }
            Transport::Files(target) => {
                if !signing.is_empty() {
                    return Err(CommandError::new("not supported yet: signatures in files"));
                }
                if !also.is_empty() {
                    return Err(CommandError::new("not supported yet: --add-compression in files"));
                }
                let layers = file_layers(&target, recompress, (compression, recompress));
                let family = format;
                let request = SaveListRequest { list, all, family, layers, encryption, registry, target };
                save_list(engine.images()?, &request, &mut progress)?
            }
            Transport::Storage { .. } => {
                return Err(CommandError::new(format!("{text}: podman's store is only read here")));
            }
        }
    };
    if let Some(path) = args.digestfile {
        write_file(&path, &digest.to_string())?;
    }
    if args.rm || args.purge {
        ui.set_quiet(true);
        return remove_lists(ui, engine, vec![args.list], false);
    }
    Ok(ExitStatus::SUCCESS)
}
