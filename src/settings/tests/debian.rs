//! Debian's packages in the configuration.

use super::*;

#[test]
fn packages_of_debian_are_general_or_of_one_platform() {
    let text = "platforms = [\"amd64\", \"arm64\"]\n[debian]\npackages = [\"libssl3\", \"ca-certificates\"]\n\
                [platform.\"linux/arm64\"]\npackages = [\"libatomic1\", \"libssl3\"]\n";
    let packages = |given: &Given<'_>| -> Vec<String> {
        given.settings().platforms.iter().map(|platform| platform.packages.join(" ")).collect()
    };
    let given = with_project(&text);
    assert_eq!(packages(&given), ["ca-certificates libssl3", "ca-certificates libatomic1 libssl3"]);
    let more = flags(|flags| flags.added_packages = strings(&["jq", "linux/arm64=g++"]));
    let given = Given { flags: more, ..with_project(&text) };
    assert_eq!(packages(&given), ["ca-certificates jq libssl3", "ca-certificates g++ jq libatomic1 libssl3"]);
    let workspace = ["[debian]\nsuites = [\"bookworm\"]\n", "[debian]\npackages = [\"jq\"]\n"];
    assert_eq!(packages(&Given { project: &workspace, ..Given::default() }), ["jq", "jq", "jq"]);
}

#[test]
fn what_is_no_package_of_debian_is_refused_with_the_reason() {
    let of_flag = |text: &str| {
        Given { flags: flags(|flags| flags.added_packages = strings(&[text])), ..Given::default() }.error()
    };
    for (name, part) in [
        ("libssl3=3.0.17-1", "`xbuild lock` pins it"),
        ("libssl3 (>= 3)", "`xbuild lock` pins it"),
        ("mawk | gawk", "choose one of them"),
        ("libssl3:arm64", "the platform's own architecture"),
        ("nano-", "removed from a base"),
        ("jq/bookworm-backports", "`suites`"),
        ("LibSSL3", "in lower case"),
        ("", "in lower case"),
    ] {
        let (message, hint, code) = of_flag(name);
        assert!(message.starts_with(&format!("`{name}` is not the name of a Debian package")), "{message}");
        assert!(hint.contains(part), "{name}: {hint}");
        assert_eq!(code, ExitCode::Usage);
        let text = format!("[debian]\npackages = [\"{name}\"]\n");
        let given = with_project(&text.as_str()).error();
        assert_eq!(given.2, ExitCode::Config);
    }
    let (message, ..) = of_flag("linux/riscv64=jq");
    assert!(message.starts_with("linux/riscv64 is not one of the platforms to build"), "{message}");
    let (message, hint, _) =
        with_project(&"base = \"scratch\"\nplatforms = [\"amd64\"]\n[debian]\npackages = [\"jq\"]\n").error();
    assert!(
        message.contains("base `scratch` of linux/amd64 is empty, but `jq` needs a Debian base"),
        "{message}"
    );
    assert!(hint.contains("--base linux/amd64=apt:bookworm"), "{hint}");
}

#[test]
fn what_is_compiled_against_is_found_out_unless_it_is_named() {
    let of = |text: &str| {
        let text = format!("platforms = [\"amd64\", \"arm64\"]\n{text}");
        let settings = with_project(&text.as_str()).settings();
        let each = settings.platforms.iter().map(|platform| platform.build_packages.clone());
        each.map(|packages| (packages.auto, packages.names.join(" "))).collect::<Vec<_>>()
    };
    let both = |auto: bool, names: &str| vec![(auto, names.to_owned()), (auto, names.to_owned())];
    assert_eq!(of(""), both(true, ""));
    assert_eq!(of("[debian]\nbuild-packages = \"auto\""), both(true, ""));
    assert_eq!(of("[debian]\nbuild-packages = []"), both(false, ""));
    assert_eq!(
        of("[debian]\nbuild-packages = [\"libssl-dev\", \"libpq-dev\"]"),
        both(false, "libpq-dev libssl-dev")
    );
    assert_eq!(of("[debian]\nbuild-packages = [\"auto\", \"libpq-dev\"]"), both(true, "libpq-dev"));
    // A platform's own come in addition, whatever the general ones are.
    assert_eq!(
        of("[platform.\"linux/arm64\"]\nbuild-packages = [\"libpq-dev\"]"),
        [(true, String::new()), (true, "libpq-dev".into())]
    );
    let error = |text: &str| {
        let text = format!("[debian]\nbuild-packages = {text}");
        with_project(&text.as_str()).error()
    };
    let (message, hint, code) = error("[\"libssl-dev:arm64\"]");
    assert!(message.starts_with("`libssl-dev:arm64` is not the name of a Debian package"), "{message}");
    assert!(hint.contains("the platform's own architecture"), "{hint}");
    assert_eq!(code, ExitCode::Config);
}
