//! Holds the documentation of the lease type; the first line of a method's is its signature.

use std::ffi::CStr;

pub(crate) const LEASE: &CStr = c"The right to use one buffer, from get to put.

A lease is a writable buffer of bytes: pass it to memoryview(), socket.recv_into(),
file.readinto(), numpy.frombuffer() and the like. It counts the views it lends, and
put() is refused with BusyError while one lives. A lease is made by Pool.get() only;
it cannot be pickled or copied.

Reading and writing through the lease itself (lease[i], lease[a:b], lease[a:b] = data,
bytes(lease)) lends no view. After its put every access raises UseAfterPutError.

The memory of a put lease that has lent a view goes to the next tenant only when
nothing refers to the lease object any more: numpy.ndarray(buffer=lease) keeps the
object but counts as no view, and must never see another tenant's bytes. A variable
that still names the lease therefore keeps one buffer back; del it, or let it go out
of scope.

A lease that is lost without put is reclaimed, counted in PoolStats.leaked and
reported by a ResourceWarning.

Thread-compatible: a lease may move to another thread and be put there; calls are
serialised by the GIL. Fork: valid in the child, for the child's copy of the memory.";

pub(crate) const PUT: &CStr = c"put($self, *, used=None)
--

Gives the buffer back to its pool; the lease is dead afterwards.

Clears what may have been written, unless the pool's policy is another one: what was
written through the lease exactly, and the whole length if a view was lent. From
4 MiB up other threads run meanwhile.

Args:
    used: Your word that views wrote only the first `used` bytes (0 to the length at
        get), as recv_into() and readinto() tell: only those are cleared. If it is
        wrong the next tenant of this pool sees the rest.

Raises:
    DoublePutError: The lease was put before. Nothing is changed.
    BusyError: A view or a pin still looks into it. The lease stays live.
    OverrunError: Native code wrote past the length. The buffer is discarded, the
        lease is dead.
    InvalidArgumentError: used is negative or above the length. The lease stays live.
    TypeError: used is not an int.";

pub(crate) const RELEASE: &CStr = c"release($self, /)
--

Gives the buffer back: the same act as put().

Raises:
    DoublePutError: The lease was put before. Nothing is changed.
    BusyError: A view or a pin still looks into it. The lease stays live.
    OverrunError: Native code wrote past the length. The buffer is discarded.";

pub(crate) const ENTER: &CStr = c"__enter__($self, /)
--

Returns the lease.

Raises:
    UseAfterPutError: The lease is dead.";

pub(crate) const EXIT: &CStr = c"__exit__($self, exc_type, exc_value, traceback, /)
--

Puts the lease, unless it was put before.

With an exception on its way a view that still lives does not replace it: the lease is
dead at once and is put when its last view goes.

Raises:
    BusyError: No exception is on its way and a view or a pin looks into the lease,
        which stays live.
    OverrunError: Native code wrote past the length.";

pub(crate) const RESIZE_USED: &CStr = c"resize_used($self, used, /)
--

Says that views wrote only the first `used` bytes, and shows only those from now on.

For what recv_into() and readinto() return: len(lease), bytes(lease) and new views are
`used` bytes long, and put() clears no more than was written. May be called again, also
with more, up to the length at get.

Args:
    used: The number of bytes, 0 to the length at get. Your word: if more was written
        the next tenant of this pool sees the rest.

Raises:
    BusyError: A view or a pin looks into the lease.
    UseAfterPutError: The lease is dead.
    InvalidArgumentError: used is negative or above the length at get.
    TypeError: used is not an int.";

pub(crate) const SETTLE: &CStr = c"_settle($self, used, /)
--

For Writer: says that views wrote only the first `used` bytes.";

pub(crate) const NARROW: &CStr = c"_narrow($self, used, /)
--

For Writer: makes the lease `used` bytes long.";

pub(crate) const DETACH: &CStr = c"detach($self, /)
--

Takes the buffer out of the pool for good and returns it.

The bytes belong to the returned writable memoryview, and are freed with the last view
over them. From 64 KiB up nothing is copied. The lease is dead afterwards and the pool
counts it in PoolStats.detached.

Raises:
    BusyError: A view or a pin looks into the lease, which stays live.
    UseAfterPutError: The lease is dead.
    NoMemoryError: There is none for the copy of a small buffer. The lease stays live.
    OverrunError: Native code wrote past the length. The buffer is discarded.";

pub(crate) const ARRAY: &CStr = c"array($self, dtype='B', shape=None)
--

Returns a writable NumPy array over the lease. It counts as a view.

Args:
    dtype: What numpy.dtype() understands.
    shape: An int or a tuple of ints; as many items as fit if left out.

Raises:
    ImportError: NumPy is not installed.
    InvalidArgumentError: The array does not fit, or dtype holds Python objects.
    UseAfterPutError: The lease is dead.";

pub(crate) const PIN: &CStr = c"pin($self, /)
--

Holds the lease for somebody who writes into it without a view, by its address.

Until unpin() the lease is not put and its object not freed. Views need no pin: they
are counted. The whole length counts as written.

Raises:
    UseAfterPutError: The lease is dead.";

pub(crate) const UNPIN: &CStr = c"unpin($self, /)
--

Undoes one pin().

Raises:
    InvalidArgumentError: The lease is not pinned.
    UseAfterPutError: The lease is dead and not pinned.";

pub(crate) const BYTES: &CStr = c"__bytes__($self, /)
--

Copies the visible bytes.

Raises:
    UseAfterPutError: The lease is dead.";

pub(crate) const REDUCE: &CStr = c"__reduce__($self, /)
--

Refuses to be pickled or copied.

Raises:
    TypeError: Always.";

pub(crate) const REDUCE_EX: &CStr = c"__reduce_ex__($self, protocol, /)
--

Refuses to be pickled or copied.

Raises:
    TypeError: Always.";

pub(crate) const CAPACITY: &CStr = c"How many bytes the buffer holds: its size class. Only the length is visible.

Raises:
    UseAfterPutError: The lease is dead.";

pub(crate) const POOL: &CStr = c"The Pool the lease came from; also of a dead lease.";

pub(crate) const LIVE: &CStr = c"Whether the lease may be used: False from its put on.";
