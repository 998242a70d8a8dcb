//! `rbox push`.

use std::path::PathBuf;

use super::commit::write_file;
use crate::cli::args::registry::RegistryArgs;
use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::progress::PullProgress;
use crate::cli::ui::Ui;
use crate::cli::values::go_bool;
use crate::config::Config;
use crate::engine::Engine;
use crate::events::Event;
use crate::image::archive::{
    SaveFormat, SaveImage, SaveLayers, SaveListRequest, SaveRequest, SaveTarget, Source, save, save_list,
};
use crate::image::compress::Settings;
use crate::image::encryption::EncryptionKeys;
use crate::image::manifest::Family;
use crate::image::policy::Policy;
use crate::image::push::{ListPushRequest, PushRequest, push, push_list};
use crate::image::signature::Signing;
use crate::image::transport::Transport;
use crate::image::{Error, Reference};
use crate::store::ImageRecord;

/// Push an image to a specified destination
///
/// Pushes a source image to a specified destination.
///
/// The Image "DESTINATION" uses a "transport":"details" format. See podman-push(1) section "DESTINATION" for the expected format.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "[options] IMAGE [DESTINATION]",
    after_help = "rbox push imageID docker://registry.example.com/repository:tag\n  rbox push --creds user:password localhost/image registry.example.com/image:1"
)]
pub struct Args {
    /// Compress tarball image layers when pushing to a directory using the 'dir' transport. (default is same compression type as source)
    #[arg(long, hide = true)]
    compress: bool,
    #[command(flatten)]
    compression: CompressionArgs,
    /// Write the digest of the pushed image to the specified file
    #[arg(long, value_name = "string")]
    digestfile: Option<PathBuf>,
    /// This is a Docker specific option and is a NOOP
    #[arg(long)]
    disable_content_trust: bool,
    /// Layers to encrypt, 0-indexed layer indices with support for negative indexing (e.g. 0 is the first layer, -1 is the last layer). If not defined, will encrypt all layers if encryption-key flag is specified
    #[arg(long, value_name = "ints", value_delimiter = ',', allow_negative_numbers = true)]
    encrypt_layer: Vec<i64>,
    /// Key with the encryption protocol to use to encrypt the image (e.g. jwe:/path/to/key.pem)
    #[arg(long, value_name = "stringArray")]
    encryption_key: Vec<String>,
    /// Manifest type (oci, v2s2, or v2s1) to use in the destination (default is manifest type of source, with fallbacks)
    #[arg(long, short, value_name = "string")]
    format: Option<String>,
    /// Suppress output information when pushing images
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    signing: SigningArgs,
    /// Path to a signature-policy file
    #[arg(long, value_name = "string", hide = true)]
    signature_policy: Option<PathBuf>,
    image: String,
    destination: Option<String>,
}

/// How layers are written.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct CompressionArgs {
    /// compression format to use
    #[arg(long, value_name = "string")]
    compression_format: Option<String>,
    /// compression level to use
    #[arg(long, value_name = "int", allow_negative_numbers = true)]
    compression_level: Option<i32>,
    /// Use the specified compression algorithm even if the destination contains a differently-compressed variant already
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_parser = go_bool)]
    force_compression: Option<bool>,
}

impl CompressionArgs {
    /// The settings, and whether they are for all layers: then a format was asked for by name.
    ///
    /// # Errors
    /// On formats and levels that there are not.
    pub fn into_settings(self, config: &Config) -> Result<(Settings, bool)> {
        let all = self.force_compression.unwrap_or(self.compression_format.is_some());
        let format = self.compression_format.as_deref().unwrap_or(&config.engine.compression_format);
        let level = self.compression_level.or(config.engine.compression_level);
        let settings =
            Settings::parse(format, level).map_err(|error| CommandError::new(error.to_string()))?;
        Ok((settings, all))
    }
}

/// How an image is signed.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SigningArgs {
    /// Discard any pre-existing signatures in the image
    #[arg(long)]
    remove_signatures: bool,
    /// Add a signature at the destination using the specified key
    #[arg(long, value_name = "string")]
    sign_by: Option<String>,
    /// Sign the image using a sigstore parameter file at PATH
    #[arg(long, value_name = "PATH")]
    sign_by_sigstore: Option<PathBuf>,
    /// Sign the image using a sigstore private key at PATH
    #[arg(long, value_name = "PATH")]
    sign_by_sigstore_private_key: Option<PathBuf>,
    /// Sign the image using a Sequoia-PGP key with the specified FINGERPRINT
    #[arg(long, value_name = "FINGERPRINT")]
    sign_by_sq_fingerprint: Option<String>,
    /// Read a passphrase for signing an image from PATH
    #[arg(long, value_name = "PATH")]
    sign_passphrase_file: Option<PathBuf>,
}

impl SigningArgs {
    /// Who signs. Signatures are never kept here, so there are none to remove.
    ///
    /// # Errors
    /// On what cannot be done, or not at once.
    pub fn into_signing(self) -> Result<Signing> {
        if self.sign_by_sq_fingerprint.is_some() {
            return Err(CommandError::new("not supported yet: --sign-by-sq-fingerprint"));
        }
        let signing = Signing {
            gpg_key: self.sign_by.filter(|key| !key.is_empty()),
            sigstore_key: self.sign_by_sigstore_private_key,
            sigstore_parameters: self.sign_by_sigstore,
            passphrase_file: self.sign_passphrase_file,
        };
        if signing.gpg_key.is_some() && signing.sigstore_key.is_some() && signing.passphrase_file.is_some() {
            return Err(CommandError::new(
                "only one of --sign-by, --sign-by-sq-fingerprint and --sign-by-sigstore-private-key can be used with --sign-passphrase-file",
            ));
        }
        Ok(signing)
    }
}

/// Pushes the image.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    if args.encryption_key.is_empty() && !args.encrypt_layer.is_empty() {
        let text = "unable to obtain encryption config: encryption keys are required for encrypting layers";
        return Err(CommandError::new(text));
    }
    let encryption = EncryptionKeys::read(&args.encryption_key, args.encrypt_layer).map_err(|error| {
        CommandError::from(Error::from(error)).context("unable to obtain encryption config")
    })?;
    let signing = args.signing.into_signing()?;
    let format = args.format.as_deref().map(parse_format).transpose()?.flatten();
    let (compression, recompress) = args.compression.into_settings(engine.config()?)?;
    let registry = args.registry.into_options(engine.config()?)?;
    let found = engine.store()?.find_any(&args.image).map_err(|error| match error {
        crate::store::Error::NotFound { text, .. } => Error::NotKnown(text).into(),
        error => CommandError::from(error),
    })?;
    if let Some(policy) = &args.signature_policy {
        Policy::given(policy).and_then(|policy| policy.check_stored(&args.image)).map_err(Error::from)?;
    }
    let text = args.destination.or(found.name).unwrap_or(args.image);
    if args.quiet {
        ui.set_quiet(true);
    }
    let image = found.record;
    let id = image.id.to_string();
    let mut progress = PullProgress::new(ui);
    let digest = match destination(&text)? {
        Transport::Docker(destination) if !args.compress => {
            if image.list {
                let list = image;
                let request = ListPushRequest {
                    list,
                    destination,
                    all: true,
                    format,
                    compression,
                    recompress,
                    also: Vec::new(),
                    signing,
                    encryption,
                    registry,
                };
                push_list(engine.images()?, &request, &mut progress)?
            } else {
                let by_digest = false;
                let request = PushRequest {
                    image,
                    destination,
                    format,
                    compression,
                    recompress,
                    signing,
                    encryption,
                    by_digest,
                    registry,
                };
                push(engine.images()?, &request, &mut progress)?.manifest.digest
            }
        }
        Transport::Docker(_) | Transport::Storage { .. } => {
            return Err(CommandError::new(format!("{text}: cannot push there with these options")));
        }
        Transport::Files(_) if !signing.is_empty() => {
            return Err(CommandError::new("not supported yet: signatures in files"));
        }
        Transport::Files(target) if image.list => {
            let layers = file_layers(&target, args.compress || recompress, (compression, recompress));
            let (list, family) = (image, format);
            let request = SaveListRequest { list, all: true, family, layers, encryption, registry, target };
            save_list(engine.images()?, &request, &mut progress)?
        }
        Transport::Files(files) => {
            let layers = file_layers(&files, args.compress || recompress, (compression, recompress));
            save(engine.images()?, to_files(image, files, format, (layers, encryption))?, &mut progress)?
        }
    };
    drop(progress);
    if let Some(path) = args.digestfile {
        write_file(&path, &digest.to_string())?;
    }
    engine.events()?.emit(&[Event::image("push", &id, &text)]);
    Ok(ExitStatus::SUCCESS)
}

/// How layers are written into files; those of a `dir:` stay as they are unless that was `asked` for.
pub(in crate::cli) fn file_layers(
    target: &Source,
    asked: bool,
    (settings, all): (Settings, bool),
) -> SaveLayers {
    match target {
        Source::Dir { .. } if !asked => SaveLayers::Usual,
        _ => SaveLayers::Compressed(settings, all),
    }
}

/// Where to; without a transport it is a registry.
pub(in crate::cli) fn destination(text: &str) -> Result<Transport> {
    if let Some(transport) = Transport::parse(text)? {
        return Ok(transport);
    }
    let reference = Reference::parse(text)
        .map_err(|source| CommandError::from(Error::Reference { text: text.to_owned(), source }))?;
    Ok(Transport::Docker(reference.with_default_tag()))
}

/// What is written into files.
fn to_files(
    record: ImageRecord,
    files: Source,
    family: Option<Family>,
    (layers, encryption): (SaveLayers, EncryptionKeys),
) -> Result<SaveRequest> {
    let full = |name: String| {
        let reference = Reference::parse(&name).map_err(|source| Error::Reference { text: name, source })?;
        Ok::<_, Error>(reference.with_default_tag().to_string())
    };
    let (format, path, names) = match (files, family) {
        (Source::OciLayout { .. } | Source::OciArchive { .. }, Some(Family::Docker))
        | (Source::DockerArchive { .. }, Some(Family::Oci)) => {
            return Err(CommandError::new("--format contradicts the transport of the destination"));
        }
        (Source::OciLayout { path, reference }, _) => (SaveFormat::OciDir, path, reference),
        (Source::OciArchive { path, reference }, _) => (SaveFormat::OciArchive, path, reference),
        (Source::DockerArchive { path, reference }, _) => {
            (SaveFormat::DockerArchive, path, reference.map(full).transpose()?)
        }
        (Source::Dir { path }, Some(Family::Docker)) => (SaveFormat::DockerDir, path, None),
        (Source::Dir { path }, None) => (SaveFormat::Dir, path, None),
        (Source::Dir { path }, Some(Family::Oci)) => (SaveFormat::OciManifestDir, path, None),
    };
    let images = vec![SaveImage { record, names: names.into_iter().collect() }];
    Ok(SaveRequest { images, format, layers, encryption, target: SaveTarget::Path(path) })
}

/// `--format` of documents; nothing keeps the image's own.
pub(in crate::cli) fn parse_format(text: &str) -> Result<Option<Family>> {
    match text {
        "" => Ok(None),
        "oci" => Ok(Some(Family::Oci)),
        "v2s2" | "docker" => Ok(Some(Family::Docker)),
        "v2s1" => Err(CommandError::new(
            "not supported: format \"v2s1\" has been removed from registries; use v2s2 or oci",
        )),
        _ => Err(CommandError::new(format!(
            "unknown format {text:?}. Choose one of the supported formats: 'oci', 'v2s2', or 'v2s1'"
        ))),
    }
}
