//! Shows core's statistics and leak records to Python.

use std::fmt;

use millpond::{ClassStats as CoreClassStats, LeakRecord as CoreLeakRecord, Stats};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

use crate::errors::{shielded, to_py};
use crate::text;

/// Shows the numbers that are not 0.
struct Numbers<'a>(&'a [(&'a str, u64)]);

impl fmt::Display for Numbers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (name, number)) in self.0.iter().filter(|(_, number)| *number > 0).enumerate() {
            write!(f, "{}{name}={number}", if place == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// Defines a class of counters with a read-only attribute for each, and whatever else is given.
macro_rules! counters {
    (
        $(#[$class_doc:meta])* $class:ident($core:ty) { $($field:ident: $doc:literal,)* }
        $($extra:item)*
    ) => {
        $(#[$class_doc])*
        #[pyclass(frozen, module = "millpond")]
        pub(crate) struct $class {
            pool: Py<PyString>,
            core: $core,
        }

        #[pymethods]
        impl $class {
            $(
                #[doc = $doc]
                #[getter]
                fn $field(&self) -> u64 {
                    self.core.$field as u64
                }
            )*

            /// Returns the numbers as a dictionary.
            fn as_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
                let dict = PyDict::new(py);
                $(dict.set_item(stringify!($field), self.$field())?;)*
                Ok(dict)
            }

            fn __repr__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
                let numbers = Numbers(&[$((stringify!($field), self.$field())),*]);
                let pool = self.pool.bind(py);
                text::string(py, format_args!("<millpond.{} of pool '{pool}': {numbers}>", stringify!($class)))
            }

            $($extra)*
        }
    };
}

counters! {
    /// A pool's statistics at one moment: exact, not sampled; at rest they reconcile to the unit.
    ///
    /// Numbers that are 0 are left out of repr(). Thread-safe. Fork: plain data.
    PoolStats(Stats) {
        allocations: "Buffers that were created because none was idle.",
        gets: "Leases handed out.",
        puts: "Leases put, by whatever means.",
        in_use: "Leases that are out: gets - puts - detached - leaked.",
        oversized: "Gets above the largest size class.",
        discarded: "Buffers that came back and were not kept: oversized, over a limit, overrun, or the pool closed.",
        hits: "Gets served by an idle buffer.",
        live_bytes: "Capacity of the leases that are out.",
        requested_bytes: "Length of the leases that are out.",
        waste_bytes: "live_bytes - requested_bytes.",
        peak_live_bytes: "The most that live_bytes ever was.",
        retained_buffers: "Idle buffers kept for reuse, and those that a dead lease still named keeps back.",
        retained_bytes: "Their capacity.",
        limit_bytes: "The limit of all memory: max_bytes.",
        detached: "Leases whose buffer left the pool for good.",
        leaked: "Leases that were lost without a put.",
        lost: "Those of the leaked whose memory cannot be used again.",
        trimmed_bytes: "Idle bytes given back to the system by trim, maintain and decay.",
        created: "Buffers ever created.",
        destroyed: "Buffers given back to the system or detached.",
        double_puts: "Refused second puts.",
        stale_uses: "Refused uses of dead leases.",
        foreign_puts: "Refused puts of another pool's leases.",
        overruns: "Puts that found bytes behind the length overwritten.",
        exhausted: "Gets refused because of the limit.",
        unguarded: "Leases that were to stand on guarded pages (check=\"sample:N\") and could not, for want of addresses.",
    }

    /// The same for each size class, ascending; what is oversized belongs to none.
    #[getter]
    fn classes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let list = PyList::empty(py);
        for core in self.core.classes.iter() {
            let class = ClassStats { pool: self.pool.clone_ref(py), core: core.clone() };
            list.append(Bound::new(py, class)?)?;
        }
        Ok(list.to_tuple())
    }

    /// Tells whether the numbers reconcile: gets = puts + in_use + detached + leaked, and
    /// created - destroyed = in_use + retained_buffers. They do whenever no other thread is inside the pool.
    ///
    /// Returns:
    ///     None if they do, else what does not.
    fn check(&self, py: Python<'_>) -> PyResult<Option<String>> {
        shielded(py, || Ok(self.core.check().err()))
    }

    /// Formats the statistics in Prometheus' text format, labelled with the pool's name.
    fn to_prometheus(&self, py: Python<'_>) -> PyResult<String> {
        shielded(py, || self.core.to_prometheus(self.pool.bind(py).to_str()?).map_err(|error| to_py(py, &error)))
    }
}

impl PoolStats {
    pub(crate) fn new(py: Python<'_>, pool: &str, core: Stats) -> PyResult<PoolStats> {
        Ok(PoolStats { pool: text::string(py, pool)?.unbind(), core })
    }
}

counters! {
    /// The statistics of one size class. Thread-safe. Fork: plain data.
    ClassStats(CoreClassStats) {
        size: "The capacity of the class's buffers, in bytes.",
        gets: "Leases handed out.",
        puts: "Leases put.",
        in_use: "Leases that are out.",
        allocations: "Buffers that were created because none was idle.",
        hits: "Gets served by an idle buffer.",
        retained_buffers: "Idle buffers kept for reuse.",
        retained_bytes: "Their capacity.",
        discarded: "Buffers that came back and were not kept.",
        detached: "Leases whose buffer left the pool for good.",
        leaked: "Leases that were lost without a put.",
    }
}

/// A lease that is out. Thread-safe. Fork: plain data.
#[pyclass(frozen, get_all, module = "millpond")]
pub(crate) struct LeakRecord {
    /// The pool's name.
    pool: Py<PyString>,
    /// The length asked for, in bytes.
    len: usize,
    /// The buffer's capacity, in bytes.
    capacity: usize,
    /// How long it is out, in seconds.
    age: f64,
    /// "file:line in function" of the get; None where it was not recorded. It always is with check="sites" or "full" and in
    /// python -X dev, else now and then.
    site: Option<Py<PyString>>,
}

#[pymethods]
impl LeakRecord {
    fn __repr__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        let LeakRecord { pool, len, age, site, .. } = self;
        let pool = pool.bind(py);
        match site {
            Some(site) => {
                let site = site.bind(py);
                let shown =
                    format_args!("<millpond.LeakRecord: {len} bytes from pool '{pool}', {age:.3} s ago, at {site}>");
                text::string(py, shown)
            }
            None => text::string(
                py,
                format_args!(
                    "<millpond.LeakRecord: {len} bytes from pool '{pool}', {age:.3} s ago, at an unknown place>"
                ),
            ),
        }
    }
}

impl LeakRecord {
    pub(crate) fn new(py: Python<'_>, record: &CoreLeakRecord) -> PyResult<LeakRecord> {
        let site = if record.site.is_known() { Some(text::string(py, record.site)?.unbind()) } else { None };
        Ok(LeakRecord {
            site,
            pool: text::string(py, &record.pool)?.unbind(),
            len: record.len,
            capacity: record.capacity,
            age: record.age.as_secs_f64(),
        })
    }
}
