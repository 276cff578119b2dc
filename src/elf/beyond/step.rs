//! One instruction of any machine: its size, where execution continues, and whether it may need an extension.

/// The effects of an instruction, as far as they matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Its size in bytes.
    pub(super) size: u8,
    pub(super) flow: Flow,
    /// Not 0 if it may be beyond the baseline processor. Then what it needs must be looked up.
    pub(super) candidate: u16,
    /// It queries the processor's features.
    pub(super) asks: bool,
    /// It does nothing, like the padding between functions.
    pub(super) idle: bool,
    /// An address that it computes.
    pub(super) address: Option<u64>,
    /// It loads the value at that address.
    pub(super) loads: bool,
    /// It sets a function's first argument to a number by which the kernel is asked about the processor.
    pub(super) asks_kernel: bool,
}

impl Step {
    pub(super) fn new(size: usize) -> Self {
        Self {
            size: u8::try_from(size).unwrap_or(u8::MAX),
            flow: Flow::Next,
            candidate: 0,
            asks: false,
            idle: false,
            address: None,
            loads: false,
            asks_kernel: false,
        }
    }
}

/// Where execution continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// At the next instruction.
    Next,
    /// At this address.
    Jump(u64),
    /// At this address, or at the next instruction.
    Branch(u64, Test),
    /// At this address, and then at the next instruction.
    Call(u64),
    /// At an address in a register or in memory (in this slot, if it is known), and then at the next instruction.
    CallUnknown(Option<u64>),
    /// At the address in this slot.
    Slot(u64),
    /// At an address in a register or in memory, or back in the caller.
    Stop,
    /// Nowhere: the program is stopped.
    Trap,
}

/// What a branch depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Test {
    /// A comparison of two values, neither of which is a constant. No check of a processor looks like this.
    Plain,
    /// A value that may contain the processor's features.
    #[default]
    Value,
    /// A value that looks like a stored flag: a byte, or something at a fixed address.
    Flag,
}

/// What the previous instructions left behind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct State {
    pub(super) test: Test,
    /// A register with the first part of an address, and that part.
    pub(super) page: Option<(u32, u64)>,
    /// A register that was loaded from a slot, and the slot's address.
    pub(super) slot: Option<(u32, u64)>,
}

/// Sign-extends a number of `bits` bits.
pub(super) fn signed(value: u64, bits: u32) -> i64 {
    (value << (64 - bits)).cast_signed() >> (64 - bits)
}
