//! A TLS handshake between two ends in memory, with a certificate made for it.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use serde_json::{Value, json};

use crate::Result;

const NAME: &str = "service.test";
const GREETING: &[u8] = b"hello over TLS";

/// Makes the handshake, sends a greeting over it, and tells what was agreed on.
pub fn handshake() -> Result<Value> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certified = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
    let certificate = certified.cert.der().clone();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der())?;

    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    let mut client = ClientConnection::new(Arc::new(client), ServerName::try_from(NAME)?)?;
    let mut server = ServerConnection::new(Arc::new(server))?;

    client.writer().write_all(GREETING)?;
    while client.wants_write() || server.wants_write() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire)?;
        }
        feed(&wire, |wire| Ok(server.read_tls(wire)?))?;
        server.process_new_packets()?;
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire)?;
        }
        feed(&wire, |wire| Ok(client.read_tls(wire)?))?;
        client.process_new_packets()?;
    }

    let mut received = vec![0; GREETING.len()];
    server.reader().read_exact(&mut received)?;
    if received != GREETING {
        return Err("the greeting did not arrive".into());
    }
    let suite = client.negotiated_cipher_suite().ok_or("no cipher suite was agreed on")?;
    let protocol = client.protocol_version().ok_or("no protocol was agreed on")?;
    Ok(json!({
        "protocol": format!("{protocol:?}"),
        "cipher-suite": format!("{:?}", suite.suite()),
        "greeting": String::from_utf8(received)?,
    }))
}

/// Hands all of `wire` over.
fn feed(mut wire: &[u8], mut read: impl FnMut(&mut &[u8]) -> Result<usize>) -> Result<()> {
    while !wire.is_empty() {
        if read(&mut wire)? == 0 {
            return Err("the connection does not take its bytes".into());
        }
    }
    Ok(())
}
