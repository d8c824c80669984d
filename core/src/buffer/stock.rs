//! Lends buffers to a binding that keeps its own stock and serves gets and puts from it.
//!
//! In Node a call into native code costs more than a get. So JavaScript holds buffers of its own, counts in a block
//! of memory that core reads, and calls here only to take buffers and to give them back. How closely the pool looks
//! changes that: what is to be looked at one by one comes from core (`watched.rs`).

mod parked;
mod watched;

use std::ptr::NonNull;
use std::sync::atomic::Ordering;

pub use parked::Parked;
pub use watched::{Kept, StockLease, Watch};

use super::BufferPool;
use super::depot::{Doomed, Entry};
use super::detached::Detached;
use super::inner::{Inner, Refusal, add};
use super::memory;
use super::raw;
use super::registry;
use super::slot;
use crate::check::Check;
use crate::error::{Error, ErrorKind, Result};
use crate::options::ClearPolicy;
use crate::site::Site;
use crate::sync::{AtomicU64, Lock};
use crate::tools;

/// Where the counters of a class begin in the block, and how many there are.
const HEAD: usize = 2;
const PER_CLASS: usize = 3;
const GATE: usize = 0;
const REQUESTED: usize = 1;
/// What the gate says when it is not 0: keep nothing for good, or give everything back once.
const SHUT: f64 = 1.0;
const ASKED: f64 = 2.0;

/// The counters of one stock: numbers that the owner writes and statistics read.
///
/// JavaScript knows no atomic doubles; an aligned eight-byte store is one on the supported platforms, and the
/// reader here uses atomic loads of the same size. The stock and the registry have a copy each of what leads to them.
#[derive(Copy, Clone)]
pub(crate) struct Block {
    words: NonNull<AtomicU64>,
    /// The counters, behind which one word is core's own.
    len: usize,
}

// SAFETY: the block is made of atomics.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

/// Blocks that ended. They are used again, never unmapped: a script may still hold an array over one.
static ENDED: Lock<Vec<(usize, usize)>> = Lock::new(Vec::new());

impl Block {
    fn new(classes: usize, share: usize) -> Option<Block> {
        let len = HEAD + PER_CLASS * classes;
        let bytes = Block::bytes(len);
        let ended = {
            let mut ended = ENDED.lock();
            let place = ended.iter().position(|(_, size)| *size == bytes);
            place.map(|place| ended.swap_remove(place).0)
        };
        let base = match ended.and_then(|address| NonNull::new(address as *mut u8)) {
            Some(base) => {
                // SAFETY: a block of this size that ended; nobody counts in it any more.
                unsafe { memory::clear(base.as_ptr(), bytes) };
                base
            }
            None => memory::map(bytes, memory::page_size())?,
        };
        let block = Block { words: base.cast(), len };
        block.set_share(share);
        Some(block)
    }

    /// Returns the size of the mapping for so many counters and core's word.
    fn bytes(len: usize) -> usize {
        ((len + 1) * size_of::<f64>()).next_multiple_of(memory::page_size())
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index <= self.len, "counter {index} of {}", self.len);
        // SAFETY: inside the block.
        let word = unsafe { self.words.add(index) };
        // SAFETY: the block is mapped for the life of the process, and any bytes are a valid counter.
        unsafe { word.as_ref() }
    }

    /// Returns the idle bytes that the owner may keep without asking; reserved like a thread's cache.
    fn share(&self) -> usize {
        self.word(self.len).load(Ordering::Relaxed) as usize
    }

    fn set_share(&self, bytes: usize) {
        self.word(self.len).store(bytes as u64, Ordering::Relaxed);
    }

    fn read(&self, index: usize) -> f64 {
        f64::from_bits(self.word(index).load(Ordering::Relaxed))
    }

    /// Returns the bytes asked for in gets minus those of puts; may be below zero when leases move.
    pub(crate) fn requested(&self) -> u64 {
        self.read(REQUESTED) as i64 as u64
    }

    pub(crate) fn gets(&self, class: usize) -> u64 {
        self.read(HEAD + PER_CLASS * class) as u64
    }

    pub(crate) fn puts(&self, class: usize) -> u64 {
        self.read(HEAD + PER_CLASS * class + 1) as u64
    }

    pub(crate) fn idle(&self, class: usize) -> u64 {
        self.read(HEAD + PER_CLASS * class + 2) as u64
    }

    /// Returns the idle bytes beyond the owner's share.
    pub(crate) fn excess(&self, sizes: &[usize]) -> usize {
        let idle: u64 = sizes.iter().enumerate().map(|(class, size)| self.idle(class) * *size as u64).sum();
        (idle as usize).saturating_sub(self.share())
    }

    /// Asks the owner to give everything idle back when it next looks, and to look at [`Stock::watch`] again.
    pub(crate) fn ask(&self) {
        let (calm, asked) = (0_f64.to_bits(), ASKED.to_bits());
        let _ = self.word(GATE).compare_exchange(calm, asked, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Tells the owner to keep nothing from now on.
    pub(crate) fn shut(&self) {
        // An exchange, as `ask` and `settled` have: of those, each finds what the one before left.
        self.word(GATE).swap(SHUT.to_bits(), Ordering::Relaxed);
    }

    /// Counts as the owner does, in a model.
    #[cfg(loom)]
    pub(crate) fn count(&self, class: usize, gets: f64, puts: f64) {
        self.word(HEAD + PER_CLASS * class).store(gets.to_bits(), Ordering::Relaxed);
        self.word(HEAD + PER_CLASS * class + 1).store(puts.to_bits(), Ordering::Relaxed);
    }

    /// Says whether the owner is to keep nothing any more, in a model.
    #[cfg(loom)]
    pub(crate) fn is_shut(&self) -> bool {
        self.read(GATE) == SHUT
    }

    /// Leaves the memory to a later block. The registry lists this one no more.
    fn end(self) {
        let bytes = Block::bytes(self.len);
        let mut ended = ENDED.lock();
        // Without memory to remember the block, it stays mapped and unused.
        if ended.try_reserve(1).is_ok() {
            ended.push((self.words.as_ptr() as usize, bytes));
        }
    }
}

/// A binding's stock of one pool's buffers. Buffers in it are idle or on lease as the owner counts.
///
/// *Thread-compatible*: one owner at a time. *Fork:* not supported in a child.
pub struct Stock {
    pool: BufferPool,
    block: Block,
}

/// A buffer on its way into a stock.
#[derive(Copy, Clone, Debug)]
pub struct StockBuffer {
    /// What the owner gives it back with; valid once.
    pub token: u64,
    /// The address of the first byte.
    pub data: *mut u8,
    /// The length in bytes.
    pub capacity: usize,
}

impl Stock {
    /// Makes an empty stock; of a closed pool, one that keeps nothing.
    ///
    /// # Errors
    /// `NO_MEMORY`.
    pub fn new(pool: &BufferPool) -> Result<Stock> {
        let inner = pool.inner();
        let share = inner.reserve_for_stock();
        match Block::new(inner.table.sizes().len(), share) {
            Some(block) if inner.enlist_block(block) => return Ok(Stock { pool: pool.clone(), block }),
            Some(block) => block.end(),
            None => {}
        }
        inner.unreserve(share);
        Err(no_memory(inner))
    }

    /// Returns the address and the length of the counter block: doubles, written by the owner only, mapped for
    /// the life of the process.
    ///
    /// 0: the gate, written by core: 1 when the pool is closed and the owner keeps nothing any more, 2 when it should
    /// give everything idle back once, call [`settled`](Stock::settled), and then look at [`watch`](Stock::watch) again.
    /// 1: bytes asked for by its live leases. Then for each class three: gets, puts, idle buffers held.
    pub fn counters(&self) -> (*mut f64, usize) {
        (self.block.words.as_ptr().cast(), self.block.len)
    }

    /// Returns the idle bytes that the owner may keep without asking [`may_keep`](Stock::may_keep). A stock that was made
    /// while its pool kept nothing for threads gets its share when it asks later.
    pub fn share(&self) -> usize {
        if self.block.share() == 0 {
            self.block.set_share(self.pool.inner().reserve_for_stock());
        }
        self.block.share()
    }

    /// Returns the pool.
    pub fn pool(&self) -> &BufferPool {
        &self.pool
    }

    /// Moves an idle buffer of a class, or a new one, into the stock. It is all zero unless the clear policy is
    /// `Never` or `OnGet`. Within the pool's limit; never waits.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`: there is no such class. `EXHAUSTED`, which the owner counts by
    /// [`misuse`](BufferPool::misuse) when its own stock does not help either. `NO_MEMORY`, `CLOSED`.
    pub fn take(&self, class: usize) -> Result<StockBuffer> {
        let inner = self.pool.inner();
        if inner.is_closed() {
            return Err(inner.closed_error());
        }
        let Some(size) = inner.table.sizes().get(class) else {
            return Err(Error::invalid(format_args!(
                "class is {class}; pool \"{}\" has {} classes",
                inner.name,
                inner.table.sizes().len()
            )));
        };
        let entry = inner.take_for_stock(class, *size)?;
        // What its owner lends of it is not known here.
        tools::open(entry);
        Ok(StockBuffer { token: entry.slot.handle.load(Ordering::Relaxed), data: entry.data, capacity: *size })
    }

    /// Ends a token and returns the buffer that it names.
    fn redeem(&self, token: u64) -> Result<Entry> {
        let inner = self.pool.inner();
        let slot = slot::find(token).ok_or_else(|| raw::not_a_lease(token))?;
        if slot.handle.load(Ordering::Acquire) != token {
            return Err(raw::not_present(slot, token, Site::NONE));
        }
        if !std::ptr::eq(slot.pool.load(Ordering::Relaxed), inner.as_ptr()) {
            return Err(raw::foreign(inner, slot, Site::NONE));
        }
        if !slot.end_handle(token) {
            return Err(raw::not_present(slot, token, Site::NONE));
        }
        Ok(Entry::of(slot))
    }

    /// Gives an idle buffer back that the owner has cleared as the pool's policy asks. What the pool does not keep
    /// counts as trimmed.
    ///
    /// # Errors
    /// `DOUBLE_PUT`, `FOREIGN_LEASE`, `INVALID_HANDLE` for a token that is not of this pool's stocks.
    pub fn give(&self, token: u64) -> Result<()> {
        let entry = self.redeem(token)?;
        let bytes = self.pool.inner().take_from_stock(entry);
        add(&self.pool.inner().counts.trimmed_bytes, bytes as u64);
        Ok(())
    }

    /// Gives the buffer of a put back whose first `dirty` bytes may have been written; the pool clears them. What
    /// the pool does not keep counts as discarded. The owner counts the put.
    ///
    /// # Errors
    /// As [`give`](Stock::give).
    pub fn put(&self, token: u64, dirty: usize) -> Result<()> {
        let entry = self.redeem(token)?;
        let inner = self.pool.inner();
        let capacity = entry.slot.capacity();
        inner.scrub(entry, dirty.min(capacity));
        if inner.take_from_stock(entry) > 0 {
            add(&inner.classes[inner.class_of_capacity(capacity)].counts.discarded, 1);
        }
        Ok(())
    }

    /// Gives up a lease whose memory somebody else has taken: it leaves the books as `leaked` and `lost`, and the
    /// memory is never handed out or unmapped. `len` is the length of the lease.
    ///
    /// # Errors
    /// As [`give`](Stock::give).
    pub fn lose(&self, token: u64, len: usize) -> Result<()> {
        let entry = self.redeem(token)?;
        let inner = self.pool.inner();
        inner.count_returned(len);
        inner.lose(entry);
        Ok(())
    }

    /// Gives up an idle buffer that must not be used again; its memory stays mapped. Counted as destroyed only.
    ///
    /// # Errors
    /// As [`give`](Stock::give).
    pub fn retire(&self, token: u64) -> Result<()> {
        let entry = self.redeem(token)?;
        self.pool.inner().abandon(entry);
        Ok(())
    }

    /// Destroys the buffer of a put that was written past its end. Counted as discarded; the owner counts the put, and
    /// the overrun by [`misuse`](BufferPool::misuse).
    ///
    /// # Errors
    /// As [`give`](Stock::give).
    pub fn overrun(&self, token: u64) -> Result<()> {
        let entry = self.redeem(token)?;
        let inner = self.pool.inner();
        let capacity = entry.slot.capacity();
        if inner.clear != ClearPolicy::Never {
            inner.wipe(entry, capacity + memory::TAIL);
        }
        add(&inner.classes[inner.class_of_capacity(capacity)].counts.discarded, 1);
        inner.destroy(entry);
        inner.wake_waiters();
        Ok(())
    }

    /// Takes the buffer of a lease of `len` bytes out of the pool for good; see [`Lease::detach`](crate::Lease::detach).
    /// Below 64 KiB the buffer is cleared whole and goes back to the pool at once: nothing may look at it any more.
    ///
    /// # Errors
    /// As [`give`](Stock::give); `INVALID_ARGUMENT`: `len` is above the capacity; `NO_MEMORY`: nothing
    /// changes.
    pub fn detach(&self, token: u64, len: usize) -> Result<Detached> {
        let capacity = raw::check(token)?.capacity();
        if len > capacity {
            return Err(Error::invalid(format_args!("len is {len}, the buffer has {capacity} bytes")));
        }
        let entry = self.redeem(token)?;
        let inner = self.pool.inner();
        let prepared = Detached::prepare(inner, entry, len).inspect_err(|_| entry.slot.restore_handle(token))?;
        let (detached, copied) = Detached::take(inner, entry, len, prepared);
        Detached::take_back(inner, copied, capacity);
        Ok(detached)
    }

    /// Takes back the buffer of a lease that was lost: counted as `leaked`, cleared whole, kept.
    ///
    /// # Errors
    /// As [`give`](Stock::give).
    pub fn leaked(&self, token: u64, len: usize) -> Result<()> {
        let entry = self.redeem(token)?;
        let inner = self.pool.inner();
        inner.scrub(entry, entry.slot.capacity());
        inner.take_leaked(entry, len);
        Ok(())
    }

    /// Says whether the owner may keep one more idle buffer of a class beyond its share, within `max_retained_bytes`.
    pub fn may_keep(&self, class: usize) -> bool {
        let inner = self.pool.inner();
        let Some(size) = inner.table.sizes().get(class) else {
            return false;
        };
        let mut registry = registry::lock();
        !inner.is_closed() && registry.member(inner.id).is_some_and(|member| inner.may_keep(&member.blocks, *size))
    }

    /// Says that the owner has given back what it was asked for.
    pub fn settled(&self) {
        let (asked, calm) = (ASKED.to_bits(), 0_f64.to_bits());
        // A pool that was closed meanwhile stays closed.
        let _ = self.block.word(GATE).compare_exchange(asked, calm, Ordering::Relaxed, Ordering::Relaxed);
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        let inner = self.pool.inner();
        let mut registry = registry::lock();
        if let Some(member) = registry.member(inner.id)
            && let Some(place) = member.blocks.iter().position(|block| block.words == self.block.words)
        {
            let block = member.blocks.swap_remove(place);
            for (class, kept) in inner.classes.iter().enumerate().take(inner.table.sizes().len()) {
                add(&kept.counts.gets, block.gets(class));
                add(&kept.counts.puts, block.puts(class));
            }
            add(&inner.counts.requested, block.requested());
            inner.unreserve(block.share());
        }
        drop(registry);
        self.block.end();
    }
}

impl Inner {
    /// Lists a block; `false` without memory.
    fn enlist_block(&self, block: Block) -> bool {
        let mut registry = registry::lock();
        let Some(member) = registry.member(self.id) else {
            return false;
        };
        if member.blocks.try_reserve(1).is_err() {
            return false;
        }
        member.blocks.push(block);
        if self.is_closed() {
            block.shut();
        }
        true
    }

    /// Takes one buffer for a stock; makes room if the limit asks for it.
    fn take_for_stock(&self, class: usize, size: usize) -> Result<Entry> {
        if let Some(entry) = self.find_idle(class) {
            return Ok(entry);
        }
        match self.create(class) {
            Ok((entry, _)) => Ok(entry),
            Err(Refusal::Memory) => Err(no_memory(self)),
            Err(Refusal::Limit) => self.take_at_limit(class, size),
        }
    }

    /// Keeps or destroys a buffer that comes out of a stock; returns the capacity of what was destroyed.
    fn take_from_stock(&self, entry: Entry) -> usize {
        let class = self.class_of_capacity(entry.slot.capacity());
        let mut doomed = Doomed::default();
        if self.is_closed() || entry.slot.is_worn_out() || !self.keeps {
            doomed.push(entry);
        } else if self.check() == Check::Full {
            self.hold_back(entry, &mut doomed);
        } else {
            self.give_idle(class, self.home(), &[entry], &mut doomed);
        }
        let destroyed = self.destroy_all(&mut doomed);
        self.wake_waiters();
        destroyed
    }

    /// Counts a lease as leaked and lost, and abandons its buffer.
    pub(crate) fn lose(&self, entry: Entry) {
        let class = self.class_of_capacity(entry.slot.capacity());
        add(&self.classes[class].counts.leaked, 1);
        add(&self.counts.lost, 1);
        self.abandon(entry);
    }

    /// Gives up a buffer whose memory is in foreign hands: it stays mapped for ever.
    pub(crate) fn abandon(&self, entry: Entry) {
        if entry.slot.flags() & slot::MAPPED == 0 {
            // The slab never becomes empty, so the pool that owns it must not go.
            std::mem::forget(self.keep_alive());
        }
        let pool = self.keep_alive();
        self.give_up(entry);
        pool.wake_waiters();
    }
}

#[cold]
fn no_memory(inner: &Inner) -> Error {
    Error::new(
        ErrorKind::NoMemory,
        format_args!("the system gives pool \"{}\" no memory; nothing was changed", inner.name),
    )
}
