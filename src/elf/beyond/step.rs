//! One instruction, of whatever machine: how long it is, where execution goes on, and what it may need.

/// What an instruction does, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Its size in bytes.
    pub(super) size: u8,
    pub(super) flow: Flow,
    /// Not 0 if it may be beyond the least processor: what it is must then be looked up.
    pub(super) candidate: u16,
    /// It asks the processor what it is.
    pub(super) asks: bool,
    /// It does nothing: between functions there are such.
    pub(super) idle: bool,
    /// An address that it makes.
    pub(super) address: Option<u64>,
    /// What stands at that address is meant.
    pub(super) loads: bool,
    /// It makes the first argument of a function the number by which the kernel is asked for the processor.
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

/// Where execution goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// Behind it.
    Next,
    /// Somewhere else.
    Jump(u64),
    /// Either.
    Branch(u64, Test),
    /// Somewhere else, and then behind it.
    Call(u64),
    /// Where only a register or memory tells, at this address if it is known, and then behind it.
    CallUnknown(Option<u64>),
    /// Where this slot says.
    Slot(u64),
    /// Where only a register or memory tells; or back to who called.
    Stop,
    /// Nowhere.
    Trap,
}

/// What a branch depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Test {
    /// Two values are compared of which none is a constant: nobody asks for a processor like this.
    Plain,
    /// A value: what the processor has may be in it.
    #[default]
    Value,
    /// A value that is kept as answers to questions are: a byte, or something at a fixed address.
    Flag,
}

/// What the instructions before have left behind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct State {
    pub(super) test: Test,
    /// The register that an address was begun in, and the address.
    pub(super) page: Option<(u32, u64)>,
    /// The same, finished: what a slot's address was loaded into.
    pub(super) slot: Option<(u32, u64)>,
}

/// A number of `bits` bits as the signed one that it is.
pub(super) fn signed(value: u64, bits: u32) -> i64 {
    (value << (64 - bits)).cast_signed() >> (64 - bits)
}
