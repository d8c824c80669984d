//! Explains how the pool works; there is no code here.
//!
//! The contract between the languages (ownership, errors, statistics) is in the repository's README. This page is
//! about the Rust underneath, and about where measurements or proofs made it differ from the first design.
//!
//! # The way of a buffer
//!
//! ```text
//!            create                 refill half             pop
//!   system ----------> depot stripe ------------> magazine -------> lease
//!     ^   mmap, slab      ^   |     <------------    ^   <-------     |
//!     |                   |   |      spill half      |     push       | put: canary, clear
//!     +-------------------+---+---- decay, trim -----+----------------+
//!                 destroy
//! ```
//!
//! **Slot** (`buffer/slot.rs`). Each buffer has one 64-byte record in a process-wide table: one array in address space
//! that is reserved once and made usable as it grows, never moved or freed. It stands apart from the data: writing past a
//! buffer cannot damage it, and any 64-bit number can be looked up and answered with an error. The slot holds the whole
//! current handle, so a foreign, stale, doubled or forged handle is one comparison. Handles are an index and a nonce; the
//! nonces of a slot are a linear congruential sequence with a keyed step of the slot's own, so that ending a handle is one
//! multiplication and one addition. The sequence goes on when the slot is used for another buffer, and a slot whose
//! handles are used up is retired. So no handle is ever valid twice, and a blind guess succeeds once in 2^40.
//!
//! **Lease** (`buffer/lease.rs`). Two words: the slot, and a word with the place of the pool's cache, the class and the dirty
//! length, which leads a put to its magazine without a load from the slot. Address and length are read from the slot. Two
//! words the compiler keeps in registers; a lease of four was moved by sixteen bytes at a time right after its words were
//! stored by eight, which the processor waits for, 5 ns for each lease that went into a list. The word also says whether the
//! pool clears at put: where it does not, a lease that was written goes the way of a clean one, 11.5 ns instead of 14 at mixed
//! sizes.
//!
//! **Magazine and cache** (`buffer/magazine.rs`, `buffer/cache.rs`). A thread finds its cache of a pool at a place in a
//! table of its own; pools whose numbers agree in the lowest bits share a place, and the one used last stands there.
//! Each class that fits a thread's share has a hot entry, the top, and a stack of slots below it. A get refills the hot
//! entry at once. Left empty until the stack was needed, it made a pair over other idle buffers 4.0 ns instead of 5.2,
//! and mixed sizes 20 ns instead of 13.6: whether it is empty cannot be guessed there. An entry says by its lowest bit whether
//! another stands below it, so that a buffer that comes and goes alone needs no look at the stack, and a class that is not
//! cached has such an entry without a buffer. Counters are written by the owner with plain loads and stores; statistics sum
//! them. The magazines stand inside the cache, one load nearer than behind a pointer.
//!
//! A pair is some fifty instructions, and how many of them store, where, and how soon they know it, weighs most: two stores more
//! made it 0.4 ns slower, five other instructions less 0.2 ns faster, a load less before the first store 0.14 ns. So all that a
//! get or a put stores of the thread's stands on one line, and nothing is stored that says only one thing: see below. And the
//! place in the thread's table stands in the user's handle and in the lease, where it need not be loaded through the pool. A place
//! in Rust code is noted as a constant: it left a register for that.
//!
//! **The asymmetric lock.** Memory that sleeping threads keep must not be out of reach of `trim`, `maintain`, `close`
//! and `fork`. So the owner says that it is there and looks at a gate. Who wants the cache raises the gate, asks the kernel for a
//! barrier on all threads (`membarrier`), and waits until the owner is not there. Without `membarrier` there are no caches.
//!
//! A get or put that needs one magazine says so by what it counts anyway: the bytes first, the count last, and as long as the
//! lowest bits of these two differ, the owner is about it (`Uses`). A word of the lock's own, set and reset around each use, was
//! two stores more. An owner who is kept out begins too, and takes the bytes back; so who counts a cache that ends takes the
//! bytes that it found when it waited for the owner. Uses of all magazines, and those by a pool's number, set such a word.
//!
//! On an Intel Xeon and with fat LTO a pair was 3.12 ns with the word, 2.78 with all stores on one line, 2.61 with the bytes and
//! the count in its place, 2.47 with the lowest bit of entries, 2.32 with the gate compared in one instruction, 2.19 with the place
//! in the handle, each measured in turns with the one before it; the stack in a thread-local that it is held to is 1.96.
//!
//! The lock's word for the owner is the pool's address, null while a gate is raised: one load says both whether the cache
//! is the right pool's and whether it may be used. Gets have such a word of their own, which stays null where the fast path
//! serves none: where buffers are cleared at get, and in `sample:N`.
//!
//! **Who ends a handle.** Two threads may put one lease, and one of the puts must fail; a compare-and-swap decides that, for a
//! third of what a pair in C takes. Nearly always the thread that got a lease puts it. So a lease from a thread's cache has
//! the cache's mark above its length, and its thread ends it with a store, inside the asymmetric lock (`Slot::advance_alone`).
//! Everybody else who wants to end or pin it takes the mark from that cache first, behind its gate and under the registry's lock
//! (`registry::without_mark`); the thread then works without one, as leases that go from thread to thread are ended by
//! compare-and-swap again. This is biased locking with the lock that the caches have anyway. The lock is held until the handle
//! has ended: a mark may be given again, and the next thread that has it must see that. A pool of which 256 threads have lost
//! their marks gives none any more: each loss is a barrier on all threads.
//!
//! **The long way.** What a mode, a tool or an injected failure has to look at one by one has no thread caches, so that the
//! fast paths know nothing of it: `sites`, `full`, a sanitizer, `MILLPOND_POOL=off`, injection. In `sample:N` threads keep
//! their caches, and gets go through `buffer/guard.rs`, which counts and then takes from the same magazine. A guarded lease
//! is kept from the fast put by a bit in its slot's pins.
//!
//! **Depot** (`buffer/depot.rs`). Stripes of idle buffers behind locks. Who finds none in the thread's cache takes one here with the
//! same use of the cache, which also keeps the pool from going: the other way to a pool from its number is the registry's lock,
//! which all threads share (4 MiB in C on two threads: 210 ns with it, 100 without). The locks are parking_lot's, but nobody ever
//! parks on them (`sync.rs`): parking_lot's table of sleepers would be copied into a child of `fork` together with
//! sleepers that are not there any more. A lock that is only spun, yielded and slept on is one byte that the child
//! sets free.
//!
//! **Memory** (`buffer/memory.rs`, `buffer/slab.rs`). Classes below 64 KiB are cut from slabs of 256 KiB, the others
//! are mappings. Mappings from 4 MiB up are aligned to huge pages. Clearing a mapping for the first time asks the
//! kernel which pages were ever touched and leaves the others alone; from 64 MiB on, clearing goes past the processor's caches.
//! An oversized lease has a mapping for itself; in Node the last one that was put keeps it, without its pages, with the ArrayBuffer
//! that shows it (`buffer/stock/parked.rs`): V8 counts what it is shown anew and collects its garbage for it.
//!
//! **Who keeps what alive** (`buffer/strong.rs`). A pool counts its references itself. Users' handles hold it, and each
//! buffer holds one count, taken when it is created: a lease outlives its pool without counting at get and put. Caches
//! hold none: closing a pool orphans them under the registry's lock. The registry has the pool's address and takes a count
//! if there still is one.
//!
//! **How a thread finds its cache** (`buffer/cache.rs`, `tls.rs`). Eight words of the thread, by the pool's number; in a program two
//! loads, in a shared library a call that the dynamic linker provides. Where that call only returns a constant, the handle
//! functions do without it.
//!
//! **Without memory.** What `std` does when an allocation fails is to end the process: `Arc::new`, `Box::new`,
//! `format!`, a stable sort, `Vec::shrink_to`, a copy of the environment, `std::thread`. None of it stands on any way
//! here. Boxes are made by `memory::try_box`, lists grow by `try_reserve`, texts by `error::Text` (`text::Text` for the
//! bindings), names and rows of statistics stand in the value that has them. A list that is full is not a reason to
//! fail where there is another place: a buffer that the depot has no room for goes back to the system, a thread without
//! a cache uses the depots. The ticker is a thread of the C library; a thread's end is noticed by a key of the C
//! library (`buffer/exit.rs`), because the registration of a `thread_local!`'s destructor cannot fail as an error; and
//! the fork handlers keep what they hold in the registry's list. `freeze` is the exception, because `bytes` is asked
//! there.
//!
//! # Invariants
//! 1. A buffer is in exactly one place: a lease, a `Held`, a magazine, a depot stripe, a stock, a quarantine, or on its way
//!    between them in one thread's hands. Only its place's owner touches the slot's plain fields.
//! 2. With the clear policy `OnPut`, memory in a magazine, a depot or a slab's free list is all zero. In a quarantine it
//!    is the pattern.
//! 3. No buffer is destroyed under the registry's lock: the last one takes its pool along, which takes the lock.
//! 4. `max_bytes` is taken before a buffer is created and given back after it is destroyed.
//! 5. Depots, the caches' and stocks' shares and what stocks hold beyond them never exceed `max_retained_bytes`.
//!
//! # Where it differs from the first design, and why
//! - **Slots stand in one table for all pools** and have one key per process, not a table and a key per pool. A
//!   foreign lease is told from a forged one without searching, and handles stay unique when a slot changes pools.
//! - **Alignment is 64 bytes**, not a page from 4 KiB up. Buffers of a slab stand `capacity + 64` bytes apart, so that a
//!   canary has room behind a lease of a whole class, the commonest off-by-one, and neighbours fall into different sets of
//!   the first-level cache. Buffers with a mapping of their own begin at different lines of its first page for the same
//!   reason, in the room that the tail's page has anyway (`memory::place_of`): where all began at a page, 32 live ones were 85
//!   times as fast as the C library's at 256 KiB, and as fast as mimalloc's. `Builder::alignment` gives
//!   pages to who needs them.
//! - **Rust leases arm the canary when a raw pointer is taken**, not at get: a slice cannot be overrun, and a
//!   check would be for nothing. Handles, which C uses, are always armed.
//! - **A get writes the slot**: length, place and a coarse time, three stores to a line that the put needs anyway.
//!   That is what `leaks` lists without asking anybody.
//! - **The ages in `leaks` are coarse.** A clock read costs more than a get. A coarse clock moves where buffers are
//!   created, refilled or spilled and where statistics are read.
//! - **`peak_live_bytes` is looked at when buffers are created and statistics read.** An exact peak over all threads
//!   needs a shared counter at each get.
//! - **`max_retained_bytes` bounds the threads' caches too**: their capacity is reserved from it, half of it at most for their
//!   shares and a quarter for the single buffers of larger classes.
//! - **A thread keeps up to 32 MiB, of all classes**, not what fits the second-level cache and 256 KiB. An untouched buffer is as
//!   cheap from a thread's stack whatever its size, 3 to 13 ns, and 40 to 70 from the depot, which two threads share at 75 to
//!   430; `trim`, `maintain` and the limit reach what threads keep. As many classes have a part of its share as leave a quarter
//!   of it when each has one buffer: equal parts left a quarter unused, because small classes cannot hold theirs. Of larger
//!   classes one buffer is lent to each thread that puts one, out of the depots' part: reserved for all threads in advance,
//!   whether they use it or not, 16 MiB buffers would leave four threads nothing else. The loan ends when it is not used.
//! - **C has no explicit per-thread context.** It was to spare the way to the thread's cache, which is five instructions of 60
//!   (`tls.rs`), and a pointer to it could not be checked, as everything from C must be. What the handles' check cost, 3.5 ns of
//!   12, is spared all who do not hand leases to other threads.
//! - **Statistics are a value of 11 KiB**, because the rows of up to 128 classes stand in it: they can be read when there is
//!   no memory, which is when one wants to.
//! - **`detach` copies below 64 KiB**: a piece of a slab cannot leave it.
