//! The `OpenPGP` keys that may sign a Debian release, and when a signature by one of them is valid.
//!
//! The `pgp` crate does the mathematics on packets. Which keys can be trusted is decided here (RFC 9580, sections 5.2
//! and 10): a primary key with a valid self-signature, and subkeys bound in both directions, neither expired nor
//! revoked. The web of trust is deliberately not supported: keys are trusted because they are embedded or because the
//! configuration names their file.

use std::io::Cursor;
use std::sync::{Arc, LazyLock};

use include_dir::{Dir, include_dir};
use pgp::composed::{CleartextSignedMessage, Deserializable, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::ser::Serialize as _;
use pgp::types::{KeyDetails, PublicParams, Tag, Timestamp};

use super::error::{KeyFault, SignatureFault, Weak};

static KEY_FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/keys");

/// Debian's own keys. The files are part of the program and a test reads each.
static DEBIAN: LazyLock<Keyring> = LazyLock::new(|| {
    let mut certificates = Vec::new();
    for file in KEY_FILES.files().filter(|file| file.path().extension().is_some_and(|name| name == "asc")) {
        let name = file.path().display().to_string();
        let keyring = Keyring::parse(&name, file.contents()).expect("the embedded keys are tested");
        certificates.extend(keyring.certificates.iter().cloned());
    }
    Keyring { certificates: certificates.into() }
});

/// RSA keys with fewer bits are rejected.
const LEAST_RSA: u16 = 2048;
/// Signatures dated further in the future, in seconds, are rejected; clocks differ by less.
const FUTURE: i64 = 24 * 60 * 60;

/// A set of trusted `OpenPGP` certificates. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Keyring {
    certificates: Arc<[SignedPublicKey]>,
}

/// A file that is not a keyring.
#[derive(Debug, thiserror::Error)]
#[error("`{name}` is not a keyring: {reason}")]
pub struct KeyringError {
    /// The file.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A text that a trusted key has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The signed text, with `\n` line endings. Nothing outside of it may be used.
    pub text: String,
    /// Fingerprints of the trusted keys with valid signatures, in upper-case hexadecimal, sorted.
    pub signers: Vec<String>,
}

impl Keyring {
    /// Debian's archive keys, which are embedded in this program.
    #[must_use]
    pub fn debian() -> Self {
        DEBIAN.clone()
    }

    /// Reads the keys of a file, armoured or binary. `name` is for messages.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, KeyringError> {
        let fault = |reason: String| KeyringError { name: name.to_owned(), reason };
        let (keys, _) = SignedPublicKey::from_reader_many(Cursor::new(bytes))
            .map_err(|error| fault(error.to_string()))?;
        let certificates = keys.collect::<Result<Vec<_>, _>>().map_err(|error| fault(error.to_string()))?;
        if certificates.is_empty() {
            return Err(fault("there is no key in it".into()));
        }
        Ok(Self { certificates: certificates.into() })
    }

    /// True if one of these keys is Debian's.
    #[must_use]
    pub fn has_debians(&self) -> bool {
        let debian = Self::debian().fingerprints();
        self.fingerprints().iter().any(|fingerprint| debian.contains(fingerprint))
    }

    /// The fingerprints of all keys, in upper-case hexadecimal.
    #[must_use]
    pub fn fingerprints(&self) -> std::collections::BTreeSet<String> {
        self.keys().map(|(key, _)| key.fingerprint()).collect()
    }

    /// These keys and those of another keyring.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        Self { certificates: self.certificates.iter().chain(other.certificates.iter()).cloned().collect() }
    }

    /// The text of a clear-signed document if at least one signature is valid at `now` (seconds since the epoch).
    pub fn verify(&self, document: &str, now: i64) -> Result<Verified, SignatureFault> {
        let (message, _) = CleartextSignedMessage::from_string(document)
            .map_err(|error| SignatureFault::NotSigned(error.to_string()))?;
        let text = message.signed_text();
        let (mut signers, mut issuers, mut worst) = (Vec::new(), Vec::new(), None::<SignatureFault>);
        for signature in message.signatures() {
            let mut known = false;
            for (key, certificate) in self.keys() {
                if !key.issued(signature) {
                    continue;
                }
                known = true;
                match key.judge(certificate, signature, &text, now) {
                    Ok(()) => signers.push(key.fingerprint()),
                    Err(fault) if worst.as_ref().is_none_or(|worst| gravity(&fault) > gravity(worst)) => {
                        worst = Some(fault);
                    }
                    Err(_) => {}
                }
            }
            if !known {
                issuers.push(issuer(signature));
            }
        }
        if signers.is_empty() {
            return Err(worst.unwrap_or(SignatureFault::UnknownSigner { issuers }));
        }
        signers.sort();
        signers.dedup();
        Ok(Verified { text: text.replace("\r\n", "\n"), signers })
    }

    /// Every key with the certificate that it belongs to.
    fn keys(&self) -> impl Iterator<Item = (Key<'_>, &SignedPublicKey)> {
        self.certificates.iter().flat_map(|certificate| {
            std::iter::once(Key::Primary(certificate))
                .chain(certificate.public_subkeys.iter().map(Key::Subkey))
                .map(move |key| (key, certificate))
        })
    }
}

/// A primary key or a subkey.
#[derive(Clone, Copy)]
enum Key<'a> {
    Primary(&'a SignedPublicKey),
    Subkey(&'a SignedPublicSubKey),
}

impl Key<'_> {
    fn fingerprint(self) -> String {
        let fingerprint = match self {
            Self::Primary(key) => key.fingerprint(),
            Self::Subkey(key) => key.fingerprint(),
        };
        hex::encode_upper(fingerprint.as_bytes())
    }

    /// True if the signature claims that this key made it. Verification decides.
    fn issued(self, signature: &Signature) -> bool {
        let (fingerprint, id) = match self {
            Self::Primary(key) => (key.fingerprint(), key.legacy_key_id()),
            Self::Subkey(key) => (key.fingerprint(), key.legacy_key_id()),
        };
        signature.issuer_fingerprint().contains(&&fingerprint) || signature.issuer_key_id().contains(&&id)
    }

    /// Checks whether this key's signature over `text` is valid and acceptable.
    fn judge(
        self,
        certificate: &SignedPublicKey,
        signature: &Signature,
        text: &str,
        now: i64,
    ) -> Result<(), SignatureFault> {
        let key = || self.fingerprint();
        let verified = match self {
            Self::Primary(key) => signature.verify(&key.primary_key, text.as_bytes()),
            Self::Subkey(subkey) => signature.verify(&subkey.key, text.as_bytes()),
        };
        if verified.is_err() {
            return Err(SignatureFault::Mismatch { key: key() });
        }
        let created = match self {
            Self::Primary(primary) => seconds(primary.created_at()),
            Self::Subkey(subkey) => seconds(subkey.created_at()),
        };
        acceptable(signature, created, now)
            .map_err(|reason| SignatureFault::Unacceptable { key: key(), reason })?;
        let strong = |state| match self.strength().and(strength(certificate.primary_key.public_params())) {
            Ok(()) => state,
            Err(weak) => Err(KeyFault::Weak(weak)),
        };
        let state = primary_state(certificate, now).and_then(|may_sign| match self {
            Self::Primary(_) if may_sign => Ok(()),
            Self::Primary(_) => Err(KeyFault::NotBound),
            Self::Subkey(subkey) => subkey_state(certificate, subkey, now),
        });
        strong(state).map_err(|fault| SignatureFault::Unusable { key: key(), fault })
    }

    fn strength(self) -> Result<(), Weak> {
        match self {
            Self::Primary(key) => strength(key.primary_key.public_params()),
            Self::Subkey(subkey) => strength(subkey.key.public_params()),
        }
    }
}

/// Checks whether a key is strong enough. `gpgv` of the Debian releases that we know rejects the same ones.
fn strength(key: &PublicParams) -> Result<(), Weak> {
    match key {
        PublicParams::RSA(key) => {
            // An integer of many bytes, preceded by its number of bits (RFC 9580, section 3.2).
            let bits = key.to_bytes().ok().and_then(|bytes| Some(u16::from_be_bytes(*bytes.first_chunk()?)));
            match bits.unwrap_or_default() {
                bits if bits < LEAST_RSA => Err(Weak::Rsa(bits)),
                _ => Ok(()),
            }
        }
        PublicParams::ECDSA(_)
        | PublicParams::EdDSALegacy(_)
        | PublicParams::Ed25519(_)
        | PublicParams::Ed448(_) => Ok(()),
        _ => Err(Weak::Kind),
    }
}

/// Checks the type, the hash and the dates of a signature over a document.
fn acceptable(signature: &Signature, key_created: i64, now: i64) -> Result<(), &'static str> {
    if !matches!(signature.typ(), Some(SignatureType::Text | SignatureType::Binary)) {
        return Err("it is not a signature of a document");
    }
    let strong = [
        HashAlgorithm::Sha256,
        HashAlgorithm::Sha384,
        HashAlgorithm::Sha512,
        HashAlgorithm::Sha3_256,
        HashAlgorithm::Sha3_512,
    ];
    if !signature.hash_alg().is_some_and(|hash| strong.contains(&hash)) {
        return Err("its hash algorithm is too weak");
    }
    let Some(created) = signature.created().map(seconds) else {
        return Err("it has no date");
    };
    if created > now + FUTURE {
        return Err("it is dated in the future");
    }
    if created < key_created {
        return Err("it is older than its key");
    }
    match signature.signature_expiration_time() {
        Some(lifetime) if lifetime.as_secs() != 0 && created + i64::from(lifetime.as_secs()) <= now => {
            Err("it has expired")
        }
        _ => Ok(()),
    }
}

/// Checks that a certificate's primary key is valid at `now`. Returns whether it may sign documents.
fn primary_state(certificate: &SignedPublicKey, now: i64) -> Result<bool, KeyFault> {
    let key = &certificate.primary_key;
    let details = &certificate.details;
    if details.revocation_signatures.iter().any(|signature| signature.verify_key(key).is_ok()) {
        return Err(KeyFault::Revoked);
    }
    let by_user = details.users.iter().flat_map(|user| {
        let valid: Vec<&Signature> = user
            .signatures
            .iter()
            .filter(|signature| signature.verify_certification(key, Tag::UserId, &user.id).is_ok())
            .collect();
        let revoked = valid.iter().any(|signature| signature.typ() == Some(SignatureType::CertRevocation));
        if revoked { Vec::new() } else { valid }
    });
    let direct = details
        .direct_signatures
        .iter()
        .filter(|signature| signature.typ() == Some(SignatureType::Key) && signature.verify_key(key).is_ok());
    // Debian's keys have both kinds, and only one of them has an expiry date. The newest of each kind counts, and the
    // stricter of the two wins.
    let newest = [
        by_user.max_by_key(|signature| signature.created()),
        direct.max_by_key(|signature| signature.created()),
    ];
    let newest: Vec<&Signature> = newest.into_iter().flatten().collect();
    if newest.is_empty() {
        return Err(KeyFault::NotBound);
    }
    for signature in &newest {
        not_expired(certificate.created_at(), signature, now)?;
    }
    Ok(newest.iter().any(|signature| signature.key_flags().sign()))
}

/// Checks whether a subkey may sign documents at `now`. Its primary key is checked separately.
fn subkey_state(
    certificate: &SignedPublicKey,
    subkey: &SignedPublicSubKey,
    now: i64,
) -> Result<(), KeyFault> {
    let primary = &certificate.primary_key;
    let valid: Vec<&Signature> = subkey
        .signatures
        .iter()
        .filter(|signature| signature.verify_subkey_binding(primary, &subkey.key).is_ok())
        .collect();
    if valid.iter().any(|signature| signature.typ() == Some(SignatureType::SubkeyRevocation)) {
        return Err(KeyFault::Revoked);
    }
    let newest = valid.iter().max_by_key(|signature| signature.created()).ok_or(KeyFault::NotBound)?;
    // The subkey must confirm the binding, or anybody could adopt another's signing key (RFC 9580, section 5.2.1.9).
    let agreed = newest
        .embedded_signature()
        .is_some_and(|embedded| embedded.verify_primary_key_binding(&subkey.key, primary).is_ok());
    if !agreed || !newest.key_flags().sign() {
        return Err(KeyFault::NotBound);
    }
    not_expired(subkey.created_at(), newest, now)
}

fn not_expired(created: Timestamp, self_signature: &Signature, now: i64) -> Result<(), KeyFault> {
    let lifetime = self_signature.key_expiration_time().map_or(0, pgp::types::Duration::as_secs);
    let end = seconds(created) + i64::from(lifetime);
    if lifetime != 0 && end <= now { Err(KeyFault::Expired(end)) } else { Ok(()) }
}

fn seconds(timestamp: Timestamp) -> i64 {
    i64::from(timestamp.as_secs())
}

/// The key that a signature claims to be made by.
fn issuer(signature: &Signature) -> String {
    let fingerprint =
        signature.issuer_fingerprint().first().map(|fingerprint| fingerprint.as_bytes().to_vec());
    let id = signature.issuer_key_id().first().map(|id| id.as_ref().to_vec());
    fingerprint.or(id).map_or_else(|| "an unknown key".into(), hex::encode_upper)
}

/// Which of several signatures' faults to report: a modified text before a key's age.
fn gravity(fault: &SignatureFault) -> u8 {
    match fault {
        SignatureFault::Mismatch { .. } => 3,
        SignatureFault::Unacceptable { .. } => 2,
        SignatureFault::Unusable { .. } => 1,
        SignatureFault::NotSigned(_) | SignatureFault::UnknownSigner { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Signer, clear_signed};
    use super::*;

    const NOW: i64 = 1_790_000_000;

    #[test]
    fn the_embedded_keys_are_those_of_the_readme() {
        let readme = KEY_FILES.get_file("README.md").unwrap().contents_utf8().unwrap();
        let hexadecimal = |word: &&str| word.len() == 40 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let documented: Vec<&str> = readme.split(['|', ' ']).map(str::trim).filter(hexadecimal).collect();
        let mut embedded: Vec<String> = Vec::new();
        for (key, certificate) in Keyring::debian().keys() {
            embedded.push(key.fingerprint());
            // Usable on the day this was written, but not forever.
            let state = |now| match key {
                Key::Primary(_) => primary_state(certificate, now).map(drop),
                Key::Subkey(subkey) => subkey_state(certificate, subkey, now),
            };
            assert_eq!(state(NOW), Ok(()), "{}", key.fingerprint());
            assert!(matches!(state(2_100_000_000), Err(KeyFault::Expired(_))), "{}", key.fingerprint());
        }
        embedded.sort();
        let mut documented: Vec<String> = documented.into_iter().map(Into::into).collect();
        documented.sort();
        assert_eq!(embedded, documented);
    }

    #[test]
    fn a_good_signature_gives_the_text() {
        let signer = Signer::new();
        let document = signer.sign("Origin: Test\n- dashed\n");
        let verified = signer.keyring().verify(&document, signer.now()).unwrap();
        assert_eq!(verified.text, "Origin: Test\n- dashed\n");
        assert_eq!(verified.signers.len(), 1);
    }

    #[test]
    fn an_altered_text_is_refused() {
        let signer = Signer::new();
        let document = signer.sign("Suite: good\n").replace("Suite: good", "Suite: evil");
        let fault = signer.keyring().verify(&document, signer.now()).unwrap_err();
        assert!(matches!(fault, SignatureFault::Mismatch { .. }), "{fault}");
    }

    #[test]
    fn text_around_the_signed_one_is_refused() {
        let signer = Signer::new();
        let document = signer.sign("a\n");
        for around in
            [format!("Suite: evil\n{document}"), format!("{document}\nSuite: evil\n"), "Suite: x\n".into()]
        {
            let fault = signer.keyring().verify(&around, signer.now()).unwrap_err();
            assert!(matches!(fault, SignatureFault::NotSigned(_)), "{fault}");
        }
    }

    #[test]
    fn an_unknown_key_is_refused_and_named() {
        let (signer, other) = (Signer::new(), Signer::new());
        let fault = other.keyring().verify(&signer.sign("a\n"), signer.now()).unwrap_err();
        let SignatureFault::UnknownSigner { issuers } = fault else { panic!("{fault}") };
        assert_eq!(issuers, [signer.fingerprint()]);
    }

    #[test]
    fn one_good_signature_among_unknown_ones_is_enough() {
        let (signer, other) = (Signer::new(), Signer::new());
        let document = clear_signed("a\n", &[&other, &signer]);
        let verified = signer.keyring().verify(&document, signer.now()).unwrap();
        assert_eq!(verified.signers, [signer.fingerprint()]);
    }

    #[test]
    fn an_expired_key_is_refused() {
        let signer = Signer::lasting(std::time::Duration::from_secs(3600));
        let document = signer.sign("a\n");
        assert!(signer.keyring().verify(&document, signer.now()).is_ok());
        let fault = signer.keyring().verify(&document, signer.now() + 7200).unwrap_err();
        assert!(matches!(fault, SignatureFault::Unusable { fault: KeyFault::Expired(_), .. }), "{fault}");
    }

    /// Keys and signatures that were made by gpg.
    #[test]
    fn a_weak_key_is_refused_whatever_it_signs() {
        let verify = |key: &str, signed: &str, now: i64| {
            Keyring::parse("test.asc", key.as_bytes()).unwrap().verify(signed, now)
        };
        let now = 1_795_980_000;
        let weak = [
            (
                include_str!("tests/keys/rsa1024.asc"),
                include_str!("tests/keys/rsa1024.signed"),
                Weak::Rsa(1024),
            ),
            (include_str!("tests/keys/dsa2048.asc"), include_str!("tests/keys/dsa2048.signed"), Weak::Kind),
        ];
        for (key, signed, wanted) in weak {
            match verify(key, signed, now).unwrap_err() {
                SignatureFault::Unusable { fault: KeyFault::Weak(found), .. } => assert_eq!(found, wanted),
                fault => panic!("{wanted}: {fault}"),
            }
        }
        let (key, signed) =
            (include_str!("tests/keys/rsa2048.asc"), include_str!("tests/keys/rsa2048.signed"));
        assert_eq!(verify(key, signed, now).unwrap().text, "Origin: Test");
        // Another key does not help for a document that it has not signed.
        assert!(matches!(verify(key, weak[0].1, now), Err(SignatureFault::UnknownSigner { .. })));
        // Every embedded key is strong.
        for (key, _) in Keyring::debian().keys() {
            assert_eq!(key.strength(), Ok(()), "{}", key.fingerprint());
        }
    }

    #[test]
    fn a_revoked_key_is_refused() {
        let signer = Signer::new();
        let document = signer.sign("a\n");
        let fault = signer.revoked_keyring().verify(&document, signer.now()).unwrap_err();
        assert!(matches!(fault, SignatureFault::Unusable { fault: KeyFault::Revoked, .. }), "{fault}");
    }

    #[test]
    fn a_subkey_signs_if_it_is_bound_in_both_directions() {
        let signer = Signer::with_subkey();
        let document = signer.sign("a\n");
        assert!(signer.keyring().verify(&document, signer.now()).is_ok());
        let fault =
            signer.keyring_without_bindings_of(&Signer::with_subkey()).verify(&document, signer.now());
        let fault = fault.unwrap_err();
        assert!(matches!(fault, SignatureFault::Unusable { fault: KeyFault::NotBound, .. }), "{fault}");
    }

    #[test]
    fn a_signature_from_the_future_is_refused() {
        let signer = Signer::new();
        let fault = signer.keyring().verify(&signer.sign("a\n"), signer.now() - 10 * FUTURE).unwrap_err();
        assert!(matches!(fault, SignatureFault::Unacceptable { .. }), "{fault}");
    }

    #[test]
    fn a_file_without_keys_is_no_keyring() {
        for bytes in [&b""[..], b"hello", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nzz\n"] {
            assert!(Keyring::parse("x.asc", bytes).is_err());
        }
    }
}
