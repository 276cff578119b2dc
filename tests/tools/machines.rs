//! Another machine: the root filesystem of another Debian release, with another home, directory, umask, time zone and
//! number of jobs, and only the toolchains of this machine. xbuild itself makes that root filesystem.

use std::fs;

use crate::support::command::{tool, xbuild};
use crate::support::copy_dir;
use crate::support::mirror::Mirror;
use crate::support::project::Project;

/// The packages that the toolchains and the wrappers' scripts need.
const MACHINE: &str = "platforms = [\"linux/amd64\"]\nbase = \"apt:trixie\"\n\n[debian]\nsuites = [\"trixie\"]\n\
                       packages = [\"dash\", \"zlib1g\"]\n";

const PROJECT: &str = "platforms = [\"linux/amd64\", \"linux/arm64\"]\n\n[debian]\nsuites = [\"bookworm\"]\n";

/// Mounts the toolchains at paths outside the home directory, and builds there with nothing of this environment.
const ENTER: &str = "set -e
mount --bind \"$RUST\" \"$ROOT/opt/rust\"
mount --bind \"$ZIG\" \"$ROOT/opt/zig\"
mount --rbind /dev \"$ROOT/dev\"
mount -t proc proc \"$ROOT/proc\"
umask 077
chroot=$(PATH=$PATH:/usr/sbin command -v chroot)
exec env -i \
    PATH=/opt/rust/bin:/usr/bin HOME=/var/other TZ=Asia/Kathmandu LC_ALL=C.UTF-8 CARGO_BUILD_JOBS=1 \
    XBUILD_ZIG=/opt/zig/zig \"XBUILD_DEBIAN_MIRROR=$MIRROR\" \
    \"$chroot\" \"$ROOT\" /bin/sh -c 'cd /srv/far/away/app && exec /opt/xbuild build --locked'
";

#[test]
fn one_lock_gives_one_digest_on_two_machines() {
    let mirror = Mirror::start(|_, _| false);
    let project = Project::program("app").file("xbuild.toml", PROJECT);
    project.xbuild().arg("lock").env("XBUILD_DEBIAN_MIRROR", mirror.url()).run().success();
    // On neither machine is the project under version control, and neither sets SOURCE_DATE_EPOCH.
    let here = project.build().arg("--locked").env("XBUILD_DEBIAN_MIRROR", mirror.url());
    let here = here.env_remove("SOURCE_DATE_EPOCH").run().success().digest();

    let machine = Project::program("machine").file("xbuild.toml", MACHINE);
    let root = machine.path("root");
    let made = machine.build().env("XBUILD_DEBIAN_MIRROR", mirror.url()).arg("--output");
    made.arg(format!("type=local,dest={}", root.display())).run().success();
    for dir in ["opt/rust", "opt/zig", "var/other", "srv/far/away/app", "dev", "proc", "tmp"] {
        fs::create_dir_all(root.join(dir)).expect("a directory of the test");
    }
    copy_dir(project.dir(), &root.join("srv/far/away/app"));
    fs::copy(env!("CARGO_BIN_EXE_xbuild"), root.join("opt/xbuild")).expect("a file of the test");
    let place = |name: &str| xbuild().dir(project.dir()).words("toolchain path").arg(name).text();
    let (rust, zig) = (place("rust"), place("zig"));
    let zig = zig.trim_end().strip_suffix("/zig").expect("the program in its directory");

    let there = tool("unshare")
        .words("--map-root-user --mount --uts --pid --fork --kill-child sh -c")
        .arg(ENTER)
        .env("ROOT", &root)
        .env("RUST", rust.trim_end())
        .env("ZIG", zig)
        .env("MIRROR", mirror.url())
        .run()
        .success();
    assert_eq!(there.digest(), here, "{}", there.describe());
    let release = fs::read_to_string(root.join("etc/os-release")).expect("Debian says what it is");
    assert!(release.contains("VERSION_CODENAME=trixie"), "{release}");
}
