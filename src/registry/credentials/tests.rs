//! Credentials where docker and podman put them.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::*;
use crate::error::{ExitCode, Explain};

/// A home directory and what is set beside it.
struct Home {
    dir: fs::TempDir,
    variables: Vec<(String, String)>,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let variables = vec![("HOME".to_owned(), dir.path().display().to_string())];
        Self { dir, variables }
    }

    fn file(self, path: &str, content: &str) -> Self {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write_atomic(&path, content.as_bytes(), 0o600).unwrap();
        self
    }

    fn docker(self, document: &serde_json::Value) -> Self {
        self.file(".docker/config.json", &document.to_string())
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        let value = value.replace('~', &self.dir.path().display().to_string());
        self.variables.push((name.to_owned(), value));
        self
    }

    /// A helper with this script behind `cat > asked`.
    fn helper(self, name: &str, script: &str) -> Self {
        let path = format!("bin/docker-credential-{name}");
        let text = format!("#!/bin/sh\ncat > \"$HOME/asked\"\n{script}\n");
        let home = self.file(&path, &text);
        let path = home.dir.path().join(path);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        home
    }

    fn keyring(&self) -> Keyring {
        Keyring::new(&self.variables.iter().cloned().collect())
    }

    fn find(&self, repository: &str) -> Result<Option<Login>, RegistryError> {
        let found = self.keyring().find(&repository.parse().unwrap(), Access::Pull, true, &Cancel::new())?;
        Ok(found.credentials.map(|credentials| credentials.login))
    }
}

#[allow(clippy::unnecessary_wraps, reason = "as it is found")]
fn password(username: &str, password: &str) -> Option<Login> {
    Some(Login::Password { username: username.into(), password: Secret(password.into()) })
}

fn auth(text: &str) -> serde_json::Value {
    json!({ "auth": STANDARD.encode(text) })
}

#[test]
fn dockers_file_is_read_with_all_its_ways_to_name_a_registry() {
    let home = Home::new().docker(&json!({ "auths": {
        "https://index.docker.io/v1/": auth("hub:one"),
        "https://r.example/v2/": auth("r:two:with:colons"),
        "localhost:5000": { "username": "l", "password": "three" },
        "t.example": { "auth": STANDARD.encode("<token>:x"), "identitytoken": "four" },
        "b.example": { "registrytoken": "five" },
        "empty.example": {},
    }}));
    assert_eq!(home.find("docker.io/library/debian").unwrap(), password("hub", "one"));
    assert_eq!(home.find("r.example/a").unwrap(), password("r", "two:with:colons"));
    assert_eq!(home.find("localhost:5000/a").unwrap(), password("l", "three"));
    assert_eq!(home.find("t.example/a").unwrap(), Some(Login::Identity(Secret("four".into()))));
    assert_eq!(home.find("b.example/a").unwrap(), Some(Login::Bearer(Secret("five".into()))));
    assert_eq!(home.find("empty.example/a").unwrap(), None);
    assert_eq!(home.find("other.example/a").unwrap(), None);
    assert_eq!(home.find("localhost:5001/a").unwrap(), None);
}

#[test]
fn podmans_file_has_logins_for_parts_of_a_registry() {
    let document = json!({ "auths": {
        "r.example": auth("all:1"),
        "r.example/team": auth("team:2"),
        "r.example/team/app": auth("app:3"),
    }});
    let home =
        Home::new().file("run/containers/auth.json", &document.to_string()).set("XDG_RUNTIME_DIR", "~/run");
    assert_eq!(home.find("r.example/other").unwrap(), password("all", "1"));
    assert_eq!(home.find("r.example/teamwork").unwrap(), password("all", "1"));
    assert_eq!(home.find("r.example/team/x").unwrap(), password("team", "2"));
    assert_eq!(home.find("r.example/team/app").unwrap(), password("app", "3"));
    // A file that is named is the only one.
    let home = home.file("own.json", "{}").set("REGISTRY_AUTH_FILE", "~/own.json");
    assert_eq!(home.find("r.example/other").unwrap(), None);
}

#[test]
fn the_first_place_that_knows_the_registry_is_taken() {
    let home = Home::new()
        .file(
            ".config/containers/auth.json",
            &json!({ "auths": { "r.example": auth("podman:1"), "p.example": auth("podman:2") } }).to_string(),
        )
        .docker(&json!({ "auths": { "r.example": auth("docker:1"), "v.example": auth("docker:2") } }));
    assert_eq!(home.find("r.example/a").unwrap(), password("docker", "1"));
    assert_eq!(home.find("p.example/a").unwrap(), password("podman", "2"));
    let home = home.set("DOCKER_AUTH_CONFIG", &json!({ "auths": { "v.example": auth("ci:1") } }).to_string());
    assert_eq!(home.find("v.example/a").unwrap(), password("ci", "1"));
    let home = home.set("DOCKER_CONFIG", "~/elsewhere");
    assert_eq!(home.find("r.example/a").unwrap(), password("podman", "1"));
}

#[test]
fn helpers_are_asked_as_docker_asks_them() {
    let home = Home::new()
        .docker(&json!({
            "auths": { "r.example": {}, "store.example": {} },
            "credHelpers": { "r.example": "one", "docker.io": "hub", "none.example": "none", "broken.example": "broken", "absent.example": "absent" },
            "credsStore": "store",
        }))
        .helper("one", r#"echo '{"ServerURL":"r.example","Username":"u","Secret":"s"}'"#)
        .helper("hub", r#"echo '{"Username":"<token>","Secret":"refresh"}'"#)
        .helper("store", r#"echo '{"Username":"stored","Secret":"s"}'"#)
        .helper("none", "echo 'credentials not found in native keychain'; exit 1")
        .helper("broken", "echo 'the keychain is locked' >&2; exit 1");
    let path = format!("~/bin:{}", std::env::var("PATH").unwrap());
    let home = home.set("PATH", &path);
    let asked = || fs::read_to_string(home.dir.path().join("asked")).unwrap();
    let find = |repository: &str| {
        let found = home.keyring().find(&repository.parse().unwrap(), Access::Pull, true, &Cancel::new());
        found.map(|found| found.credentials.map(|credentials| credentials.login))
    };
    assert_eq!(find("r.example/a").unwrap(), password("u", "s"));
    assert_eq!(asked(), "r.example\n");
    assert_eq!(find("docker.io/library/a").unwrap(), Some(Login::Identity(Secret("refresh".into()))));
    assert_eq!(asked(), "https://index.docker.io/v1/\n");
    assert_eq!(find("store.example/a").unwrap(), password("stored", "s"));
    assert_eq!(find("none.example/a").unwrap(), None);
    assert_eq!(find("broken.example/a").unwrap(), None);
}

#[test]
fn what_is_read_needs_no_helper_and_what_is_written_does() {
    let home = Home::new()
        .docker(&json!({
            "credHelpers": {
                "broken.example": "broken", "absent.example": "absent", "noise.example": "noise",
                "chatty.example": "chatty", "away.example": "away", "none.example": "none",
            },
        }))
        .helper("broken", "echo 'the keychain is locked' >&2; exit 1")
        .helper("noise", "echo 'Hello'")
        .helper("none", "echo 'credentials not found in native keychain' >&2; exit 1")
        .helper("away", "echo once >> \"$HOME/count\"; exit 1")
        .helper("chatty", r#"echo 'level=error msg="no log"'; echo '{"Username":"u","Secret":"s"}'"#);
    let home = home.set("PATH", &format!("~/bin:{}", std::env::var("PATH").unwrap()));
    let keyring = home.keyring();
    let find =
        |repository: &str, access| keyring.find(&repository.parse().unwrap(), access, true, &Cancel::new());
    for (registry, fault) in [
        ("broken.example", "gives no login (exit status: 1: the keychain is locked)"),
        ("absent.example", "is not installed"),
        ("noise.example", "answers with something else than JSON"),
    ] {
        let name = format!("{registry}/a");
        let found = find(&name, Access::Pull).unwrap();
        let trouble = found.lacking().unwrap().clone();
        assert!(found.credentials.is_none());
        let program = format!("docker-credential-{}", registry.split('.').next().unwrap());
        for word in [program.as_str(), registry, fault, "config.json"] {
            assert!(trouble.to_string().contains(word), "{trouble}");
        }
        let error = find(&name, Access::Push).unwrap_err();
        assert_eq!((error.exit_code(), error.to_string()), (ExitCode::Unauthorized, trouble.to_string()));
        assert_eq!(error.hint(), Some(trouble.hint()));
    }
    // That there is no login is no trouble, also where it is said aside.
    for access in [Access::Pull, Access::Push] {
        assert_eq!(find("none.example/a", access).unwrap(), super::Found::default());
    }
    let found = find("chatty.example/a", Access::Push).unwrap();
    assert_eq!(found.noisy.as_deref(), Some("docker-credential-chatty"));
    assert_eq!(found.credentials.map(|credentials| credentials.login), password("u", "s"));
    // Whoever it is asked for, it is asked once.
    for name in ["away.example/a", "away.example/b"] {
        assert!(find(name, Access::Pull).unwrap().lacking().is_some());
        assert!(find(name, Access::Push).is_err());
    }
    assert_eq!(fs::read_to_string(home.dir.path().join("count")).unwrap(), "once\n");
}

#[test]
fn behind_a_helper_that_is_of_no_use_another_file_may_know_the_registry() {
    let home = Home::new().docker(&json!({ "credsStore": "absent" })).file(
        ".config/containers/auth.json",
        &json!({ "auths": { "r.example": auth("podman:1") } }).to_string(),
    );
    let keyring = home.keyring();
    let found = keyring.find(&"r.example/a".parse().unwrap(), Access::Push, true, &Cancel::new()).unwrap();
    assert!(found.lacking().is_none());
    assert_eq!(found.credentials.map(|credentials| credentials.login), password("podman", "1"));
}

#[test]
fn a_helper_that_waits_for_somebody_is_given_up() {
    let home =
        Home::new().docker(&json!({ "credHelpers": { "r.example": "slow" } })).helper("slow", "sleep 60");
    let home = home.set("PATH", &format!("~/bin:{}", std::env::var("PATH").unwrap()));
    let mut keyring = home.keyring();
    keyring.helper_limit = Duration::from_millis(200);
    let error =
        keyring.find(&"r.example/a".parse().unwrap(), Access::Push, true, &Cancel::new()).unwrap_err();
    assert!(error.to_string().contains("did not answer within 200ms"), "{error}");
    assert!(error.hint().unwrap().contains("keychain"));
}

#[test]
fn what_a_helper_writes_is_bounded_and_no_answer_is_shown() {
    let home = Home::new()
        .docker(&json!({
            "credHelpers": {
                "endless.example": "endless", "line.example": "line", "aside.example": "aside", "leaky.example": "leaky",
            },
        }))
        .helper("endless", "while :; do echo 'still here'; done")
        .helper("line", "tr '\\0' x < /dev/zero")
        .helper("aside", "tr '\\0' x < /dev/zero >&2")
        .helper("leaky", r#"printf '{"Username":"u","Secret":"hunter2"}\n'; exit 1"#);
    let home = home.set("PATH", &format!("~/bin:{}", std::env::var("PATH").unwrap()));
    let keyring = home.keyring();
    let push = |registry: &str| {
        let name = format!("{registry}/a").parse().unwrap();
        keyring.find(&name, Access::Push, true, &Cancel::new()).unwrap_err().to_string()
    };
    for registry in ["endless.example", "line.example", "aside.example"] {
        let error = push(registry);
        assert!(error.contains("writes more than 262144 bytes"), "{error}");
    }
    let error = push("leaky.example");
    assert!(error.contains("gives no login (exit status: 1)") && !error.contains("hunter2"), "{error}");
}

#[test]
fn variables_without_a_host_do_not_go_where_a_file_says() {
    let home = Home::new().set("XBUILD_REGISTRY_USERNAME", "u").set("XBUILD_REGISTRY_PASSWORD", "p");
    let find = |home: &Home, access, named| {
        home.keyring().find(&"r.example/a".parse().unwrap(), access, named, &Cancel::new()).unwrap()
    };
    let found = find(&home, Access::Push, false);
    assert!(found.credentials.is_none() && found.withheld);
    assert_eq!(found.known(), KnownLogin::Withheld);
    // What is only read never gets them, so that there is nothing to withhold.
    assert_eq!(find(&home, Access::Pull, false).known(), KnownLogin::None);
    // A file of the user's knows the registry all the same.
    let home = home.docker(&json!({ "auths": { "r.example": auth("docker:1") } }));
    assert_eq!(
        find(&home, Access::Push, false).credentials.unwrap().source.split('/').next_back(),
        Some("config.json`")
    );
    let home = home.set("XBUILD_REGISTRY_HOST", "r.example");
    assert_eq!(
        find(&home, Access::Push, false).credentials.unwrap().source,
        "the XBUILD_REGISTRY_ variables"
    );
}

#[test]
fn variables_without_a_host_are_for_what_is_pushed_to() {
    let home = Home::new().set("XBUILD_REGISTRY_USERNAME", "u").set("XBUILD_REGISTRY_PASSWORD", "p");
    let find = |home: &Home, access| {
        let found =
            home.keyring().find(&"r.example/a".parse().unwrap(), access, true, &Cancel::new()).unwrap();
        found.credentials.map(|credentials| credentials.login)
    };
    assert_eq!(find(&home, Access::Push), password("u", "p"));
    assert_eq!(find(&home, Access::Pull), None);
    let named = home.set("XBUILD_REGISTRY_HOST", "r.example");
    assert_eq!(find(&named, Access::Pull), password("u", "p"));
    let other = named.set("XBUILD_REGISTRY_HOST", "other.example");
    assert_eq!(find(&other, Access::Push), None);
    let token = Home::new().set("XBUILD_REGISTRY_TOKEN", "t");
    assert_eq!(find(&token, Access::Push), Some(Login::Identity(Secret("t".into()))));
    let half = Home::new().set("XBUILD_REGISTRY_USERNAME", "u");
    assert!(matches!(half.find("r.example/a"), Err(RegistryError::Variables(_))));
}

#[test]
fn nothing_secret_is_shown() {
    let home = Home::new().docker(&json!({ "auths": { "r.example": auth("user:hunter2") } }));
    let keyring = home.keyring();
    let found = keyring.find(&"r.example/a".parse().unwrap(), Access::Pull, true, &Cancel::new()).unwrap();
    assert!(!format!("{found:?}").contains("hunter2"));
    for broken in
        ["{\"auths\":{\"r.example\":{\"auth\":\"aHVudGVyMg==\"}}}", "{\"auths\": hunter2}", "[\"hunter2\"]"]
    {
        let home = Home::new().file(".docker/config.json", broken);
        let error = home.find("r.example/a").unwrap_err();
        assert!(matches!(error, RegistryError::CredentialFile { .. }));
        let text = format!("{error} {error:?}");
        assert!(!text.contains("hunter2") && !text.contains("aHVudGVyMg"), "{text}");
        assert!(text.contains("config.json"));
    }
}
