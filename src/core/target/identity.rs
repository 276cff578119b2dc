//! Checks that an artifact is the program that was asked for. It becomes a payload only after this check.

use std::fmt;

use super::catalog::{Endianness, Libc, Target};
use crate::elf::{Elf, Kind, ParseError};
use crate::error::{ExitCode, Explain};

/// An artifact that is not a program for its target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not a program for {triple}: {}", join(differences))]
pub struct Mismatch {
    /// The target's triple.
    pub triple: String,
    /// Everything that differs; never empty.
    pub differences: Vec<Difference>,
}

impl Explain for Mismatch {
    fn exit_code(&self) -> ExitCode {
        ExitCode::WrongBinary
    }

    fn hint(&self) -> Option<String> {
        let dynamic =
            self.differences.iter().any(|difference| matches!(difference, Difference::NotStatic(_)));
        Some(if dynamic {
            "remove `-Ctarget-feature=-crt-static` and whatever else makes it link dynamically".into()
        } else {
            "look for a linker or rustflags in cargo's configuration that belong to another target".into()
        })
    }
}

/// One difference from the target: what is wanted, and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// `e_machine`.
    Machine(u16, u16),
    /// `EI_CLASS` in bits.
    Class(u8, u8),
    /// `EI_DATA`.
    Endianness(Endianness, Endianness),
    /// The bits of `e_flags` that matter.
    Flags(u32, u32),
    /// `EI_OSABI` (found) is not one that Linux runs.
    OsAbi(u8),
    /// `e_type` (found) is not a program's.
    Kind(Kind),
    /// The dynamic loader; `None` if the program has none.
    Interpreter(String, Option<String>),
    /// It should be static, but needs these: its loader and libraries.
    NotStatic(Vec<String>),
}

impl Explain for ParseError {
    fn exit_code(&self) -> ExitCode {
        ExitCode::WrongBinary
    }

    fn hint(&self) -> Option<String> {
        Some("remove the file and build again".into())
    }
}

fn join(differences: &[Difference]) -> String {
    differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine(wanted, found) => write!(
                formatter,
                "the machine is {} instead of {}",
                machine_name(*found),
                machine_name(*wanted)
            ),
            Self::Class(wanted, found) => write!(formatter, "it has {found} bits instead of {wanted}"),
            Self::Endianness(_, found) => write!(
                formatter,
                "its byte order is {}",
                match found {
                    Endianness::Little => "little-endian",
                    Endianness::Big => "big-endian",
                }
            ),
            Self::Flags(wanted, found) => write!(
                formatter,
                "its ABI flags are {found:#010x} instead of {wanted:#010x} (float ABI or ABI version)"
            ),
            Self::OsAbi(found) => write!(formatter, "its OS ABI is {found}, which is not Linux's"),
            Self::Kind(found) => write!(formatter, "it is {found}, not a program"),
            Self::Interpreter(wanted, Some(found)) => {
                write!(formatter, "its dynamic loader is {found} instead of {wanted}")
            }
            Self::Interpreter(wanted, None) => {
                write!(formatter, "it has no dynamic loader instead of {wanted}")
            }
            Self::NotStatic(needs) => write!(formatter, "it is not static but needs {}", needs.join(", ")),
        }
    }
}

/// The gABI's names of the machines in the catalog and of those that are easily confused with them. The class in bits
/// is set if the name implies it.
const MACHINES: &[(u16, &str, Option<u8>)] = &[
    (3, "i386", Some(32)),
    (8, "MIPS", None),
    (20, "PowerPC", None),
    (21, "PowerPC64", None),
    (22, "S390", Some(64)),
    (40, "Arm", None),
    (62, "x86-64", Some(64)),
    (183, "AArch64", Some(64)),
    (243, "RISC-V", None),
    (258, "LoongArch", None),
];

/// The name of a machine.
#[must_use]
pub fn machine_name(machine: u16) -> String {
    let known = MACHINES.iter().find(|(number, ..)| *number == machine);
    known.map_or_else(|| format!("number {machine}"), |(_, name, _)| (*name).to_owned())
}

/// True if a machine's name implies that its programs have this class.
#[must_use]
pub fn says_class(machine: u16, class: u8) -> bool {
    MACHINES.iter().any(|(number, _, said)| *number == machine && *said == Some(class))
}

/// Compares a file with its target's ELF identity. Reports every difference, not only the first.
///
/// Position independence is not required: fixed-address programs run as well, and users may ask for them.
///
/// # Errors
///
/// If anything about the file differs from the target. The error lists every difference.
pub fn verify(elf: &Elf, target: &Target) -> Result<(), Mismatch> {
    let mut differences = of_machine(elf, target);
    of_program(elf, target, &mut differences);
    concluded(target, differences)
}

/// The same for a shared library, which is loaded by a program.
pub fn verify_library(elf: &Elf, target: &Target) -> Result<(), Mismatch> {
    concluded(target, of_machine(elf, target))
}

fn concluded(target: &Target, differences: Vec<Difference>) -> Result<(), Mismatch> {
    if differences.is_empty() {
        return Ok(());
    }
    Err(Mismatch { triple: target.triple.clone(), differences })
}

/// The differences in the machine and its ABI.
fn of_machine(elf: &Elf, target: &Target) -> Vec<Difference> {
    let identity = &target.elf;
    let mut differences = Vec::new();
    if elf.machine != identity.machine {
        differences.push(Difference::Machine(identity.machine, elf.machine));
    }
    if elf.class != identity.class {
        differences.push(Difference::Class(identity.class, elf.class));
    }
    if elf.endianness != identity.endianness {
        differences.push(Difference::Endianness(identity.endianness, elf.endianness));
    }
    // The flags of another machine have another meaning.
    if let Some(rule) = identity.flags
        && elf.machine == identity.machine
        && elf.flags & rule.mask != rule.value
    {
        differences.push(Difference::Flags(rule.value, elf.flags & rule.mask));
    }
    // ELFOSABI_NONE and ELFOSABI_GNU (where IFUNC or unique symbols are used).
    if !matches!(elf.os_abi, 0 | 3) {
        differences.push(Difference::OsAbi(elf.os_abi));
    }
    differences
}

/// The differences from a program for the target.
fn of_program(elf: &Elf, target: &Target, differences: &mut Vec<Difference>) {
    let identity = &target.elf;
    if matches!(elf.kind, Kind::Relocatable | Kind::Other(_)) {
        differences.push(Difference::Kind(elf.kind));
    }
    match (&identity.interpreter, target.libc) {
        (Some(wanted), _) => {
            // A static program (crt-static) needs no loader. A library has no loader either, but is not a program.
            let found = elf.interpreter.as_ref();
            if found.is_some_and(|found| found != wanted) || (found.is_none() && !elf.needed.is_empty()) {
                differences.push(Difference::Interpreter(wanted.clone(), found.cloned()));
            } else if !elf.is_program() && elf.kind == Kind::Shared {
                differences.push(Difference::Kind(elf.kind));
            }
        }
        (None, Libc::Musl | Libc::Gnu) => {
            if !elf.is_static() {
                let needs = elf.interpreter.iter().chain(&elf.needed).cloned().collect();
                differences.push(Difference::NotStatic(needs));
            } else if !elf.is_program() && elf.kind == Kind::Shared {
                differences.push(Difference::Kind(elf.kind));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::elf::sample::Sample;

    fn aarch64() -> Elf {
        let interpreter = "/lib/ld-linux-aarch64.so.1";
        let program = Sample { machine: 183, ..Sample::program(interpreter, &["libc.so.6"]) };
        Elf::parse(&program.bytes()).unwrap()
    }

    fn armv7() -> Elf {
        let interpreter = Some("/lib/ld-linux-armhf.so.3".into());
        Elf { class: 32, machine: 40, flags: 0x0500_0400, interpreter, ..aarch64() }
    }

    fn differences(elf: &Elf, triple: &str) -> Vec<Difference> {
        let target = Target::by_triple(triple).unwrap();
        verify(elf, target).err().map_or(Vec::new(), |mismatch| mismatch.differences)
    }

    #[test]
    fn accepts_the_right_program() {
        assert_eq!(differences(&aarch64(), "aarch64-unknown-linux-gnu"), []);
        assert_eq!(differences(&armv7(), "armv7-unknown-linux-gnueabihf"), []);
        let fixed = Elf { kind: Kind::Executable, pie_flag: false, ..aarch64() };
        assert_eq!(differences(&fixed, "aarch64-unknown-linux-gnu"), []);
        let static_pie = Elf { interpreter: None, needed: Vec::new(), pie_flag: true, ..aarch64() };
        assert_eq!(differences(&static_pie, "aarch64-unknown-linux-musl"), []);
        assert_eq!(differences(&static_pie, "aarch64-unknown-linux-gnu"), []);
    }

    #[test]
    fn says_everything_that_differs() {
        let found = differences(&aarch64(), "armv7-unknown-linux-gnueabihf");
        assert!(found.contains(&Difference::Machine(40, 183)));
        assert!(found.contains(&Difference::Class(32, 64)));
        assert!(found.iter().any(|difference| matches!(difference, Difference::Interpreter(..))));
        assert_eq!(found.len(), 3);

        let soft = Elf { flags: 0x0500_0200, ..armv7() };
        assert_eq!(
            differences(&soft, "armv7-unknown-linux-gnueabihf"),
            [Difference::Flags(0x0500_0400, 0x0500_0000)]
        );
        assert_eq!(
            differences(&aarch64(), "aarch64-unknown-linux-musl"),
            [Difference::NotStatic(vec!["/lib/ld-linux-aarch64.so.1".into(), "libc.so.6".into()])]
        );
        let library = Elf { interpreter: None, pie_flag: false, needed: Vec::new(), ..aarch64() };
        assert_eq!(differences(&library, "aarch64-unknown-linux-gnu"), [Difference::Kind(Kind::Shared)]);
        let mismatch = verify(&aarch64(), Target::by_triple("x86_64-unknown-linux-gnu").unwrap());
        let text = mismatch.unwrap_err().to_string();
        assert!(text.contains("the machine is AArch64 instead of x86-64"), "{text}");
    }

    proptest! {
        #[test]
        fn whatever_is_refused_has_a_difference(
            (machine, flags) in (any::<u16>(), any::<u32>()),
            (os_abi, wide) in (any::<u8>(), any::<bool>()),
            interpreter in proptest::option::of(".*"),
        ) {
            let class = if wide { 64 } else { 32 };
            let elf = Elf { machine, flags, os_abi, class, interpreter, ..aarch64() };
            let verdict = verify(&elf, Target::by_triple("aarch64-unknown-linux-gnu").unwrap());
            prop_assert!(verdict.is_ok() || !verdict.unwrap_err().differences.is_empty());
        }
    }
}
