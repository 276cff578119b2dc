//! Projects: configurations, locks and Kubernetes manifests.

use super::*;

/// A project with this configuration, which is never compiled.
fn project(dir: &Path, configuration: &[u8]) {
    write(
        &dir.join("Cargo.toml"),
        "[package]\nname = \"app\"\nversion = \"1.0.0\"\nedition = \"2024\"\n\n[workspace]\n",
    );
    write(&dir.join("src/main.rs"), "fn main() {}\n");
    write(&dir.join("xbuild.toml"), configuration);
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn projects() {
    use ExitCode::{Config, LockFile, PathEscape};
    hold(&[
        (
            "a configuration of brackets",
            |f| project(f, format!("a = {}", "[".repeat(100_000)).as_bytes()),
            "plan",
            Config,
            "max recursion depth",
        ),
        (
            "a configuration of dots",
            |f| project(f, format!("{}a = 1", "a.".repeat(100_000)).as_bytes()),
            "plan",
            Config,
            "xbuild.toml:1",
        ),
        (
            "a configuration that is not text",
            |f| project(f, &[0xff, 0xfe, 0]),
            "plan",
            ExitCode::Io,
            "it is not UTF-8",
        ),
        (
            "a configuration of 65 MiB",
            |f| project(f, &vec![b'\n'; 65 << 20]),
            "plan",
            ExitCode::Io,
            "it has more than 64 MiB",
        ),
        (
            "a configuration that is a pipe",
            |f| {
                project(f, b"");
                pipe(&f.join("xbuild.toml"));
            },
            "plan",
            ExitCode::Io,
            "a pipe, a socket or a device",
        ),
        (
            "a manifest that is a directory",
            |f| {
                project(f, b"");
                fs::remove_file(f.join("Cargo.toml")).expect("a file");
                fs::create_dir(f.join("Cargo.toml")).expect("a directory");
            },
            "plan .",
            ExitCode::NoManifest,
            "no Cargo.toml",
        ),
        (
            "a file from above the project",
            |f| project(f, b"[[files]]\nfrom = \"../../etc/passwd\"\nto = \"/x\"\n"),
            "plan",
            PathEscape,
            "../../etc/passwd",
        ),
        (
            "a file to above the root",
            |f| project(f, b"[[files]]\nfrom = \"src\"\nto = \"/a/../../x\"\n"),
            "plan",
            PathEscape,
            "/a/../../x",
        ),
        (
            "a file through a link out of the project",
            |f| {
                project(f, b"base = \"scratch\"\nplatforms = [\"linux/amd64\"]\n[[files]]\nfrom = \"door/passwd\"\nto = \"/x\"\n");
                std::os::unix::fs::symlink("/etc", f.join("door")).expect("a link");
            },
            "build -o oci:out",
            PathEscape,
            "door",
        ),
        (
            "a platform of ten thousand letters",
            |f| project(f, format!("platforms = [\"{}\"]\n", "a".repeat(10_000)).as_bytes()),
            "plan",
            ExitCode::UnknownPlatform,
            "xbuild.toml:1",
        ),
        (
            "a time of more years than there are",
            |f| project(f, b"timeout = \"99999999999999999999h\"\n"),
            "plan",
            Config,
            "timeout",
        ),
        ("a tag that is an option", |f| project(f, b"tags = [\"--help\"]\n"), "plan", Config, "--help"),
        (
            "a variable with an end in it",
            |f| project(f, b"[image.env]\n\"A\\u0000B\" = \"x\"\n"),
            "plan",
            Config,
            "xbuild.toml:2",
        ),
        (
            "a key that is a command for a terminal",
            |f| project(f, b"\"\\u001b[2J\" = 1\n"),
            "plan",
            Config,
            "unknown key",
        ),
        (
            "a lock of another age",
            |f| {
                project(f, b"");
                write(&f.join("xbuild.lock"), "version = 99\n");
            },
            "plan",
            LockFile,
            "99",
        ),
        (
            "a lock between two branches",
            |f| {
                project(f, b"");
                write(&f.join("xbuild.lock"), "<<<<<<< HEAD\nversion = 1\n=======\nversion = 2\n>>>>>>> x\n");
            },
            "plan",
            LockFile,
            "merge",
        ),
        (
            "a lock of bytes",
            |f| {
                project(f, b"");
                write(&f.join("xbuild.lock"), [0, 0xff]);
            },
            "plan",
            ExitCode::LockFile,
            "it is not UTF-8",
        ),
        (
            "a lock that leads elsewhere",
            |f| {
                project(f, b"");
                write(
                    &f.join("xbuild.lock"),
                    "version = 1\n[[image]]\nbase = \"x\"\nplatform = \"linux/amd64\"\ndigest = \"sha256:..\"\n",
                );
            },
            "plan",
            LockFile,
            "xbuild.lock:",
        ),
    ]);
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn manifests_of_kubernetes() {
    use ExitCode::{Config, PathEscape};
    hold(&[
        (
            "brackets",
            |f| write(&f.join("a.yaml"), format!("# xbuild://a\n{}", "[".repeat(100_000))),
            "resolve -f a.yaml",
            Config,
            "a.yaml: line",
        ),
        (
            "deep mappings",
            |f| {
                let nested: Vec<String> =
                    (0..2_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
                write(&f.join("a.yaml"), format!("# xbuild://a\n{}", nested.concat()));
            },
            "resolve -f a.yaml",
            Config,
            "recursion limit",
        ),
        (
            "aliases of aliases",
            |f| {
                let lines: Vec<String> = (1..40)
                    .map(|number| format!("a{number}: &a{number} [*a{0}, *a{0}]\n", number - 1))
                    .collect();
                write(&f.join("a.yaml"), format!("a0: &a0 xbuild://none\n{}", lines.concat()));
            },
            "resolve -f a.yaml --repository r.example/x",
            ExitCode::NoManifest,
            "none",
        ),
        (
            "an alias of nothing",
            |f| write(&f.join("a.yaml"), "a: *b\nc: xbuild://a\n"),
            "resolve -f a.yaml",
            Config,
            "it is not YAML",
        ),
        (
            "bytes",
            |f| write(&f.join("a.yaml"), [0xff, 0xfe, 0xfd]),
            "resolve -f a.yaml",
            ExitCode::Io,
            "it is not UTF-8",
        ),
        (
            "65 MiB",
            |f| write(&f.join("a.yaml"), vec![b'#'; 65 << 20]),
            "resolve -f a.yaml",
            ExitCode::Io,
            "it has more than 64 MiB",
        ),
        (
            "a project above",
            |f| write(&f.join("a.yaml"), "image: xbuild://../../x\n"),
            "resolve -f a.yaml",
            PathEscape,
            "leads out of the current directory",
        ),
        (
            "a project at the root",
            |f| write(&f.join("a.yaml"), "image: xbuild:///etc\n"),
            "resolve -f a.yaml",
            PathEscape,
            "leads out of the current directory",
        ),
        (
            "a project behind a link",
            |f| {
                std::os::unix::fs::symlink("/etc", f.join("door")).expect("a link");
                write(&f.join("a.yaml"), "image: xbuild://door\n");
            },
            "resolve -f a.yaml",
            PathEscape,
            "leads out of the current directory",
        ),
        (
            "a reference in a longer text",
            |f| write(&f.join("a.yaml"), "args: [\"--image=xbuild://a\"]\n"),
            "resolve -f a.yaml",
            Config,
            "a.yaml:1: `--image=xbuild://a`",
        ),
        (
            "a directory with a pipe in it",
            |f| {
                fs::create_dir(f.join("k8s")).expect("a directory");
                pipe(&f.join("k8s/a.yaml"));
            },
            "resolve -f k8s",
            ExitCode::Io,
            "a pipe, a socket or a device",
        ),
        (
            "a directory that leads to itself",
            |f| {
                fs::create_dir(f.join("k8s")).expect("a directory");
                std::os::unix::fs::symlink(".", f.join("k8s/again")).expect("a link");
            },
            "resolve -R -f k8s",
            ExitCode::MissingFile,
            "has no file that ends in",
        ),
    ]);
}
