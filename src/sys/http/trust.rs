//! Whom a server is trusted by, and who we are to it: certificates and keys in PEM files.

use std::io;
use std::path::{Path, PathBuf};

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig};

use crate::sys::fs;

/// What is special about a server's TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trust {
    /// Files with certificates that are trusted beside the system's.
    pub authorities: Vec<PathBuf>,
    /// What proves to the server who we are.
    pub identity: Option<Identity>,
}

/// A client certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// A file with the certificate, and those that lead from it to its authority.
    pub certificate: PathBuf,
    /// A file with its private key.
    pub key: PathBuf,
}

/// Why such a file cannot be used. Nothing of a key is ever shown.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// It cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's word.
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
    /// It has not what it should have.
    #[error("`{}` has no {what} in PEM form", path.display())]
    Lacks {
        /// The file.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
    },
    /// A certificate and a key that do not belong together, or a key of a kind that is not known.
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
        // Those of the system that cannot be read are as good as absent: who trusts them is refused, not accepted.
        let system = rustls_native_certs::load_native_certs().certs;
        found.extend(system.iter().map(|certificate| Certificate::from_der(certificate).to_owned()));
        RootCerts::new_with_certs(&found)
    };
    let identity = trust.identity.as_ref().map(client).transpose()?;
    Ok(TlsConfig::builder().root_certs(roots).client_cert(identity).build())
}

/// A client certificate, of which is known that its key is its own: ureq panics where it is not.
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

/// The same key for ureq and for rustls.
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
