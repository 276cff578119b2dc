//! Registries that require a client certificate.

use std::fs;
use std::path::Path;

use xbuild::error::ExitCode;

use crate::support::command::{Finished, tool, xbuild};
use crate::support::registry::Registry;
use crate::support::token::{authority, issue};
use crate::support::{base, scratch};

/// A registry, and a directory with all certificates, an image `base:base` and a configuration.
struct Setup {
    dir: tempfile::TempDir,
    registry: Registry,
}

impl Setup {
    fn new() -> Self {
        let dir = scratch();
        let (authority, certificate, key) = authority(dir.path());
        let registry = Registry::with_client_certificates(&authority, &certificate, &key);
        base::write(&dir.path().join("base"), &["linux/amd64"]);
        Self { dir, registry }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// Writes this about the registry into the user's file.
    fn configure(&self, text: &str) {
        let dir = self.path("config/xbuild");
        fs::create_dir_all(&dir).expect("a directory of the test");
        let text = format!("[registry.\"{}\"]\n{text}", self.registry.host());
        fs::write(dir.join("config.toml"), text).expect("a directory of the test");
    }

    fn run(&self, words: &str) -> Finished {
        let run = xbuild().dir(self.dir.path()).env("XDG_CONFIG_HOME", self.path("config"));
        run.words(words).run()
    }

    fn push(&self) -> Finished {
        self.run(&format!("push base {}", self.registry.name("team/app:1")))
    }

    fn files(&self, certificate: &Path, key: &Path) -> String {
        let ca = self.path("authority.pem");
        format!(
            "ca = \"{}\"\nclient-cert = \"{}\"\nclient-key = \"{}\"\n",
            ca.display(),
            certificate.display(),
            key.display()
        )
    }
}

#[test]
fn a_client_certificate_opens_the_registry() {
    let setup = Setup::new();
    let (certificate, key) = issue(setup.dir.path(), "me", "extendedKeyUsage=clientAuth");
    setup.configure(&setup.files(&certificate, &key));
    setup.push().success();
    setup.run(&format!("pull {} -o pulled", setup.registry.name("team/app:1"))).success();
    // As in skopeo and docker: `ca.crt`, `client.cert` and `client.key` in a directory for the registry.
    let dir = setup.path("config/docker/certs.d").join(setup.registry.host());
    fs::create_dir_all(&dir).expect("a directory of the test");
    for (from, to) in [("authority.pem", "ca.crt"), ("me.pem", "client.cert"), ("me.key", "client.key")] {
        fs::copy(setup.path(from), dir.join(to)).expect("a directory of the test");
    }
    fs::remove_dir_all(setup.path("config/xbuild")).expect("our own directory");
    setup.run(&format!("copy base docker://{}", setup.registry.name("team/other:1"))).success();
    let raw = |name: &str| {
        let skopeo = tool("skopeo").words("inspect --raw --cert-dir").arg(&dir);
        skopeo.arg(format!("docker://{}", setup.registry.name(name))).text()
    };
    assert_eq!(raw("team/other:1"), raw("team/app:1"));
}

#[test]
fn who_has_no_client_certificate_or_a_wrong_one_is_told() {
    let setup = Setup::new();
    let host = setup.registry.host();
    let ca = format!("ca = \"{}\"\n", setup.path("authority.pem").display());
    setup.configure(&ca);
    // The end of the connection may arrive before the alert. Then the request is repeated, with the same result.
    for _ in 0..4 {
        let hint = format!("`client-cert` and `client-key` of registry.\"{host}\"");
        let words = [host.as_str(), "wants a client certificate, and there is none for it", &hint];
        setup.push().fails(ExitCode::Unauthorized, &words);
    }
    // A certificate of an authority that the registry does not know.
    let other = scratch();
    authority(other.path());
    let (certificate, key) = issue(other.path(), "me", "extendedKeyUsage=clientAuth");
    setup.configure(&setup.files(&certificate, &key));
    let words = ["refuses the client certificate `", "me.pem`"];
    setup.push().fails(ExitCode::Unauthorized, &words);
    // Unusable files are detected without connecting.
    let (own, _) = issue(setup.dir.path(), "own", "extendedKeyUsage=clientAuth");
    let wrong = |certificate: &Path, key: &Path, words: &[&str]| {
        setup.configure(&setup.files(certificate, key));
        let finished = setup.push().fails(ExitCode::Config, words);
        assert!(
            !finished.stderr.contains("panicked") && !finished.stderr.contains("PRIVATE"),
            "{}",
            finished.stderr
        );
    };
    wrong(&own, &key, &["own.pem` and `", "me.key` cannot be used together", "hint"]);
    wrong(&own, &own, &["own.pem` has no private key without a passphrase"]);
    wrong(&key, &key, &["me.key` has no certificate"]);
    wrong(&setup.path("none.pem"), &key, &["cannot read `", "none.pem`"]);
    setup.configure("client-cert = \"own.pem\"\n");
    setup.push().fails(ExitCode::Config, &["own.pem` is not a client certificate with its key"]);
}
