"""A buffer pool whose leases name their misuse, with exact statistics.

    import millpond

    with millpond.get(65536) as buf:        # a lease from the default pool
        n = file.readinto(buf)              # it is a writable buffer

A *lease* is the right to use one buffer, from get to put. It counts the views it lends, so
a put while one lives is refused instead of pulling the memory away; every access after the
put raises. See `Pool`, `Lease` and the package's README for the whole contract.

Needs CPython 3.11 or newer with the GIL; the main interpreter only.
"""

from millpond._millpond import (
    BusyError,
    ClassStats,
    ClosedError,
    CorruptError,
    DoublePutError,
    Error,
    ExhaustedError,
    ForeignLeaseError,
    FourPerDoubling,
    InternalError,
    InvalidArgumentError,
    IoError,
    JsonError,
    LeakRecord,
    Lease,
    NoMemoryError,
    OverrunError,
    OwnershipError,
    Pool,
    PoolStats,
    RecordError,
    UseAfterPutError,
    __version__,
    default_pool,
    get,
    report_faults,
)
from millpond._writer import Writer

__all__ = [
    "BusyError",
    "ClassStats",
    "ClosedError",
    "CorruptError",
    "DoublePutError",
    "Error",
    "ExhaustedError",
    "ForeignLeaseError",
    "FourPerDoubling",
    "InternalError",
    "InvalidArgumentError",
    "IoError",
    "JsonError",
    "LeakRecord",
    "Lease",
    "NoMemoryError",
    "OverrunError",
    "OwnershipError",
    "Pool",
    "PoolStats",
    "RecordError",
    "UseAfterPutError",
    "Writer",
    "__version__",
    "default_pool",
    "get",
    "report_faults",
]
