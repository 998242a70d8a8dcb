//! Certificates of signers: a chain to a given authority, made for code signing, with the expected subject.

use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, ring as algorithms};

use super::key::PublicKey;
use crate::image::der::{CONTEXT_0, CONTEXT_3, Der, OCTET_STRING, OID, SEQUENCE, UTF8_STRING};
use crate::image::pem;

const CODE_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 3];
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// Fulcio's extensions 1.3.6.1.4.1.57264.1.1 and .8: who said who the signer is.
const ISSUER: &[u8] = &[0x2b, 6, 1, 4, 1, 0x83, 0xbf, 0x30, 1, 1];
const ISSUER_V2: &[u8] = &[0x2b, 6, 1, 4, 1, 0x83, 0xbf, 0x30, 1, 8];
/// In a subject alternative name: an e-mail address and a host.
const EMAIL: u8 = 0x81;
const HOST: u8 = 0x82;

static ALGORITHMS: &[&dyn rustls::pki_types::SignatureVerificationAlgorithm] = &[
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::ED25519,
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
];

/// Who may have signed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected<'a> {
    /// PEM of the authorities.
    pub(super) roots: &'a [u8],
    /// PEM of what may stand between them and the signer, besides what the signature brings.
    pub(super) intermediates: &'a [u8],
    /// Fulcio's issuer.
    pub(super) issuer: Option<&'a str>,
    /// The signer's address.
    pub(super) email: Option<&'a str>,
    /// The signer's host.
    pub(super) host: Option<&'a str>,
}

/// The key in a certificate that was good at some second since 1970.
pub(super) fn verify(
    leaf: &[u8],
    chain: &[u8],
    expected: Expected<'_>,
    second: u64,
) -> Result<PublicKey, String> {
    let leaf = pem::one(leaf).filter(|block| block.label == "CERTIFICATE");
    let leaf = leaf.ok_or("the signature's certificate is no PEM file with one certificate")?;
    let roots = certificates(expected.roots).ok_or("the authority is no PEM file")?;
    let mut intermediates = certificates(expected.intermediates).ok_or("an intermediate is no PEM file")?;
    let mut brought = certificates(chain).ok_or("the signature's chain is no PEM file")?;
    // The last one is the authority itself, which is trusted for being in the policy or not at all.
    brought.pop();
    intermediates.append(&mut brought);
    let anchors = roots
        .iter()
        .map(webpki::anchor_from_trusted_cert)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("the authority's certificate: {error}"))?;
    let der = CertificateDer::from(leaf.bytes.as_slice());
    // Fulcio always says it; others may leave it out, which allows everything.
    let usage = match expected.issuer {
        Some(_) => KeyUsage::required(CODE_SIGNING),
        None => KeyUsage::required_if_present(CODE_SIGNING),
    };
    let refused = |error: webpki::Error| format!("verifying leaf certificate failed: {error}");
    let certificate = EndEntityCert::try_from(&der).map_err(refused)?;
    certificate
        .verify_for_usage(
            ALGORITHMS,
            &anchors,
            &intermediates,
            UnixTime::since_unix_epoch(Duration::from_secs(second)),
            usage,
            None,
            None,
        )
        .map_err(refused)?;
    let extensions = extensions(&leaf.bytes).ok_or("the certificate's extensions are malformed")?;
    check_subject(&extensions, expected)?;
    PublicKey::from_info(certificate.subject_public_key_info().as_ref()).map_err(str::to_owned)
}

fn check_subject(extensions: &[(&[u8], &[u8])], expected: Expected<'_>) -> Result<(), String> {
    if let Some(wanted) = expected.issuer {
        let issuer = issuer(extensions)?;
        if issuer != wanted {
            return Err(format!("Unexpected Fulcio OIDC issuer {issuer:?}"));
        }
    }
    let names = names(extensions).ok_or("the certificate's subject is malformed")?;
    let of = |tag: u8| -> Vec<&str> {
        names
            .iter()
            .filter(|(kind, _)| *kind == tag)
            .filter_map(|(_, name)| std::str::from_utf8(name).ok())
            .collect()
    };
    if let Some(email) = expected.email
        && !of(EMAIL).contains(&email)
    {
        return Err(format!("Required email {email:?} not found (got {:?})", of(EMAIL)));
    }
    if let Some(host) = expected.host
        && !of(HOST).iter().any(|name| matches_host(name, host))
    {
        return Err(format!("Unexpected subject hostname: {:?} does not have {host:?}", of(HOST)));
    }
    Ok(())
}

fn matches_host(pattern: &str, host: &str) -> bool {
    let rest_of = |name: &str| name.split_once('.').map(|(_, rest)| rest.to_ascii_lowercase());
    match pattern.strip_prefix("*.") {
        Some(rest) => rest_of(host) == Some(rest.to_ascii_lowercase()),
        None => pattern.eq_ignore_ascii_case(host),
    }
}

fn issuer(extensions: &[(&[u8], &[u8])]) -> Result<String, String> {
    let find = |oid: &[u8]| extensions.iter().find(|(name, _)| *name == oid).map(|(_, value)| *value);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let first = find(ISSUER).map(text);
    let second = match find(ISSUER_V2) {
        None => None,
        Some(value) => {
            let mut der = Der(value);
            let value = der.expect(UTF8_STRING).filter(|_| der.0.is_empty());
            Some(text(value.ok_or("invalid ASN.1 in OIDC issuer v2 extension")?))
        }
    };
    match (first, second) {
        (Some(first), Some(second)) if first != second => {
            Err(format!("inconsistent OIDC issuer extension values: v1 {first:?}, v2 {second:?}"))
        }
        (Some(issuer), _) | (None, Some(issuer)) => Ok(issuer),
        (None, None) => Err("Fulcio certificate is missing the issuer extension".to_owned()),
    }
}

/// The names of the subject: kind and value.
fn names<'a>(extensions: &[(&[u8], &'a [u8])]) -> Option<Vec<(u8, &'a [u8])>> {
    let Some((_, value)) = extensions.iter().find(|(name, _)| *name == SUBJECT_ALTERNATIVE_NAME) else {
        return Some(Vec::new());
    };
    let mut list = Der(Der(value).expect(SEQUENCE)?);
    let mut names = Vec::new();
    while !list.0.is_empty() {
        names.push(list.next()?);
    }
    Some(names)
}

/// Names and values of all extensions; nothing where one is there twice.
fn extensions(certificate: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut body = Der(Der(Der(certificate).expect(SEQUENCE)?).expect(SEQUENCE)?);
    body.optional(CONTEXT_0);
    let mut list = Der(&[]);
    while let Some((tag, value)) = body.next() {
        if tag == CONTEXT_3 {
            list = Der(Der(value).expect(SEQUENCE)?);
        }
    }
    let mut found: Vec<(&[u8], &[u8])> = Vec::new();
    while !list.0.is_empty() {
        let mut extension = Der(list.expect(SEQUENCE)?);
        let name = extension.expect(OID)?;
        // BOOLEAN: critical.
        extension.optional(0x01);
        let value = extension.expect(OCTET_STRING)?;
        if found.iter().any(|(other, _)| *other == name) {
            return None;
        }
        found.push((name, value));
    }
    Some(found)
}

fn certificates(text: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let blocks = pem::blocks(text)?;
    let of_kind = blocks.into_iter().filter(|block| block.label == "CERTIFICATE");
    Some(of_kind.map(|block| CertificateDer::from(block.bytes)).collect())
}
