//! Finds instructions in a program or library that not every processor of the platform has, and that run without a
//! check for them. Compilers record such needs in the file only when they are told to.
//!
//! All code is searched once for instructions beyond the baseline processor ([`isa`] lists them). Most files have none.
//! The rest of this module is for those that do.
//!
//! - If nothing in a file checks the processor's features, the file does not choose between functions. Then all its
//!   functions are examined, and a branch counts as a check only if it tests a stored flag.
//! - In any other file, execution is followed from the code that certainly runs: the entry point, `main`, the
//!   initialisers, and what these call directly. Only instructions that are reached on every path are reported
//!   ([`graph`]). Calls through memory are not followed, since functions chosen at run time are called this way. Nor
//!   are a library's exported functions, since its callers may choose between them.

mod a64;
mod counted;
mod functions;
mod graph;
mod isa;
mod ppc64;
mod riscv;
mod s390;
mod step;
mod x86;

use object::elf;
use serde::{Deserialize, Serialize};

use self::functions::{Functions, Import};
use self::graph::Graph;
use self::isa::Machine;
use self::step::{Flow, State, Test};
use super::parse::Parsed;
use super::strings;
use crate::Endianness;

/// Beyond this many calls the call graph is not built and nothing is reported.
const MOST_CALLS: usize = 4 << 20;
/// At most this many instructions may be between setting a function's first argument and the call.
const NEAR: u8 = 6;
/// The number of instructions in the linker's stub for a function of another file.
const STEPS: usize = 5;
/// Maximum size of a function that checks for LSE only, in bytes.
const SHORT: u64 = 128;
/// Follow at most this many instructions of a function to see which functions it starts.
const BEGINNING: usize = 48;

/// An instruction that not every processor has, and that runs without a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Beyond {
    /// The level of processors that lacks it: 1 is the platform's baseline, 2 and up are levels of x86-64.
    pub level: u8,
    /// What a processor must have, such as `AVX2` or `LSE`.
    pub extension: String,
    /// The instruction.
    pub instruction: String,
    /// The function that contains it: its name, or else the instruction's address.
    pub function: String,
}

/// The name of a level of a machine's processors.
#[must_use]
pub fn promise(machine: u16, level: u8) -> Option<&'static str> {
    let levels = &Machine::of(machine)?.promise;
    levels.get(usize::from(level.checked_sub(1)?)).map(String::as_str)
}

/// Examines the code of a file.
pub(super) fn look(parsed: &Parsed<'_>, bytes: &[u8]) -> Vec<Beyond> {
    let elf = &parsed.elf;
    let little = elf.endianness == Endianness::Little;
    let Some(machine) =
        Machine::of(elf.machine).filter(|machine| little != (machine.number == elf::EM_S390.0))
    else {
        return Vec::new();
    };
    if elf.class == 64 {
        find::<elf::FileHeader64<object::Endianness>>(parsed, machine, bytes).unwrap_or_default()
    } else if elf.machine == elf::EM_386.0 {
        find::<elf::FileHeader32<object::Endianness>>(parsed, machine, bytes).unwrap_or_default()
    } else {
        Vec::new()
    }
}

fn find<H: object::read::elf::FileHeader<Endian = object::Endianness>>(
    parsed: &Parsed<'_>,
    machine: &'static Machine,
    bytes: &[u8],
) -> Option<Vec<Beyond>> {
    if !functions::regions::<H>(parsed, bytes).iter().any(|region| machine.has_any(region.bytes)) {
        return Some(Vec::new());
    }
    let mut functions = Functions::read::<H>(parsed, bytes)?;
    functions.asks |= is_loader(parsed) || reads_about_processor(parsed);
    // In a library with checks only the initialisers certainly run. They reach so little code that finding the
    // irrelevant functions first would not pay.
    let relevant = if functions.asks && !parsed.elf.is_program() {
        vec![true; functions.starts.len()]
    } else {
        let sweep = Sweep::new(&functions, machine)?;
        functions.asks |= sweep.asks;
        sweep.relevant(&functions)
    };
    let (starts, guards) = if functions.asks {
        started(&mut functions, machine);
        (functions.roots.clone(), Test::Value)
    } else {
        (functions.starts.clone(), Test::Flag)
    };
    let is_relevant =
        |address: &u64| functions.starts.binary_search(address).is_ok_and(|index| relevant[index]);
    let starts: Vec<u64> = starts.into_iter().filter(is_relevant).collect();
    let mut found = Vec::new();
    for (level, _) in (1_u8..).zip(&machine.promise) {
        if starts.is_empty() {
            break;
        }
        let graph = Graph::build(&functions, machine, &starts, level, guards)?;
        let Some(at) = starts.iter().find_map(|start| graph.beyond(*start)) else { break };
        let code = functions.code(at)?;
        let candidate = machine.step(code, at, &mut State::default())?.candidate;
        let meaning = machine.meaning(code, candidate)?;
        let function = functions::name::<H>(parsed, bytes, at);
        found.push(Beyond { level, extension: meaning.extension, instruction: meaning.name, function });
    }
    Some(found)
}

/// True for a dynamic loader, which the kernel informs about the processor without a call.
fn is_loader(parsed: &Parsed<'_>) -> bool {
    parsed
        .elf
        .soname
        .as_deref()
        .is_some_and(|name| name.starts_with("ld-") || name.starts_with("ld64.") || name == "ld.so.1")
}

/// True if the file contains the path of a file in which the kernel describes the processor.
fn reads_about_processor(parsed: &Parsed<'_>) -> bool {
    let has = |text: &[u8]| parsed.image.loads().take(64).any(|load| strings::has(load.bytes, text));
    has(b"/proc/cpuinfo") || has(b"/proc/self/auxv")
}

/// The result of one pass over all code.
#[derive(Debug, Default)]
struct Sweep {
    /// The addresses of calls, and their targets.
    calls: Vec<(u64, u64)>,
    /// The numbers of the functions with instructions that may be beyond the baseline processor.
    beyond: Vec<usize>,
    /// Something checks the processor's features.
    asks: bool,
}

impl Sweep {
    fn new(functions: &Functions<'_>, machine: &'static Machine) -> Option<Self> {
        let mut sweep = Self::default();
        for region in &functions.regions {
            let (mut at, mut state, mut near) = (0_usize, State::default(), 0_u8);
            let mut function = functions.starts.partition_point(|start| *start <= region.address);
            while let Some(code) = region.bytes.get(at..).filter(|code| !code.is_empty()) {
                if let Some(size) = machine.quiet(code) {
                    at += size;
                    near = near.saturating_sub(1);
                    continue;
                }
                let address = region.address + at as u64;
                while functions.starts.get(function).is_some_and(|start| *start <= address) {
                    function += 1;
                }
                let Some(step) = machine.step(code, address, &mut state) else {
                    at += 1;
                    continue;
                };
                at += usize::from(step.size);
                if step.candidate != 0
                    && let Some(number) = function.checked_sub(1)
                    && sweep.beyond.last() != Some(&number)
                {
                    sweep.beyond.push(number);
                }
                sweep.asks |= step.asks;
                let within = |target: u64| {
                    let from = function.checked_sub(1).map_or(0, |number| functions.starts[number]);
                    from < target && functions.starts.get(function).is_none_or(|end| target < *end)
                };
                match step.flow {
                    Flow::Call(target) => sweep.calls.push((address, target)),
                    Flow::Jump(target) | Flow::Branch(target, _) if !within(target) => {
                        sweep.calls.push((address, target));
                    }
                    _ => {}
                }
                if sweep.calls.len() > MOST_CALLS {
                    return None;
                }
                near = if step.asks_kernel { NEAR } else { near.saturating_sub(1) };
                if near > 0
                    && asks_kernel(functions, machine, step.flow)
                    && !only_for_lse(functions, machine, address)
                {
                    sweep.asks = true;
                }
            }
        }
        Some(sweep)
    }

    /// The functions that may reach such an instruction through their calls.
    fn relevant(&self, functions: &Functions<'_>) -> Vec<bool> {
        let number =
            |address: u64| functions.starts.partition_point(|start| *start <= address).checked_sub(1);
        let mut edges: Vec<(usize, usize)> =
            self.calls.iter().filter_map(|(from, to)| Some((number(*to)?, number(*from)?))).collect();
        edges.sort_unstable();
        edges.dedup();
        let mut relevant = vec![false; functions.starts.len()];
        let mut open = self.beyond.clone();
        while let Some(function) = open.pop() {
            if std::mem::replace(&mut relevant[function], true) {
                continue;
            }
            let first = edges.partition_point(|(to, _)| *to < function);
            open.extend(edges[first..].iter().take_while(|(to, _)| *to == function).map(|(_, from)| *from));
        }
        relevant
    }
}

/// True if the call's target asks the kernel: the function itself, or the linker's stub for it.
fn asks_kernel(functions: &Functions<'_>, machine: &'static Machine, flow: Flow) -> bool {
    let is = |slot: u64| functions.slots.get(&slot) == Some(&Import::Kernel);
    match flow {
        Flow::Call(target) | Flow::Jump(target) => {
            if functions.kernel.contains(&target) {
                return true;
            }
            let (mut at, mut state) = (target, State::default());
            for _ in 0..STEPS {
                let Some(step) = functions.code(at).and_then(|code| machine.step(code, at, &mut state))
                else {
                    break;
                };
                match step.flow {
                    Flow::Next => at = at.wrapping_add(step.size.into()),
                    Flow::Slot(slot) => return is(slot),
                    // Here the slot's address is relative to a register.
                    Flow::Stop if machine.number == elf::EM_PPC64.0 => {
                        return functions.slots.values().any(|import| *import == Import::Kernel);
                    }
                    _ => break,
                }
            }
            false
        }
        Flow::CallUnknown(Some(slot)) | Flow::Slot(slot) => is(slot),
        _ => false,
    }
}

/// True for the one function that checks for LSE on behalf of all out-of-line atomic operations. It is short, extracts
/// LSE's bit from the kernel's answer and stores it in a byte that nothing else reads. A check for another extension
/// may store its result in a byte as well.
fn only_for_lse(functions: &Functions<'_>, machine: &'static Machine, at: u64) -> bool {
    if machine.number != elf::EM_AARCH64.0 {
        return false;
    }
    let Some(start) = functions.start_of(at) else { return false };
    let next = functions.starts.partition_point(|other| *other <= at);
    let end = functions.starts.get(next).copied().unwrap_or(u64::MAX);
    let size = usize::try_from((end - start).min(SHORT)).unwrap_or(0);
    let Some(code) = functions.code(start) else { return false };
    let words = code[..size.min(code.len())].chunks_exact(4);
    let words = words.map(|word| u32::from_le_bytes(word.try_into().unwrap_or_default()));
    end - start <= SHORT
        && words.clone().any(|word| word & 0xffc0_0000 == 0x3900_0000)
        && words.clone().any(a64::takes_lse)
}

/// Adds the functions that the entry point starts: those whose addresses it passes on before it branches.
fn started(functions: &mut Functions<'_>, machine: &'static Machine) {
    let mut open: Vec<(u64, u8)> = functions.roots.iter().map(|root| (*root, 0)).collect();
    while let Some((start, depth)) = open.pop() {
        if depth == 3 || open.len() > 1000 {
            continue;
        }
        let (mut at, mut state) = (start, State::default());
        for _ in 0..BEGINNING {
            let Some(step) = functions.code(at).and_then(|code| machine.step(code, at, &mut state)) else {
                break;
            };
            if let Some(address) = step.address.filter(|_| !step.loads)
                && functions.starts.binary_search(&address).is_ok()
                && !functions.roots.contains(&address)
            {
                functions.roots.push(address);
                open.push((address, depth + 1));
            }
            match step.flow {
                Flow::Next => at = at.wrapping_add(step.size.into()),
                Flow::Jump(target) | Flow::Call(target) => {
                    open.push((target, depth + 1));
                    break;
                }
                _ => break,
            }
        }
    }
}

#[cfg(test)]
mod tests;
