//! Lends buffers to a binding that keeps its own stock and serves gets and puts from it.
//!
//! In Node a call into native code costs more than a get. So JavaScript holds buffers of its own, counts in a block
//! of memory that core reads, and calls here only to take buffers and to give them back.

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::BufferPool;
use super::depot::{Doomed, Entry};
use super::inner::{Inner, Refusal, add};
use super::memory;
use super::raw;
use super::registry;
use super::slot;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::{AtomicU64, Lock};

/// Where the counters of a class begin in the block, and how many there are.
const HEAD: usize = 2;
const PER_CLASS: usize = 3;
const GATE: usize = 0;
const REQUESTED: usize = 1;

/// The counters of one stock: numbers that the owner writes and statistics read.
///
/// JavaScript knows no atomic doubles; an aligned eight-byte store is one on the supported platforms, and the
/// reader here uses atomic loads of the same size.
pub(crate) struct Block {
    words: NonNull<AtomicU64>,
    len: usize,
}

// SAFETY: the block is made of atomics.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

/// Blocks that ended. They are used again, never unmapped: a script may still hold an array over one.
static ENDED: Lock<Vec<(usize, usize)>> = Lock::new(Vec::new());

impl Block {
    fn new(classes: usize) -> Option<Block> {
        let len = HEAD + PER_CLASS * classes;
        let bytes = (len * size_of::<f64>()).next_multiple_of(memory::page_size());
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
        Some(Block { words: base.cast(), len })
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.len, "counter {index} of {}", self.len);
        // SAFETY: inside the block.
        let word = unsafe { self.words.add(index) };
        // SAFETY: the block is mapped for the life of the process, and any bytes are a valid counter.
        unsafe { word.as_ref() }
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

    /// Asks the owner to give everything idle back when it next looks.
    pub(crate) fn ask(&self) {
        self.word(GATE).store(1_f64.to_bits(), Ordering::Relaxed);
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let bytes = (self.len * size_of::<f64>()).next_multiple_of(memory::page_size());
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
    block: Arc<Block>,
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
    /// Makes an empty stock.
    ///
    /// # Errors
    /// `NO_MEMORY`, `CLOSED`.
    pub fn new(pool: &BufferPool) -> Result<Stock> {
        let inner = pool.inner();
        let block = Block::new(inner.table.sizes().len()).ok_or_else(|| no_memory(inner))?;
        let block = Arc::new(block);
        let mut registry = registry::lock();
        if inner.is_closed() {
            return Err(inner.closed_error());
        }
        let member = registry.member(inner.id).ok_or_else(|| inner.closed_error())?;
        member.blocks.try_reserve(1).map_err(|_| no_memory(inner))?;
        member.blocks.push(block.clone());
        drop(registry);
        Ok(Stock { pool: pool.clone(), block })
    }

    /// Returns the address and the length of the counter block: doubles, written by the owner only, mapped for
    /// the life of the process.
    ///
    /// 0: not 0 when the owner should give everything idle back, and set it to 0. 1: bytes asked for by its live
    /// leases. Then for each class three: gets, puts, idle buffers held.
    pub fn counters(&self) -> (*mut f64, usize) {
        (self.block.words.as_ptr().cast(), self.block.len)
    }

    /// Returns the pool.
    pub fn pool(&self) -> &BufferPool {
        &self.pool
    }

    /// Moves an idle buffer of a class, or a new one, into the stock. It is all zero unless the clear policy is
    /// `Never` or `OnGet`. Within the pool's limit; never waits.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`: there is no such class. `EXHAUSTED`, `NO_MEMORY`, `CLOSED`.
    pub fn take(&self, class: usize) -> Result<StockBuffer> {
        let inner = self.pool.inner();
        if inner.is_closed() {
            return Err(inner.closed_error());
        }
        let Some(size) = inner.table.sizes().get(class) else {
            return Err(Error::invalid(format!(
                "class is {class}; pool \"{}\" has {} classes",
                inner.name,
                inner.table.sizes().len()
            )));
        };
        let entry = inner.take_for_stock(class, *size)?;
        Ok(StockBuffer { token: entry.slot.handle.load(Ordering::Relaxed), data: entry.data, capacity: *size })
    }

    /// Ends a token and returns the buffer that it names.
    fn redeem(&self, token: u64) -> Result<Entry> {
        let inner = self.pool.inner();
        let slot = raw::check(token)?;
        if !std::ptr::eq(slot.pool.load(Ordering::Relaxed), Arc::as_ptr(inner)) {
            return Err(raw::foreign(inner));
        }
        if !slot.end_handle(token) {
            return Err(raw::not_present(slot, token));
        }
        Ok(Entry { data: slot.data.load(Ordering::Relaxed), slot })
    }

    /// Gives an idle buffer back. The owner has cleared it, unless the pool's clear policy is another one.
    ///
    /// # Errors
    /// `DOUBLE_PUT`, `FOREIGN_LEASE`, `INVALID_HANDLE` for a token that is not of this pool's stocks.
    pub fn give(&self, token: u64) -> Result<()> {
        self.give_dirty(token, 0)
    }

    /// Gives back a buffer whose first `dirty` bytes may have been written; they are cleared by the pool's policy.
    ///
    /// # Errors
    /// As [`give`](Stock::give).
    pub fn give_dirty(&self, token: u64, dirty: usize) -> Result<()> {
        let entry = self.redeem(token)?;
        let inner = self.pool.inner();
        let capacity = entry.slot.capacity.load(Ordering::Relaxed);
        inner.scrub(entry, dirty.min(capacity));
        let class = inner.class_of_capacity(capacity);
        let mut doomed = Doomed::default();
        if inner.is_closed() || entry.slot.is_worn_out() {
            doomed.push(entry);
        } else {
            inner.give_idle(class, inner.home(), &[entry], &mut doomed);
        }
        inner.destroy_all(&mut doomed);
        inner.wake_waiters();
        Ok(())
    }

    /// Gives up a buffer whose memory somebody else has now: it leaves the books and is never handed out or
    /// unmapped. Counted as `leaked` and `lost`. `len` is the length of its lease.
    ///
    /// # Errors
    /// As [`give`](Stock::give).
    pub fn lose(&self, token: u64, len: usize) -> Result<()> {
        let (inner, class) = self.remove(token, len)?;
        add(&inner.classes[class].counts.leaked, 1);
        add(&inner.counts.lost, 1);
        Ok(())
    }

    /// Gives up a buffer that a user detached: as [`lose`](Stock::lose), counted as `detached`.
    ///
    /// # Errors
    /// As [`give`](Stock::give).
    pub fn detach(&self, token: u64, len: usize) -> Result<()> {
        let (inner, class) = self.remove(token, len)?;
        add(&inner.classes[class].counts.detached, 1);
        Ok(())
    }

    fn remove(&self, token: u64, len: usize) -> Result<(&Inner, usize)> {
        let entry = self.redeem(token)?;
        let inner = self.pool.inner();
        let capacity = entry.slot.capacity.load(Ordering::Relaxed);
        let class = inner.class_of_capacity(capacity);
        let slab = entry.slot.flags() & slot::MAPPED == 0;
        if slab {
            // The slab stays: its count of buffers never comes down to zero. Leaking the reference keeps the pool's
            // slabs alive with it.
            inner.strand();
        }
        slot::free(entry.slot);
        inner.forget(class, capacity);
        inner.count_returned(len);
        inner.wake_waiters();
        Ok((inner, class))
    }

    /// Takes back the buffer of a lease that was lost: counted as `leaked`, cleared whole, kept.
    ///
    /// # Errors
    /// As [`give`](Stock::give).
    pub fn leaked(&self, token: u64, len: usize) -> Result<()> {
        let entry = self.redeem(token)?;
        let inner = self.pool.inner();
        inner.scrub(entry, entry.slot.capacity.load(Ordering::Relaxed));
        inner.take_leaked(entry, len);
        Ok(())
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        let inner = self.pool.inner();
        let mut registry = registry::lock();
        if let Some(member) = registry.member(inner.id)
            && let Some(place) = member.blocks.iter().position(|block| Arc::ptr_eq(block, &self.block))
        {
            let block = member.blocks.swap_remove(place);
            for (class, kept) in inner.classes.iter().enumerate().take(inner.table.sizes().len()) {
                add(&kept.counts.gets, block.gets(class));
                add(&kept.counts.puts, block.puts(class));
            }
            add(&inner.counts.requested, block.requested());
        }
    }
}

impl Inner {
    /// Takes one buffer for a stock; makes room if the limit asks for it.
    fn take_for_stock(&self, class: usize, size: usize) -> Result<Entry> {
        let mut idle = None;
        self.take_idle(class, self.home(), 1, |entry| idle = Some(entry));
        if let Some(entry) = idle {
            return Ok(entry);
        }
        match self.create(class) {
            Ok((entry, _)) => Ok(entry),
            Err(Refusal::Memory) => Err(no_memory(self)),
            Err(Refusal::Limit) => self.take_at_limit(class, size),
        }
    }

    /// Keeps the pool for ever, because memory of its slabs is in foreign hands.
    fn strand(&self) {
        std::mem::forget(self.keep_alive());
    }
}

#[cold]
fn no_memory(inner: &Inner) -> Error {
    Error::new(ErrorKind::NoMemory, format!("the system gives pool \"{}\" no memory; nothing was changed", inner.name))
}
