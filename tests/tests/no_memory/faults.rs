//! Stands between the program and the C library where memory comes from, and lets it fail on demand.
//!
//! Functions of an executable go before those of the libraries, so these serve everybody: Rust's allocator, core's own calls
//! of `malloc` and `mmap`, and what the C library allocates for itself, such as a thread's.

use std::cell::Cell;
use std::ffi::{c_int, c_long, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};

unsafe extern "C" {
    fn __libc_malloc(size: usize) -> *mut c_void;
    fn __libc_calloc(count: usize, size: usize) -> *mut c_void;
    fn __libc_realloc(block: *mut c_void, size: usize) -> *mut c_void;
    fn __libc_memalign(align: usize, size: usize) -> *mut c_void;
    fn __libc_free(block: *mut c_void);
    fn __register_atfork(before: Handler, parent: Handler, child: Handler, library: *const c_void) -> c_int;
    static __dso_handle: *const c_void;
}

type Handler = Option<unsafe extern "C" fn()>;
type Start = extern "C" fn(*mut c_void) -> *mut c_void;
type PthreadCreate =
    unsafe extern "C" fn(*mut libc::pthread_t, *const libc::pthread_attr_t, Start, *mut c_void) -> c_int;
type PthreadSetspecific = unsafe extern "C" fn(libc::pthread_key_t, *const c_void) -> c_int;

/// Where memory is asked for.
#[derive(Copy, Clone, Debug, PartialEq)]
pub enum Source {
    /// `malloc` and its like; and what the C library has spare memory for, mostly: threads, their keys, handlers.
    Heap,
    /// `mmap`, and `mprotect` that makes memory usable.
    Mappings,
    /// Of those `mprotect` alone, by which the table of slots grows.
    Table,
    /// All of that.
    All,
}

/// What fails.
#[derive(Copy, Clone, Debug)]
pub struct Plan {
    pub source: Source,
    /// How often memory is given before it is refused.
    pub after: u64,
    /// Whether it is refused for good, or once.
    pub for_good: bool,
}

thread_local! {
    /// Whether the plan holds for this thread.
    static SUBJECT: Cell<bool> = const { Cell::new(false) };
    static PLAN: Cell<Option<Plan>> = const { Cell::new(None) };
}

/// Requests that the plan counted.
static ASKED: AtomicU64 = AtomicU64::new(0);
/// Requests that it refused.
static REFUSED: AtomicU64 = AtomicU64::new(0);
/// Blocks of the heap and bytes of mappings that exist, of all threads.
static BLOCKS: AtomicI64 = AtomicI64::new(0);
static MAPPED: AtomicI64 = AtomicI64::new(0);

/// Runs `act` on this thread with memory failing as planned. Returns its result and how many requests were refused.
pub fn under<T>(plan: Plan, act: impl FnOnce() -> T) -> (T, u64) {
    begin();
    join(Some(plan));
    let result = act();
    join(None);
    (result, refused())
}

/// Counts anew.
pub fn begin() {
    ASKED.store(0, SeqCst);
    REFUSED.store(0, SeqCst);
}

/// Returns how many requests were refused.
pub fn refused() -> u64 {
    REFUSED.load(SeqCst)
}

/// Runs `act` on a thread of its own and waits for the thread's end; `false` when there is no thread. Not by `std`, whose
/// threads need memory that they cannot do without.
pub fn in_thread<F: FnOnce() + Send>(act: F) -> bool {
    extern "C" fn run<F: FnOnce()>(act: *mut c_void) -> *mut c_void {
        // SAFETY: `in_thread` waits for the thread before its value goes, and does not look at it meanwhile.
        let act = unsafe { &mut *act.cast::<Option<F>>() };
        if let Some(act) = act.take() {
            act();
        }
        ptr::null_mut()
    }
    let mut act = Some(act);
    let mut thread = MaybeUninit::uninit();
    let task = (&raw mut act).cast();
    // SAFETY: the thread gets what outlives it.
    if unsafe { libc::pthread_create(thread.as_mut_ptr(), ptr::null(), run::<F>, task) } != 0 {
        return false;
    }
    // SAFETY: written by the call, which succeeded.
    let thread = unsafe { thread.assume_init() };
    // SAFETY: waited for once.
    let joined = unsafe { libc::pthread_join(thread, ptr::null_mut()) };
    assert_eq!(joined, 0);
    true
}

/// Runs `act` with all the memory that there is.
pub fn spared<T>(act: impl FnOnce() -> T) -> T {
    let subject = SUBJECT.replace(false);
    let result = act();
    SUBJECT.set(subject);
    result
}

/// Returns the plan that holds for this thread.
pub fn plan() -> Option<Plan> {
    PLAN.get().filter(|_| SUBJECT.get())
}

/// Makes a plan hold for this thread too, for the rest of its life, which its end is a part of.
pub fn join(plan: Option<Plan>) {
    PLAN.set(plan);
    SUBJECT.set(plan.is_some());
}

/// Returns how many blocks of the heap and how many bytes of mappings exist.
pub fn in_existence() -> (i64, i64) {
    (BLOCKS.load(SeqCst), MAPPED.load(SeqCst))
}

fn refuses(source: Source) -> bool {
    let Some(plan) = plan() else { return false };
    let meant = match plan.source {
        Source::All => true,
        Source::Mappings => source != Source::Heap,
        one => one == source,
    };
    if !meant {
        return false;
    }
    let number = ASKED.fetch_add(1, SeqCst);
    let refused = number == plan.after || (plan.for_good && number > plan.after);
    REFUSED.fetch_add(u64::from(refused), SeqCst);
    refused
}

fn no_memory() -> *mut c_void {
    // SAFETY: the address of this thread's error number.
    let error = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    unsafe { error.write(libc::ENOMEM) };
    ptr::null_mut()
}

fn counted(block: *mut c_void) -> *mut c_void {
    BLOCKS.fetch_add(i64::from(!block.is_null()), SeqCst);
    block
}

#[unsafe(no_mangle)]
extern "C" fn malloc(size: usize) -> *mut c_void {
    if refuses(Source::Heap) {
        return no_memory();
    }
    // SAFETY: any size is allowed.
    counted(unsafe { __libc_malloc(size) })
}

#[unsafe(no_mangle)]
extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    if refuses(Source::Heap) {
        return no_memory();
    }
    // SAFETY: any sizes are allowed.
    counted(unsafe { __libc_calloc(count, size) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(block: *mut c_void, size: usize) -> *mut c_void {
    if refuses(Source::Heap) {
        return no_memory();
    }
    // SAFETY: the caller's promise about the block.
    let moved = unsafe { __libc_realloc(block, size) };
    if block.is_null() { counted(moved) } else { moved }
}

#[unsafe(no_mangle)]
extern "C" fn memalign(align: usize, size: usize) -> *mut c_void {
    if refuses(Source::Heap) {
        return no_memory();
    }
    // SAFETY: any sizes are allowed.
    counted(unsafe { __libc_memalign(align, size) })
}

#[unsafe(no_mangle)]
extern "C" fn aligned_alloc(align: usize, size: usize) -> *mut c_void {
    memalign(align, size)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn posix_memalign(out: *mut *mut c_void, align: usize, size: usize) -> c_int {
    let block = memalign(align, size);
    if block.is_null() {
        return libc::ENOMEM;
    }
    // SAFETY: the caller's pointer for the result.
    unsafe { out.write(block) };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn free(block: *mut c_void) {
    BLOCKS.fetch_sub(i64::from(!block.is_null()), SeqCst);
    // SAFETY: the caller's promise about the block.
    unsafe { __libc_free(block) };
}

/// Finds the function of this name behind ours.
fn behind(name: &std::ffi::CStr) -> *mut c_void {
    // SAFETY: looks a name up in the libraries after this program.
    let found = spared(|| unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) });
    assert!(!found.is_null());
    found
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    thread: *mut libc::pthread_t,
    attributes: *const libc::pthread_attr_t,
    start: Start,
    task: *mut c_void,
) -> c_int {
    if refuses(Source::Heap) {
        return libc::EAGAIN;
    }
    // SAFETY: the C library's function of this name, which has this type.
    let create = unsafe { std::mem::transmute::<*mut c_void, PthreadCreate>(behind(c"pthread_create")) };
    // SAFETY: the caller's promise about the arguments.
    unsafe { create(thread, attributes, start, task) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_setspecific(key: libc::pthread_key_t, value: *const c_void) -> c_int {
    if refuses(Source::Heap) {
        return libc::ENOMEM;
    }
    // SAFETY: as in `pthread_create`.
    let set = unsafe { std::mem::transmute::<*mut c_void, PthreadSetspecific>(behind(c"pthread_setspecific")) };
    // SAFETY: the caller's promise about the arguments.
    unsafe { set(key, value) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_atfork(before: Handler, parent: Handler, child: Handler) -> c_int {
    if refuses(Source::Heap) {
        return libc::ENOMEM;
    }
    // SAFETY: the linker's name of this program; read only.
    let program = unsafe { __dso_handle };
    // SAFETY: what the C library's function of this name does.
    unsafe { __register_atfork(before, parent, child, program) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mmap(
    address: *mut c_void,
    len: usize,
    protection: c_int,
    flags: c_int,
    file: c_int,
    offset: i64,
) -> *mut c_void {
    if refuses(Source::Mappings) {
        no_memory();
        return libc::MAP_FAILED;
    }
    // SAFETY: the caller's promise about the arguments.
    let mapped = unsafe { libc::syscall(libc::SYS_mmap, address, len, protection, flags, file, offset) };
    MAPPED.fetch_add(if mapped == -1 { 0 } else { len as i64 }, SeqCst);
    mapped as *mut c_void
}

#[unsafe(no_mangle)]
unsafe extern "C" fn munmap(address: *mut c_void, len: usize) -> c_int {
    // SAFETY: the caller's promise about the range.
    let result: c_long = unsafe { libc::syscall(libc::SYS_munmap, address, len) };
    MAPPED.fetch_sub(if result == 0 { len as i64 } else { 0 }, SeqCst);
    result as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mprotect(address: *mut c_void, len: usize, protection: c_int) -> c_int {
    if protection & libc::PROT_WRITE != 0 && refuses(Source::Table) {
        no_memory();
        return -1;
    }
    // SAFETY: the caller's promise about the range.
    unsafe { libc::syscall(libc::SYS_mprotect, address, len, protection) as c_int }
}
