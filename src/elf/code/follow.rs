//! Follows execution through the code of a 32-bit Arm file, from the known starts of functions.

use super::super::arm::{self, Flow, Instruction, Mode};
use super::super::image::Reader;

/// Decodes the instruction at an offset.
pub(super) fn decode(reader: Reader, bytes: &[u8], at: u32, address: u32, mode: Mode) -> Option<Instruction> {
    let at = usize::try_from(at).ok()?;
    match mode {
        Mode::Arm => Some(arm::a32(reader.u32(bytes, at)?, address)),
        Mode::Thumb => {
            let first = reader.u16(bytes, at)?;
            let second = reader.u16(bytes, at + 2);
            // An instruction of two halfwords must be complete.
            if first >> 11 >= 0b11101 && second.is_none() {
                return None;
            }
            Some(arm::t32(first, second.unwrap_or(0), address))
        }
    }
}

/// The size of a T32 instruction after which execution certainly continues at the next one.
fn goes_on(reader: Reader, bytes: &[u8], half: usize) -> Option<u32> {
    let first = reader.u16(bytes, half * 2)?;
    // A truncated instruction has no second halfword.
    let second = reader.u16(bytes, half * 2 + 2)?;
    arm::t32_goes_on(first, second)
}

/// A bit for every halfword.
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn has(&self, index: usize) -> bool {
        self.0.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 != 0)
    }

    fn set(&mut self, index: usize) {
        if let Some(word) = self.0.get_mut(index / 64) {
            *word |= 1 << (index % 64);
        }
    }
}

/// A segment in which execution is followed.
pub(super) struct Region<'a> {
    pub(super) address: u32,
    pub(super) bytes: &'a [u8],
    open: Vec<(u32, Mode)>,
    visited: Bits,
    pub(super) thumb: Bits,
    literals: Bits,
}

impl<'a> Region<'a> {
    pub(super) fn new(address: u32, bytes: &'a [u8]) -> Self {
        let bits = || Bits(vec![0; bytes.len() / 128 + 1]);
        Self { address, bytes, open: Vec::new(), visited: bits(), thumb: bits(), literals: bits() }
    }

    /// The halfwords where instructions begin, in order.
    pub(super) fn code(&self) -> impl Iterator<Item = usize> + '_ {
        let words = self.visited.0.iter().zip(&self.literals.0);
        words.enumerate().flat_map(|(index, (visited, literals))| {
            let mut bits = visited & !literals;
            std::iter::from_fn(move || {
                let bit = (bits != 0).then(|| bits.trailing_zeros() as usize)?;
                bits &= bits - 1;
                Some(index * 64 + bit)
            })
        })
    }

    /// False only if an instruction is neither NEON nor floating point, and does not set an argument to 16.
    pub(super) fn may_tell(&self, reader: Reader, half: usize, mode: Mode) -> bool {
        match mode {
            Mode::Arm => reader.u32(self.bytes, half * 2).is_some_and(arm::a32_may_tell),
            Mode::Thumb => reader.u16(self.bytes, half * 2).is_some_and(arm::t32_may_tell),
        }
    }

    /// The number of the halfword at an address, if it is in this region.
    fn half(&self, address: u32) -> Option<usize> {
        let at = usize::try_from(address.checked_sub(self.address)?).ok()?;
        (at < self.bytes.len()).then_some(at / 2)
    }

    pub(super) fn seed(&mut self, address: u32, mode: Mode) {
        if self.half(address).is_some_and(|half| !self.visited.has(half))
            && (mode == Mode::Thumb || address.is_multiple_of(4))
        {
            self.open.push((address, mode));
        }
    }

    /// Follows execution until every reachable instruction has been visited.
    pub(super) fn follow(&mut self, reader: Reader) {
        while let Some((mut address, mode)) = self.open.pop() {
            let mut conditional = 0_u8;
            while let Some(half) = self.half(address) {
                if self.visited.has(half) || self.literals.has(half) {
                    break;
                }
                let at = address - self.address;
                if mode == Mode::Thumb
                    && let Some(size) = goes_on(reader, self.bytes, half)
                {
                    self.visited.set(half);
                    self.thumb.set(half);
                    conditional = conditional.saturating_sub(1);
                    address = address.wrapping_add(size);
                    continue;
                }
                let Some(found) = decode(reader, self.bytes, at, address, mode) else { break };
                self.visited.set(half);
                if mode == Mode::Thumb {
                    self.thumb.set(half);
                }
                if let Some((literal, size)) = found.literal
                    && let Some(half) = self.half(literal & !3)
                {
                    (half..half + size as usize / 2).for_each(|half| self.literals.set(half));
                }
                let certain = conditional == 0;
                conditional =
                    if found.conditional > 0 { found.conditional } else { conditional.saturating_sub(1) };
                match found.flow {
                    Flow::Away if certain => break,
                    Flow::Next | Flow::CallRegister | Flow::Away => {}
                    Flow::Jump(target) => {
                        self.seed(target, mode);
                        if certain {
                            break;
                        }
                    }
                    Flow::Branch(target) => self.seed(target, mode),
                    Flow::Call(target, mode) => self.seed(target, mode),
                }
                address = address.wrapping_add(found.size);
            }
        }
    }

    /// The likely mode of a function. Most A32 instructions are unconditional, which shows in their highest bits.
    pub(super) fn guess(&self, reader: Reader, address: u32) -> Mode {
        if !address.is_multiple_of(4) {
            return Mode::Thumb;
        }
        let Some(half) = self.half(address) else { return Mode::Thumb };
        let words = (0..8).map_while(|word| reader.u32(self.bytes, half * 2 + word * 4));
        let (mut always, mut all) = (0, 0);
        for word in words {
            all += 1;
            always += u32::from(word >> 28 == 14);
        }
        if always * 10 >= all * 6 { Mode::Arm } else { Mode::Thumb }
    }
}
