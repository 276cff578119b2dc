use super::*;

fn shell(script: &str) -> Command {
    Command::new("sh").args(["-c", script])
}

#[test]
fn keeps_both_streams_apart() {
    let output = shell("echo out; echo err >&2; exit 3").output(&Cancel::new()).unwrap();
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn a_line_that_is_drawn_again_is_a_line() {
    let said = |text: &[u8], ends: &[u8]| {
        let mut lines = Vec::new();
        let mut keep = |line| {
            lines.push(String::from_utf8(line).unwrap());
            true
        };
        split(BufReader::with_capacity(1, text), ends, &mut keep).unwrap();
        lines
    };
    assert_eq!(said(b"1/3\r2/3\rdone\r\n\nrest", b"\n\r"), ["1/3", "2/3", "done", "", "rest"]);
    assert_eq!(said(b"a\rb\r\nc\n", b"\n"), ["a\rb\r", "c"]);
}

#[test]
fn a_time_limit_ends_the_whole_group() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("alive");
    // The grandchild would write the file after the leader has ended.
    let script = format!("(sleep 1; touch '{}') & sleep 60", file.display());
    let cancel = Cancel::new().within(Duration::from_millis(100), "the test");
    let error = shell(&script).output(&cancel).unwrap_err();
    assert!(matches!(error, ProcessError::Cancelled(Cancelled::TimedOut { .. })), "{error}");
    thread::sleep(Duration::from_millis(1300));
    assert!(!file.exists());
}

#[test]
fn a_grandchild_that_keeps_the_pipes_does_not_hang_us() {
    let start = Instant::now();
    let output = shell("sleep 30 & echo done").output(&Cancel::new()).unwrap();
    assert_eq!(output.stdout, b"done\n");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_group_is_known_while_it_runs_and_no_longer() {
    let mut id = 0;
    shell("echo $$; sleep 0.1")
        .lines(&Cancel::new(), |line| {
            if let Line::Stdout(bytes) = line {
                id = String::from_utf8(bytes).unwrap().parse().unwrap();
                assert!(groups().contains(&id));
            }
        })
        .unwrap();
    assert!(id > 0 && !groups().contains(&id));
}

#[test]
fn programs_of_the_current_directory_are_not_found() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("tool-of-this-test");
    std::fs::write(&program, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let find = |path: &str| find(Path::new("tool-of-this-test"), Some(OsStr::new(path))).ok();
    let here = super::super::env::current_dir().unwrap();
    let up = "../".repeat(here.components().count());
    let relative = format!("{up}{}", directory.path().display());
    assert_eq!(find(&format!(".::{relative}")), None);
    let find_here = |path: Option<&str>| {
        find_from(Path::new("tool-of-this-test"), path.map(OsStr::new), directory.path()).ok()
    };
    for path in [None, Some(""), Some("."), Some("::"), Some(".:bin")] {
        assert_eq!(find_here(path), None, "{path:?}");
    }
    assert_eq!(find(&format!(".:{}", directory.path().display())), Some(program));
}

#[test]
fn a_directory_that_cannot_be_looked_at_is_told_where_nothing_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::os::unix::fs::symlink("circle", at("circle")).unwrap();
    std::fs::write(at("file"), "").unwrap();
    let find = |name: &str, places: &[&str]| {
        let path = std::env::join_paths(places.iter().map(|place| at(place))).unwrap();
        find_any(Path::new(name), Some(&path)).map(|found| found.is_some())
    };
    // A missing directory and a file where a directory should be are not reported.
    assert!(!find("sh", &["none", "file"]).unwrap());
    let error = find("sh", &["none", "circle"]).unwrap_err();
    assert!(!error.is_not_found() && error.to_string().contains("symbolic links"), "{error}");
    assert!(find("sh", &["circle", "/bin"]).unwrap());
}

#[test]
fn a_program_runs_in_a_neutral_directory_without_secrets() {
    let seen = shell("pwd; echo \"$XBUILD_REGISTRY_PASSWORD$DOCKER_AUTH_CONFIG$OTHER\"");
    let seen = seen.env("XBUILD_REGISTRY_PASSWORD", "p").env("DOCKER_AUTH_CONFIG", "d").env("OTHER", "o");
    assert_eq!(seen.text(&Cancel::new()).unwrap(), "/\no\n");
    let trusted = seen.clone().with_credentials().here().text(&Cancel::new()).unwrap();
    let here = super::super::env::current_dir().unwrap();
    assert_eq!(trusted, format!("{}\npdo\n", here.display()));
}

#[test]
fn a_missing_program_is_told_apart() {
    let error = Command::new("no-such-program-xbuild").output(&Cancel::new()).unwrap_err();
    assert!(error.is_not_found());
    assert!(error.hint().unwrap().contains("install"));
}

#[test]
fn what_cannot_be_read_is_an_error() {
    struct Faulty(usize);
    impl Read for Faulty {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0 += 1;
            if self.0 > 1 {
                return Err(io::Error::other("faulty"));
            }
            buffer[..4].copy_from_slice(b"a\nb\n");
            Ok(4)
        }
    }
    let mut lines = Vec::new();
    let mut take = |line| {
        lines.push(line);
        true
    };
    let error = split(BufReader::new(Faulty(0)), b"\n", &mut take).unwrap_err();
    assert_eq!((error.to_string().as_str(), lines.len()), ("faulty", 2));
}
