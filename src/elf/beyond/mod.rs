//! What a program's or library's own instructions need that not every processor of the platform has, where nothing asks
//! the processor first. Compilers note it only when they are told to.
//!
//! All code is looked through once, for instructions beyond the least processor ([`isa`] says which these are). Most files
//! have none, and the rest is for those that do.
//!
//! - A file in which nothing asks what the processor has does not choose: all its functions are looked at, and a branch
//!   counts as a question only where it is about a flag that is kept.
//! - In any other, execution is followed from what is certain to run: the entry point, `main`, the initialisers, and what
//!   these call by name. Only what it comes to whatever happens is told ([`graph`]). What is called through memory, as
//!   functions are that were chosen, is not followed; nor is what a library exports, since its callers may choose.

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
use crate::target::catalog::Endianness;

/// Of more calls it is not looked who calls whom, and nothing is said.
const MOST_CALLS: usize = 4 << 20;
/// As many instructions may be between a function's first argument and its call.
const NEAR: u8 = 6;
/// As many instructions the linker's step to another file's function has.
const STEPS: usize = 5;
/// What a function that only asks for LSE is at most, in bytes.
const SHORT: u64 = 128;
/// As much of a function is read to see what it starts.
const BEGINNING: usize = 48;

/// An instruction that not every processor has, where nothing asks for it first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Beyond {
    /// The level of processors that lacks it: 1 is the platform's least, 2 and up are levels of x86-64.
    pub level: u8,
    /// What a processor must have: `AVX2`, `LSE`.
    pub extension: String,
    /// The instruction.
    pub instruction: String,
    /// The function that it is in: its name, or the instruction's address.
    pub function: String,
}

/// What a level of a machine's processors is called.
#[must_use]
pub(crate) fn promise(machine: u16, level: u8) -> Option<&'static str> {
    let levels = &Machine::of(machine)?.promise;
    levels.get(usize::from(level.checked_sub(1)?)).map(String::as_str)
}

/// Looks through the code of a file.
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
    // Of a library that asks only the initialisers are certain to run, and these come to little: there is nothing to be gained
    // by knowing beforehand what they do not come to.
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

/// True for a dynamic loader, whom the kernel tells about the processor without being asked.
fn is_loader(parsed: &Parsed<'_>) -> bool {
    parsed
        .elf
        .soname
        .as_deref()
        .is_some_and(|name| name.starts_with("ld-") || name.starts_with("ld64.") || name == "ld.so.1")
}

/// True for the names of files in which the kernel tells about the processor.
fn reads_about_processor(parsed: &Parsed<'_>) -> bool {
    let has = |text: &[u8]| parsed.image.loads().take(64).any(|load| strings::has(load.bytes, text));
    has(b"/proc/cpuinfo") || has(b"/proc/self/auxv")
}

/// What one look through all code tells.
#[derive(Debug, Default)]
struct Sweep {
    /// Where something is called, and what.
    calls: Vec<(u64, u64)>,
    /// Where instructions are that may be beyond the least processor: the numbers of the functions.
    beyond: Vec<usize>,
    /// Something asks what the processor has.
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

    /// The functions that may come to such an instruction by what they call.
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

/// True if what is called asks the kernel: the function itself, or the linker's step to it.
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
                    // Which slot is relative to a register there.
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

/// True for the one function that asks on behalf of all atomic operations that are kept out of line: it is short, takes
/// LSE's bit out of what it learned and stores it in a byte. Nobody else looks at it. Who asks for another extension may
/// keep the answer in a byte, too.
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

/// Adds what the entry point starts: the functions whose addresses it hands on before anything else is decided.
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
