//! An addon for Node with a bug: what it needs for itself when it is loaded it asks for as Rust programs do, so that a refusal
//! ends the process. For the check that such an end would be seen.

use std::ffi::c_void;
use std::hint::black_box;

/// Node calls this each time that the addon is loaded.
#[unsafe(no_mangle)]
pub extern "C" fn napi_register_module_v1(_env: *mut c_void, exports: *mut c_void) -> *mut c_void {
    drop(black_box(vec![1_u8; 100]));
    exports
}
