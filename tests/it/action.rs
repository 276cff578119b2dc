//! `action.yml`: runs its shell step as GitHub's runner would, with a stand-in for xbuild.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::command::xbuild_at;
use crate::support::repository;
use crate::support::step::{Step, action, block, inputs, script};

impl Step {
    /// A stand-in for xbuild that records its arguments and writes the same outputs.
    fn stand_in() -> Self {
        let step = Self::new();
        let program = "#!/bin/sh\nprintf '%s\\0' \"$@\" >\"$RUNNER_TEMP/arguments\"\n\
                       while [ $# -gt 0 ]; do\n  case $1 in\n\
                       --metadata-file) printf '{\\n  \"a\": \"b=c\"\\n}' >\"$2\" ;;\n\
                       --iidfile) printf sha256:0 >\"$2\" ;;\n  esac\n  shift\ndone\n\
                       echo example.com/app@sha256:1\n";
        let path = step.path("xbuild/bin/xbuild");
        fs::write(&path, program).expect("a directory of the test");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("our own file");
        step
    }

    /// The arguments that the stand-in got, without those for the reports.
    fn arguments(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("arguments")).expect("the stand-in ran");
        let mut arguments: Vec<String> = text.split_terminator('\0').map(str::to_owned).collect();
        for option in ["--metadata-file", "--iidfile"] {
            let at = arguments.iter().position(|argument| argument == option).expect("a report");
            arguments.drain(at..at + 2);
        }
        arguments
    }
}

#[test]
fn every_input_reaches_the_script_and_every_output_leaves_it() {
    let text = action();
    let environment = block(&text, "      env:").join("\n") + &text;
    for name in inputs().keys() {
        let line = format!("INPUT_{}: ${{{{ inputs.{name} }}}}", name.to_uppercase());
        assert!(environment.contains(&line), "no line `{line}`");
        assert!(script().contains(&format!("$INPUT_{}", name.to_uppercase())), "`{name}` is not used");
    }
    assert!(!script().contains("${{"), "an input's text would be a part of the script");
    let step = Step::stand_in();
    step.run(repository(), &[]).success();
    assert_eq!(step.arguments(), ["build", "."]);
    let outputs = step.outputs();
    let told: Vec<&str> = outputs.keys().map(String::as_str).collect();
    let mut declared: Vec<String> = text
        .lines()
        .filter_map(|line| line.split_once("steps.build.outputs."))
        .map(|(_, rest)| rest.trim_end_matches(" }}").to_owned())
        .collect();
    declared.sort();
    assert_eq!(told, declared);
    assert_eq!(outputs["reference"], "example.com/app@sha256:1");
    assert_eq!(outputs["digest"], "sha256:1");
    assert_eq!(outputs["imageid"], "sha256:0");
    assert_eq!(outputs["metadata"].lines().collect::<String>(), "{  \"a\": \"b=c\"}");
    let left: Vec<String> = crate::support::names(step.dir.path());
    assert!(!left.iter().any(|name| name.starts_with("tmp.")), "{left:?}");
}

#[test]
fn xbuild_is_installed_as_its_own_sources_say() {
    // rustup and cargo search upwards from the current directory, which is the project's when the step begins.
    let step = Step::new();
    let bin = step.path("bin");
    fs::create_dir(&bin).expect("a directory of the test");
    fs::write(bin.join("cargo"), "#!/bin/sh\npwd -P\nprintf '%s\\n' \"$@\"\n")
        .expect("a directory of the test");
    fs::set_permissions(bin.join("cargo"), fs::Permissions::from_mode(0o755)).expect("our own file");
    let text = action();
    let script = text.lines().find_map(|line| line.strip_prefix("      run: ")).expect("the first step");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").expect("a search path"));
    let said = xbuild_at(Path::new("bash"))
        .words("--noprofile --norc -e -o pipefail -c")
        .arg(script)
        .dir(step.dir.path())
        .env("PATH", path)
        .env("SOURCE", repository())
        .env("RUNNER_TEMP", step.dir.path())
        .text();
    let root = step.path("xbuild").display().to_string();
    let own = repository().canonicalize().expect("our own directory").display().to_string();
    let expected = [own.as_str(), "install", "--quiet", "--locked", "--path", ".", "--root", root.as_str()];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn lists_and_text_arrive_as_they_were_written() {
    let step = Step::stand_in();
    let inputs = [
        ("path", "a b"),
        ("platforms", "linux/amd64, linux/arm64\nlinux/arm/v7\n"),
        ("tags", "ghcr.io/me/app:1\r\n  ghcr.io/me/app:latest  \n\n"),
        ("labels", "text=one, two $(touch pwned) `id` \"quoted\" 'single' \\ *\nother=x"),
        ("annotations", "index:key=a value\nmanifest[linux/arm64]:key=b"),
        ("push", "true"),
        ("load", "podman"),
        ("outputs", "type=oci,dest=a.tar\ntype=local,dest=files\ntype=tar,dest=b.tar"),
        ("locked", "true"),
        ("check", "warn"),
        ("arguments", "--timeout\n30m"),
    ];
    step.run(repository(), &inputs).success();
    let expected = [
        "build",
        "--platform=linux/amd64",
        "--platform=linux/arm64",
        "--platform=linux/arm/v7",
        "--tag=ghcr.io/me/app:1",
        "--tag=ghcr.io/me/app:latest",
        "--label=text=one, two $(touch pwned) `id` \"quoted\" 'single' \\ *",
        "--label=other=x",
        "--annotation=index:key=a value",
        "--annotation=manifest[linux/arm64]:key=b",
        "--push",
        "--load=podman",
        "--output=type=oci,dest=a.tar",
        "--output=type=local,dest=files",
        "--output=type=tar,dest=b.tar",
        "--locked",
        "--check=warn",
        "--timeout",
        "30m",
        "a b",
    ];
    assert_eq!(step.arguments(), expected);
    let wrong = step.run(repository(), &[("push", "yes")]);
    assert_eq!(wrong.status.code(), Some(2));
    wrong.tells(&["::error::", "`push`", "`yes`"]);
}

#[test]
fn no_value_is_taken_for_an_option() {
    let step = Step::stand_in();
    let inputs = [
        ("path", "--push\n"),
        ("platforms", "--all"),
        ("labels", "-x=1\n\"-y=2\nz\""),
        ("outputs", "--push"),
        ("check", " warn\r\n"),
        ("push", "false\n"),
        ("load", "podman\n"),
    ];
    step.run(repository(), &inputs).success();
    let expected = [
        "build",
        "--platform=--all",
        "--label=-x=1",
        "--label=-y=2\nz",
        "--load=podman",
        "--output=--push",
        "--check=warn",
        "./--push",
    ];
    assert_eq!(step.arguments(), expected);
    // Nor for a command to the runner, which reads commands at the beginning of lines.
    for name in ["path", "push", "load", "locked", "check"] {
        let wrong = step.run(repository(), &[(name, "true\n::set-env name=PATH::x")]);
        assert_eq!(wrong.status.code(), Some(2), "{name}");
        let wrong = wrong.tells(&["::error::", &format!("`{name}` has several lines")]);
        assert!(!wrong.stderr.contains("set-env"), "{}", wrong.stderr);
    }
}

#[test]
fn quoted_values_and_every_spelling_of_a_truth_value_are_known() {
    let step = Step::stand_in();
    let inputs = [
        ("platforms", "\"linux/amd64\",\"linux/arm64\"\r\n\"linux/arm/v7\""),
        ("tags", "\"ghcr.io/me/app:1\", ghcr.io/me/app:2"),
        ("labels", "\"text=one, two\"\n  \"lines=a\nb \"\"c\"\"\"\nplain=\"x\" y\n\"open=\nnext=1\n"),
        ("annotations", "\"index:key=a, b\""),
        ("push", "True"),
        ("load", "FALSE"),
        ("locked", "TRUE"),
    ];
    step.run(repository(), &inputs).success();
    let expected = [
        "build",
        "--platform=linux/amd64",
        "--platform=linux/arm64",
        "--platform=linux/arm/v7",
        "--tag=ghcr.io/me/app:1",
        "--tag=ghcr.io/me/app:2",
        "--label=text=one, two",
        "--label=lines=a\nb \"c\"",
        "--label=plain=\"x\" y",
        "--label=\"open=",
        "--label=next=1",
        "--annotation=index:key=a, b",
        "--push",
        "--locked",
        ".",
    ];
    assert_eq!(step.arguments(), expected);
    step.run(repository(), &[("load", "True"), ("push", "False")]).success();
    assert_eq!(step.arguments(), ["build", "--load", "."]);
}
