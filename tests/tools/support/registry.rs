//! A real registry (Debian's `docker-registry`) on loopback, with the usual kinds of access control.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::command::{Run, tool};
use super::free_port;
use super::layout::digest_of;
use super::token::TokenService;

/// Not a word that a path of some machine has: it is looked for in the log.
pub(crate) const USER: &str = "login-of-the-tests";
pub(crate) const PASSWORD: &str = "secret-word-7";
/// bcrypt of the password.
const HASH: &str = "$2b$04$735u2FNw3gsUg9TUVxXMYO3wnE0vPAifAq5YxQqX4by/pWdY43Xre";

/// Access control.
#[derive(Debug)]
pub(crate) enum Guard {
    /// Everybody may do everything.
    Open,
    /// One user, by `Authorization: Basic`.
    Password,
    /// Clients with a certificate of this authority.
    Certificate(PathBuf),
    /// Clients with a token of this service.
    Token(TokenService),
}

/// A registry that runs until the value is dropped.
#[derive(Debug)]
pub(crate) struct Registry {
    pub(crate) port: u16,
    pub(crate) guard: Guard,
    dir: tempfile::TempDir,
    child: Child,
}

impl Registry {
    pub(crate) fn open() -> Self {
        Self::start(Guard::Open, None)
    }

    pub(crate) fn with_password() -> Self {
        Self::start(Guard::Password, None)
    }

    pub(crate) fn with_tokens(service: TokenService) -> Self {
        Self::start(Guard::Token(service), None)
    }

    /// With TLS, using this certificate and key.
    pub(crate) fn with_tls(certificate: &Path, key: &Path) -> Self {
        Self::start(Guard::Open, Some((certificate, key)))
    }

    /// With TLS, and only for clients with a certificate of this authority.
    pub(crate) fn with_client_certificates(authority: &Path, certificate: &Path, key: &Path) -> Self {
        Self::start(Guard::Certificate(authority.to_owned()), Some((certificate, key)))
    }

    fn start(guard: Guard, tls: Option<(&Path, &Path)>) -> Self {
        let dir = super::scratch();
        for _ in 0..5 {
            let port = free_port();
            let config = configuration(dir.path(), port, &guard, tls);
            let path = dir.path().join("config.yml");
            fs::write(&path, config).expect("a directory of the test");
            let log = || fs::File::options().create(true).append(true).open(dir.path().join("log"));
            let mut child = Command::new("docker-registry")
                .arg("serve")
                .arg(&path)
                .stdin(Stdio::null())
                .stdout(log().expect("a directory of the test"))
                .stderr(log().expect("a directory of the test"))
                .env("OTEL_TRACES_EXPORTER", "none")
                .spawn()
                .expect("docker-registry is not installed; tests/run installs it");
            let start = Instant::now();
            while child.try_wait().expect("a child of ours").is_none() {
                if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                    return Self { port, guard, dir, child };
                }
                assert!(start.elapsed() < Duration::from_secs(30), "the registry does not listen");
                thread::sleep(Duration::from_millis(10));
            }
            // Another process took the port in between.
        }
        panic!("the registry ended: {}", fs::read_to_string(dir.path().join("log")).unwrap_or_default());
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The file with a blob's bytes in the registry's storage.
    pub(crate) fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        let blobs = self.dir.path().join("storage/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }

    /// The name of an image in it.
    pub(crate) fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.host())
    }

    /// The requests that it has answered, as `METHOD /path STATUS`, without the client's first ping.
    pub(crate) fn requests(&self) -> Vec<String> {
        // It writes its log a moment after its response.
        thread::sleep(Duration::from_millis(100));
        let log = fs::read_to_string(self.dir.path().join("log")).expect("the registry's log");
        let mut found = Vec::new();
        for line in log.lines() {
            // 127.0.0.1 - - [date] "GET /v2/ HTTP/1.1" 200 2 "" "agent"
            let Some((_, rest)) = line.split_once("] \"") else { continue };
            let Some((request, rest)) = rest.split_once("\" ") else { continue };
            let mut words = request.split(' ');
            let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let status = rest.split(' ').next().unwrap_or_default();
            if path.starts_with("/v2/") && path != "/v2/" {
                found.push(format!("{method} {path} {status}"));
            }
        }
        found
    }

    /// A path in its storage.
    pub(crate) fn storage(&self, below: &str) -> PathBuf {
        self.dir.path().join("storage/docker/registry/v2").join(below)
    }

    /// skopeo, configured for a registry without TLS.
    pub(crate) fn skopeo(&self, command: &str) -> Run {
        let mut run = tool("skopeo").arg("--insecure-policy").arg(command);
        let sides: &[&str] = match command {
            "copy" => &["--src-tls-verify=false", "--dest-tls-verify=false"],
            _ => &["--tls-verify=false"],
        };
        run = run.args(sides.iter().copied());
        if matches!(self.guard, Guard::Password | Guard::Token(_)) {
            let login = format!("{USER}:{PASSWORD}");
            run = match command {
                "copy" => run.args(["--src-creds", &login, "--dest-creds", &login]),
                _ => run.args(["--creds", &login]),
            };
        }
        run
    }

    /// Stores a blob. Returns its descriptor.
    #[track_caller]
    pub(crate) fn put_blob(&self, repository: &str, bytes: &[u8], media_type: &str) -> Value {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let url = format!("http://{}/v2/{repository}/blobs/uploads/", self.host());
        let answer = agent.post(&url).send_empty().expect("the registry answers");
        let digest = digest_of(bytes);
        let place = answer.headers()["location"].to_str().expect("a text");
        let answer = agent.put(format!("{place}&digest={digest}")).send(bytes).expect("the registry answers");
        assert_eq!(answer.status().as_u16(), 201);
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }

    /// Stores a manifest unchanged. Returns its descriptor.
    #[track_caller]
    pub(crate) fn put_manifest(&self, repository: &str, tag: &str, media_type: &str, text: &str) -> Value {
        let url = format!("http://{}/v2/{repository}/manifests/{tag}", self.host());
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let answer =
            agent.put(&url).header("Content-Type", media_type).send(text).expect("the registry answers");
        assert_eq!(answer.status().as_u16(), 201, "{text}");
        json!({ "mediaType": media_type, "digest": digest_of(text.as_bytes()), "size": text.len() })
    }

    /// Copies an image with all its platforms into the registry, with skopeo.
    #[track_caller]
    pub(crate) fn fill(&self, from: &str, name: &str) {
        let to = format!("docker://{}", self.name(name));
        self.skopeo("copy").args(["--quiet", "--all"]).arg(from).arg(to).run().success();
    }

    /// Copies an image with all its platforms out of the registry, with skopeo, which verifies every digest.
    #[track_caller]
    pub(crate) fn copy_out(&self, name: &str, layout: &Path) {
        let from = format!("docker://{}", self.name(name));
        let to = format!("oci:{}:copy", layout.display());
        self.skopeo("copy").args(["--quiet", "--all"]).arg(from).arg(to).run().success();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn configuration(dir: &Path, port: u16, guard: &Guard, tls: Option<(&Path, &Path)>) -> String {
    let mut text = format!(
        "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: false\nstorage:\n  filesystem:\n    \
         rootdirectory: {}/storage\n  delete:\n    enabled: true\nhttp:\n  addr: 127.0.0.1:{port}\n",
        dir.display()
    );
    if let Some((certificate, key)) = tls {
        let (certificate, key) = (certificate.display(), key.display());
        write!(text, "  tls:\n    certificate: {certificate}\n    key: {key}\n").expect("a text");
    }
    match guard {
        Guard::Open => {}
        // After the lines about TLS.
        Guard::Certificate(authority) => {
            write!(text, "    clientcas:\n      - {}\n", authority.display()).expect("a text");
        }
        Guard::Password => {
            let path = dir.join("htpasswd");
            fs::write(&path, format!("{USER}:{HASH}\n")).expect("a directory of the test");
            write!(text, "auth:\n  htpasswd:\n    realm: test\n    path: {}\n", path.display())
                .expect("a text");
        }
        Guard::Token(service) => text.push_str(&service.registry_configuration()),
    }
    text
}
