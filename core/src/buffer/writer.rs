//! Fills a lease from the start and knows how far it came.

use std::fmt;
use std::io;

use bytes::BufMut;
use bytes::buf::UninitSlice;

use super::lease::Lease;
use super::put;

/// The most bytes that [`BufMut::chunk_mut`] shows at once before more than that was written.
const CHUNK: usize = 64 << 10;

/// A lease that is empty at first and grows up to its length: only what was written is cleared at put.
///
/// ```
/// use std::io::Write;
/// let pool = millpond::BufferPool::new("docs")?;
/// let mut writer = pool.writer(65536)?;
/// write!(writer, "{} of {}", 1, 2)?;
/// let lease = writer.finish();
/// assert_eq!(&lease[..], b"1 of 2");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Somebody who gets memory from `chunk_mut` may write it without saying so. What was shown counts as written, so
/// at most 64 KiB, or as much again as was written, is shown at a time.
///
/// *Thread-safe*: may move to another thread. *Fork:* as [`Lease`].
#[derive(Debug)]
pub struct Writer {
    lease: Lease,
    written: usize,
}

impl Writer {
    pub(crate) fn over(lease: Lease) -> Writer {
        Writer { lease, written: 0 }
    }

    /// Returns how many bytes were written.
    pub fn len(&self) -> usize {
        self.written
    }

    /// Says whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.written == 0
    }

    /// Returns how many bytes fit in all.
    pub fn capacity(&self) -> usize {
        self.lease.len()
    }

    /// Returns what was written.
    pub fn written(&self) -> &[u8] {
        &self.lease[..self.written]
    }

    /// Ends the writing: the lease's length is what was written.
    pub fn finish(self) -> Lease {
        let mut lease = self.lease;
        lease.truncate(self.written);
        lease
    }

    /// Copies as much of `bytes` as fits and returns how much that is.
    fn append(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.lease.len() - self.written);
        let end = self.written + count;
        self.lease.set_written(end);
        let entry = self.lease.entry();
        // SAFETY: `written + count` is at most the lease's length.
        let to = unsafe { entry.data.add(self.written) };
        // SAFETY: `count` bytes fit behind `to`; `bytes` is borrowed and the buffer exclusively ours, so they are apart.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), count) };
        self.written = end;
        count
    }
}

impl From<Writer> for Lease {
    fn from(writer: Writer) -> Lease {
        writer.finish()
    }
}

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.append(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Write for Writer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() > self.lease.len() - self.written {
            return Err(fmt::Error);
        }
        self.append(text.as_bytes());
        Ok(())
    }
}

// SAFETY: `chunk_mut` returns memory of the lease behind what was written, and `advance_mut` moves by at most what
// remains of it.
unsafe impl BufMut for Writer {
    fn remaining_mut(&self) -> usize {
        self.lease.len() - self.written
    }

    unsafe fn advance_mut(&mut self, count: usize) {
        assert!(
            count <= self.remaining_mut(),
            "advance by {count} bytes of {} that remain in a lease of pool \"{}\"",
            self.remaining_mut(),
            put::pool_of(self.lease.slot()).name
        );
        self.written += count;
        self.lease.set_written(self.written);
    }

    fn chunk_mut(&mut self) -> &mut UninitSlice {
        let shown = self.remaining_mut().min(CHUNK.max(self.written));
        self.lease.set_written(self.written + shown);
        let entry = self.lease.entry();
        // SAFETY: `written` is at most the lease's length.
        let start = unsafe { entry.data.add(self.written) };
        // SAFETY: `written + shown` is at most the length; the slice borrows the writer.
        unsafe { UninitSlice::from_raw_parts_mut(start, shown) }
    }

    fn put_slice(&mut self, bytes: &[u8]) {
        assert!(
            bytes.len() <= self.remaining_mut(),
            "{} bytes into {} that remain in a lease of pool \"{}\"",
            bytes.len(),
            self.remaining_mut(),
            put::pool_of(self.lease.slot()).name
        );
        self.append(bytes);
    }
}
