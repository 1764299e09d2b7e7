//! What goes wrong in a world, how often it may, and how often it did. A fault that is never counted is one that the
//! simulation does not have.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    ProducerKilled,
    MapperKilled,
    WriterKilled,
    ProcessFrozen,
    ConnectionLost,
    ConfirmLost,
    MessageLate,
    MessageOvertaken,
    Redelivered,
    StoreRefused,
    AnswerOfStoreLost,
    StoreSlow,
    MemoryDoubted,
    MemoryEmptied,
    MemoryRestored,
    CallRefused,
    Throttled,
    CallSlow,
    AnswerLost,
    RowFailed,
    RowDoneAndFailed,
    LeftBehind,
    DoneForTheDead,
    LandsLate,
    ListCutShort,
    ListEmpty,
    SearchTooEarly,
    EditInWindow,
    WriteRefusedByCondition,
    KeptOtherwise,
    PutBack,
    Deleted,
    Detached,
    LaterWins,
    OutOfOrder,
    CalledWhileOut,
}

impl Fault {
    /// Every fault, in the order of the histogram.
    pub(crate) const ALL: [Self; 36] = [
        Self::ProducerKilled,
        Self::MapperKilled,
        Self::WriterKilled,
        Self::ProcessFrozen,
        Self::ConnectionLost,
        Self::ConfirmLost,
        Self::MessageLate,
        Self::MessageOvertaken,
        Self::Redelivered,
        Self::StoreRefused,
        Self::AnswerOfStoreLost,
        Self::StoreSlow,
        Self::MemoryDoubted,
        Self::MemoryEmptied,
        Self::MemoryRestored,
        Self::CallRefused,
        Self::Throttled,
        Self::CallSlow,
        Self::AnswerLost,
        Self::RowFailed,
        Self::RowDoneAndFailed,
        Self::LeftBehind,
        Self::DoneForTheDead,
        Self::LandsLate,
        Self::ListCutShort,
        Self::ListEmpty,
        Self::SearchTooEarly,
        Self::EditInWindow,
        Self::WriteRefusedByCondition,
        Self::KeptOtherwise,
        Self::PutBack,
        Self::Deleted,
        Self::Detached,
        Self::LaterWins,
        Self::OutOfOrder,
        Self::CalledWhileOut,
    ];

    /// What people call it; `--json` too.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ProducerKilled => "producer killed",
            Self::MapperKilled => "mapper killed",
            Self::WriterKilled => "writer killed",
            Self::ProcessFrozen => "process frozen",
            Self::ConnectionLost => "broker connection lost",
            Self::ConfirmLost => "confirm lost, message published twice",
            Self::MessageLate => "message late",
            Self::MessageOvertaken => "message overtaken by others",
            Self::Redelivered => "message redelivered",
            Self::StoreRefused => "store did nothing and gave no answer",
            Self::AnswerOfStoreLost => "store did it, answer lost",
            Self::StoreSlow => "store slow",
            Self::MemoryDoubted => "store restarted, its memory in doubt",
            Self::MemoryEmptied => "store emptied",
            Self::MemoryRestored => "store restored from an older copy",
            Self::CallRefused => "call refused (5xx)",
            Self::Throttled => "call refused (429)",
            Self::CallSlow => "call slow",
            Self::AnswerLost => "write done, answer lost",
            Self::RowFailed => "row of a write failed",
            Self::RowDoneAndFailed => "row of a write done and reported as failed",
            Self::LeftBehind => "writer killed while its request is on the way",
            Self::DoneForTheDead => "write done after its sender was gone",
            Self::LandsLate => "write done after its sender gave up waiting",
            Self::ListCutShort => "list cut short",
            Self::ListEmpty => "list empty",
            Self::SearchTooEarly => "search that cannot find what was just created",
            Self::EditInWindow => "edit between the last look and the write",
            Self::WriteRefusedByCondition => "account moved before the write",
            Self::KeptOtherwise => "value kept otherwise than sent",
            Self::PutBack => "person puts back what was there before",
            Self::Deleted => "leaver's partner deleted or removed",
            Self::Detached => "leaver detached",
            Self::LaterWins => "clash that the later edit won",
            Self::OutOfOrder => "system out of order for a minute",
            Self::CalledWhileOut => "call of a system that is out of order",
        }
    }
}

#[derive(Debug, Default)]
struct State {
    /// Of a thousand occasions, how many are hit.
    rates: BTreeMap<Fault, u16>,
    hits: BTreeMap<Fault, u64>,
    calm: bool,
}

/// The faults of one world.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults(Arc<Mutex<State>>);

impl Faults {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics while the lock is held")
    }

    /// So many of a thousand occasions are hit from now on.
    pub(crate) fn set(&self, fault: Fault, of_a_thousand: u16) {
        self.state().rates.insert(fault, of_a_thousand);
    }

    /// Whether this occasion is hit. Counted, if it is.
    pub(crate) fn strike(&self, fault: Fault) -> bool {
        let mut state = self.state();
        let rate = if state.calm { 0 } else { state.rates.get(&fault).copied().unwrap_or(0) };
        let hit = rate > 0 && fastrand::u16(..1000) < rate;
        if hit {
            *state.hits.entry(fault).or_default() += 1;
        }
        hit
    }

    /// It happened, brought about by something else.
    pub(crate) fn count(&self, fault: Fault) {
        *self.state().hits.entry(fault).or_default() += 1;
    }

    /// From now on nothing goes wrong.
    pub(crate) fn calm(&self) {
        self.state().calm = true;
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.state().calm
    }

    /// How often each fault hit.
    pub(crate) fn hits(&self) -> BTreeMap<Fault, u64> {
        self.state().hits.clone()
    }
}
