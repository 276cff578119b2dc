//! Registries that only a proxy can reach: their names do not resolve here.

use std::fs;
use std::path::Path;
use std::time::Duration;

use xbuild::Cancel;
use xbuild::error::{ExitCode, Explain};
use xbuild::internal::sys::download;
use xbuild::oci::name::ImageName;
use xbuild::registry::RegistrySettings;
use xbuild::registry::{Access, Client, Config, Patience};

use crate::support::command::{Run, xbuild};
use crate::support::layout::Layout;
use crate::support::project::Project;
use crate::support::proxy::{Proxy, Rules};
use crate::support::registry::{PASSWORD, Registry, USER};
use crate::support::token::{self, TokenService};
use crate::support::{base, scratch};

const HOST: &str = "registry.test:5000";

/// A directory with a layout of two platforms, `base:base`.
fn with_base() -> tempfile::TempDir {
    let dir = scratch();
    base::write(&dir.path().join("base"), &["linux/amd64", "linux/arm64"]);
    dir
}

fn run_in(dir: &Path, words: &str) -> Run {
    xbuild().dir(dir).env("HOME", dir.join("home")).words(words)
}

/// The request lines that a proxy got.
fn lines(proxy: &Proxy) -> Vec<String> {
    proxy.heads().iter().map(|head| head.lines().next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_registry_without_tls_is_used_through_a_proxy() {
    let (dir, registry) = (with_base(), Registry::open());
    let names = [(HOST.to_owned(), registry.port), ("cdn.test:80".to_owned(), registry.port)];
    let rules = Rules {
        names: names.into(),
        login: Some("me:hunt er@2".into()),
        blobs_at: Some("cdn.test".into()),
        ..Rules::default()
    };
    let proxy = Proxy::start(rules);
    let run = |words: &str| {
        let value = format!("http://me:hunt%20er%402@{}", proxy.host());
        run_in(dir.path(), words).env("http_proxy", value).env("XBUILD_REGISTRY_PLAIN_HTTP", HOST)
    };
    run(&format!("push base {HOST}/team/base:1")).run().success();
    registry.copy_out("team/base:1", &dir.path().join("copy"));
    run(&format!("pull {HOST}/team/base:1 -o pulled")).run().success();
    Layout::valid(&dir.path().join("pulled"));
    assert_eq!(run(&format!("ls {HOST}/team/base")).text().lines().count(), 2);
    // A base and a push, in one build.
    let configuration = "platforms = [\"linux/amd64\"]\n[platform.\"linux/amd64\"]\n\
        triple = \"x86_64-unknown-linux-musl\"\n[[files]]\nfrom = \"data\"\nto = \"/data\"\n";
    let project = Project::program("app").file("xbuild.toml", configuration);
    // Larger than what is sent in one request, however it is compressed.
    let numbers = (0_u64..700_000).map(|number| number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let data: Vec<u8> = numbers
        .flat_map(|number| (number ^ (number >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9).to_le_bytes())
        .collect();
    fs::write(project.path("data"), data).expect("a directory of the test");
    let digest = run("build --push")
        .dir(project.dir())
        .env("XBUILD_CACHE_DIR", project.path("cache"))
        .args(["--base", &format!("{HOST}/team/base:1"), "-t", &format!("{HOST}/me/app:1")])
        .run()
        .success()
        .digest();
    registry.copy_out("me/app:1", &project.path("copy"));
    assert_eq!(Layout::valid(&project.path("copy")).images(&digest).len(), 1);
    // Everything went through the proxy: the line has the whole URL, nothing used a tunnel, and the proxy's credentials
    // reached no server.
    let lines = lines(&proxy);
    assert!(
        lines
            .iter()
            .all(|line| line.contains(" http://registry.test:5000/v2/")
                || line.contains(" http://cdn.test/v2/")),
        "{lines:#?}"
    );
    for part in ["PATCH ", "PUT ", "GET http://cdn.test/v2/team/base/blobs/", "mount="] {
        assert!(lines.iter().any(|line| line.contains(part)), "{part}: {lines:#?}");
    }
}

#[test]
fn tokens_come_through_the_proxy_too_and_go_along_with_no_redirect() {
    let dir = with_base();
    let tokens =
        TokenService::start(token::Rules { host: Some("tokens.test".into()), ..token::Rules::default() });
    let port = tokens.port();
    let registry = Registry::with_tokens(tokens);
    let names = [(HOST, registry.port), ("cdn.test:80", registry.port), ("tokens.test:80", port)];
    let names = names.map(|(name, port)| (name.to_owned(), port)).into();
    let proxy = Proxy::start(Rules { names, blobs_at: Some("cdn.test".into()), ..Rules::default() });
    let run = |words: &str| {
        run_in(dir.path(), words)
            .env("ALL_PROXY", proxy.host())
            .env("XBUILD_REGISTRY_PLAIN_HTTP", HOST)
            .env("XBUILD_REGISTRY_HOST", HOST)
            .env("XBUILD_REGISTRY_USERNAME", USER)
            .env("XBUILD_REGISTRY_PASSWORD", PASSWORD)
    };
    run(&format!("push base {HOST}/team/base:1")).run().success();
    let heads = proxy.heads();
    assert!(heads.iter().any(|head| head.starts_with("GET http://tokens.test/token?")), "{heads:#?}");
    // The registry behind the redirect requires a token as well and gets none, so the pull fails. No credentials are
    // sent to it.
    let failed = run(&format!("pull {HOST}/team/base:1 -o pulled")).run();
    failed.fails(ExitCode::Network, &["cdn.test answered 401"]);
    let moved: Vec<String> =
        proxy.heads().into_iter().filter(|head| head.starts_with("GET http://cdn.test/")).collect();
    assert!(
        !moved.is_empty() && moved.iter().all(|head| !head.to_lowercase().contains("authorization")),
        "{moved:#?}"
    );
}

#[test]
fn a_registry_with_tls_is_reached_by_a_tunnel() {
    let dir = with_base();
    let (authority, certificate, key) = token::authority_for(dir.path(), "DNS:registry.test");
    let registry = Registry::with_tls(&certificate, &key);
    let rules = Rules {
        names: [(HOST.to_owned(), registry.port)].into(),
        login: Some("me:hunter2".into()),
        ..Rules::default()
    };
    let proxy = Proxy::start(rules);
    let configuration = dir.path().join("config/xbuild");
    fs::create_dir_all(&configuration).expect("a directory of the test");
    let trust = format!("[registry.\"{HOST}\"]\nca = \"{}\"\n", authority.display());
    let run = |words: &str, login: &str| {
        run_in(dir.path(), words)
            .env("HTTPS_PROXY", format!("http://{login}{}", proxy.host()))
            .env("XDG_CONFIG_HOME", dir.path().join("config"))
            .run()
    };
    let push = format!("push base {HOST}/team/base:1");
    let untrusted = run(&push, "me:hunter2@");
    untrusted.fails(
        ExitCode::Tls,
        &["registry.test:5000", "certificate", "through the proxy http://127.0.0.1:", "hint"],
    );
    fs::write(configuration.join("config.toml"), trust).expect("a directory of the test");
    run(&push, "me:hunter2@").success();
    run(&format!("pull {HOST}/team/base:1 -o pulled"), "me:hunter2@").success();
    Layout::valid(&dir.path().join("pulled"));
    let lines = lines(&proxy);
    assert!(lines.iter().all(|line| line == "CONNECT registry.test:5000 HTTP/1.1"), "{lines:#?}");
    assert!(
        registry.requests().iter().any(|request| request.starts_with("PUT /v2/team/base/manifests/1 201"))
    );
    // With no credentials for the proxy, and with wrong ones.
    let unknown = run(&push, "");
    let words = [
        "the proxy http://127.0.0.1:",
        "of HTTPS_PROXY wants a user and a password",
        "hint: set HTTPS_PROXY=http://USER:PASSWORD@127.0.0.1:",
    ];
    unknown.fails(ExitCode::Unauthorized, &words);
    let wrong = run(&push, "me:hunter3@");
    let wrong = wrong.fails(ExitCode::Unauthorized, &["of HTTPS_PROXY refuses the user and password"]);
    assert!(!wrong.stderr.contains("hunter3") && !wrong.stderr.contains("me:"), "{}", wrong.stderr);
}

#[test]
fn what_a_proxy_does_not_let_through_is_told_apart() {
    let dir = with_base();
    let pull = format!("pull {HOST}/team/base:1 -o pulled");
    let run = |variables: &[(&str, &str)]| {
        let run = run_in(dir.path(), &pull);
        variables.iter().fold(run, |run, (name, value)| run.env(name, value)).run()
    };
    let plain = ("XBUILD_REGISTRY_PLAIN_HTTP", HOST);
    let refusing = Proxy::start(Rules { answers: Some(403), ..Rules::default() });
    let value = format!("http://me:hunter2@{}", refusing.host());
    let words = [
        "of HTTPS_PROXY refuses to connect to registry.test:5000: it answers 403",
        "have the proxy allow registry.test:5000",
    ];
    run(&[("HTTPS_PROXY", &value)]).fails(ExitCode::Network, &words);
    let words = words.map(|word| word.replace("HTTPS_PROXY", "HTTP_PROXY"));
    run(&[("HTTP_PROXY", &value), plain]).fails(ExitCode::Network, &words.each_ref().map(String::as_str));
    assert_eq!(refusing.heads().len(), 2, "a refusal is not asked for again");
    for (value, reason) in
        [("socks5h://me:hunter2@127.0.0.1:1", "SOCKS"), ("http://", "write it as http://proxy")]
    {
        let finished = run(&[("HTTPS_PROXY", value)])
            .fails(ExitCode::Config, &["HTTPS_PROXY does not name a proxy", reason, "unset HTTPS_PROXY"]);
        assert!(!finished.stderr.contains("hunter2"), "{}", finished.stderr);
    }
}

#[test]
fn a_proxy_that_may_come_back_is_asked_again() {
    let registry = Registry::open();
    let ask = |secure: bool, variables: &[(&str, &str)]| {
        let plain = RegistrySettings { plain_http: Some(!secure), ..RegistrySettings::default() };
        let patience = Patience { attempts: 2, back_off: Duration::from_millis(5), ..Patience::default() };
        let registries = [(HOST.to_owned(), plain)].into();
        let config = Config { patience, registries, ..Config::default() };
        let client = Client::new(config, &variables.iter().copied().collect());
        let name: ImageName = format!("{HOST}/team/base:1").parse().expect("a name");
        let repository = client.repository(&name.repository, Access::Pull);
        repository.manifest(name.wanted(), &Cancel::new()).unwrap_err()
    };
    let transient = |secure: bool, variables: &[(&str, &str)], words: &[&str]| {
        let error = ask(secure, variables);
        let text = format!("{error} {error:?}");
        assert_eq!(error.exit_code(), ExitCode::Network);
        assert!(words.iter().all(|word| text.contains(word)) && text.contains("tried 2 times"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    };
    let down = "the proxy http://127.0.0.1:1 of http_proxy cannot be reached";
    transient(false, &[("http_proxy", "http://me:hunter2@127.0.0.1:1")], &[down, "refused"]);
    let down = "the proxy http://127.0.0.1:1 of https_proxy cannot be reached";
    transient(true, &[("https_proxy", "http://me:hunter2@127.0.0.1:1")], &[down, "refused"]);
    let nobody = Proxy::start(Rules::default());
    let value = format!("http://{}", nobody.host());
    let word = "registry.test:5000 answered 502 through the proxy http://127.0.0.1:";
    transient(false, &[("http_proxy", &value)], &[word]);
    let word = "of https_proxy cannot reach registry.test:5000: it answers 502";
    transient(true, &[("https_proxy", &value)], &[word]);
    // Without the proxy: the name does not resolve here, and the proxy gets no request.
    let proxy = Proxy::to(HOST, registry.port);
    let value = format!("http://{}", proxy.host());
    for rule in ["registry.test", ".test", "*", "other.test, registry.test:5000"] {
        transient(false, &[("http_proxy", &value), ("NO_PROXY", rule)], &["registry.test:5000: "]);
    }
    assert_eq!(proxy.heads().len(), 0);
    let found = ask(false, &[("http_proxy", &value), ("no_proxy", "other.test,registry.test:5001")]);
    assert!(found.is_not_found(), "{found}");
}

#[test]
fn files_of_mirrors_come_the_same_way() {
    let mirror = crate::support::http::serve(|path| {
        (path == "/debian/file").then(|| ("text/plain".to_owned(), b"a release".to_vec()))
    });
    let port = mirror.rsplit_once(':').expect("a port").1.parse().expect("a port");
    let names = [("mirror.test:80".to_owned(), port)].into();
    let proxy = Proxy::start(Rules { names, login: Some("me:hunter2".into()), ..Rules::default() });
    let get = |login: &str, url: &str| {
        let variables = [("http_proxy", format!("http://{login}{}", proxy.host()))];
        let environment = variables.into_iter().collect();
        download::Client::with(&environment, false).small(url, 1000, &Cancel::new())
    };
    assert_eq!(get("me:hunter2@", "http://mirror.test/debian/file").expect("it is there"), b"a release");
    assert_eq!(lines(&proxy), ["GET http://mirror.test/debian/file HTTP/1.1"]);
    assert!(get("me:hunter2@", "http://mirror.test/none").unwrap_err().is_not_found());
    let error = get("me:hunter3@", "http://mirror.test/debian/file").unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Unauthorized);
    let text = format!("{error} {error:?} {:?}", error.hint());
    assert!(
        text.contains("of http_proxy refuses the user and password") && !text.contains("hunter3"),
        "{text}"
    );
}
