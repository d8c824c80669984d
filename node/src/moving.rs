//! Moves the memory of an ArrayBuffer into a new one on Node 20, where JavaScript has no `ArrayBuffer.prototype.transfer`.
//!
//! Node-API can only make one more external ArrayBuffer over the memory, with a finalizer of its own, which costs more
//! than all the rest of a get and put. V8's C++ interface passes on the owner of the memory, the *backing store*, as
//! `transfer` does; the first ArrayBuffer's finalizer then stays the only one. Node keeps that interface fixed within
//! a major version and no longer, so it is used with the V8 of Node 20 in Node itself, where it was tested.

use std::ffi::{CStr, c_char, c_void};
use std::mem::transmute;
use std::ptr;

use crate::js::{Call, Js, Outcome, Value, call, exports, internal};

exports! {
    c"move" => move_memory,
}

/// A `std::shared_ptr<v8::BackingStore>`: the backing store, and the block that counts its owners. Both null: empty.
#[repr(C)]
struct Owner {
    store: *mut c_void,
    count: *mut c_void,
}

/// `v8::ArrayBuffer::GetBackingStore`: writes one more owner to the first argument.
type GetBackingStore = unsafe extern "C" fn(*mut Owner, Value) -> *mut Owner;
/// `v8::ArrayBuffer::New` of an isolate and an owner, which it takes: what the second argument points to is empty then.
type New = unsafe extern "C" fn(*mut c_void, *mut Owner) -> Value;
/// `v8::Isolate::GetCurrent`
type GetCurrent = unsafe extern "C" fn() -> *mut c_void;
/// `v8::V8::GetVersion`
type GetVersion = unsafe extern "C" fn() -> *const c_char;

/// The functions of V8 that pass a backing store on.
#[derive(Copy, Clone)]
pub(crate) struct Mover {
    get_backing_store: GetBackingStore,
    new: New,
    get_current: GetCurrent,
}

impl Mover {
    /// Returns V8's functions where they are known to be as declared here.
    pub(crate) fn find() -> Option<Mover> {
        if !cfg!(all(target_os = "linux", target_arch = "x86_64")) || !is_node_20() {
            return None;
        }
        let get_backing_store = function(c"_ZN2v811ArrayBuffer15GetBackingStoreEv")?;
        let new = function(c"_ZN2v811ArrayBuffer3NewEPNS_7IsolateESt10shared_ptrINS_12BackingStoreEE")?;
        let get_current = function(c"_ZN2v87Isolate10GetCurrentEv")?;
        Some(Mover {
            // SAFETY: the name says what the function takes; an object that is not trivial is returned through a hidden
            // first argument, and a `v8::Local` is a pointer, the same as a `napi_value`.
            get_backing_store: unsafe { transmute::<*mut c_void, GetBackingStore>(get_backing_store) },
            // SAFETY: the same; an object that is not trivial is passed by its address.
            new: unsafe { transmute::<*mut c_void, New>(new) },
            // SAFETY: the name says that it takes nothing; it returns a pointer.
            get_current: unsafe { transmute::<*mut c_void, GetCurrent>(get_current) },
        })
    }

    /// Detaches `array_buffer` and returns a new ArrayBuffer over its memory.
    fn move_memory(&self, js: Js, array_buffer: Value) -> Outcome<Value> {
        let (data, _) = js.array_buffer(array_buffer)?;
        if data.is_null() {
            return Err(internal("the ArrayBuffer was detached before"));
        }
        let mut owner = Owner { store: ptr::null_mut(), count: ptr::null_mut() };
        // SAFETY: Node-API just said that the value is an ArrayBuffer; `owner` has room for what is written.
        unsafe { (self.get_backing_store)(&mut owner, array_buffer) };
        let detached = call!(js, napi_detach_arraybuffer(array_buffer));
        // SAFETY: V8 is running us on this thread.
        let isolate = unsafe { (self.get_current)() };
        // SAFETY: the isolate is the running one, inside the callback's handle scope; `owner` is an owner that we give
        // away. It goes to an ArrayBuffer that nobody sees when the old one was not detached.
        let moved = unsafe { (self.new)(isolate, &mut owner) };
        detached.map(|()| moved)
    }
}

/// Tells whether the V8 that runs us is that of Node 20, and no other program's.
fn is_node_20() -> bool {
    let Some(version) = function(c"_ZN2v82V810GetVersionEv") else { return false };
    // SAFETY: the name says that the function takes nothing; it returns a text.
    let version = unsafe { transmute::<*mut c_void, GetVersion>(version) };
    // SAFETY: it may be called at any time.
    let version = unsafe { version() };
    // SAFETY: the text ends with NUL and is there as long as V8 is.
    let version = unsafe { CStr::from_ptr(version) }.to_bytes();
    version.starts_with(b"11.3.") && version.windows(6).any(|part| part == b"-node.")
}

/// Finds a function of the program that loaded us.
fn function(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: the name ends with NUL; finding it runs nobody's code.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!found.is_null()).then_some(found)
}

/// move(arrayBuffer) -> a new ArrayBuffer over its memory; the old one is detached. Exported where V8 lets us.
fn move_memory(call: &Call<'_>) -> Outcome<Value> {
    match call.environment.mover() {
        Some(mover) => mover.move_memory(call.js, call.value(0)?),
        None => Err(internal("this V8 moves no memory for us")),
    }
}
