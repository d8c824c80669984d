//! Bugs for the models to find; each is run with `MODELS_SEED=<name>`.

use crate::sync::primitives::faults::{Fault, Seed};

pub(crate) const SEEDS: &[Seed] = &[Seed {
    name: "two puts both win",
    file: "buffer/slot.rs",
    line: "self.handle.compare_exchange(handle, self.successor(handle)",
    fault: Fault::Split,
    model: "handles::two_puts_of_one_handle_one_wins",
    finds: "",
}];
