//! Does what `update-ca-certificates` and `openssl rehash` would do, without running them.
//!
//! Pure. A certificate is parsed only as far as its subject, whose hash names a link. The DER parser knows nothing but
//! tags and lengths (ITU-T X.690), and nothing is verified, since Debian decides what is trusted.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

/// A certificate file of `/usr/share/ca-certificates`.
#[derive(Clone, Debug)]
pub(crate) struct CertificateFile {
    /// Its path below that directory: `mozilla/ISRG_Root_X1.crt`.
    pub name: String,
    /// Its bytes: PEM.
    pub pem: Arc<[u8]>,
}

/// The files and links for `/etc/ssl/certs`, and related data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Store {
    /// `/etc/ssl/certs/ca-certificates.crt`.
    pub bundle: Vec<u8>,
    /// Links in `/etc/ssl/certs` by name, with their targets.
    pub links: BTreeMap<String, String>,
    /// The names of the certificates in order, as in `/etc/ca-certificates.conf`.
    pub names: Vec<String>,
}

/// A certificate file that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the certificate {name} cannot be read: {reason}")]
pub struct CertificateError {
    /// The file.
    pub name: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Builds the store of all these certificates.
///
/// The bundle is sorted by the names' bytes, like `sort` in the C locale, in which Debian's own images are made.
pub(crate) fn store(mut files: Vec<CertificateFile>) -> Result<Store, CertificateError> {
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let (mut bundle, mut links, mut names) = (Vec::new(), BTreeMap::new(), Vec::new());
    for file in &files {
        bundle.extend_from_slice(&file.pem);
        if file.pem.last().is_some_and(|byte| *byte != b'\n') {
            bundle.push(b'\n');
        }
        links.insert(link_name(&file.name), format!("/usr/share/ca-certificates/{}", file.name));
        names.push(file.name.clone());
    }
    let mut hashed = BTreeMap::new();
    let mut seen: BTreeMap<u32, Vec<Vec<u8>>> = BTreeMap::new();
    // Sorted by the links' names, which is the order in which `rehash` numbers certificates of the same subject.
    let mut by_link: Vec<(String, &CertificateFile)> =
        files.iter().map(|file| (link_name(&file.name), file)).collect();
    by_link.sort_by(|a, b| a.0.cmp(&b.0));
    for (link, file) in by_link {
        let fault = |reason| CertificateError { name: file.name.clone(), reason };
        // A file with several certificates gets no hash, as with `rehash`.
        let [der] = &pem_blocks(&file.pem).map_err(fault)?[..] else { continue };
        let hash = subject_hash(der).ok_or_else(|| fault("its DER is malformed"))?;
        let same = seen.entry(hash).or_default();
        if !same.contains(der) {
            hashed.insert(format!("{hash:08x}.{}", same.len()), link);
            same.push(der.clone());
        }
    }
    links.extend(hashed);
    Ok(Store { bundle, links, names })
}

/// The name of a certificate's link: the file's name with `.pem`, and without characters that cause problems in shells.
fn link_name(name: &str) -> String {
    let base = name.rsplit('/').next().unwrap_or(name);
    let stem = base.strip_suffix(".crt").unwrap_or(base);
    let plain: String = stem
        .chars()
        .map(|c| match c {
            ' ' | ',' => '_',
            '(' | ')' => '=',
            c => c,
        })
        .collect();
    format!("{plain}.pem")
}

/// The certificates of a PEM file (RFC 7468).
fn pem_blocks(pem: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let text = std::str::from_utf8(pem).map_err(|_| "it is not PEM")?;
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, behind)) = rest.split_once("-----BEGIN CERTIFICATE-----") {
        let (body, behind) = behind.split_once("-----END CERTIFICATE-----").ok_or("its PEM has no end")?;
        let body: String = body.split_ascii_whitespace().collect();
        blocks.push(STANDARD.decode(body).map_err(|_| "its PEM is not base64")?);
        rest = behind;
    }
    Ok(blocks)
}

const INTEGER: u8 = 0x02;
const UTF8_STRING: u8 = 0x0c;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;

/// OpenSSL's `X509_NAME_hash` of a certificate's subject: the first four bytes, little-endian, of the SHA-1 of the name
/// in canonical form.
fn subject_hash(certificate: &[u8]) -> Option<u32> {
    let mut outer = Der(certificate);
    let mut signed = Der(Der(outer.expect(SEQUENCE)?).expect(SEQUENCE)?);
    if signed.0.first() == Some(&VERSION) {
        signed.next()?;
    }
    signed.expect(INTEGER)?; // serial number
    signed.expect(SEQUENCE)?; // signature algorithm
    signed.expect(SEQUENCE)?; // issuer
    signed.expect(SEQUENCE)?; // validity
    let mut subject = Der(signed.expect(SEQUENCE)?);
    let mut canonical = Vec::new();
    while !subject.0.is_empty() {
        let mut names = Der(subject.expect(SET)?);
        let mut attributes = Vec::new();
        while !names.0.is_empty() {
            let mut attribute = Der(names.expect(SEQUENCE)?);
            let (tag, identifier) = attribute.next()?;
            let mut body = encode(tag, identifier);
            let (tag, value) = attribute.next()?;
            body.extend(match text(tag, value) {
                Some(text) => encode(UTF8_STRING, fold(&text).as_bytes()),
                None => encode(tag, value),
            });
            attributes.push(encode(SEQUENCE, &body));
        }
        attributes.sort();
        canonical.extend(encode(SET, &attributes.concat()));
    }
    let digest = Sha1::digest(&canonical);
    Some(u32::from_le_bytes(digest[..4].try_into().ok()?))
}

/// The text of string types that are compared as text; `None` for those that are compared as bytes.
fn text(tag: u8, value: &[u8]) -> Option<String> {
    const PRINTABLE: u8 = 0x13;
    const T61: u8 = 0x14;
    const IA5: u8 = 0x16;
    const VISIBLE: u8 = 0x1a;
    const UNIVERSAL: u8 = 0x1c;
    const BMP: u8 = 0x1e;
    match tag {
        UTF8_STRING => String::from_utf8(value.to_vec()).ok(),
        // OpenSSL reads all of these as Latin-1.
        PRINTABLE | T61 | IA5 | VISIBLE => Some(value.iter().map(|byte| char::from(*byte)).collect()),
        BMP if value.len().is_multiple_of(2) => value
            .chunks_exact(2)
            .map(|two| char::from_u32(u16::from_be_bytes([two[0], two[1]]).into()))
            .collect(),
        UNIVERSAL if value.len().is_multiple_of(4) => value
            .chunks_exact(4)
            .map(|four| char::from_u32(u32::from_be_bytes([four[0], four[1], four[2], four[3]])))
            .collect(),
        _ => None,
    }
}

/// Lower-cases ASCII letters, and reduces runs of whitespace to one space, with none at the ends.
fn fold(text: &str) -> String {
    let blank = |c: char| matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r');
    text.split(blank).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ").to_ascii_lowercase()
}

/// Consecutive DER values.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next value's tag and content. Only single-byte tags occur in names and certificates.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let length = if first < 0x80 {
            usize::from(first)
        } else {
            let count = usize::from(first & 0x7f);
            if count == 0 || count > 4 {
                return None;
            }
            let (bytes, behind) = rest.split_at_checked(count)?;
            rest = behind;
            bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
        };
        let (content, behind) = rest.split_at_checked(length)?;
        self.0 = behind;
        Some((tag, content))
    }

    fn expect(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, _)| *tag == wanted).map(|(_, content)| content)
    }
}

fn encode(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut encoded = vec![tag];
    if length < 0x80 {
        encoded.extend(u8::try_from(length));
    } else {
        let bytes = length.to_be_bytes();
        let significant = &bytes[bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len())..];
        encoded.push(0x80 | u8::try_from(significant.len()).unwrap_or(0));
        encoded.extend_from_slice(significant);
    }
    encoded.extend_from_slice(content);
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate with nothing but the fields before the subject, and the subject.
    fn certificate(serial: u8, attributes: &[(u8, &[u8])]) -> Vec<u8> {
        let names: Vec<u8> = attributes
            .iter()
            .flat_map(|(tag, value)| {
                let body = [encode(0x06, &[0x55, 4, 3]), encode(*tag, value)].concat();
                encode(SET, &encode(SEQUENCE, &body))
            })
            .collect();
        let empty = encode(SEQUENCE, &[]);
        let parts = [
            encode(VERSION, &encode(INTEGER, &[2])),
            encode(INTEGER, &[serial]),
            empty.clone(),
            empty.clone(),
            empty,
        ];
        encode(SEQUENCE, &encode(SEQUENCE, &[parts.concat(), encode(SEQUENCE, &names)].concat()))
    }

    fn file(name: &str, der: &[u8]) -> CertificateFile {
        let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----", STANDARD.encode(der));
        CertificateFile { name: name.into(), pem: pem.into_bytes().into() }
    }

    #[test]
    fn the_hash_is_openssl_s() {
        // `openssl x509 -subject_hash` prints 4042bcee for ISRG Root X1; this is its actual subject.
        let country = encode(SEQUENCE, &[encode(0x06, &[0x55, 4, 6]), encode(0x13, b"US")].concat());
        let organisation = encode(
            SEQUENCE,
            &[encode(0x06, &[0x55, 4, 10]), encode(0x13, b"Internet Security Research Group")].concat(),
        );
        let name = encode(SEQUENCE, &[encode(0x06, &[0x55, 4, 3]), encode(0x13, b"ISRG Root X1")].concat());
        let subject: Vec<u8> =
            [country, organisation, name].iter().flat_map(|one| encode(SET, one)).collect();
        let empty = encode(SEQUENCE, &[]);
        let signed =
            [encode(INTEGER, &[1]), empty.clone(), empty.clone(), empty, encode(SEQUENCE, &subject)].concat();
        let hash = subject_hash(&encode(SEQUENCE, &encode(SEQUENCE, &signed))).unwrap();
        assert_eq!(format!("{hash:08x}"), "4042bcee");
    }

    #[test]
    fn case_blanks_and_encoding_do_not_matter() {
        let hash = |tag, value: &[u8]| subject_hash(&certificate(1, &[(tag, value)])).unwrap();
        let plain = hash(UTF8_STRING, b"some name");
        assert_eq!(hash(0x13, b"  Some   NAME "), plain);
        assert_eq!(hash(0x1e, &"Some Name".bytes().flat_map(|byte| [0, byte]).collect::<Vec<_>>()), plain);
        assert_eq!(hash(0x14, b"\xe9"), hash(UTF8_STRING, "é".as_bytes()));
        assert_ne!(hash(UTF8_STRING, b"somename"), plain);
    }

    #[test]
    fn bundle_links_and_names_are_sorted() {
        let (one, two) = (certificate(1, &[(0x13, b"a")]), certificate(2, &[(0x13, b"A")]));
        let store =
            store(vec![file("m/Z (x), y.crt", &two), file("m/B.crt", &one), file("m/C.crt", &one)]).unwrap();
        assert_eq!(store.names, ["m/B.crt", "m/C.crt", "m/Z (x), y.crt"]);
        let text = String::from_utf8(store.bundle).unwrap();
        assert_eq!(text.matches("-----END CERTIFICATE-----\n").count(), 3);
        let hash = subject_hash(&one).unwrap();
        let links: Vec<(String, String)> = store.links.into_iter().collect();
        let expected = [
            ("B.pem".to_owned(), "/usr/share/ca-certificates/m/B.crt".to_owned()),
            ("C.pem".to_owned(), "/usr/share/ca-certificates/m/C.crt".to_owned()),
            ("Z_=x=__y.pem".to_owned(), "/usr/share/ca-certificates/m/Z (x), y.crt".to_owned()),
            // The same certificate twice has one link; another one with the same subject has the next number.
            (format!("{hash:08x}.0"), "B.pem".to_owned()),
            (format!("{hash:08x}.1"), "Z_=x=__y.pem".to_owned()),
        ];
        let mut expected = expected.to_vec();
        expected.sort();
        assert_eq!(links, expected);
    }

    #[test]
    fn a_broken_certificate_is_named() {
        let cut = &certificate(1, &[(0x13, b"abc")])[..20];
        assert_eq!(store(vec![file("m/x.crt", cut)]).unwrap_err().name, "m/x.crt");
        let bad =
            CertificateFile { name: "y".into(), pem: b"-----BEGIN CERTIFICATE-----\n?".as_slice().into() };
        assert!(store(vec![bad]).is_err());
        // Lengths that exceed the available bytes.
        assert_eq!(subject_hash(&[SEQUENCE, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
