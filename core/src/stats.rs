//! Counts what a pool did and holds.
//!
//! Threads count in their own caches with plain loads and stores, cold paths in the pool; a snapshot sums them. It
//! reads puts before gets, so that `in_use` is never below zero while others work.

use std::fmt::{self, Display, Write};
use std::ops::Deref;
use std::sync::atomic::Ordering;

use crate::buffer::classes::CLASS_COUNT_MAX;
use crate::buffer::inner::Inner;
use crate::buffer::registry::{self, Member};
use crate::clock;
use crate::error::{Error, ErrorKind, Result, Text};

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
        /// Capacity of the leases that are out, in bytes; of a lease on guarded pages (`sample:N`) the size of its class.
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
    pub classes: ClassStatsList,
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

/// The statistics of a pool's size classes, ascending: a slice of 1 to 128.
///
/// In place and not on the heap, so that statistics can be read when there is no memory. Collect it into a `Vec` to keep
/// many.
///
/// *Thread-compatible.* *Fork:* plain data.
#[derive(Clone)]
pub struct ClassStatsList {
    rows: [ClassStats; CLASS_COUNT_MAX],
    len: usize,
}

impl ClassStatsList {
    fn push(&mut self, row: ClassStats) {
        if let Some(place) = self.rows.get_mut(self.len) {
            *place = row;
            self.len += 1;
        }
    }
}

impl Default for ClassStatsList {
    fn default() -> ClassStatsList {
        ClassStatsList { rows: std::array::from_fn(|_| ClassStats::default()), len: 0 }
    }
}

impl Deref for ClassStatsList {
    type Target = [ClassStats];
    fn deref(&self) -> &[ClassStats] {
        &self.rows[..self.len]
    }
}

impl<'a> IntoIterator for &'a ClassStatsList {
    type Item = &'a ClassStats;
    type IntoIter = std::slice::Iter<'a, ClassStats>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl PartialEq for ClassStatsList {
    fn eq(&self, other: &ClassStatsList) -> bool {
        **self == **other
    }
}

impl Eq for ClassStatsList {}

impl fmt::Debug for ClassStatsList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl Stats {
    /// Checks that the numbers reconcile, as they do while nobody uses the pool.
    ///
    /// # Errors
    /// The equation that does not hold, with its numbers; as much of it as there is memory for.
    pub fn check(&self) -> Result<(), String> {
        let Stats { gets, puts, in_use, detached, leaked, created, destroyed, retained_buffers, .. } = *self;
        if gets != puts + in_use + detached + leaked {
            return wrong(format_args!(
                "gets {gets} is not puts {puts} + in_use {in_use} + detached {detached} + leaked {leaked}"
            ));
        }
        if created.wrapping_sub(destroyed) != in_use + retained_buffers {
            return wrong(format_args!(
                "created {created} - destroyed {destroyed} is not in_use {in_use} + retained {retained_buffers}"
            ));
        }
        let sum = |field: fn(&ClassStats) -> u64| self.classes.iter().map(field).sum::<u64>();
        if sum(|class| class.retained_buffers) != retained_buffers
            || sum(|class| class.retained_bytes) != self.retained_bytes
        {
            return wrong(format_args!("the classes' idle buffers are not the pool's: {self:?}"));
        }
        if self.requested_bytes + self.waste_bytes != self.live_bytes {
            return wrong(format_args!(
                "live {} is not requested {} + waste {}",
                self.live_bytes, self.requested_bytes, self.waste_bytes
            ));
        }
        Ok(())
    }

    /// Writes the numbers in Prometheus' text exposition format, version 0.0.4, labelled with the pool's name and,
    /// for those of a class, its size in bytes.
    ///
    /// # Errors
    /// `NO_MEMORY`: there is none for the page.
    pub fn to_prometheus(&self, pool: &str) -> Result<String> {
        let mut page = Text::default();
        match self.write_page(&mut page, &Escaped(pool)) {
            Ok(()) => Ok(page.0),
            Err(fmt::Error) => {
                drop(page);
                Err(Error::new(
                    ErrorKind::NoMemory,
                    format_args!("no memory for the statistics of pool \"{pool}\" as a text"),
                ))
            }
        }
    }

    fn write_page(&self, page: &mut impl Write, pool: &Escaped<'_>) -> fmt::Result {
        for field in Stats::FIELDS {
            let metric = Metric { prefix: "millpond_buffer", field: field.name, kind: field.kind };
            metric.write_head(page, field.help)?;
            writeln!(page, "{metric}{{pool=\"{pool}\"}} {}", (field.get)(self))?;
        }
        for field in &ClassStats::FIELDS[1..] {
            let metric = Metric { prefix: "millpond_buffer_class", field: field.name, kind: field.kind };
            metric.write_head(page, field.help)?;
            for class in &self.classes {
                let value = (field.get)(class);
                writeln!(page, "{metric}{{pool=\"{pool}\",size_class=\"{}\"}} {value}", class.size)?;
            }
        }
        Ok(())
    }
}

#[cold]
fn wrong(what: fmt::Arguments<'_>) -> Result<(), String> {
    let mut text = Text::default();
    // The text ends where the memory does.
    let _ = text.write_fmt(what);
    Err(text.0)
}

/// A metric, shown as its name.
struct Metric {
    prefix: &'static str,
    field: &'static str,
    kind: Kind,
}

impl Metric {
    fn write_head(&self, page: &mut impl Write, help: &str) -> fmt::Result {
        let kind = match self.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        writeln!(page, "# HELP {self} {}", help.trim())?;
        writeln!(page, "# TYPE {self} {kind}")
    }
}

impl Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Gauge => "",
        };
        write!(f, "{}_{}{suffix}", self.prefix, self.field)
    }
}

/// A label's value, shown as the format asks.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.split_inclusive(['\\', '"', '\n']) {
            let plain = part.trim_end_matches(['\\', '"', '\n']);
            f.write_str(plain)?;
            match &part[plain.len()..] {
                "\n" => f.write_str("\\n")?,
                "" => {}
                special => write!(f, "\\{special}")?,
            }
        }
        Ok(())
    }
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
        // What ended leases is read before the gets, and with acquire: each end that was counted has its get counted.
        let gone = counts.detached.load(Ordering::Acquire) + counts.leaked.load(Ordering::Acquire);
        let mut puts = counts.puts.load(Ordering::Acquire);
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
        for cache in member.caches() {
            gets += cache.gets(class);
        }
        for block in member.blocks.iter().filter(|_| pooled) {
            gets += block.gets(class);
        }
        gets += counts.gets.load(Ordering::Relaxed);
        // A buffer that is put and got again between the two loops is counted twice: no more are out than there are.
        let destroyed = counts.destroyed.load(Ordering::Relaxed);
        let existing = counts.allocations.load(Ordering::Relaxed).saturating_sub(destroyed);
        Sums { gets, puts, in_use: gets.saturating_sub(puts + gone).min(existing), idle }
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

    /// Returns how many leases are out, and their capacity; a look at the peak too.
    pub(crate) fn out(&self) -> (u64, u64) {
        clock::tick();
        let mut registry = registry::lock();
        let Some(member) = registry.member(self.id) else {
            return (0, 0);
        };
        let leases = (0..self.classes.len()).map(|class| self.sum_class(member, class).in_use).sum();
        let live = self.live_bytes(member);
        self.counts.peak_live_bytes.fetch_max(live, Ordering::Relaxed);
        (leases, live)
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
        let mut stats = Stats { gets: 3, ..Stats::default() };
        stats.classes.push(ClassStats { size: 512, puts: 2, ..ClassStats::default() });
        let page = stats.to_prometheus("a \"b\"").expect("memory");
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
    fn labels_are_escaped() {
        assert_eq!(Escaped("a\\\\b\"\nc\n").to_string(), "a\\\\\\\\b\\\"\\nc\\n");
        assert_eq!(Escaped("").to_string(), "");
    }

    #[test]
    fn a_list_has_room_for_all_classes_and_shows_those_there_are() {
        let mut list = ClassStatsList::default();
        assert_eq!((list.len(), format!("{list:?}").as_str()), (0, "[]"));
        for size in 1..=CLASS_COUNT_MAX as u64 {
            list.push(ClassStats { size, ..ClassStats::default() });
        }
        assert_eq!((list.len(), list.last().map(|row| row.size)), (CLASS_COUNT_MAX, Some(CLASS_COUNT_MAX as u64)));
        let same = list.clone();
        assert_eq!(list, same);
        assert_ne!(list, ClassStatsList::default());
        assert_eq!(list.into_iter().count(), 128);
    }

    #[test]
    fn numbers_that_do_not_reconcile_are_told() {
        let wrong = Stats { gets: 1, ..Stats::default() };
        assert!(wrong.check().is_err_and(|why| why.contains("gets 1")));
        let wrong = Stats { created: 1, ..Stats::default() };
        assert!(wrong.check().is_err_and(|why| why.contains("created 1")));
        let wrong = Stats { live_bytes: 1, ..Stats::default() };
        assert!(wrong.check().is_err_and(|why| why.contains("live 1")));
        let classes = Stats { created: 1, retained_buffers: 1, ..Stats::default() };
        assert!(classes.check().is_err_and(|why| why.contains("the classes' idle buffers")));
        let bytes = Stats { retained_bytes: 64, ..Stats::default() };
        assert!(bytes.check().is_err_and(|why| why.contains("the classes' idle buffers")));
        assert_eq!(Stats::default().check(), Ok(()));
    }
}
