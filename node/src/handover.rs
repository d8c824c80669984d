//! Hands a lease from one environment to another, and keeps the places that JavaScript named.
//!
//! A lease that is sent leaves its environment: its ArrayBuffer is detached there, and a number stands for it until
//! some environment adopts it. The number is drawn anew for each sending, from a keyed hash, and is good for one
//! adoption: a stale, repeated or made-up number finds nothing.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};

use millpond::text::Text;
use millpond::{BufferPool, Error, ErrorKind, Site};

use crate::js::Outcome;
use crate::memory::{push, reserve};
use crate::rows::{LIST, LiveLease, lock};
use crate::short::Short;
use crate::slab::Origin;

/// A lease between two environments.
pub(crate) struct Moved {
    pub pool: BufferPool,
    pub origin: Origin,
    /// Address of the memory; nothing reads it while the lease is on its way.
    address: usize,
    pub bytes: usize,
    pub capacity: usize,
    pub length: usize,
    pub since: f64,
    pub site: f64,
}

impl Moved {
    pub(crate) fn new(pool: BufferPool, origin: Origin, data: *mut u8) -> Moved {
        Moved {
            pool,
            origin,
            address: data.expose_provenance(),
            bytes: 0,
            capacity: 0,
            length: 0,
            since: 0.0,
            site: 0.0,
        }
    }

    pub(crate) fn data(&self) -> *mut u8 {
        std::ptr::with_exposed_provenance_mut(self.address)
    }
}

/// The leases on their way. Of one that is being adopted only the number is there, so that it can come back without memory.
type Way = HashMap<u64, Option<Moved>>;

fn way() -> MutexGuard<'static, Way> {
    static WAY: OnceLock<Mutex<Way>> = OnceLock::new();
    lock(WAY.get_or_init(Mutex::default))
}

/// Draws a number that cannot be guessed from others.
fn draw() -> u64 {
    static KEY: OnceLock<RandomState> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    KEY.get_or_init(RandomState::new).hash_one(COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Room for one lease on its way; nobody else sends or adopts meanwhile.
pub(crate) struct Departure(MutexGuard<'static, Way>);

/// Makes room for a lease on its way.
pub(crate) fn depart() -> Outcome<Departure> {
    let mut way = way();
    reserve(&mut way, "a lease on its way")?;
    Ok(Departure(way))
}

impl Departure {
    /// Puts a lease on its way and returns its number.
    pub(crate) fn send(mut self, lease: Moved) -> u64 {
        loop {
            let number = draw();
            if number != 0 && !self.0.contains_key(&number) {
                self.0.insert(number, Some(lease));
                return number;
            }
        }
    }
}

fn unknown() -> Error {
    Error::new(
        ErrorKind::InvalidHandle,
        "the token stands for no lease on its way: it was adopted before, or lease.transfer() did not make it",
    )
}

/// Returns the pool of a lease on its way.
pub(crate) fn pool_of(number: u64) -> Outcome<BufferPool> {
    Ok(way().get(&number).and_then(Option::as_ref).map(|lease| lease.pool.clone()).ok_or_else(unknown)?)
}

/// Takes a lease off its way, until [`arrived`] or [`put_back`].
pub(crate) fn receive(number: u64) -> Outcome<Moved> {
    Ok(way().get_mut(&number).and_then(Option::take).ok_or_else(unknown)?)
}

/// Ends the number of a lease that was adopted.
pub(crate) fn arrived(number: u64) {
    way().remove(&number);
}

/// Puts a lease back on its way under the number it had: its adoption failed.
pub(crate) fn put_back(number: u64, lease: Moved) {
    if let Some(place) = way().get_mut(&number) {
        *place = Some(lease);
    }
}

/// Lists a pool's leases that are on their way, except those that core lists itself.
pub(crate) fn on_their_way(pool: u64, leases: &mut Vec<LiveLease>) -> Outcome<()> {
    for lease in way().values().flatten() {
        if lease.pool.id() == pool && matches!(lease.origin, Origin::Stock { .. }) {
            let lease = LiveLease {
                length: lease.length as f64,
                capacity: lease.capacity as f64,
                since: lease.since,
                site: lease.site,
                thread: Short::of("between threads"),
            };
            push(leases, lease, LIST)?;
        }
    }
    Ok(())
}

/// Bounds the table of places: a program could make up files without end.
const SITES_MAX: usize = 1 << 16;

fn sites() -> MutexGuard<'static, Vec<Site>> {
    static SITES: Mutex<Vec<Site>> = Mutex::new(Vec::new());
    lock(&SITES)
}

/// Returns a number from 1 for a place in a script, 0 when the table is full. Without memory, for which no get or put fails:
/// nothing.
pub(crate) fn site_number(file: &str, line: u32, function: &str) -> Option<usize> {
    let site = Site::interned(file, line, function);
    let mut sites = sites();
    if let Some(known) = sites.iter().position(|other| *other == site) {
        return Some(known + 1);
    }
    if sites.len() >= SITES_MAX {
        return Some(0);
    }
    // Core's own table may be full, too: then it is asked each time.
    if !site.is_known() || sites.try_reserve(1).is_err() {
        return None;
    }
    sites.push(site);
    Some(sites.len())
}

/// Returns the place that a number stands for.
pub(crate) fn site(number: f64) -> Site {
    (number as usize).checked_sub(1).and_then(|index| sites().get(index).copied()).unwrap_or(Site::NONE)
}

/// Returns the place as text, empty when it is not known.
pub(crate) fn site_name(number: f64) -> Text {
    let site = site(number);
    if site.is_known() { Text::of(site) } else { Text::of("") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_good_for_one_adoption() {
        let pool = BufferPool::builder().name("on its way").build().expect("a pool");
        let lease = Moved::new(pool, Origin::Own { lease: 1 }, std::ptr::null_mut());
        let number = depart().ok().expect("memory").send(lease);
        assert!(pool_of(number).is_ok());
        assert!(receive(number ^ 1).is_err());
        assert!(receive(number.wrapping_add(1)).is_err());
        let lease = receive(number).ok().expect("sent");
        assert!(receive(number).is_err());
        assert!(pool_of(number).is_err());
        put_back(number, lease);
        assert!(receive(number).is_ok());
        arrived(number);
        assert!(receive(number).is_err());
        assert!(pool_of(number).is_err());
        assert!(!way().contains_key(&number));
    }

    #[test]
    fn numbers_do_not_repeat_or_count_up() {
        let drawn: Vec<u64> = (0..1000).map(|_| draw()).collect();
        let distinct: std::collections::HashSet<u64> = drawn.iter().copied().collect();
        assert_eq!(distinct.len(), drawn.len());
        let near = drawn.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 1 << 20).count();
        assert_eq!(near, 0);
    }

    #[test]
    fn places_are_numbered_once() {
        let first = site_number("app.js", 7, "read").expect("memory");
        assert_eq!(Some(first), site_number("app.js", 7, "read"));
        assert_ne!(Some(first), site_number("app.js", 8, "read"));
        assert_eq!(site_name(first as f64).as_str(), "app.js:7 in read");
        assert_eq!(site_name(0.0).as_str(), "");
        assert_eq!(site_name(f64::NAN).as_str(), "");
    }
}
