//! Counts what a pool did and holds.
//!
//! Threads count in their own caches with plain loads and stores, cold paths in the pool; a snapshot sums them. It
//! reads puts before gets, so that `in_use` is never below zero while others work.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use crate::buffer::inner::Inner;
use crate::buffer::registry::{self, Member};
use crate::clock;

macro_rules! stats {
    ($(#[$struct_doc:meta])* $name:ident { $($(#[doc = $doc:literal])* $field:ident $kind:ident,)* } $($rest:tt)*) => {
        $(#[$struct_doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct $name {
            $($(#[doc = $doc])* pub $field: u64,)*
            $($rest)*
        }

        impl $name {
            /// The fields by name, in order, with what each counts.
            pub const FIELDS: &'static [Field<$name>] = &[
                $(Field {
                    name: stringify!($field),
                    help: concat!($($doc),*),
                    kind: Kind::$kind,
                    get: |stats| stats.$field,
                },)*
            ];
        }
    };
}

/// What a number of the statistics means over time.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One number of the statistics.
#[derive(Clone, Debug)]
pub struct Field<T> {
    /// The name, the same in every language.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// Counter or gauge.
    pub kind: Kind,
    /// Reads it.
    pub get: fn(&T) -> u64,
}

stats! {
    /// What a pool did and holds, at one moment.
    ///
    /// While nobody uses the pool the numbers reconcile to the unit; [`check`](Stats::check) tells.
    Stats {
        /// Buffers created because none was idle.
        allocations Counter,
        /// Leases taken.
        gets Counter,
        /// Leases given back.
        puts Counter,
        /// Leases that are out.
        in_use Gauge,
        /// Leases above the largest size class.
        oversized Counter,
        /// Buffers that were given back and not kept.
        discarded Counter,
        /// Gets that found an idle buffer.
        hits Counter,
        /// Capacity of the leases that are out, in bytes.
        live_bytes Gauge,
        /// Length of the leases that are out, in bytes.
        requested_bytes Gauge,
        /// Capacity beyond the length of the leases that are out, in bytes.
        waste_bytes Gauge,
        /// The most live bytes at the creation of a buffer and when statistics were read.
        peak_live_bytes Gauge,
        /// Idle buffers kept for reuse.
        retained_buffers Gauge,
        /// Capacity of the idle buffers, in bytes.
        retained_bytes Gauge,
        /// The limit for live and idle bytes.
        limit_bytes Gauge,
        /// Leases whose buffer left the pool for good.
        detached Counter,
        /// Leases that were lost and found by a collector.
        leaked Counter,
        /// Leaked leases whose memory somebody else took.
        lost Counter,
        /// Capacity of idle buffers given back to the system by trim and decay, in bytes.
        trimmed_bytes Counter,
        /// Buffers that ever existed.
        created Counter,
        /// Buffers that exist no more in the pool.
        destroyed Counter,
        /// Puts of a lease that was put before.
        double_puts Counter,
        /// Uses of a lease after its put.
        stale_uses Counter,
        /// Puts of another pool's lease.
        foreign_puts Counter,
        /// Puts that found bytes written behind the length.
        overruns Counter,
        /// Gets that failed at the limit.
        exhausted Counter,
        /// Leases that were to stand on guarded pages and could not, for want of addresses or places.
        unguarded Counter,
    }
    /// The same for each size class, ascending.
    pub classes: Vec<ClassStats>,
}

stats! {
    /// What a pool did and holds in one size class.
    ClassStats {
        /// The capacity of the class, in bytes.
        size Gauge,
        /// Leases taken.
        gets Counter,
        /// Leases given back.
        puts Counter,
        /// Leases that are out.
        in_use Gauge,
        /// Buffers created because none was idle.
        allocations Counter,
        /// Gets that found an idle buffer.
        hits Counter,
        /// Idle buffers kept for reuse.
        retained_buffers Gauge,
        /// Capacity of the idle buffers, in bytes.
        retained_bytes Gauge,
        /// Buffers that were given back and not kept.
        discarded Counter,
        /// Leases whose buffer left the pool for good.
        detached Counter,
        /// Leases that were lost and found by a collector.
        leaked Counter,
    }
}

impl Stats {
    /// Checks that the numbers reconcile, as they do while nobody uses the pool.
    ///
    /// # Errors
    /// The equation that does not hold, with its numbers.
    pub fn check(&self) -> Result<(), String> {
        let Stats { gets, puts, in_use, detached, leaked, created, destroyed, retained_buffers, .. } = *self;
        if gets != puts + in_use + detached + leaked {
            return Err(format!(
                "gets {gets} is not puts {puts} + in_use {in_use} + detached {detached} + leaked {leaked}"
            ));
        }
        if created.wrapping_sub(destroyed) != in_use + retained_buffers {
            return Err(format!(
                "created {created} - destroyed {destroyed} is not in_use {in_use} + retained {retained_buffers}"
            ));
        }
        let sum = |field: fn(&ClassStats) -> u64| self.classes.iter().map(field).sum::<u64>();
        if sum(|class| class.retained_buffers) != retained_buffers
            || sum(|class| class.retained_bytes) != self.retained_bytes
        {
            return Err(format!("the classes' idle buffers are not the pool's: {self:?}"));
        }
        if self.requested_bytes + self.waste_bytes != self.live_bytes {
            return Err(format!(
                "live {} is not requested {} + waste {}",
                self.live_bytes, self.requested_bytes, self.waste_bytes
            ));
        }
        Ok(())
    }

    /// Writes the numbers in Prometheus' text exposition format, version 0.0.4, labelled with the pool's name and,
    /// for those of a class, its size in bytes.
    pub fn to_prometheus(&self, pool: &str) -> String {
        let pool = escape(pool);
        let mut page = String::new();
        for field in Stats::FIELDS {
            let name = head(&mut page, "millpond_buffer", field.name, field.help, field.kind);
            let _ = writeln!(page, "{name}{{pool=\"{pool}\"}} {}", (field.get)(self));
        }
        for field in &ClassStats::FIELDS[1..] {
            let name = head(&mut page, "millpond_buffer_class", field.name, field.help, field.kind);
            for class in &self.classes {
                let value = (field.get)(class);
                let _ = writeln!(page, "{name}{{pool=\"{pool}\",size_class=\"{}\"}} {value}", class.size);
            }
        }
        page
    }
}

fn head(page: &mut String, prefix: &str, field: &str, help: &str, kind: Kind) -> String {
    let (suffix, kind) = match kind {
        Kind::Counter => ("_total", "counter"),
        Kind::Gauge => ("", "gauge"),
    };
    let name = format!("{prefix}_{field}{suffix}");
    let _ = writeln!(page, "# HELP {name} {}", help.trim());
    let _ = writeln!(page, "# TYPE {name} {kind}");
    name
}

fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The sums over one class.
struct Sums {
    gets: u64,
    puts: u64,
    in_use: u64,
    idle: u64,
}

impl Inner {
    /// Adds up one class over the pool, the threads' caches and the bindings' stocks.
    fn sum_class(&self, member: &Member, class: usize) -> Sums {
        let counts = &self.classes[class].counts;
        let mut puts = counts.puts.load(Ordering::Relaxed);
        let mut gets = 0;
        let mut idle = self.classes[class].depot.len() as u64 + counts.held.load(Ordering::Relaxed);
        for cache in member.caches() {
            puts += cache.puts(class);
            idle += cache.idle(class) as u64;
        }
        let pooled = class < self.table.sizes().len();
        for block in member.blocks.iter().filter(|_| pooled) {
            puts += block.puts(class);
            idle += block.idle(class);
        }
        // Gets are read last: each put that was counted has its get counted.
        for cache in member.caches() {
            gets += cache.gets(class);
        }
        for block in member.blocks.iter().filter(|_| pooled) {
            gets += block.gets(class);
        }
        gets += counts.gets.load(Ordering::Relaxed);
        let gone = counts.detached.load(Ordering::Relaxed) + counts.leaked.load(Ordering::Relaxed);
        Sums { gets, puts, in_use: gets.saturating_sub(puts + gone), idle }
    }

    /// Returns how many buffers of a class are on lease or idle.
    pub(crate) fn known(&self, member: &Member, class: usize) -> u64 {
        let sums = self.sum_class(member, class);
        sums.in_use + sums.idle
    }

    /// Returns the capacity of the leases that are out.
    pub(crate) fn live_bytes(&self, member: &Member) -> u64 {
        let sizes = self.table.sizes();
        let pooled: u64 =
            sizes.iter().enumerate().map(|(class, size)| self.sum_class(member, class).in_use * *size as u64).sum();
        pooled + self.counts.oversized_live_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn stats(&self) -> Stats {
        clock::tick();
        let mut registry = registry::lock();
        match registry.member(self.id) {
            Some(member) => self.stats_of(member),
            None => Stats::default(),
        }
    }

    fn stats_of(&self, member: &Member) -> Stats {
        let read = |counter: &crate::sync::AtomicU64| counter.load(Ordering::Relaxed);
        let mut stats = Stats {
            oversized: read(&self.counts.oversized_requests),
            limit_bytes: self.max_bytes as u64,
            lost: read(&self.counts.lost),
            trimmed_bytes: read(&self.counts.trimmed_bytes),
            double_puts: read(&self.counts.double_puts),
            stale_uses: read(&self.counts.stale_uses),
            foreign_puts: read(&self.counts.foreign_puts),
            overruns: read(&self.counts.overruns),
            exhausted: read(&self.counts.exhausted),
            unguarded: read(&self.counts.unguarded),
            ..Stats::default()
        };
        let sizes = self.table.sizes();
        for (class, kept) in self.classes.iter().enumerate() {
            let sums = self.sum_class(member, class);
            let allocations = read(&kept.counts.allocations);
            let size = sizes.get(class).copied().unwrap_or(0) as u64;
            let row = ClassStats {
                size,
                gets: sums.gets,
                puts: sums.puts,
                in_use: sums.in_use,
                allocations,
                hits: sums.gets.saturating_sub(allocations),
                retained_buffers: sums.idle,
                retained_bytes: sums.idle * size,
                discarded: read(&kept.counts.discarded),
                detached: read(&kept.counts.detached),
                leaked: read(&kept.counts.leaked),
            };
            stats.allocations += row.allocations;
            stats.created += row.allocations;
            stats.destroyed += read(&kept.counts.destroyed);
            stats.gets += row.gets;
            stats.puts += row.puts;
            stats.in_use += row.in_use;
            stats.discarded += row.discarded;
            stats.hits += row.hits;
            stats.live_bytes += row.in_use * size;
            stats.retained_buffers += row.retained_buffers;
            stats.retained_bytes += row.retained_bytes;
            stats.detached += row.detached;
            stats.leaked += row.leaked;
            if class < sizes.len() {
                stats.classes.push(row);
            }
        }
        stats.live_bytes += read(&self.counts.oversized_live_bytes);
        let mut requested = read(&self.counts.requested);
        for cache in member.caches() {
            requested = requested.wrapping_add(cache.requested());
        }
        for block in &member.blocks {
            requested = requested.wrapping_add(block.requested());
        }
        // In the middle of others' work the sum may be a little off, below zero even.
        stats.requested_bytes = if requested as i64 <= 0 { 0 } else { requested.min(stats.live_bytes) };
        stats.waste_bytes = stats.live_bytes - stats.requested_bytes;
        let live = stats.live_bytes;
        stats.peak_live_bytes = self.counts.peak_live_bytes.fetch_max(live, Ordering::Relaxed).max(live);
        stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_every_number() {
        let stats = Stats {
            gets: 3,
            classes: vec![ClassStats { size: 512, puts: 2, ..ClassStats::default() }],
            ..Stats::default()
        };
        let page = stats.to_prometheus("a \"b\"");
        assert!(page.contains(
            "# TYPE millpond_buffer_gets_total counter\nmillpond_buffer_gets_total{pool=\"a \\\"b\\\"\"} 3\n"
        ));
        assert!(page.contains("millpond_buffer_in_use{pool="));
        assert!(page.contains("millpond_buffer_class_puts_total{pool=\"a \\\"b\\\"\",size_class=\"512\"} 2\n"));
        for field in Stats::FIELDS {
            assert!(page.contains(&format!("millpond_buffer_{}", field.name)));
            assert!(!field.help.is_empty());
        }
    }

    #[test]
    fn numbers_that_do_not_reconcile_are_told() {
        let wrong = Stats { gets: 1, ..Stats::default() };
        assert!(wrong.check().is_err_and(|why| why.contains("gets 1")));
        let wrong = Stats { created: 1, ..Stats::default() };
        assert!(wrong.check().is_err_and(|why| why.contains("created 1")));
        let wrong = Stats { live_bytes: 1, ..Stats::default() };
        assert!(wrong.check().is_err_and(|why| why.contains("live 1")));
        assert_eq!(Stats::default().check(), Ok(()));
    }
}
