//! Making signatures: with a key of sigstore here, with an OpenPGP key by `gpg`, which alone knows private keys, smart cards
//! and agents.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;

use super::payload::{Format, Payload};
use super::private_key::PrivateKey;
use super::sigstore::{Attachment, PAYLOAD_TYPE, SIGNATURE};
use super::{Signature, SignatureError};
use crate::config::Env;
use crate::image::reference::Reference;
use crate::kernel::file::read_given;
use crate::store::Digest;

const FILE_MAX: u64 = 1 << 20;

/// Who signs, as the command line says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signing {
    /// `--sign-by`.
    pub gpg_key: Option<String>,
    /// `--sign-by-sigstore-private-key`.
    pub sigstore_key: Option<PathBuf>,
    /// `--sign-by-sigstore`.
    pub sigstore_parameters: Option<PathBuf>,
    /// `--sign-passphrase-file`.
    pub passphrase_file: Option<PathBuf>,
}

/// The file of `--sign-by-sigstore`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Parameters {
    private_key_file: Option<PathBuf>,
    private_key_passphrase_file: Option<PathBuf>,
    fulcio: Option<serde_json::Value>,
    #[serde(rename = "rekorURL")]
    rekor: Option<String>,
}

/// One that signs.
pub(crate) enum Signer {
    /// A key of sigstore.
    Sigstore(Box<PrivateKey>),
    /// A key that `gpg` has.
    Gpg {
        /// The program.
        program: PathBuf,
        /// The key, as `gpg` takes it.
        key: String,
        /// For the key.
        passphrase_file: Option<PathBuf>,
    },
}

impl Signing {
    /// Whether nobody signs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self { passphrase_file: self.passphrase_file.clone(), ..Self::default() }
    }

    /// Makes ready everything that may fail before anything is sent.
    pub(crate) fn signers(&self, env: &Env) -> Result<Vec<Signer>, SignatureError> {
        let mut signers = Vec::new();
        if let Some(key) = &self.sigstore_key {
            signers.push(sigstore(key, self.passphrase_file.as_deref())?);
        }
        if let Some(path) = &self.sigstore_parameters {
            signers.push(parameters(path)?);
        }
        if let Some(key) = &self.gpg_key {
            let program = env.find_program("gpg", []).ok_or(SignatureError::NoProgram)?;
            let (key, passphrase_file) = (key.clone(), self.passphrase_file.clone());
            signers.push(Signer::Gpg { program, key, passphrase_file });
        }
        Ok(signers)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, SignatureError> {
    read_given(path, FILE_MAX).map_err(SignatureError::Read)
}

fn sigstore(path: &Path, passphrase_file: Option<&Path>) -> Result<Signer, SignatureError> {
    // The first line, as with gpg.
    let passphrase = match passphrase_file {
        Some(file) => read(file)?.split(|byte| *byte == b'\n').next().unwrap_or_default().to_vec(),
        None => return Err(SignatureError::NoPassphrase),
    };
    let problem = |message| SignatureError::Key { path: path.to_owned(), message };
    let key = PrivateKey::read(&read(path)?, &passphrase).map_err(problem)?;
    Ok(Signer::Sigstore(Box::new(key)))
}

fn parameters(path: &Path) -> Result<Signer, SignatureError> {
    let invalid = |message: String| SignatureError::File { path: path.to_owned(), message };
    let text = String::from_utf8_lossy(&read(path)?).into_owned();
    let parameters: Parameters = serde_saphyr::from_str(&text).map_err(|error| invalid(error.to_string()))?;
    if parameters.fulcio.is_some() || parameters.rekor.is_some() {
        return Err(invalid("not supported yet: signing with fulcio or rekorURL".to_owned()));
    }
    let key = parameters.private_key_file.ok_or_else(|| invalid("privateKeyFile is missing".to_owned()))?;
    sigstore(&key, parameters.private_key_passphrase_file.as_deref())
}

impl Signer {
    /// The way it signs, for people.
    pub(crate) fn way(&self) -> &'static str {
        match self {
            Self::Sigstore(_) => "a sigstore signature",
            Self::Gpg { .. } => "simple signing",
        }
    }

    /// Signs that the image called `name` has the manifest `digest`.
    pub(crate) fn sign(&self, name: &Reference, digest: &Digest) -> Result<Signature, SignatureError> {
        let payload = Payload { digest: digest.clone(), reference: name.to_string() };
        match self {
            Self::Sigstore(key) => {
                let payload = payload.to_json(Format::Sigstore);
                let signature = BASE64.encode(key.sign(&payload).ok_or(SignatureError::Failed)?);
                let annotations = [(SIGNATURE.to_owned(), signature)].into();
                let media_type = PAYLOAD_TYPE.to_owned();
                Ok(Signature::Sigstore(Attachment { media_type, payload, annotations }))
            }
            Self::Gpg { program, key, passphrase_file } => {
                let payload = payload.to_json(Format::Simple);
                gpg(program, key, passphrase_file.as_deref(), &payload).map(Signature::Simple)
            }
        }
    }
}

fn gpg(
    program: &Path,
    key: &str,
    passphrase_file: Option<&Path>,
    payload: &[u8],
) -> Result<Vec<u8>, SignatureError> {
    let failed = |message: String| SignatureError::Gpg { key: key.to_owned(), message };
    let mut command = Command::new(program);
    command.args(["--batch", "--quiet", "--no-armor", "--local-user", key]);
    if let Some(file) = passphrase_file {
        command.args(["--pinentry-mode", "loopback", "--passphrase-file"]).arg(file);
    }
    command.args(["--sign", "--output", "-"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // What it says about input that it did not read is in its messages. It fits into the pipe.
        let _ = stdin.write_all(payload);
    }
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(failed(message.trim().replace('\n', "; ")));
    }
    Ok(output.stdout)
}
