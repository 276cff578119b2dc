//! For tests only: `OpenPGP` keys that are made on the fly, and a miniature archive on loopback.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pgp::composed::{
    ArmorOptions, CleartextSignedMessage, EncryptionCaps, KeyType, SecretKeyParamsBuilder, SignedPublicKey,
    SignedSecretKey, SubkeyParamsBuilder,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{KeyFlags, Signature, SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::ser::Serialize as _;
use pgp::types::{KeyDetails, Password, SigningKey, Timestamp};
use sha2::{Digest as _, Sha256};

use super::keys::Keyring;
use crate::sys::clock;

/// A key pair made for one test.
pub(super) struct Signer {
    secret: SignedSecretKey,
    public: SignedPublicKey,
    now: u32,
}

impl Signer {
    /// A key without a subkey that never expires, made now.
    pub(super) fn new() -> Self {
        Self::at(clock::unix_now())
    }

    /// The same, made at a time in seconds since the epoch.
    pub(super) fn at(now: i64) -> Self {
        Self::generate(now, false)
    }

    /// A key whose subkey signs.
    pub(super) fn with_subkey() -> Self {
        Self::generate(clock::unix_now(), true)
    }

    /// A key that expires.
    pub(super) fn lasting(lifetime: Duration) -> Self {
        let mut signer = Self::new();
        let mut flags = KeyFlags::default();
        flags.set_sign(true);
        let lifetime = SubpacketData::KeyExpirationTime(lifetime.try_into().unwrap());
        let direct = signer.sign_key(SignatureType::Key, vec![lifetime, SubpacketData::KeyFlags(flags)]);
        signer.public.details.direct_signatures.push(direct);
        signer
    }

    fn generate(now: i64, subkey: bool) -> Self {
        let now = u32::try_from(now).unwrap();
        let created = Timestamp::from_secs(now);
        let mut parameters = SecretKeyParamsBuilder::default();
        parameters
            .key_type(KeyType::Ed25519Legacy)
            .created_at(created)
            .can_certify(true)
            .can_sign(!subkey)
            .can_encrypt(EncryptionCaps::None)
            .primary_user_id("Test <test@example.com>".into());
        if subkey {
            let mut signing = SubkeyParamsBuilder::default();
            signing.key_type(KeyType::Ed25519Legacy).created_at(created).can_sign(true);
            parameters.subkeys(vec![signing.build().unwrap()]);
        }
        let secret = parameters.build().unwrap().generate(rand::thread_rng()).unwrap();
        Self { public: SignedPublicKey::from(secret.clone()), secret, now }
    }

    /// The time at which its signatures are made.
    pub(super) fn now(&self) -> i64 {
        i64::from(self.now)
    }

    /// The fingerprint of the signing key.
    pub(super) fn fingerprint(&self) -> String {
        let key = self.public.public_subkeys.first();
        let fingerprint = key.map_or_else(|| self.public.fingerprint(), KeyDetails::fingerprint);
        hex::encode_upper(fingerprint.as_bytes())
    }

    /// Signs a document.
    pub(super) fn sign(&self, text: &str) -> String {
        clear_signed(text, &[self])
    }

    /// The public key as an armoured file.
    pub(super) fn armoured(&self) -> String {
        self.public.to_armored_string(ArmorOptions::default()).unwrap()
    }

    /// A keyring with nothing but this key.
    pub(super) fn keyring(&self) -> Keyring {
        Keyring::parse("test.asc", self.armoured().as_bytes()).unwrap()
    }

    /// The same after the owner has revoked the key.
    pub(super) fn revoked_keyring(&self) -> Keyring {
        let mut public = self.public.clone();
        public.details.revocation_signatures.push(self.sign_key(SignatureType::KeyRevocation, Vec::new()));
        Keyring::parse("test.gpg", &public.to_bytes().unwrap()).unwrap()
    }

    /// The same, but the subkey has another key's binding signatures.
    pub(super) fn keyring_without_bindings_of(&self, other: &Self) -> Keyring {
        let mut public = self.public.clone();
        public.public_subkeys[0].signatures = other.public.public_subkeys[0].signatures.clone();
        Keyring::parse("test.gpg", &public.to_bytes().unwrap()).unwrap()
    }

    fn sign_key(&self, kind: SignatureType, extra: Vec<SubpacketData>) -> Signature {
        let primary = &self.secret.primary_key;
        self.configured(kind, primary, extra)
            .sign_key(primary, &Password::empty(), &self.public.primary_key)
            .unwrap()
    }

    fn sign_text(&self, text: &str) -> Signature {
        let password = Password::empty();
        if let Some(subkey) = self.secret.secret_subkeys.first() {
            self.configured(SignatureType::Text, &subkey.key, Vec::new()).sign(
                &subkey.key,
                &password,
                text.as_bytes(),
            )
        } else {
            let primary = &self.secret.primary_key;
            self.configured(SignatureType::Text, primary, Vec::new()).sign(
                primary,
                &password,
                text.as_bytes(),
            )
        }
        .unwrap()
    }

    fn configured(
        &self,
        kind: SignatureType,
        key: &impl SigningKey,
        extra: Vec<SubpacketData>,
    ) -> SignatureConfig {
        let mut configuration = SignatureConfig::v4(kind, key.algorithm(), HashAlgorithm::Sha256);
        let dated = SubpacketData::SignatureCreationTime(Timestamp::from_secs(self.now));
        configuration.hashed_subpackets = [dated, SubpacketData::IssuerFingerprint(key.fingerprint())]
            .into_iter()
            .chain(extra)
            .map(|data| Subpacket::regular(data).unwrap())
            .collect();
        configuration
    }
}

/// A document with the signatures of several keys.
pub(super) fn clear_signed(text: &str, signers: &[&Signer]) -> String {
    let sign = |text: &str| Ok(signers.iter().map(|signer| signer.sign_text(text)).collect());
    let message = CleartextSignedMessage::new_many(text, sign).unwrap();
    message.to_armored_string(ArmorOptions::default()).unwrap()
}

/// How a package's archives are compressed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pack {
    Plain,
    Gzip,
    Xz,
    Zstd,
}

/// A package under construction.
pub(super) struct Deb {
    pack: Pack,
    control: tar::Builder<Vec<u8>>,
    data: tar::Builder<Vec<u8>>,
}

impl Deb {
    /// A package with nothing but a control file.
    pub(super) fn new(name: &str, version: &str) -> Self {
        Self::saying(name, version, "")
    }

    /// The same, with further fields in its control file.
    pub(super) fn saying(name: &str, version: &str, fields: &str) -> Self {
        let deb = Self {
            pack: Pack::Xz,
            control: tar::Builder::new(Vec::new()),
            data: tar::Builder::new(Vec::new()),
        };
        let control =
            format!("Package: {name}\nVersion: {version}\nArchitecture: all\n{fields}Description: a test\n");
        deb.control("control", &control)
    }

    pub(super) fn packed(mut self, pack: Pack) -> Self {
        self.pack = pack;
        self
    }

    pub(super) fn control(mut self, name: &str, text: &str) -> Self {
        let mut header = header(tar::EntryType::Regular, 0o644, text.len());
        self.control.append_data(&mut header, format!("./{name}"), text.as_bytes()).unwrap();
        self
    }

    pub(super) fn file(mut self, path: &str, content: &[u8], mode: u32) -> Self {
        let mut header = header(tar::EntryType::Regular, mode, content.len());
        self.data.append_data(&mut header, format!("./{path}"), content).unwrap();
        self
    }

    /// A file whose path is written unchanged, even if it is invalid.
    pub(super) fn raw_file(mut self, path: &str, content: &[u8]) -> Self {
        let mut header = header(tar::EntryType::Regular, 0o644, content.len());
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        self.data.append(&header, content).unwrap();
        self
    }

    pub(super) fn directory(mut self, path: &str, mode: u32) -> Self {
        let mut header = header(tar::EntryType::Directory, mode, 0);
        self.data.append_data(&mut header, format!("./{path}/"), &[][..]).unwrap();
        self
    }

    pub(super) fn symlink(self, path: &str, target: &str) -> Self {
        self.link(tar::EntryType::Symlink, path, target)
    }

    pub(super) fn hard_link(self, path: &str, target: &str) -> Self {
        self.link(tar::EntryType::Link, path, target)
    }

    pub(super) fn device(self, path: &str) -> Self {
        self.link(tar::EntryType::Char, path, "")
    }

    fn link(mut self, kind: tar::EntryType, path: &str, target: &str) -> Self {
        let mut header = header(kind, 0o777, 0);
        header.set_link_name_literal(target).unwrap();
        self.data.append_data(&mut header, format!("./{path}"), &[][..]).unwrap();
        self
    }

    /// The finished `.deb`.
    pub(super) fn build(&self) -> Vec<u8> {
        let suffix = match self.pack {
            Pack::Plain => "",
            Pack::Gzip => ".gz",
            Pack::Xz => ".xz",
            Pack::Zstd => ".zst",
        };
        let mut deb = b"!<arch>\n".to_vec();
        let mut member = |name: &str, bytes: &[u8]| {
            let size = bytes.len();
            deb.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, 100_644).bytes());
            deb.extend(bytes);
            if size % 2 == 1 {
                deb.push(b'\n');
            }
        };
        member("debian-binary", b"2.0\n");
        member(&format!("control.tar{suffix}"), &self.pack.compress(&finished(&self.control)));
        member(&format!("data.tar{suffix}"), &self.pack.compress(&finished(&self.data)));
        deb
    }
}

/// The finished tar of a builder that is used further.
fn finished(builder: &tar::Builder<Vec<u8>>) -> Vec<u8> {
    let mut bytes = builder.get_ref().clone();
    bytes.extend([0; 1024]);
    bytes
}

fn header(kind: tar::EntryType, mode: u32, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size as u64);
    header
}

impl Pack {
    pub(super) fn compress(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Plain => bytes.to_vec(),
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Self::Xz => {
                let options = lzma_rust2::XzOptions::with_preset(0);
                let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Self::Zstd => zstd::encode_all(bytes, 1).unwrap(),
        }
    }
}

/// A package of an archive, with its index entry.
pub(super) struct Published {
    name: String,
    version: String,
    fields: String,
    deb: Vec<u8>,
}

impl Published {
    pub(super) fn new(name: &str, version: &str, fields: &str, fill: impl FnOnce(Deb) -> Deb) -> Self {
        let deb = fill(Deb::new(name, version)).build();
        Self { name: name.into(), version: version.into(), fields: fields.into(), deb }
    }

    /// Its path on the mirror.
    pub(super) fn path(&self) -> String {
        format!("pool/{}_{}.deb", self.name, self.version)
    }

    fn stanza(&self) -> String {
        let Self { name, version, fields, deb } = self;
        let digest = hex::encode(Sha256::digest(deb));
        format!(
            "Package: {name}\nVersion: {version}\nFilename: {}\nSize: {}\nSHA256: {digest}\n{fields}",
            self.path(),
            deb.len()
        )
    }
}

/// A mirror on loopback that serves the files that it is given.
pub(super) struct MiniArchive {
    pub(super) signer: Signer,
    address: String,
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl MiniArchive {
    pub(super) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/debian", listener.local_addr().unwrap());
        let files = Arc::<Mutex<BTreeMap<String, Vec<u8>>>>::default();
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let (served, asked) = (Arc::clone(&files), Arc::clone(&requests));
        // It runs until the test's process ends; each connection has one request.
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (served, asked) = (Arc::clone(&served), Arc::clone(&asked));
                std::thread::spawn(move || answer(&connection, &served, &asked));
            }
        });
        Self { signer: Signer::new(), address, files, requests }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Puts a file on the mirror, or removes it.
    pub(super) fn put(&self, path: &str, content: Option<Vec<u8>>) {
        let mut files = self.files.lock().unwrap();
        match content {
            Some(content) => files.insert(path.to_owned(), content),
            None => files.remove(path),
        };
    }

    /// A file on the mirror.
    pub(super) fn get(&self, path: &str) -> Option<Vec<u8>> {
        self.files.lock().unwrap().get(path).cloned()
    }

    /// The paths of its files that contain this text.
    pub(super) fn paths(&self, part: &str) -> Vec<String> {
        self.files.lock().unwrap().keys().filter(|path| path.contains(part)).cloned().collect()
    }

    /// Another mirror of the same archive, with the files that `has` selects.
    pub(super) fn copy(&self, has: impl Fn(&str) -> bool) -> Self {
        let copy = Self::new();
        for (path, content) in self.files.lock().unwrap().iter().filter(|(path, _)| has(path)) {
            copy.put(path, Some(content.clone()));
        }
        copy
    }

    /// The requests since the last call.
    pub(super) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }

    /// Publishes a suite with these packages for each of the architectures. Returns the paths of each architecture's
    /// index: by its digest, and by its name.
    pub(super) fn publish(
        &self,
        suite: &str,
        architectures: &[&str],
        packages: &[Published],
    ) -> Vec<(String, String)> {
        self.publish_at(suite, architectures, packages, "")
    }

    /// The same, with further fields in its release, such as a date.
    pub(super) fn publish_at(
        &self,
        suite: &str,
        architectures: &[&str],
        packages: &[Published],
        fields: &str,
    ) -> Vec<(String, String)> {
        let stanzas: Vec<String> = packages.iter().map(Published::stanza).collect();
        let (mut sums, mut paths) = (String::new(), Vec::new());
        for architecture in architectures {
            // Makes each index's bytes different.
            let text = format!("{}Architecture: {architecture}\n", stanzas.join("\n"));
            let index = Pack::Xz.compress(text.as_bytes());
            let digest = hex::encode(Sha256::digest(&index));
            let dir = format!("main/binary-{architecture}");
            sums.extend([
                format!(" {} {} {dir}/Packages\n", hex::encode(Sha256::digest(&text)), text.len()),
                format!(" {digest} {} {dir}/Packages.xz\n", index.len()),
            ]);
            let hashed = format!("dists/{suite}/{dir}/by-hash/SHA256/{digest}");
            let plain = format!("dists/{suite}/{dir}/Packages.xz");
            self.put(&hashed, Some(index.clone()));
            self.put(&plain, Some(index));
            paths.push((hashed, plain));
        }
        for package in packages {
            self.put(&package.path(), Some(package.deb.clone()));
        }
        let release = format!(
            "Origin: Test\nSuite: teststable\nCodename: {suite}\n{fields}Acquire-By-Hash: yes\nArchitectures: all {}\n\
             No-Support-for-Architecture-all: Packages\nComponents: main\nSHA256:\n{sums}",
            architectures.join(" ")
        );
        self.put(&format!("dists/{suite}/InRelease"), Some(self.signer.sign(&release).into_bytes()));
        paths
    }
}

/// Serves one request: a file, or 404.
fn answer(
    connection: &std::net::TcpStream,
    files: &Mutex<BTreeMap<String, Vec<u8>>>,
    requests: &Mutex<Vec<String>>,
) {
    let mut reader = BufReader::new(connection);
    let (mut first, mut line) = (String::new(), String::new());
    reader.read_line(&mut first).unwrap();
    while reader.read_line(&mut line).unwrap() > 2 {
        line.clear();
    }
    let path = first.split(' ').nth(1).unwrap_or_default().trim_start_matches("/debian/").to_owned();
    let content = files.lock().unwrap().get(&path).cloned();
    requests.lock().unwrap().push(path);
    let status = if content.is_some() { "200 OK" } else { "404 Not Found" };
    let content = content.unwrap_or_default();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", content.len());
    let mut writer = connection;
    writer.write_all(head.as_bytes()).unwrap();
    writer.write_all(&content).unwrap();
}
