//! TLS certificates and keys in PEM files: the authorities that vouch for a server, and our client certificate.

use std::io;
use std::path::{Path, PathBuf};

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig};

use crate::sys::fs;

/// The TLS settings for a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trust {
    /// Files with certificates that are trusted in addition to the system's.
    pub authorities: Vec<PathBuf>,
    /// The client certificate for the server.
    pub identity: Option<Identity>,
}

/// A client certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// A file with the certificate and the chain to its authority.
    pub certificate: PathBuf,
    /// A file with its private key.
    pub key: PathBuf,
}

/// Why such a file cannot be used. No part of a key is ever shown.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// It cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// Its text is broken.
    #[error("`{}` is not PEM: {reason}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It does not contain what it should.
    #[error("`{}` has no {what} in PEM form", path.display())]
    Lacks {
        /// The file.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
    },
    /// A certificate and a key that do not belong together, or a key of an unknown kind.
    #[error("`{}` and `{}` cannot be used together: {reason}", identity.certificate.display(), identity.key.display())]
    Unfit {
        /// The files.
        identity: Identity,
        /// What is wrong.
        reason: String,
    },
}

/// The configuration of connections with this trust.
pub(super) fn configuration(trust: &Trust) -> Result<TlsConfig, TrustError> {
    let roots = if trust.authorities.is_empty() {
        RootCerts::PlatformVerifier
    } else {
        let mut found = Vec::new();
        for path in &trust.authorities {
            found.extend(certificates(path)?);
        }
        // System certificates that cannot be read are left out: their servers are refused, and never accepted.
        let system = rustls_native_certs::load_native_certs().certs;
        found.extend(system.iter().map(|certificate| Certificate::from_der(certificate).to_owned()));
        RootCerts::new_with_certs(&found)
    };
    let identity = trust.identity.as_ref().map(client).transpose()?;
    Ok(TlsConfig::builder().root_certs(roots).client_cert(identity).build())
}

/// A client certificate whose key was checked to belong to it, since ureq panics if it does not.
fn client(identity: &Identity) -> Result<ClientCert, TrustError> {
    let chain = certificates(&identity.certificate)?;
    let (key, der) = private_key(&identity.key)?;
    let certificates = chain.iter().map(|one| CertificateDer::from(one.der()).into_owned()).collect();
    CertifiedKey::from_der(certificates, der, &default_provider())
        .map_err(|error| TrustError::Unfit { identity: identity.clone(), reason: error.to_string() })?;
    Ok(ClientCert::new_with_certs(&chain, key))
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, TrustError> {
    let mut found = Vec::new();
    for item in items(path)? {
        if let PemItem::Certificate(certificate) = item {
            found.push(certificate);
        }
    }
    let lacks = || TrustError::Lacks { path: path.to_owned(), what: "certificate" };
    if found.is_empty() { Err(lacks()) } else { Ok(found) }
}

/// A key in the forms of ureq and of rustls.
fn private_key(path: &Path) -> Result<(PrivateKey<'static>, PrivateKeyDer<'static>), TrustError> {
    let bytes = read(path)?;
    let key = PrivateKey::from_pem(&bytes).ok().zip(PrivateKeyDer::from_pem_slice(&bytes).ok());
    key.ok_or_else(|| TrustError::Lacks { path: path.to_owned(), what: "private key without a passphrase" })
}

fn items(path: &Path) -> Result<Vec<PemItem<'static>>, TrustError> {
    let items = ureq::tls::parse_pem(&read(path)?).collect::<Result<_, _>>();
    items.map_err(|error: ureq::Error| TrustError::Pem { path: path.to_owned(), reason: error.to_string() })
}

fn read(path: &Path) -> Result<Vec<u8>, TrustError> {
    fs::read(path).map_err(|source| TrustError::Unreadable { path: path.to_owned(), source })
}
