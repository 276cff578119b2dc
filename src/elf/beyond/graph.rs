//! Determines whether a function reaches an instruction beyond the baseline processor on every path.
//!
//! Code is cut into blocks, each with at most one call, at its end. A block is *bad* if it contains such an
//! instruction, or if its successor is bad. Of a branch that may be a check of the processor both successors must be
//! bad, of any other branch one is enough. If the successor is unknown (a call or jump through memory, a return), it is
//! not bad. Paths that end in a trap do not count. Both properties are least fixed points, found by going backwards
//! from what is known, so that the work is proportional to the code.

use super::counted;
use super::functions::{Functions, Import};
use super::isa::Machine;
use super::step::{Flow, State, Step, Test};

/// Maximum number of blocks. Nothing is reported about larger code.
const MOST_BLOCKS: usize = 3 << 20;
/// No block.
const NONE: u32 = u32::MAX;

/// How a block ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Continues with the first successor.
    Next,
    /// Continues with either successor.
    Branch(Test),
    /// Calls the first successor, then continues with the second.
    Call,
    /// The successor is unknown.
    Open,
    /// Ends in a trap.
    Trap,
}

#[derive(Clone, Copy, Debug)]
struct Block {
    address: u64,
    end: End,
    next: [u32; 2],
    /// The offset of the first instruction beyond the baseline processor from the block's address, or `NONE`.
    beyond: u32,
    /// In a bad block: which of the two successors is bad, or [`OWN`].
    way: u8,
    state: u8,
}

const DEAD: u8 = 1;
const BAD: u8 = 2;
/// In `way`: the block itself contains the instruction.
const OWN: u8 = 2;

pub(super) struct Graph<'a> {
    functions: &'a Functions<'a>,
    machine: &'static Machine,
    blocks: Vec<Block>,
    /// The predecessors of all blocks; `from` has the index of each block's first one.
    before: Vec<u32>,
    from: Vec<u32>,
    /// The weakest test that may be a check of the processor.
    guards: Test,
}

/// A bit for every byte of the regions.
struct Marks {
    starts: Vec<(u64, u64, usize)>,
    bits: Vec<u64>,
}

impl Marks {
    fn new(functions: &Functions<'_>) -> Self {
        let (mut starts, mut total) = (Vec::new(), 0);
        for region in &functions.regions {
            starts.push((region.address, region.bytes.len() as u64, total));
            total += region.bytes.len();
        }
        Self { starts, bits: vec![0; total / 64 + 1] }
    }

    fn index(&self, address: u64) -> Option<usize> {
        let before = self.starts.partition_point(|(start, ..)| *start <= address);
        let (start, size, first) = self.starts[before.checked_sub(1)?];
        let at = address - start;
        (at < size).then(|| first + usize::try_from(at).unwrap_or(0))
    }

    fn has(&self, address: u64) -> bool {
        self.index(address).is_some_and(|index| self.bits[index / 64] >> (index % 64) & 1 != 0)
    }

    /// Sets a bit. True if it was not set before and the address is in a region.
    fn set(&mut self, address: u64) -> bool {
        let Some(index) = self.index(address) else { return false };
        let bit = 1 << (index % 64);
        let new = self.bits[index / 64] & bit == 0;
        self.bits[index / 64] |= bit;
        new
    }

    /// All addresses that are set, in order.
    fn all(&self) -> impl Iterator<Item = u64> + '_ {
        self.starts.iter().flat_map(move |(start, size, first)| {
            let (mut at, end) = (*first, *first + usize::try_from(*size).unwrap_or(0));
            std::iter::from_fn(move || {
                while at < end {
                    let word = self.bits[at / 64] >> (at % 64);
                    if word == 0 {
                        at = (at / 64 + 1) * 64;
                        continue;
                    }
                    at += word.trailing_zeros() as usize;
                    if at < end {
                        at += 1;
                        return Some(*start + (at - 1 - *first) as u64);
                    }
                }
                None
            })
        })
    }
}

impl<'a> Graph<'a> {
    /// Follows execution from some functions. `promise` is the level that all processors have, `guards` the weakest
    /// test that may be a check of the processor. `None` if there are too many blocks.
    pub(super) fn build(
        functions: &'a Functions<'a>,
        machine: &'static Machine,
        seeds: &[u64],
        promise: u8,
        guards: Test,
    ) -> Option<Self> {
        let mut leaders = Marks::new(functions);
        let mut seen = Marks::new(functions);
        let mut open: Vec<u64> = seeds.to_vec();
        while let Some(mut address) = open.pop() {
            leaders.set(address);
            let mut state = State::default();
            while seen.set(address) {
                let Some(step) =
                    functions.code(address).and_then(|code| machine.step(code, address, &mut state))
                else {
                    break;
                };
                let next = address.wrapping_add(step.size.into());
                match step.flow {
                    Flow::Next | Flow::CallUnknown(_) => {}
                    Flow::Jump(target) => {
                        open.push(target);
                        break;
                    }
                    Flow::Branch(target, _) | Flow::Call(target) => {
                        leaders.set(next);
                        open.push(target);
                    }
                    Flow::Slot(_) | Flow::Stop | Flow::Trap => break,
                }
                address = next;
            }
            leaders.set(address);
        }
        let mut graph =
            Self { functions, machine, blocks: Vec::new(), before: Vec::new(), from: Vec::new(), guards };
        for address in leaders.all().filter(|address| seen.has(*address)) {
            if graph.blocks.len() == MOST_BLOCKS {
                return None;
            }
            let (beyond, way, state) = (NONE, 0, 0);
            graph.blocks.push(Block { address, end: End::Open, next: [NONE; 2], beyond, way, state });
        }
        for index in 0..graph.blocks.len() {
            graph.fill(index, &leaders, promise);
        }
        graph.link();
        graph.spread(DEAD);
        graph.spread(BAD);
        Some(graph)
    }

    fn block_at(&self, address: u64) -> u32 {
        let found = self.blocks.binary_search_by_key(&address, |block| block.address);
        found.ok().and_then(|index| u32::try_from(index).ok()).unwrap_or(NONE)
    }

    /// Finds what a block contains and how it ends.
    fn fill(&mut self, index: usize, leaders: &Marks, promise: u8) {
        let start = self.blocks[index].address;
        let (mut address, mut state) = (start, State::default());
        let mut called = false;
        let (mut end, mut targets) = (End::Open, [None, None]);
        while let Some(code) = self.functions.code(address) {
            let Some(step) = self.machine.step(code, address, &mut state) else { break };
            if step.candidate != 0 && self.blocks[index].beyond == NONE && self.machine.level(code) > promise
            {
                self.blocks[index].beyond = u32::try_from(address - start).unwrap_or(NONE - 1);
            }
            let next = address.wrapping_add(step.size.into());
            (end, targets) = self.ending(&step, next);
            called = matches!(step.flow, Flow::Call(_) | Flow::CallUnknown(_)) || called && step.idle;
            if end != End::Next || targets[0] != Some(next) {
                break;
            }
            address = next;
            if leaders.has(address) {
                break;
            }
        }
        // A loop over a counter terminates.
        if end == End::Branch(Test::Value)
            && targets[0].is_some_and(|target| target <= address)
            && let Some(code) = self.functions.code(start)
            && let Some(size) = targets[1].and_then(|next| usize::try_from(next - start).ok())
            && counted::counts(self.machine, &code[..size.min(code.len())])
        {
            end = End::Branch(Test::Plain);
        }
        // A call at the very end of a function does not return.
        if called
            && let Some(next) = targets[usize::from(end == End::Call)]
            && self.is_end(next)
        {
            targets[usize::from(end == End::Call)] = None;
            if end == End::Next {
                end = End::Trap;
            }
        }
        let next = targets.map(|target| target.map_or(NONE, |target| self.block_at(target)));
        let block = &mut self.blocks[index];
        (block.end, block.next) = (end, next);
    }

    /// True if a function begins at an address, or after a few instructions that do nothing.
    fn is_end(&self, mut address: u64) -> bool {
        for _ in 0..16 {
            if self.functions.starts.binary_search(&address).is_ok()
                || self.functions.region_of(address).is_none()
            {
                return true;
            }
            let step = self
                .functions
                .code(address)
                .and_then(|code| self.machine.step(code, address, &mut State::default()));
            match step {
                Some(step) if step.idle => address = address.wrapping_add(step.size.into()),
                _ => return false,
            }
        }
        false
    }

    /// How an instruction ends a block, and the block's successors.
    fn ending(&self, step: &Step, next: u64) -> (End, [Option<u64>; 2]) {
        match step.flow {
            Flow::Jump(target) => (End::Next, [Some(target), None]),
            Flow::Branch(target, test) => (End::Branch(test), [Some(target), Some(next)]),
            Flow::Call(target) => (End::Call, [Some(target), Some(next)]),
            Flow::CallUnknown(slot) if self.never_returns(slot) => (End::Trap, [None, None]),
            Flow::Next | Flow::CallUnknown(_) => (End::Next, [Some(next), None]),
            Flow::Slot(slot) if self.never_returns(Some(slot)) => (End::Trap, [None, None]),
            Flow::Slot(_) | Flow::Stop => (End::Open, [None, None]),
            Flow::Trap => (End::Trap, [None, None]),
        }
    }

    fn never_returns(&self, slot: Option<u64>) -> bool {
        slot.is_some_and(|slot| self.functions.slots.get(&slot) == Some(&Import::Never))
    }

    /// Builds the list of predecessors.
    fn link(&mut self) {
        let mut counts = vec![0_u32; self.blocks.len() + 1];
        let ways =
            |block: &Block| block.next.into_iter().filter(|next| *next != NONE).map(|next| next as usize);
        for next in self.blocks.iter().flat_map(ways) {
            counts[next + 1] += 1;
        }
        for index in 1..counts.len() {
            counts[index] += counts[index - 1];
        }
        self.from.clone_from(&counts);
        self.before = vec![0; counts[self.blocks.len()] as usize];
        for (index, block) in (0_u32..).zip(&self.blocks) {
            for next in ways(block) {
                self.before[counts[next] as usize] = index;
                counts[next] += 1;
            }
        }
    }

    /// Marks all blocks that a property applies to.
    fn spread(&mut self, mark: u8) {
        let mut open = Vec::new();
        for index in 0..self.blocks.len() {
            self.judge(index, mark, &mut open);
        }
        while let Some(index) = open.pop() {
            let index = index as usize;
            let (from, to) = (self.from[index] as usize, self.from[index + 1] as usize);
            for at in from..to {
                self.judge(self.before[at] as usize, mark, &mut open);
            }
        }
    }

    fn judge(&mut self, index: usize, mark: u8, open: &mut Vec<u32>) {
        let block = self.blocks[index];
        if block.state & mark != 0 {
            return;
        }
        let way = if mark == DEAD { self.is_dead(block).then_some(OWN) } else { self.bad_way(block) };
        if let Some(way) = way {
            self.blocks[index].state |= mark;
            self.blocks[index].way = way;
            open.push(u32::try_from(index).unwrap_or(NONE));
        }
    }

    fn has(&self, block: u32, mark: u8) -> bool {
        self.blocks.get(block as usize).is_some_and(|block| block.state & mark != 0)
    }

    fn is_dead(&self, block: Block) -> bool {
        let [first, second] = block.next.map(|next| self.has(next, DEAD));
        match block.end {
            End::Trap => true,
            End::Open => false,
            End::Next => first,
            End::Call => first || second || block.next[1] == NONE,
            End::Branch(_) => first && second,
        }
    }

    /// Which successor makes a block bad, if one does.
    fn bad_way(&self, block: Block) -> Option<u8> {
        if block.beyond != NONE {
            return Some(OWN);
        }
        let [first, second] = block.next.map(|next| self.has(next, BAD));
        let [dead_first, dead_second] = block.next.map(|next| self.has(next, DEAD));
        match block.end {
            End::Trap | End::Open => None,
            End::Next => first.then_some(0),
            End::Call if first => Some(0),
            End::Call => (second && !dead_first).then_some(1),
            End::Branch(test) if test >= self.guards => {
                let all = (first || dead_first) && (second || dead_second);
                (all && (first || second)).then_some(u8::from(!first))
            }
            End::Branch(_) => (first || second).then_some(u8::from(!first)),
        }
    }

    /// The address of the first instruction beyond the baseline processor that a function reaches on every path.
    pub(super) fn beyond(&self, function: u64) -> Option<u64> {
        let mut index = self.block_at(function) as usize;
        // Each step leads to a block that was marked earlier, so the loop ends.
        for _ in 0..self.blocks.len() {
            let block = self.blocks.get(index).filter(|block| block.state & BAD != 0)?;
            match block.way {
                OWN => return Some(block.address + u64::from(block.beyond)),
                way => index = block.next[usize::from(way)] as usize,
            }
        }
        None
    }
}
