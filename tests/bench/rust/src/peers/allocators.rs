//! Allocators, called directly: what a program gets that pools nothing.

use libc::c_void;

use crate::peer::{Peer, Shape};

/// Memory that an allocator gave, and its length.
pub struct Block {
    data: *mut u8,
    len: usize,
}

// SAFETY: a block is owned, and every allocator here takes blocks back on any thread.
unsafe impl Send for Block {}

/// Implements a peer from the calls that allocate and free.
macro_rules! allocator {
    ($($(#[$doc:meta])* $name:ident: |$len:ident| $allocate:expr, |$data:ident, $freed:ident| $free:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Copy, Clone)]
        pub struct $name;

        impl Peer for $name {
            type Buffer = Block;

            fn new(_shape: Shape) -> Self {
                $name
            }

            #[inline(always)]
            fn get(self, $len: usize) -> Block {
                // SAFETY: any length may be asked for.
                let data: *mut c_void = unsafe { $allocate };
                assert!(!data.is_null(), "no memory");
                Block { data: data.cast(), len: $len }
            }

            #[inline(always)]
            fn look(buffer: &Block) -> *const u8 {
                buffer.data
            }

            #[inline(always)]
            fn start(buffer: &mut Block) -> *mut u8 {
                buffer.data
            }

            #[inline(always)]
            fn put(self, buffer: Block) {
                let $data: *mut c_void = buffer.data.cast();
                let $freed = buffer.len;
                // SAFETY: from the same allocator with this length, and freed once.
                unsafe { $free };
            }
        }
    )*};
}

allocator! {
    /// The C library's, or the one that was preloaded in its place.
    Libc: |len| libc::malloc(len), |data, _len| libc::free(data);
    /// The same, zeroed: what a program takes that must not see old contents.
    LibcZeroed: |len| libc::calloc(1, len), |data, _len| libc::free(data);
}

#[cfg(feature = "allocators")]
allocator! {
    Mimalloc: |len| libmimalloc_sys::mi_malloc(len), |data, _len| libmimalloc_sys::mi_free(data);
    Jemalloc: |len| tikv_jemalloc_sys::malloc(len), |data, len| tikv_jemalloc_sys::sdallocx(data, len, 0);
    Snmalloc: |len| snmalloc_sys::sn_rust_alloc(1, len), |data, len| snmalloc_sys::sn_rust_dealloc(data, 1, len);
}
