//! millpond, as it comes and with single options changed.

use std::io::Write;
use std::time::Duration;

use millpond::{BufferPool, Builder, Check, Classes, ClearPolicy, Lease};

use crate::peer::{CLASSES, Peer, Shape, fill};

/// What is written: as much as the works dirty that do not dirty all.
static WRITTEN: [u8; 4096] = [1; 4096];

/// The default classes, and beyond them those sizes that a work asks for: a program that uses such would say so.
fn classes_up_to(size: usize) -> Vec<usize> {
    let mut classes = CLASSES.to_vec();
    classes.extend((25..=30).map(|bits| 1_usize << bits).filter(|class| *class < size * 2));
    classes
}

fn builder(shape: Shape) -> Builder {
    let bytes = shape.size.next_power_of_two().saturating_mul(shape.live.max(2)).max(256 << 20);
    BufferPool::builder()
        .name("bench")
        .classes(Classes::List(classes_up_to(shape.size)))
        .max_bytes(bytes.max(4 << 30))
        .max_retained_bytes(bytes)
}

/// With as much for each thread as the work takes at a time, of each class: then no buffer leaves its thread's magazine. A
/// thread has a part of half of what may be kept; so threads find enough left of it when they begin.
fn cached(shape: Shape) -> Builder {
    let classes = classes_up_to(shape.size);
    let class = classes.iter().copied().find(|class| *class >= shape.size).unwrap_or(shape.size);
    let bytes = classes.len() * class * shape.live.max(2);
    builder(shape).thread_cache_bytes(bytes).max_bytes(64 * bytes).max_retained_bytes(64 * bytes)
}

fn leak(builder: Builder) -> &'static BufferPool {
    Box::leak(Box::new(builder.build().expect("a pool")))
}

/// Implements a peer whose pool comes from the given expression.
macro_rules! own {
    ($($(#[$doc:meta])* $name:ident: |$shape:ident| $builder:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Copy, Clone)]
        pub struct $name(&'static BufferPool);

        impl Peer for $name {
            type Buffer = Lease;

            fn new($shape: Shape) -> Self {
                $name(leak($builder))
            }

            #[inline(always)]
            fn get(self, len: usize) -> Lease {
                self.0.get(len).expect("a lease")
            }

            #[inline(always)]
            fn look(buffer: &Lease) -> *const u8 {
                buffer.as_ptr()
            }

            // As safe code writes, through the slice.
            #[inline(always)]
            fn start(buffer: &mut Lease) -> *mut u8 {
                buffer[..].as_mut_ptr()
            }

            #[inline(always)]
            fn put(self, buffer: Lease) {
                drop(buffer);
            }

            fn retained_limit() -> Option<usize> {
                let pool = BufferPool::new("limits").expect("a pool");
                Some(pool.max_retained_bytes())
            }

            #[inline(always)]
            fn dirty(self, len: usize, dirty: usize) {
                if dirty == len || dirty > WRITTEN.len() {
                    let mut lease = self.get(len);
                    fill(Self::start(&mut lease), dirty);
                } else if dirty == 0 {
                    let lease = self.get(len);
                    std::hint::black_box(lease.as_ptr());
                } else {
                    let mut writer = self.0.writer(len).expect("a lease");
                    // As `Write`: it knows how much was written. `BufMut` only knows how much it showed.
                    writer.write_all(&WRITTEN[..dirty]).expect("it fits");
                    std::hint::black_box(writer.written().as_ptr());
                }
            }
        }
    )*};
}

own! {
    /// As it comes: cleared at put over what was written.
    Own: |shape| builder(shape);
    /// Without clearing.
    NoClear: |shape| builder(shape).clear(ClearPolicy::Never);
    /// With a thread cache that holds what the work does.
    Cached: |shape| cached(shape);
    CachedNoClear: |shape| cached(shape).clear(ClearPolicy::Never);
    /// Exactly the defaults, limits too.
    Plain: |_shape| BufferPool::builder().name("bench");
    /// Exactly the defaults, and a thread that gives idle memory back.
    Maintained: |_shape| BufferPool::builder().name("bench").maintain_every(Duration::from_secs(1));
    Unchecked: |shape| builder(shape).check(Check::Off);
    Sampled1000: |shape| builder(shape).check("sample:1000".parse().expect("a mode"));
    Sampled100: |shape| builder(shape).check("sample:100".parse().expect("a mode"));
    Sited: |shape| builder(shape).check(Check::Sites);
    Full: |shape| builder(shape).check(Check::Full);
}

/// As [`NoClear`], written through a raw pointer: each lease has a canary, as all of C's have.
#[derive(Copy, Clone)]
pub struct Raw(NoClear);

impl Peer for Raw {
    type Buffer = Lease;

    fn new(shape: Shape) -> Self {
        Raw(NoClear::new(shape))
    }

    #[inline(always)]
    fn get(self, len: usize) -> Lease {
        self.0.get(len)
    }

    #[inline(always)]
    fn look(buffer: &Lease) -> *const u8 {
        NoClear::look(buffer)
    }

    #[inline(always)]
    fn start(buffer: &mut Lease) -> *mut u8 {
        buffer.as_mut_ptr()
    }

    #[inline(always)]
    fn put(self, buffer: Lease) {
        self.0.put(buffer);
    }
}
