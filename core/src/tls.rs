//! Finds words of a thread without a call, where they stand at the same distance from the thread's pointer in all of them.
//!
//! Code in a shared library asks where a thread-local value is, by a call through a descriptor that the dynamic linker filled in
//! (Oliva and Aráujo, "Speeding Up Thread-Local Storage Access in Dynamic Libraries", 2006). Where the library was loaded
//! with the program, or is small, the distance is the same for all threads and the called code does nothing but return it.
//! A get and a put pay 2 ns for these calls. Linking the library for a fixed distance (the initial-exec model) would spare
//! them too, but then it cannot be loaded at run time where the room for such libraries is used up. So the descriptor of one
//! value is looked at: if its code is the one that returns a constant, the distance is kept and used; if not, all stays as it was.

#[cfg(not(all(target_arch = "x86_64", target_os = "linux", target_pointer_width = "64", not(millpond_models))))]
mod words {
    /// Knows nothing on this platform: callers go the usual way.
    pub(crate) struct Words;

    impl Words {
        pub(crate) const fn new() -> Words {
            Words
        }

        pub(crate) fn learn<T>(&self, _words: *const *const T) {}

        /// # Safety
        /// None here; see the other platform's.
        #[inline(always)]
        pub(crate) unsafe fn load<T>(&self, _index: usize) -> Option<*const T> {
            None
        }
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux", target_pointer_width = "64", not(millpond_models)))]
mod words {
    use std::arch::{asm, global_asm};
    use std::sync::atomic::{AtomicUsize, Ordering};

    // A thread-local word whose descriptor can be named. Weak, so that two versions of this crate may be in one program.
    global_asm!(
        ".pushsection .tbss.millpond_descriptor, \"awT\", @nobits",
        ".weak millpond_descriptor",
        ".hidden millpond_descriptor",
        ".type millpond_descriptor, @object",
        ".size millpond_descriptor, 8",
        ".p2align 3",
        "millpond_descriptor: .zero 8",
        ".popsection",
    );

    /// Where an array of thread-local words stands: its distance from the thread's pointer, 0 while unknown.
    pub(crate) struct Words(AtomicUsize);

    impl Words {
        pub(crate) const fn new() -> Words {
            Words(AtomicUsize::new(0))
        }

        /// Learns the distance from where the calling thread has the words, if it is the same for all threads.
        pub(crate) fn learn<T>(&self, words: *const *const T) {
            if self.0.load(Ordering::Relaxed) == 0 && is_constant() {
                self.0.store((words as usize).wrapping_sub(thread_pointer()), Ordering::Relaxed);
            }
        }

        /// Loads one of the calling thread's words. `None`: it is not known where they are.
        ///
        /// # Safety
        /// There are more than `index` words.
        #[inline(always)]
        pub(crate) unsafe fn load<T>(&self, index: usize) -> Option<*const T> {
            let distance = self.0.load(Ordering::Relaxed);
            if distance == 0 {
                return None;
            }
            let word;
            // SAFETY: `learn` saw to it that the words have this distance in every thread, and the caller knows how many
            // they are. Only this thread writes them.
            unsafe {
                asm!(
                    "mov {word}, qword ptr fs:[{distance} + {index} * 8]",
                    word = lateout(reg) word,
                    distance = in(reg) distance,
                    index = in(reg) index,
                    options(pure, readonly, nostack, preserves_flags),
                );
            }
            Some(word)
        }
    }

    fn thread_pointer() -> usize {
        let pointer;
        // SAFETY: the ABI has the thread's pointer stand where it points to (ELF Handling for Thread-Local Storage, 3.4.6).
        unsafe {
            asm!("mov {}, qword ptr fs:[0]", out(reg) pointer, options(pure, readonly, nostack, preserves_flags))
        };
        pointer
    }

    /// Says whether this library's thread-local values have the same distance from the thread's pointer in all threads.
    fn is_constant() -> bool {
        let descriptor: isize;
        // SAFETY: computes an address, or loads a constant.
        unsafe {
            asm!(
                "lea rax, [rip + millpond_descriptor@TLSDESC]",
                out("rax") descriptor,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        // In a program, the linker puts the distance here instead, which is known then and negative.
        if descriptor < 0 {
            return true;
        }
        // SAFETY: the first word of a descriptor is the address of its code, set when the library was loaded.
        let code = unsafe { *(descriptor as *const *const u8) };
        // SAFETY: the address of a function.
        unsafe { returns_a_constant(code) }
    }

    /// Says whether code loads the word behind the descriptor, and returns: `mov rax, [rax + 8]; ret`, perhaps behind a mark
    /// for indirect branches.
    ///
    /// # Safety
    /// `code` is where a function begins.
    unsafe fn returns_a_constant(code: *const u8) -> bool {
        const MARK: &[u8] = &[0xf3, 0x0f, 0x1e, 0xfa];
        const BODY: &[u8] = &[0x48, 0x8b, 0x40, 0x08, 0xc3];
        // No byte is read behind one that is different: no function is shorter than what it begins with.
        let begins = |with: &[u8], at: usize| {
            with.iter().enumerate().all(|(number, expected)| {
                let place = code.wrapping_add(at + number);
                // SAFETY: as just said, and the caller's promise.
                unsafe { *place == *expected }
            })
        };
        begins(BODY, 0) || begins(MARK, 0) && begins(BODY, MARK.len())
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn only_code_that_returns_a_constant_is_taken_for_it() {
            let returns = [0x48, 0x8b, 0x40, 0x08, 0xc3];
            let marked = [0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x8b, 0x40, 0x08, 0xc3];
            // What glibc has for a weak symbol that nobody defines: the distance less the thread's pointer.
            let subtracts = [0x48, 0x8b, 0x40, 0x08, 0x64, 0x48, 0x2b, 0x04, 0x25, 0, 0, 0, 0, 0xc3];
            let marked_other = [0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x8b, 0x40, 0x10, 0xc3];
            for (code, expected) in [(&returns[..], true), (&marked, true), (&subtracts, false), (&marked_other, false)]
            {
                // SAFETY: bytes that end behind the first difference or behind the whole pattern.
                assert_eq!(unsafe { returns_a_constant(code.as_ptr()) }, expected, "{code:x?}");
            }
        }
    }
}

pub(crate) use words::Words;

#[cfg(test)]
#[cfg(not(millpond_models))]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static HERE: [Cell<*const u8>; 3] = const { [const { Cell::new(std::ptr::null()) }; 3] };
    }

    fn address() -> *const *const u8 {
        HERE.with(|words| (&raw const *words).cast())
    }

    #[test]
    fn every_thread_finds_its_own_words() {
        static WORDS: Words = Words::new();
        // SAFETY: there are three.
        assert!(unsafe { WORDS.load::<u8>(0) }.is_none());
        WORDS.learn(address());
        std::thread::scope(|scope| {
            for number in 1..4_usize {
                scope.spawn(move || {
                    HERE.with(|words| words[number - 1].set(std::ptr::without_provenance(number)));
                    for index in 0..3 {
                        let expected = if index == number - 1 { number } else { 0 };
                        // SAFETY: there are three.
                        let found = unsafe { WORDS.load::<u8>(index) };
                        // A test program's own values always have a constant distance; elsewhere nothing is known.
                        let known = cfg!(all(target_arch = "x86_64", target_os = "linux"));
                        assert_eq!(found.map(|word| word as usize), known.then_some(expected));
                    }
                });
            }
        });
    }
}
