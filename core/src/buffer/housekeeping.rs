//! Gives idle memory back: at once, by and by, or at the end.

use std::ops::Range;

use super::depot::Doomed;
use super::inner::{Inner, add};
use super::registry;
use crate::clock;
use crate::report;

impl Inner {
    /// Destroys everything idle. Returns its capacity in bytes.
    pub(crate) fn trim(&self) -> usize {
        clock::tick();
        self.end_quarantine();
        let mut doomed = Doomed::default();
        {
            let mut registry = registry::lock();
            if let Some(member) = registry.member(self.id) {
                member.blocks.iter().for_each(|block| block.ask());
                member.revoke(|_| true, |cache| self.flush(cache, &mut doomed));
            }
        }
        for class in 0..self.table.sizes().len() {
            self.drain_idle(class, usize::MAX, false, &mut doomed);
        }
        self.destroy_trimmed(&mut doomed)
    }

    /// Destroys half of what nobody needed since the last look. Returns its capacity in bytes.
    pub(crate) fn maintain(&self) -> usize {
        clock::tick();
        let mut doomed = Doomed::default();
        for class in 0..self.table.sizes().len() {
            self.decay_idle(class, &mut doomed);
        }
        {
            let mut registry = registry::lock();
            if let Some(member) = registry.member(self.id) {
                // A thread that neither got nor put since the last look does not need its stock.
                // One that works on does not need the single large buffers that it did not use meanwhile.
                let mut resting = Vec::new();
                for cache in member.caches() {
                    let uses = |classes: Range<usize>| classes.map(|class| cache.gets(class) + cache.puts(class)).sum();
                    let (all, beyond): (u64, u64) = (uses(0..self.classes.len()), uses(cache.classes_beyond()));
                    let rests = cache.seen.replace(all) == all;
                    let rests_beyond = cache.seen_beyond.replace(beyond) == beyond;
                    let holds = cache.magazines().iter().any(|magazine| magazine.idle() > 0);
                    if (rests && holds || rests_beyond && cache.lent() > 0) && resting.try_reserve(1).is_ok() {
                        resting.push((std::ptr::from_ref(cache), rests));
                    }
                }
                if !resting.is_empty() {
                    let found = |cache| resting.iter().find(|(resting, _)| std::ptr::eq(*resting, cache));
                    member.revoke(
                        |cache| found(cache).is_some(),
                        |cache| match found(cache) {
                            Some((_, true)) => self.flush(cache, &mut doomed),
                            _ => self.end_loans(cache, &mut doomed),
                        },
                    );
                }
            }
        }
        self.destroy_trimmed(&mut doomed)
    }

    fn destroy_trimmed(&self, doomed: &mut Doomed) -> usize {
        let bytes = self.destroy_all(doomed);
        add(&self.counts.trimmed_bytes, bytes as u64);
        bytes
    }

    /// Closes the pool and destroys everything idle. Live leases are destroyed at their put.
    pub(crate) fn close(&self) {
        if !self.set_closed() {
            return;
        }
        let mut doomed = Doomed::default();
        {
            let mut registry = registry::lock();
            if let Some(member) = registry.member(self.id) {
                member.orphan(|cache| self.absorb(cache, &mut doomed));
                member.blocks.iter().for_each(|block| block.shut());
            }
        }
        self.end_quarantine();
        for class in 0..self.classes.len() {
            self.drain_idle(class, usize::MAX, true, &mut doomed);
        }
        self.destroy_all(&mut doomed);
        report::report(self, "close");
        // Waiting gets find the pool closed.
        self.wake_all();
    }
}
