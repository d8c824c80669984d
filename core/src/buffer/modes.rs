//! Changes how a pool works while it does: how closely it looks at its leases, and what goes wrong on purpose.

use std::sync::atomic::Ordering;

use super::depot::Doomed;
use super::inner::Inner;
use super::registry;
use crate::check::Check;
use crate::inject::Injection;
use crate::tools;
use crate::trace;

impl Inner {
    pub(crate) fn check(&self) -> Check {
        Check::from_bits(self.check.load(Ordering::Relaxed))
    }

    /// Says whether a canary stands behind each lease that is not known to be left alone.
    #[inline(always)]
    pub(crate) fn has_canaries(&self) -> bool {
        self.canaries
    }

    /// Changes the mode. The threads' caches end, because they go by the old one, and the bindings' stocks are asked for what
    /// they keep, after which they go by the new one.
    pub(crate) fn set_check(&self, check: Check) {
        self.check.store(check.to_bits(), Ordering::Relaxed);
        self.end_caches();
        if check != Check::Full {
            self.end_quarantine();
        }
    }

    /// Changes what goes wrong on purpose.
    pub(crate) fn inject(&self, injection: Injection) {
        *self.injection.lock() = injection;
        self.injects.store(injection.is_active(), Ordering::Relaxed);
        self.end_caches();
    }

    fn end_caches(&self) {
        let mut doomed = Doomed::default();
        if let Some(member) = registry::lock().member(self.id) {
            member.orphan(|cache| self.absorb(cache, &mut doomed));
            member.blocks.iter().for_each(|block| block.ask());
        }
        self.destroy_all(&mut doomed);
    }

    /// Says whether gets and puts are looked at one by one, so that threads keep nothing for themselves.
    pub(super) fn goes_the_long_way(&self) -> bool {
        self.check().records() || !self.keeps || tools::watch() || trace::is_on() || self.injects()
    }

    /// Says whether anything goes wrong on purpose.
    pub(super) fn injects(&self) -> bool {
        self.injects.load(Ordering::Relaxed)
    }

    /// Says whether this get is to fail.
    pub(crate) fn fails_get(&self) -> bool {
        self.injects() && self.injection.lock().fails_get()
    }

    /// Says whether this creation of a buffer is to fail.
    pub(super) fn fails_alloc(&self) -> bool {
        self.injects() && self.injection.lock().fails_alloc()
    }

    /// Waits as long as a put is to take longer.
    pub(crate) fn dawdle(&self) {
        if self.injects() {
            let delay = self.injection.lock().delay();
            if !delay.is_zero() {
                std::thread::sleep(delay);
            }
        }
    }
}
