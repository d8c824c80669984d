//! The panic guard and the conversion of pointers: the only place where a pointer from C is looked at.
//!
//! A body runs inside [`status`] or [`value`]. Both go through [`catch`], so that no panic leaves the library and no exported
//! function needs a rule of its own. The checks are those that can be made: NULL, alignment, lengths that cannot exist, the
//! size at the start of a struct. Whether a pointer that passes them points to memory of the caller is the caller's word,
//! and each SAFETY comment that relies on it says so.

use std::any::Any;
use std::ffi::{CStr, c_char};
use std::fmt::Write;
use std::mem::{MaybeUninit, size_of};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use pond::{Error, ErrorKind, Result, Site};

use crate::status::{self, millpond_status};

/// Runs `body` and turns an error into a value by `failed`, a panic too: the one guard of all exported functions.
///
/// Errors are handled inside the guard, so that the way without one carries nothing but the value through it.
#[inline(always)]
fn catch<T>(body: impl FnOnce() -> Result<T>, failed: impl Fn(millpond_status) -> T) -> T {
    // A body that panicked has written no output, and the core guards its own state, so nothing broken can be seen after it.
    let guarded = catch_unwind(AssertUnwindSafe(|| match body() {
        Ok(value) => value,
        Err(error) => failed(record(error)),
    }));
    match guarded {
        Ok(value) => value,
        Err(payload) => failed(panicked(payload)),
    }
}

/// Runs the body of an exported function that returns a status.
#[inline(always)]
pub(crate) fn status(body: impl FnOnce() -> Result<()>) -> millpond_status {
    catch(|| body().map(|()| millpond_status::MILLPOND_OK), |status| status)
}

/// Runs the body of an exported function that returns a value; `fallback` is returned when it fails.
#[inline(always)]
pub(crate) fn value<T: Copy>(fallback: T, body: impl FnOnce() -> Result<T>) -> T {
    catch(body, |_| fallback)
}

#[cold]
#[inline(never)]
fn record(error: Error) -> millpond_status {
    status::record(&error)
}

/// Records what a caught panic said, in a guard of its own: nothing above an exported function could catch.
#[cold]
#[inline(never)]
fn panicked(payload: Box<dyn Any + Send>) -> millpond_status {
    let recorded = catch_unwind(AssertUnwindSafe(|| {
        let text = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        status::record(&Error::new(ErrorKind::Panic, format_args!("a bug in millpond, please report it: {text}")))
    }));
    // The payload's destructor is foreign code, and a second panic in it would abort the process.
    std::mem::forget(payload);
    recorded.unwrap_or(millpond_status::MILLPOND_ERR_PANIC)
}

#[cold]
fn null(argument: &'static str) -> Error {
    Error::new(ErrorKind::NullPointer, format_args!("{argument} is NULL: it must point to memory of the caller"))
}

#[cold]
fn unaligned(argument: &'static str) -> Error {
    invalid(format_args!("{argument} is not aligned for its type: the pointer is wrong"))
}

#[cold]
pub(crate) fn invalid(message: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}

#[inline(always)]
fn checked<T>(pointer: *mut T, argument: &'static str) -> Result<NonNull<T>> {
    let Some(pointer) = NonNull::new(pointer) else {
        return Err(null(argument));
    };
    if !pointer.is_aligned() {
        return Err(unaligned(argument));
    }
    Ok(pointer)
}

/// A place for one output: checked before the work, written after it.
pub(crate) struct Out<T>(NonNull<T>);

impl<T> Out<T> {
    /// # Safety
    /// `pointer` is NULL, or the caller owns room for one `T` there until the exported function returns.
    #[inline(always)]
    pub(crate) unsafe fn new(pointer: *mut T, argument: &'static str) -> Result<Self> {
        Ok(Self(checked(pointer, argument)?))
    }

    /// As [`Out::new`], for the way on which nothing is wrong.
    ///
    /// # Safety
    /// As for [`Out::new`].
    #[inline(always)]
    pub(crate) unsafe fn usable(pointer: *mut T) -> Option<Self> {
        NonNull::new(pointer).filter(|pointer| pointer.is_aligned()).map(Self)
    }

    #[inline(always)]
    pub(crate) fn set(self, value: T) {
        // SAFETY: not NULL and aligned (checked in `new`), room for a `T` (the promise made to `new`).
        unsafe { self.0.write(value) }
    }
}

/// A place for up to `capacity` elements.
pub(crate) struct OutSlice<T> {
    pointer: *mut T,
    capacity: usize,
}

impl<T> OutSlice<T> {
    /// # Safety
    /// `pointer` is NULL, or the caller owns room for `capacity` elements there until the exported function returns.
    pub(crate) unsafe fn new(pointer: *mut T, capacity: usize, argument: &'static str) -> Result<Self> {
        if capacity == 0 {
            return Ok(Self { pointer, capacity });
        }
        checked(pointer, argument)?;
        if capacity > isize::MAX as usize / size_of::<T>().max(1) {
            return Err(invalid(format_args!(
                "{argument} cannot have room for {capacity} elements: no object is that large"
            )));
        }
        Ok(Self { pointer, capacity })
    }

    /// The same over memory of our own.
    pub(crate) fn of(room: &mut [T]) -> Self {
        Self { pointer: room.as_mut_ptr(), capacity: room.len() }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Writes `value` at `index`, or does nothing beyond the capacity.
    pub(crate) fn set(&mut self, index: usize, value: T) {
        if index < self.capacity {
            // SAFETY: inside the room that the caller promised to `new`.
            let place = unsafe { self.pointer.add(index) };
            // SAFETY: as above, and aligned (checked in `new`).
            unsafe { place.write(value) }
        }
    }
}

/// The first `most` bytes of a text or less, up to the end of a character.
pub(crate) fn head(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Writes `text` and a NUL into `out`, cut at the end of a character where the room does not suffice.
pub(crate) fn set_text(out: &mut OutSlice<c_char>, text: &str) {
    let Some(room) = out.capacity().checked_sub(1) else {
        return;
    };
    let text = head(text, room);
    for (index, byte) in text.bytes().enumerate() {
        out.set(index, byte as c_char);
    }
    out.set(text.len(), 0);
}

/// A text in place, of which the end is kept where it does not fit.
pub(crate) struct Tail<const ROOM: usize> {
    bytes: [u8; ROOM],
    length: usize,
}

impl<const ROOM: usize> Tail<ROOM> {
    pub(crate) fn of(shown: impl std::fmt::Display) -> Self {
        let mut tail = Self { bytes: [0; ROOM], length: 0 };
        // Any text is taken.
        let _ = write!(tail, "{shown}");
        tail
    }

    pub(crate) fn as_str(&self) -> &str {
        let kept = &self.bytes[..self.length];
        // A character may have lost its beginning.
        let from = kept.iter().position(|byte| byte & 0xC0 != 0x80).unwrap_or(self.length);
        std::str::from_utf8(&kept[from..]).unwrap_or_default()
    }
}

impl<const ROOM: usize> Write for Tail<ROOM> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let text = &text.as_bytes()[text.len().saturating_sub(ROOM)..];
        let gone = (self.length + text.len()).saturating_sub(ROOM);
        self.bytes.copy_within(gone..self.length, 0);
        self.length -= gone;
        self.bytes[self.length..self.length + text.len()].copy_from_slice(text);
        self.length += text.len();
        Ok(())
    }
}

/// A struct that begins with its size and whose every field may be zero.
///
/// # Safety
/// `repr(C)`, the first field is a `usize`, all fields are integers or raw pointers, and there is no padding.
pub(crate) unsafe trait Sized: Copy {
    /// Size of the struct in the first release that had it.
    const FIRST: usize;
    /// Name of the type in C.
    const NAME: &'static str;
}

/// The size that the caller wrote at the start of a struct.
///
/// # Safety
/// `pointer` is NULL or points to a struct of the caller that begins with its size.
unsafe fn size_at<T: Sized>(pointer: *mut T, argument: &'static str) -> Result<usize> {
    let start = checked(pointer, argument)?.cast::<usize>();
    // SAFETY: the struct begins with its size (promise of the trait), and the caller's struct is readable.
    let size = unsafe { start.read() };
    if size < T::FIRST || size > 4096 {
        return Err(invalid(format_args!(
            "{argument}: struct_size is {size}: set it to sizeof({}), which is {} in this version",
            T::NAME,
            size_of::<T>()
        )));
    }
    Ok(size)
}

/// Reads a struct that may be older (shorter) or newer (longer) than ours. What is missing is zero; what is longer must be
/// zero, because it would ask for something that this version does not know.
///
/// # Safety
/// `pointer` is NULL or points to a readable struct as long as its first field says.
pub(crate) unsafe fn read_sized<T: Sized>(pointer: *const T, argument: &'static str) -> Result<T> {
    // SAFETY: the promise of this function.
    let size = unsafe { size_at(pointer.cast_mut(), argument) }?;
    let known = size.min(size_of::<T>());
    let bytes = pointer.cast::<u8>();
    for offset in known..size {
        // SAFETY: the struct is readable up to `size` bytes (promise of this function).
        let place = unsafe { bytes.add(offset) };
        // SAFETY: as above.
        if unsafe { place.read() } != 0 {
            return Err(invalid(format_args!(
                "{argument}: {size} bytes long and not zero behind byte {known}: it uses options of a newer version"
            )));
        }
    }
    let mut ours = MaybeUninit::<T>::zeroed();
    // SAFETY: `known` bytes are readable there and fit here; two distinct objects.
    unsafe { bytes.copy_to_nonoverlapping(ours.as_mut_ptr().cast::<u8>(), known) };
    // SAFETY: every field may be zero or any other bits (promise of the trait).
    Ok(unsafe { ours.assume_init() })
}

/// A place for a struct that begins with its size: only as much as the caller has room for is written.
pub(crate) struct OutSized<T> {
    pointer: *mut T,
    size: usize,
}

impl<T: Sized> OutSized<T> {
    /// # Safety
    /// `pointer` is NULL or points to a writable struct as long as its first field says.
    pub(crate) unsafe fn new(pointer: *mut T, argument: &'static str) -> Result<Self> {
        // SAFETY: the promise of this function.
        let size = unsafe { size_at(pointer, argument) }?;
        Ok(Self { pointer, size })
    }

    /// Writes the fields that the caller knows; the size at the start stays as the caller set it.
    pub(crate) fn set(self, value: T) {
        let head = size_of::<usize>();
        let count = self.size.min(size_of::<T>()) - head;
        let from = (&raw const value).cast::<u8>();
        // SAFETY: `head + count` is at most the size of `T`.
        let from = unsafe { from.add(head) };
        // SAFETY: `head + count` is at most the length of the caller's struct (promise made to `new`).
        let to = unsafe { self.pointer.cast::<u8>().add(head) };
        // SAFETY: both ranges are as said; the local value and the caller's struct are distinct objects.
        unsafe { from.copy_to_nonoverlapping(to, count) };
    }
}

/// Looks at a NUL-terminated string of at most `most` bytes; longer ones are an error, and no byte behind `most + 1` is
/// read.
///
/// # Safety
/// `pointer` is NULL or readable up to its NUL or `most + 1` bytes, whichever comes first. The string lives and stays as it
/// is for `'a`, which ends with the call of the exported function.
pub(crate) unsafe fn text<'a>(pointer: *const c_char, most: usize, argument: &'static str) -> Result<&'a str> {
    checked(pointer.cast_mut(), argument)?;
    for length in 0..=most {
        // SAFETY: no NUL came before, so the byte is readable (promise of this function).
        let place = unsafe { pointer.add(length) };
        // SAFETY: as above.
        if unsafe { place.read() } == 0 {
            // SAFETY: a NUL ends it at `length`, and nobody changes it during the call (promise of this function).
            let text = unsafe { CStr::from_ptr(pointer) };
            return text.to_str().map_err(|_| invalid(format_args!("{argument} is not UTF-8")));
        }
    }
    Err(invalid(format_args!("{argument} is longer than {most} bytes")))
}

/// Copies `count` sizes.
///
/// # Safety
/// `pointer` is NULL or points to `count` readable sizes.
pub(crate) unsafe fn sizes(pointer: *const usize, count: usize, argument: &'static str) -> Result<Vec<usize>> {
    checked(pointer.cast_mut(), argument)?;
    if count > 1024 {
        return Err(invalid(format_args!("{argument} has {count} elements: more than any pool takes")));
    }
    // SAFETY: not NULL and aligned (just checked), readable (promise of this function), small enough (just checked).
    let theirs = unsafe { std::slice::from_raw_parts(pointer, count) };
    let mut ours = Vec::new();
    ours.try_reserve_exact(count)
        .map_err(|_| Error::new(ErrorKind::NoMemory, format_args!("no memory for a copy of {argument}")))?;
    ours.extend_from_slice(theirs);
    Ok(ours)
}

/// The call site that the macros of the header pass along.
///
/// # Safety
/// `file` is NULL or a NUL-terminated string that lives as long as the process.
#[inline(always)]
pub(crate) unsafe fn site(file: *const c_char, line: u32) -> Site {
    if file.is_null() {
        return Site::NONE;
    }
    // SAFETY: the promise of this function.
    unsafe { Site::c(file, line) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::millpond_last_error;

    fn last() -> String {
        // SAFETY: the pointer is a NUL-terminated string of this thread.
        unsafe { CStr::from_ptr(millpond_last_error()) }.to_str().expect("messages are UTF-8").to_owned()
    }

    #[test]
    fn a_panic_becomes_a_status_with_its_text() {
        let status = status(|| panic!("seeded {}", 7));
        assert_eq!(status as i32, ErrorKind::Panic.code());
        assert!(last().contains("seeded 7"), "{}", last());
    }

    #[test]
    fn a_panic_payload_that_panics_in_its_destructor_is_harmless() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("from the destructor");
            }
        }
        let status = status(|| std::panic::panic_any(Bomb));
        assert_eq!(status as i32, ErrorKind::Panic.code());
    }

    #[test]
    fn a_value_falls_back() {
        assert_eq!(value(7, || Err(invalid("no"))), 7);
        assert!(last().starts_with("no"), "{}", last());
        assert_eq!(value(7, || Ok(8)), 8);
    }

    #[test]
    fn text_is_cut_between_characters() {
        let mut room = [1 as c_char; 4];
        // SAFETY: the room is this array.
        let mut out = unsafe { OutSlice::new(room.as_mut_ptr(), room.len(), "room") }.unwrap();
        set_text(&mut out, "aé€");
        assert_eq!(room.map(|c| c as u8), [b'a', 0xC3, 0xA9, 0]);
    }

    #[test]
    fn a_character_that_does_not_fit_is_left_out_whole() {
        for (most, kept) in [(0, ""), (1, "a"), (2, "a"), (3, "aé"), (4, "aé"), (5, "aé"), (6, "aé€"), (9, "aé€")]
        {
            assert_eq!(head("aé€", most), kept, "{most}");
        }
        let mut room = [1 as c_char; 6];
        // SAFETY: all but the last place of this array.
        let mut out = unsafe { OutSlice::new(room.as_mut_ptr(), 5, "room") }.unwrap();
        set_text(&mut out, "aé€");
        assert_eq!(room.map(|c| c as u8), [b'a', 0xC3, 0xA9, 0, 1, 1]);
    }

    #[test]
    fn nothing_is_written_beyond_the_room() {
        let mut room = [1_u64; 3];
        // SAFETY: the first two places of this array.
        let mut out = unsafe { OutSlice::new(room.as_mut_ptr(), 2, "room") }.unwrap();
        assert_eq!(out.capacity(), 2);
        for index in [0, 1, 2, usize::MAX] {
            out.set(index, 7);
        }
        assert_eq!(room, [7, 7, 1]);
        // SAFETY: no room at all, for which any pointer will do.
        let mut none = unsafe { OutSlice::<u64>::new(std::ptr::null_mut(), 0, "none") }.unwrap();
        none.set(0, 7);
        let mut texts = OutSlice::of(&mut []);
        set_text(&mut texts, "nowhere to go");
    }

    #[test]
    fn a_room_that_no_object_has_is_refused() {
        let mut room = [1_u64; 1];
        for capacity in [isize::MAX as usize / 8 + 1, usize::MAX] {
            // SAFETY: refused before anything is done with it.
            let error = unsafe { OutSlice::new(room.as_mut_ptr(), capacity, "room") }.err().unwrap();
            assert!(error.message().contains(&format!("{capacity} elements")), "{error}");
        }
        // SAFETY: as above; nothing is written.
        assert!(unsafe { OutSlice::new(room.as_mut_ptr(), isize::MAX as usize / 8, "room") }.is_ok());
        // SAFETY: NULL is allowed.
        let error = unsafe { OutSlice::<u64>::new(std::ptr::null_mut(), 1, "room") }.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::NullPointer);
    }

    #[test]
    fn a_tail_is_whole_characters() {
        assert_eq!(Tail::<8>::of("abc").as_str(), "abc");
        assert_eq!(Tail::<8>::of(format_args!("{}{}", "12345678", 9)).as_str(), "23456789");
        assert_eq!(Tail::<8>::of("aé€é€").as_str(), "€é€");
        assert_eq!(Tail::<7>::of("aé€é€").as_str(), "é€");
        assert_eq!(Tail::<2>::of("a€").as_str(), "");
        assert_eq!(Tail::<4>::of("").as_str(), "");
    }

    #[test]
    fn an_unaligned_pointer_is_named() {
        let mut room = [0u64; 2];
        let pointer = room.as_mut_ptr().cast::<u8>().wrapping_add(1).cast::<u64>();
        // SAFETY: the pointer is refused before anything is done with it.
        let error = unsafe { Out::new(pointer, "out_it") }.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains("out_it"));
    }
    /// As the first release had it, one word longer since.
    #[repr(C)]
    #[derive(Copy, Clone, Debug, PartialEq)]
    struct Grown {
        struct_size: usize,
        old: u64,
        new: u64,
    }

    // SAFETY: begins with its size; three words leave no padding.
    unsafe impl Sized for Grown {
        const FIRST: usize = 16;
        const NAME: &'static str = "grown";
    }

    #[test]
    fn a_struct_is_as_long_as_it_says_within_bounds() {
        let mut words = [0_usize; 600];
        for (size, taken) in [(0, false), (15, false), (16, true), (24, true), (4096, true), (4097, false)] {
            (words[0], words[1], words[2]) = (size, 7, 8);
            // SAFETY: as long as it says, and longer than it may say.
            let read = unsafe { read_sized(words.as_ptr().cast::<Grown>(), "it") };
            let known = Grown { struct_size: size, old: 7, new: if size > 16 { 8 } else { 0 } };
            assert_eq!(read.as_ref().ok(), taken.then_some(&known), "{size}");
            if let Err(error) = read {
                assert!(
                    error.message().contains(&format!("struct_size is {size}: set it to sizeof(grown)")),
                    "{error}"
                );
            }
        }
        // Something behind what is known.
        (words[0], words[3]) = (32, 1);
        // SAFETY: as above.
        let error = unsafe { read_sized(words.as_ptr().cast::<Grown>(), "it") }.err().unwrap();
        assert!(error.message().contains("32 bytes long and not zero behind byte 24"), "{error}");
    }

    #[test]
    fn as_many_sizes_are_copied_as_any_pool_could_take() {
        let theirs: Vec<usize> = (0..1025).collect();
        for count in [0, 1, 1023, 1024] {
            // SAFETY: there are more.
            assert_eq!(unsafe { sizes(theirs.as_ptr(), count, "sizes") }.unwrap(), theirs[..count]);
        }
        // SAFETY: as above.
        let error = unsafe { sizes(theirs.as_ptr(), 1025, "sizes") }.err().unwrap();
        assert!(error.message().contains("sizes has 1025 elements"), "{error}");
    }

    #[test]
    fn a_text_may_be_as_long_as_was_said_and_no_longer() {
        // SAFETY: each ends with a NUL.
        let read = |given: &'static CStr| unsafe { text(given.as_ptr(), 3, "it") };
        assert_eq!([c"", c"a", c"abc"].map(|given| read(given).unwrap()), ["", "a", "abc"]);
        assert!(read(c"abcd").err().unwrap().message().contains("it is longer than 3 bytes"));
        assert!(read(c"a\xff").err().unwrap().message().contains("it is not UTF-8"));
    }
}
