#!/usr/bin/env python3
"""Compares the packages that xbuild chooses with those that apt chooses.

    benches/apt.py run RELEASE ARCHITECTURE COUNT   compare COUNT sets: those of benches/apt-sets, then random ones
    benches/apt.py imagine RELEASE FIRST LAST       compare on archives that are made up, by their numbers
    benches/apt.py record                           write what the tests compare with: tests/apt/

Needs cargo, mmdebstrap and a mirror of Debian: MIRROR, without `/debian`, or the one that this machine's apt has. Each release is asked by its
own apt: where that is not the machine's, by one in a root made by mmdebstrap, run by that root's own loader.

apt takes a second for each set on a whole index. So both read an excerpt: all packages that the sets could lead to,
without what neither of them looks at.
"""

import os
import random
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / "target" / "tmp" / "apt"
RECORDS = ROOT / "tests" / "apt"
KEYS = ROOT / "keys"
RELATIONS = ["Pre-Depends", "Depends", "Conflicts", "Breaks", "Recommends", "Suggests", "Replaces", "Enhances", "Provides"]
KEPT = ["Package", "Essential", "Protected", "Important", "Version", "Architecture", "Source", "Priority", "Section", "Multi-Arch", *RELATIONS]
# The packages of xbuild's own base, minus those that only maintainer scripts need.
BASE = ["base-files", "libc6", "libgcc-s1", "ca-certificates", "tzdata", "netbase"]
SCRIPTS_ONLY = {"awk", "openssl", "debconf", "debconf-2.0"}


def paragraphs(text):
    for paragraph in text.split("\n\n"):
        fields, name = {}, None
        for line in paragraph.split("\n"):
            if line[:1] in (" ", "\t"):
                fields[name] += " " + line.strip()
            elif ":" in line:
                name, value = line.split(":", 1)
                fields[name] = value.strip()
        if fields:
            yield fields


def names(field):
    """The names in a field, group by group."""
    for group in field.split(","):
        yield [re.split(r"[ (:]", one.strip())[0] for one in group.split("|") if one.strip()]


class Index:
    """The packages of a release and an architecture."""

    def __init__(self, files):
        self.all = []
        for file in files:
            self.all.append([fields for fields in paragraphs(file.read_text()) if "Package" in fields])
        self.by_name, self.providers = {}, {}
        for file in self.all:
            for fields in file:
                self.by_name.setdefault(fields["Package"], []).append(fields)
                for group in names(fields.get("Provides", "")):
                    for provided in group:
                        self.providers.setdefault(provided, set()).add(fields["Package"])

    def reachable(self, roots):
        """The names of all packages that the roots could lead to."""
        seen, stack = set(), list(roots)
        while stack:
            name = stack.pop()
            if name in seen:
                continue
            seen.add(name)
            for fields in self.by_name.get(name, []):
                for field in ("Pre-Depends", "Depends"):
                    for group in names(fields.get(field, "")):
                        for wanted in group:
                            stack.append(wanted)
                            stack.extend(self.providers.get(wanted, ()))
        return seen

    def excerpt(self, roots):
        """The same, reduced to what the roots could lead to, as texts, one for each file."""
        seen = self.reachable(roots)
        return [
            "".join(stanza(fields) for fields in file if fields["Package"] in seen) for file in self.all
        ]


def stanza(fields, more=()):
    kept = [f"{name}: {fields[name]}" for name in KEPT if name in fields]
    file = f"Filename: pool/{fields['Package']}.deb\nSize: 1\nSHA256: {'0' * 64}"
    return "\n".join([*kept, *more, file]) + "\n\n"


def releases_apt(release):
    """The command line of the release's own apt."""
    own = re.search(r"VERSION_CODENAME=(\S+)", Path("/etc/os-release").read_text())
    if own and own[1] == release:
        return ["apt-get"]
    root = CACHE / f"root-{release}"
    if not (root / "usr/bin/apt-get").exists():
        subprocess.run(["mmdebstrap", "--mode=root", "--variant=apt", release, root, f"{mirror()}/debian"], check=True)
    loader = next((root / "lib64").glob("ld-linux-*"))
    return [loader, "--library-path", root / "usr/lib/x86_64-linux-gnu", root / "usr/bin/apt-get"]


def configure(directory, architecture, sources):
    for name in ("lists/partial", "cache/archives/partial", "state", "etc/preferences.d"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    (directory / "etc/sources.list").write_text(sources)
    (directory / "status").touch()
    (directory / "apt.conf").write_text(
        f'Dir::State "{directory}/state";\nDir::State::lists "{directory}/lists";\nDir::State::status "{directory}/status";\n'
        f'Dir::Cache "{directory}/cache";\nDir::Etc "{directory}/etc";\nDir::Etc::sourceparts "-";\nDir::Etc::parts "-";\n'
        f'APT::Architecture "{architecture}";\nAPT::Architectures {{ "{architecture}"; }};\n'
        'Acquire::Languages "none";\nAcquire::GzipIndexes "false";\nAPT::Sandbox::User "root";\nDebug::NoLocking "true";\n'
    )
    return {**os.environ, "APT_CONFIG": str(directory / "apt.conf"), "LC_ALL": "C"}


def mirror():
    """The mirror's address, without `/debian`."""
    if given := os.environ.get("MIRROR"):
        return given
    targets = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI)"], capture_output=True, text=True, check=True)
    return next(uri.removesuffix("/debian/") for uri in targets.stdout.splitlines() if uri.endswith("/debian/"))


def whole_index(release, architecture):
    directory = CACHE / f"{release}-{architecture}"
    sources = [f"{mirror()}/debian {release}"]
    # The mirror of one architecture may be out of step with what was signed: then the release is used as it was made.
    if not os.environ.get("RELEASE_ONLY"):
        sources += [f"{mirror()}/debian {release}-updates", f"{mirror()}/debian-security {release}-security"]
    lines = [f"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {source} main\n" for source in sources]
    environment = configure(directory, architecture, "".join(lines))
    if not list((directory / "lists").glob("*_Packages")):
        subprocess.run(["apt-get", "-q", "update"], env=environment, check=True)
    rank = lambda file: ("security" in file.name, "updates" in file.name)
    return Index(sorted((directory / "lists").glob("*_Packages"), key=rank))


class Question:
    """An excerpt of an archive and the installed packages, about which apt and xbuild are asked."""

    def __init__(self, name, release, architecture, index, sets, base):
        self.directory = CACHE / name
        self.architecture, self.sets, self.apt = architecture, sets, releases_apt(release)
        roots = {package for one in sets for package in one} | set(BASE) | {"apt"}
        self.files = []
        sources = ""
        for number, text in enumerate(index.excerpt(roots)):
            mirror = self.directory / f"mirror{number}"
            mirror.mkdir(parents=True, exist_ok=True)
            (mirror / "Packages").write_text(text)
            self.files.append(mirror / "Packages")
            sources += f"deb [trusted=yes] file:{mirror} ./\n"
        self.environment = configure(self.directory, architecture, sources)
        (self.directory / "status").write_text(status(index, base))
        subprocess.run(["apt-get", "-q", "update"], env=self.environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def of_apt(self, packages):
        command = [*self.apt, "-s", "--no-install-recommends", "install", *packages]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        # The packages that it would install, whether or not it also finds an order to install them in.
        if not (new := re.search(r"NEW packages will be installed:\n((?:  .*\n)+)", done.stdout)):
            refused = " ".join(line for line in done.stderr.splitlines() if line.startswith("E:"))
            return f"! {refused}" if done.returncode else ""
        versions = dict(re.findall(r"^(?:Inst|Conf) (\S+) (?:\[\S+\] )?\((\S+)", done.stdout, re.MULTILINE))
        gone = re.search(r"will be REMOVED:\n((?:  .*\n)+)", done.stdout)
        found = [f"{name.split(':')[0]}={versions.get(name, '')}" for name in new[1].split()]
        return " ".join(sorted(found + [f"-{name}" for name in (gone[1].split() if gone else [])]))

    def of_xbuild(self):
        command = ["cargo", "bench", "--profile", "dev", "--bench", "resolve", "--", self.architecture, self.directory / "status", *self.files]
        if program := os.environ.get("RESOLVE"):
            command[:7] = [program]
        lines = "".join(" ".join(one) + "\n" for one in self.sets)
        return subprocess.run(command, input=lines, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()


def status(index, base):
    """dpkg's database of a root with xbuild's own base."""
    text, stack, seen = "", list(BASE) if base else [], set()
    while stack:
        name = stack.pop()
        if name in seen or name not in index.by_name:
            continue
        seen.add(name)
        fields = dict(newest(index.by_name[name]))
        for field in ("Pre-Depends", "Depends"):
            groups = [group for group in fields.get(field, "").split(",") if group.strip()]
            groups = [group for group in groups if not SCRIPTS_ONLY & set(next(names(group)))]
            fields[field] = ", ".join(groups)
            stack.extend(next(names(group))[0] for group in groups)
        text += stanza({name: value for name, value in fields.items() if value}, ["Status: install ok installed"])
    return text


def newest(versions):
    """The highest of several versions of a package."""
    best = versions[0]
    for one in versions[1:]:
        if subprocess.run(["dpkg", "--compare-versions", one["Version"], "gt", best["Version"]], check=False).returncode == 0:
            best = one
    return best


def some_sets(index, count, seed):
    """The awkward sets, and as many random ones, some of packages with alternatives or conflicts."""
    dice = random.Random(seed)
    known = sorted(index.by_name)
    telling = [name for name in known if any("|" in index.by_name[name][0].get(field, "") for field in ("Depends", "Pre-Depends"))]
    hostile = [name for name in known if "Conflicts" in index.by_name[name][0] and not name.endswith("-dev")]
    sets = [line.split() for line in AWKWARD.splitlines() if line.strip()]
    sets = [one for one in sets if all(name in index.by_name for name in one)]
    while len(sets) < count:
        kind = dice.choice([known, telling, telling, hostile])
        sets.append(sorted(set(dice.sample(kind, dice.choice([1, 1, 2, 2, 3, 4])) + dice.sample(telling, dice.choice([0, 1])))))
    return sets[:count]


AWKWARD = (ROOT / "benches" / "apt-sets").read_text()
# The sets to keep for the tests: few packages, and as much of a resolver's work as possible.
RECORDED = [
    "logcheck", "backuppc", "dma logcheck", "logcheck msmtp-mta", "logcheck systemd-cron", "busybox-syslogd logcheck",
    "inetutils-syslogd logwatch", "bsd-mailx", "mailutils", "apticron", "checksecurity", "cron-apt", "base-files original-awk",
    "default-mta", "exim4 postfix", "sysvinit-core systemd-sysv", "cron nullmailer", "anacron", "dbus", "logwatch",
]


def run(release, architecture, count, seed="1"):
    index = whole_index(release, architecture)
    sets = some_sets(index, int(count), f"{release} {architecture} {seed}")
    totals = {}
    for base in (False, True):
        half = sets[base::2]
        question = Question(f"{release}-{architecture}-{'base' if base else 'bare'}", release, architecture, index, half, base)
        for packages, ours in zip(half, question.of_xbuild(), strict=True):
            count_difference(f"{release} {architecture} {'base' if base else 'bare'}", packages, question.of_apt(packages), ours, totals)
    print(f"{release} {architecture}: {len(sets)} sets:", ", ".join(f"{number} {kind}" for kind, number in sorted(totals.items())))


def count_difference(where, packages, theirs, ours, totals):
    if re.search(r"=( |$)", theirs):
        # apt chose, but found no order to install them in: then it prints no versions.
        ours, theirs = (" ".join(sorted(one.split("=")[0] for one in answer.split())) for answer in (ours, theirs))
    kind = "equal" if ours == theirs else "both refuse" if ours[:1] == theirs[:1] == "!" else "different"
    totals[kind] = totals.get(kind, 0) + 1
    if kind == "different":
        refused = "!" in (ours[:1], theirs[:1])
        only = lambda one, other: " ".join(sorted(set(one.split()) - set(other.split())))
        print(f"{where}: {' '.join(packages)}")
        print(f"    apt:    {theirs[:300] if refused else only(theirs, ours)}")
        print(f"    xbuild: {ours[:500] if refused else only(ours, theirs)}", flush=True)


class Imagined(Question):
    """A generated archive, with far more conflicts and alternatives than a real one."""

    def __init__(self, release, seed):
        self.directory = CACHE / f"imagined-{release}"
        self.architecture, self.apt = "amd64", releases_apt(release)
        dice = random.Random(seed)
        every = [f"p{number}" for number in range(dice.randint(6, 16))]
        dice.shuffle(every)
        self.packages = [imagined(name, every, dice) for name in every]
        self.packages.append({"Package": "apt", "Architecture": "all", "Version": version_of(self.apt), "Priority": "required"})
        self.sets = [sorted(dice.sample(every, dice.choice([1, 2, 2, 3])))]
        mirror = self.directory / "mirror"
        mirror.mkdir(parents=True, exist_ok=True)
        self.files = [mirror / "Packages"]
        self.files[0].write_text("".join(map(stanza, self.packages)))
        self.environment = configure(self.directory, self.architecture, f"deb [trusted=yes] file:{mirror} ./\n")
        subprocess.run(["apt-get", "-q", "update"], env=self.environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def imagined(name, every, dice):
    virtual = ["v0", "v1", "v2"]

    def relation():
        return dice.choice(every + virtual) + (dice.choice([" (>= 2)", " (<< 3)", " (= 1)"]) if dice.random() < 0.05 else "")

    def relations(count, width):
        return ", ".join(" | ".join(relation() for _ in range(dice.choice(width))) for _ in range(count))

    kind = dice.choice(["", "", "", "allowed", "foreign", "same"])
    fields = {
        "Package": name,
        "Architecture": "amd64" if kind == "same" else "all",
        "Version": str(dice.randint(1, 3)),
        "Priority": dice.choice(["optional", "optional", "optional", "important", "extra", "standard"]),
        "Multi-Arch": kind,
        "Depends": relations(dice.choice([0, 1, 1, 2, 3]), [1, 2, 2, 3, 3]),
        "Pre-Depends": relations(dice.random() < 0.15, [1]),
        "Conflicts": relations(dice.random() < 0.45 and dice.choice([1, 2]), [1]),
        "Breaks": relations(dice.random() < 0.1, [1]),
        "Recommends": relations(dice.random() < 0.2, [1]),
        "Suggests": relations(dice.random() < 0.1, [1]),
        "Provides": ", ".join(dice.choice(virtual) + dice.choice(["", " (= 2)"]) for _ in range(dice.choice([0, 0, 0, 1, 2]))),
    }
    if dice.random() < 0.05 and fields["Depends"]:
        fields["Depends"] += f", {dice.choice(every)}:any"
    return {name: value for name, value in fields.items() if value}


def version_of(apt):
    return subprocess.run([*apt, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]


def imagine(release, first, last):
    """Compares on generated archives, each from a seed."""
    totals = {}
    for seed in range(int(first), int(last)):
        question = Imagined(release, seed)
        theirs, (ours,) = question.of_apt(question.sets[0]), question.of_xbuild()
        count_difference(f"{release} {seed}", question.sets[0], theirs, ours, totals)
    print(f"{release}: archives {first} to {last}:", ", ".join(f"{number} {kind}" for kind, number in sorted(totals.items())))


def record():
    RECORDS.mkdir(exist_ok=True)
    for release, architecture in (("bookworm", "arm64"), ("trixie", "amd64")):
        index = whole_index(release, architecture)
        sets = [one.split() for one in RECORDED if all(name in index.by_name for name in one.split())]
        whole = Question(f"{release}-whole", release, architecture, index, sets, False)
        answers = [whole.of_apt(one) for one in sets]
        kept = {name for answer in answers if answer[:1] != "!" for name in (one.split("=")[0] for one in answer.split())}
        kept |= {name for one in sets for name in one} | {"apt"}
        # With the alternatives that were not chosen, but not with all that those would need.
        for name in list(kept):
            for fields in index.by_name.get(name, []):
                wanted = [one for field in ("Pre-Depends", "Depends") for group in names(fields.get(field, "")) for one in group]
                kept |= {other for one in wanted for other in [one, *index.providers.get(one, ())]}
        text = f"# apt {version_of(whole.apt)}\n"
        texts = []
        small = Question(f"{release}-small", release, architecture, index, sets, False)
        for file, fields in zip(small.files, index.all, strict=True):
            # apt also requires fields that the tests do not need.
            more = lambda one: f"Architecture: {one['Architecture']}\nPriority: {one['Priority']}\nFilename: p\nSize: 1\nSHA256: {'0' * 64}\n\n"
            file.write_text("".join(brief(one)[:-1].split("\nPriority")[0].rstrip() + "\n" + more(one) for one in fields if one["Package"] in kept))
            texts.append("".join(brief(one) for one in fields if one["Package"] in kept))
        subprocess.run(["apt-get", "-q", "update"], env=small.environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for packages, answer in zip(sets, answers, strict=True):
            again = small.of_apt(packages)
            if again != answer:
                print(f"{release}: {' '.join(packages)}: apt chooses otherwise from the excerpt")
            text += f"? {' '.join(packages)}\n{answer_line(again)}\n"
        text += "\n" + "".join(texts)
        (RECORDS / f"{release}-{architecture}.txt").write_text(text.rstrip("\n") + "\n")
    for release in ("bookworm", "trixie"):
        text, count, seed = "", 0, 0
        while count < 40:
            question = Imagined(release, seed)
            answer = question.of_apt(question.sets[0])
            seed += 1
            # One refusal in ten, since most are alike.
            if answer[:1] == "!" and seed % 10:
                continue
            count += 1
            text += f"# apt {version_of(question.apt)}, archive {seed - 1}\n? {' '.join(question.sets[0])}\n{answer_line(answer)}\n\n"
            text += "".join(map(brief, question.packages))
        (RECORDS / f"imagined-{release}.txt").write_text(text.rstrip("\n") + "\n")


def answer_line(answer):
    return "!" if answer[:1] == "!" else f"= {' '.join(one.split('=')[0] for one in answer.split())}"


def brief(fields):
    """A paragraph with only the fields that matter for the choice."""
    kept = ["Package", "Version", "Essential", "Protected", "Multi-Arch", "Pre-Depends", "Depends", "Conflicts", "Breaks", "Provides"]
    kept += ["Recommends", "Suggests"] if fields["Package"][0] == "p" and fields["Package"][1:].isdigit() else []
    lines = [f"{name}: {fields[name]}" for name in kept if fields.get(name) and fields[name] != "no"]
    lines += [f"Priority: {fields['Priority']}"] if fields.get("Priority") not in ("optional", None) else []
    return "\n".join([*lines, ""]) + "\n"


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
