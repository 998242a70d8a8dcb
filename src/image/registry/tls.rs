//! TLS settings of one registry: trusted roots, the files of `certs.d/HOST/`, client certificates.
//!
//! `*.crt` are more trusted roots, `NAME.cert` with `NAME.key` is a client certificate. The first of
//! `~/.config/containers/certs.d`, `/etc/containers/certs.d` and `/etc/docker/certs.d` that has a folder for the
//! host counts. The system's roots are read when the first HTTPS client is made, not before.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::error::RegistryError;
use crate::config::Paths;

/// Where TLS settings come from.
#[derive(Debug, Clone, Default)]
pub(super) struct TlsSettings {
    /// Folder with `*.crt`, `*.cert`, `*.key`.
    pub(super) folder: Option<PathBuf>,
    /// Take any certificate.
    pub(super) insecure: bool,
}

/// The `certs.d` folder of `host`, if there is one.
pub(super) fn folder_for(host: &str, paths: &Paths) -> Option<PathBuf> {
    let user = paths.config_home.join("containers/certs.d");
    [user.as_path(), Path::new("/etc/containers/certs.d"), Path::new("/etc/docker/certs.d")]
        .into_iter()
        .map(|base| base.join(host))
        .find(|folder| folder.is_dir())
}

/// Builds the TLS configuration; `with_identity` offers the client certificate.
pub(super) fn configuration(
    settings: &TlsSettings,
    with_identity: bool,
) -> Result<ClientConfig, RegistryError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let files = settings.folder.as_deref().map(read_folder).transpose()?.unwrap_or_default();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| RegistryError::Setup(error.into()))?;
    let builder = if settings.insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    } else {
        let mut named = Vec::new();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for (path, certificate) in files.roots {
            named.push(certificate.clone());
            roots
                .add(certificate)
                .map_err(|error| RegistryError::Certificate { path, problem: error.to_string() })?;
        }
        if named.is_empty() {
            builder.with_root_certificates(roots)
        } else {
            let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
            let chain = chain.map_err(|error| RegistryError::Setup(error.into()))?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Named { chain, named }))
        }
    };
    match files.identity.filter(|_| with_identity) {
        None => Ok(builder.with_no_client_auth()),
        Some((path, chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| RegistryError::Certificate { path, problem: error.to_string() }),
    }
}

/// A configuration that trusts nobody, for registries over plain HTTP: it costs nothing to make.
pub(super) fn unused_configuration() -> Result<ClientConfig, RegistryError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| RegistryError::Setup(error.into()))?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

#[derive(Default)]
struct Files {
    roots: Vec<(PathBuf, CertificateDer<'static>)>,
    identity: Option<(PathBuf, Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

fn read_folder(folder: &Path) -> Result<Files, RegistryError> {
    let unusable =
        |path: &Path, problem: String| RegistryError::Certificate { path: path.to_owned(), problem };
    let entries = std::fs::read_dir(folder).map_err(|error| unusable(folder, error.to_string()))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let mut files = Files::default();
    for path in &paths {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => {
                let certificates = certificates(path).map_err(|problem| unusable(path, problem))?;
                files.roots.extend(certificates.into_iter().map(|certificate| (path.clone(), certificate)));
            }
            Some("cert") => {
                let key_path = path.with_extension("key");
                if !key_path.exists() {
                    return Err(unusable(path, format!("missing key {}", key_path.display())));
                }
                let chain = certificates(path).map_err(|problem| unusable(path, problem))?;
                let key = PrivateKeyDer::from_pem_file(&key_path)
                    .map_err(|error| unusable(&key_path, error.to_string()))?;
                files.identity = Some((path.clone(), chain, key));
            }
            Some("key") if !path.with_extension("cert").exists() => {
                return Err(unusable(
                    path,
                    format!("missing client certificate {}", path.with_extension("cert").display()),
                ));
            }
            _ => {}
        }
    }
    Ok(files)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?.collect();
    match all {
        Ok(list) if list.is_empty() => Err("it has no certificate".to_owned()),
        Ok(list) => Ok(list),
        Err(error) => Err(error.to_string()),
    }
}

/// Takes what a chain leads to, and the very certificates of the registry's folder: one that `openssl req -x509` makes
/// says that it is an authority, and no chain may end with such a one.
#[derive(Debug)]
struct Named {
    chain: Arc<WebPkiServerVerifier>,
    named: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified =
            self.chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        // The checker has looked at the time before it says this; the name is left.
        let is_authority =
            matches!(&verified, Err(error) if format!("{error:?}").contains("CaUsedAsEndEntity"));
        if is_authority && self.named.iter().any(|named| named == end_entity) {
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Takes any certificate, because the user or the administrator said so for this registry; the handshake's signature
/// is still checked, so that the server has the certificate's key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
