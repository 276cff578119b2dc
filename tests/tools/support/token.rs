//! A token service like Docker Hub's `auth.docker.io`, for a registry of the tests. It signs with openssl.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::command::tool;
use super::registry::{PASSWORD, USER};

const SERVICE: &str = "the test registry";
const ISSUER: &str = "the test";
/// The identity token that the service knows.
pub(crate) const IDENTITY: &str = "identity-token-9";

/// What the service grants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    /// Repositories that the user may read and write; everything if empty.
    pub(crate) writable: BTreeSet<String>,
    /// Repositories that anybody may read.
    pub(crate) public: BTreeSet<String>,
    /// The lifetime of a token in seconds, which the service also declares.
    pub(crate) life: Option<u64>,
    /// The host by which the registry names it, if that is not its address.
    pub(crate) host: Option<String>,
    /// Answers 403 if something is not allowed, instead of a token without it.
    pub(crate) refuses: bool,
}

/// The service. Its threads end with the test's process.
#[derive(Debug)]
pub(crate) struct TokenService {
    address: SocketAddr,
    host: String,
    dir: tempfile::TempDir,
    asked: Arc<Mutex<Vec<String>>>,
}

impl TokenService {
    pub(crate) fn start(rules: Rules) -> Self {
        let dir = super::scratch();
        certificate(dir.path(), "tokens");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        let address = listener.local_addr().expect("a bound socket");
        let host = rules.host.clone().unwrap_or_else(|| address.to_string());
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (log, key) = (Arc::clone(&asked), dir.path().to_owned());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that hangs up is none of our business.
                serve(&stream, &rules, &key, &log).ok();
            }
        });
        Self { address, host, dir, asked }
    }

    /// The port on loopback that it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Every request: its line and, for a form, the body.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn registry_configuration(&self) -> String {
        format!(
            "auth:\n  token:\n    realm: http://{}/token\n    service: {SERVICE}\n    issuer: {ISSUER}\n    \
             rootcertbundle: {}\n",
            self.host,
            self.dir.path().join("tokens.pem").display()
        )
    }
}

/// Makes a self-signed certificate and a key: `NAME.pem`, `NAME.key`.
fn certificate(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    let (pem, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
    let run = tool("openssl").words("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -batch");
    run.arg("-keyout").arg(&key).arg("-out").arg(&pem).run().success();
    (pem, key)
}

/// Makes an authority, and a certificate signed by it for a server on loopback, with its key.
pub(crate) fn authority(dir: &Path) -> (PathBuf, PathBuf, PathBuf) {
    authority_for(dir, "IP:127.0.0.1")
}

/// The same for a server of this name, `DNS:…` or `IP:…`.
pub(crate) fn authority_for(dir: &Path, name: &str) -> (PathBuf, PathBuf, PathBuf) {
    let (authority, _) = certificate(dir, "authority");
    let (pem, key) = issue(dir, "server", &format!("subjectAltName={name}"));
    (authority, pem, key)
}

/// A certificate of the directory's authority with this extension, and its key: `NAME.pem`, `NAME.key`.
pub(crate) fn issue(dir: &Path, name: &str, extension: &str) -> (PathBuf, PathBuf) {
    let (pem, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
    let run = tool("openssl").words("req -x509 -newkey rsa:2048 -nodes -days 2 -batch");
    let run = run.arg("-subj").arg(format!("/CN={name}")).arg("-addext").arg(extension);
    let run = run.words("-addext basicConstraints=critical,CA:FALSE");
    let run = run.arg("-CA").arg(dir.join("authority.pem")).arg("-CAkey").arg(dir.join("authority.key"));
    run.arg("-keyout").arg(&key).arg("-out").arg(&pem).run().success();
    (pem, key)
}

fn serve(mut stream: &TcpStream, rules: &Rules, dir: &Path, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        head.push(line.trim().to_owned());
    }
    let field = |name: &str| {
        head.iter().find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let length = field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = String::from_utf8_lossy(&body).into_owned();
    let line = head.first().cloned().unwrap_or_default();
    log.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{line} {body}").trim().to_owned());
    let query = if line.starts_with("POST") {
        body
    } else {
        let target = line.split(' ').nth(1).unwrap_or_default();
        target.split_once('?').map(|(_, query)| query.to_owned()).unwrap_or_default()
    };
    let (status, answer) = answer(rules, dir, &query, field("authorization").as_deref());
    let text = answer.to_string();
    write!(
        stream,
        "HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    )
}

fn answer(rules: &Rules, dir: &Path, query: &str, authorization: Option<&str>) -> (u16, Value) {
    let values = |name: &str| -> Vec<String> {
        let fields = query.split('&').filter_map(|field| field.split_once('='));
        fields.filter(|(known, _)| *known == name).map(|(_, value)| unescape(value)).collect()
    };
    let first = |name: &str| values(name).into_iter().next();
    let wrong = |text: &str| (401, json!({ "errors": [{ "code": "UNAUTHORIZED", "message": text }] }));
    if first("service").as_deref() != Some(SERVICE) {
        return wrong("another service");
    }
    let basic = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
    let known = match (authorization, first("refresh_token")) {
        (Some(given), _) if given == basic => true,
        (Some(_), _) => return wrong("wrong user or password"),
        (None, Some(token)) if token == IDENTITY => true,
        (None, Some(_)) => return (400, json!({ "error": "invalid_grant" })),
        (None, None) => false,
    };
    let mut access = Vec::new();
    for scope in values("scope").iter().flat_map(|scope| scope.split(' ')) {
        let mut parts = scope.splitn(3, ':');
        let (Some(kind), Some(name), Some(actions)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let allowed = |action: &&str| match *action {
            "pull" if rules.public.contains(name) => true,
            _ => known && (rules.writable.is_empty() || rules.writable.contains(name)),
        };
        let wanted: Vec<&str> = actions.split(',').collect();
        let given: Vec<&str> = wanted.iter().copied().filter(|action| allowed(action)).collect();
        if rules.refuses && given.len() < wanted.len() {
            let message = format!("{name} is not yours");
            return (403, json!({ "errors": [{ "code": "DENIED", "message": message }] }));
        }
        access.push(json!({ "type": kind, "name": name, "actions": given }));
    }
    let life = rules.life.unwrap_or(300);
    let token = sign(dir, &access, life);
    (200, json!({ "token": token, "access_token": token, "expires_in": life.max(60) }))
}

/// A JSON Web Token in the form that the registry accepts: signed by RS256, with the certificate in its header.
fn sign(dir: &Path, access: &[Value], life: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let pem = fs::read_to_string(dir.join("tokens.pem")).expect("the service's certificate");
    let der: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let head = json!({ "typ": "JWT", "alg": "RS256", "x5c": [der] });
    let claims = json!({
        "iss": ISSUER, "sub": USER, "aud": SERVICE, "exp": now + life, "nbf": now - 60, "iat": now,
        "jti": format!("{now}"), "access": access,
    });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(&head), part(&claims));
    let work = tempfile::tempdir_in(dir).expect("a directory of the test");
    let (input, output) = (work.path().join("text"), work.path().join("signature"));
    fs::write(&input, &text).expect("a directory of the test");
    tool("openssl")
        .words("dgst -sha256 -binary -sign")
        .arg(dir.join("tokens.key"))
        .arg("-out")
        .arg(&output)
        .arg(&input)
        .run()
        .success();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(fs::read(output).expect("a signature")))
}

fn unescape(text: &str) -> String {
    percent_encoding::percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}
