//! The native half of the Python package `millpond`: types, arguments, errors and Python's own rules of ownership
//! (counted views, references) around the core, which has the logic.
//!
//! Two kinds of code live here. What is called once (pools, statistics, options, errors) is PyO3. What is called
//! for every buffer (`hot`, `lease`) are C functions in type slots: a get and a put through a PyO3 class cost as much
//! as `bytearray(1024)` in all. The second kind relies on the GIL: see `gil`.

use pyo3::prelude::*;

mod args;
mod call;
mod detached;
mod errors;
mod gil;
mod hot;
mod lease;
mod options;
mod pool;
mod refs;
mod site;
mod stats;
mod text;

/// The native half of millpond; use the package `millpond`.
#[pymodule(gil_used = true)]
mod _millpond {
    use super::*;

    #[pymodule_export]
    use super::errors::{error_table, provoke_panic};
    #[pymodule_export]
    use super::options::FourPerDoubling;
    #[pymodule_export]
    use super::pool::{Pool, default_pool, report_faults};
    #[pymodule_export]
    use super::stats::{ClassStats, LeakRecord, PoolStats};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        gil::refuse_other_interpreters()?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        errors::register(module)?;
        refs::decide(module.py());
        site::decide(module.py())?;
        lease::methods::register(module)?;
        hot::register(module)?;
        // PyO3 lists the private names there, too; the package's `__all__` is the public list.
        module.delattr("__all__")
    }
}
