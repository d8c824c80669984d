//! Tells what can be measured.

use crate::preload;

/// Every work, with the sizes that make sense; who asks chooses among them.
const WORKS: [(&str, &[usize]); 26] = [
    ("pair", ALL),
    ("pairidle", &[1024, 4096, 65536]),
    ("depth256", SMALL),
    ("held256", SMALL),
    ("ends", ALL),
    ("pages", ALL),
    ("full", ALL),
    ("burst1", ALL),
    ("burst8", ALL),
    ("burst32", ALL),
    ("burst128", ALL),
    ("mixed64k", &[65536]),
    ("mixed1m", &[1 << 20]),
    ("replay", &[0]),
    ("twothreads", ALL),
    ("pc", ALL),
    ("pcqueue", &[8]),
    ("idle64", ALL),
    ("clear0", ALL),
    ("clear64", ALL),
    ("clear4k", ALL),
    ("clearall", ALL),
    ("modes", ALL),
    ("first", ALL),
    ("metrics", &[0]),
    ("rss", ALL),
];
const ALL: &[usize] =
    &[512, 1024, 4096, 4097, 16384, 65536, 65537, 262_144, 1_048_576, 4_194_304, 16_777_216, 67_108_864, 268_435_456];
const SMALL: &[usize] = &[512, 1024, 4096, 16384, 65536, 262_144];

const CLEARING: &[&str] = &["clear0", "clear64", "clear4k", "clearall"];
const TOUCHING: &[&str] =
    &["ends", "pages", "full", "burst1", "burst8", "burst32", "burst128", "mixed64k", "mixed1m", "replay", "pc"];
const ZEROING: &[&str] = &["ends", "pages", "full", "burst32", "clear0", "clear64", "clear4k", "clearall"];

/// What a thread can hold for itself, if it is told to.
const CACHED: &[&str] = &["pair", "depth256", "held256", "twothreads"];
const CACHED_TOUCHING: &[&str] = &["burst8", "burst32", "burst128", "mixed64k", "mixed1m", "pc"];
const MIXED: &[&str] = &["mixed64k", "mixed1m"];
const MIXED_AND_TWO: &[&str] = &["mixed64k", "mixed1m", "twothreads"];
const BURSTS: &[&str] = &["burst8", "burst32", "burst128"];

/// Every peer, with the works that it is there for; none: all but `metrics`, `pcqueue` and `modes`.
const PEERS: [(&str, &[&str]); 47] = [
    ("millpond", &[]),
    ("millpond-noclear", TOUCHING),
    ("millpond-raw", &["ends", "mixed64k", "mixed1m", "pc"]),
    ("millpond-cache", CACHED),
    ("millpond-cache-noclear", CACHED_TOUCHING),
    ("millpond-maintain", &["rss"]),
    ("millpond-off", &["modes"]),
    ("millpond-sample1000", &["modes"]),
    ("millpond-sample100", &["modes"]),
    ("millpond-sites", &["modes"]),
    ("millpond-full", &["modes"]),
    ("queue", &["pcqueue"]),
    ("queue+record", &["pc"]),
    ("queue+record+back", &["pc"]),
    ("queue+record+back+books", &["pc"]),
    ("registers only", &["pair", "twothreads"]),
    ("one-place", &["pair"]),
    ("one-place+who", &["pair"]),
    ("one-place+who+counts", &["pair"]),
    ("one-place+who+counts+gate", &["pair"]),
    ("one-place+who+counts+gate+classes", &["pair"]),
    ("locked-list", &["pair", "twothreads"]),
    ("overwritten", &["pages"]),
    ("kept", BURSTS),
    ("kept-spread", BURSTS),
    ("vec-stack", &[]),
    ("vec-stack+memset", CLEARING),
    ("vec-stack+memset-all", CLEARING),
    ("vec-stack+record", MIXED_AND_TWO),
    ("vec-stack+record+pages", MIXED),
    ("vec-stack+record+pages+books", MIXED),
    ("glibc", &[]),
    ("glibc-tuned", &[]),
    ("calloc", ZEROING),
    ("mimalloc", &[]),
    ("jemalloc", &[]),
    ("snmalloc", &[]),
    ("tcmalloc", &[]),
    ("arrayqueue", &[]),
    ("object-pool", &[]),
    ("lockfree-object-pool", &[]),
    ("opool", &[]),
    ("opool-local", &[]),
    ("zeropool", &[]),
    ("zeropool-stats", &["pair", "pairidle", "twothreads"]),
    ("zeropool-zeroed", ZEROING),
    ("sharded-slab", &[]),
];
const LAST: (&str, &[&str]) = ("bytesmut", &[]);

/// How peers are set, where there is something to say.
const SETTINGS: [(&str, &str); 35] = [
    (
        "millpond",
        "clears at put what was written; classes up to what is measured, room to keep a burst; rss, first: defaults",
    ),
    ("millpond-noclear", "ClearPolicy::Never"),
    (
        "millpond-raw",
        "the same, written through as_mut_ptr, which puts a canary behind the length; the others write through slices",
    ),
    ("millpond-cache", "thread_cache_bytes for all that the work holds, and limits for it"),
    ("millpond-cache-noclear", "the same with ClearPolicy::Never"),
    ("millpond-maintain", "maintain_every one second"),
    (
        "queue+record",
        "floor: records of a cache line handed out in turns, a state stored at get, ended by compare-and-swap at put",
    ),
    ("queue+record+back", "floor: the same, and records come back in batches of 64 through a locked list"),
    (
        "queue+record+back+books",
        "floor: the same, gets and puts and bytes are counted, length, place and time noted, and a gate is looked at",
    ),
    (
        "registers only",
        "floor: no pool and no memory: 40 additions in four registers for each pair; one of millpond has about 50 instructions",
    ),
    (
        "one-place",
        "floor: a place for one buffer in a thread-local: no class is looked up, and there is no second buffer",
    ),
    ("one-place+who", "floor: the same, and length, place and time of each get are noted, and that it is over"),
    ("one-place+who+counts", "floor: the same, and gets and puts and their bytes are counted"),
    (
        "one-place+who+counts+gate",
        "floor: the same, and a gate is looked at, twice a pair, between the bytes and the count",
    ),
    (
        "one-place+who+counts+gate+classes",
        "floor: the same, with a place for each of nine classes: found by a table at get, told by the lease at put",
    ),
    (
        "overwritten",
        "floor: a buffer mapped once, touched as the work does and overwritten whole, from 64 MiB on past the caches",
    ),
    ("locked-list", "floor: a parking_lot::Mutex<Vec> for the size measured and one atomic count of bytes"),
    ("kept", "floor: buffers mapped once, page-aligned, of huge pages from 4 MiB; only touched as the work does"),
    ("kept-spread", "floor: the same, each begins at another multiple of 64 bytes in its first page"),
    ("vec-stack", "a bare Vec<Vec<u8>> in a thread-local: no limit, no statistics, no checks"),
    ("vec-stack+memset", "the same, and exactly what was written is cleared by hand"),
    ("vec-stack+memset-all", "the same, and the whole buffer is cleared by hand"),
    (
        "vec-stack+record",
        "floor: bare stacks of records, class by a table, a state stored at get, ended by compare-and-swap at put",
    ),
    ("vec-stack+record+pages", "floor: the same, and buffers from 64 KiB on begin at a page"),
    (
        "vec-stack+record+pages+books",
        "floor: the same, gets and puts and bytes are counted, length, place and time noted, and a gate is looked at",
    ),
    ("glibc-tuned", "glibc with MALLOC_MMAP_MAX_=0 MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=17179869184"),
    ("jemalloc", "sized frees; in rss with its background thread"),
    ("snmalloc", "sized frees"),
    ("object-pool", "one pool for the size measured, nine for mixed sizes; so all single-size pools"),
    ("lockfree-object-pool", "LinearObjectPool, the faster one on one thread"),
    ("opool-local", "LocalPool, for one thread"),
    ("zeropool", "alloc_uninit, 64 buffers for each thread and class, statistics off: its fastest"),
    ("zeropool-stats", "the same with its statistics, which are shared by all threads"),
    ("zeropool-zeroed", "alloc, which zeroes the length at each get"),
    ("bytesmut", "one BytesMut for each thread: try_reclaim, reserve, split"),
];

/// Versions as in Cargo.lock, so that they cannot differ from what was built.
const LOCK: &str = include_str!("../Cargo.lock");
const CRATES: [&str; 11] = [
    "bytes",
    "crossbeam-queue",
    "libmimalloc-sys",
    "lockfree-object-pool",
    "millpond",
    "object-pool",
    "opool",
    "sharded-slab",
    "snmalloc-sys",
    "tikv-jemalloc-sys",
    "zeropool",
];

fn version(name: &str) -> &'static str {
    let start = LOCK.find(&format!("name = \"{name}\"\n")).unwrap_or(LOCK.len());
    LOCK[start..].split('"').nth(3).unwrap_or("unknown")
}

/// mimalloc's own version: the crate's number says nothing of it.
#[cfg(feature = "allocators")]
fn mimalloc() -> Option<i32> {
    // SAFETY: returns a constant.
    Some(unsafe { libmimalloc_sys::mi_version() })
}

#[cfg(not(feature = "allocators"))]
fn mimalloc() -> Option<i32> {
    None
}

/// Whether this build has the peer: the one that shows what LTO changes leaves out what no LTO reaches.
fn is_built(peer: &str) -> bool {
    let native = ["glibc", "glibc-tuned", "calloc", "mimalloc", "jemalloc", "snmalloc", "tcmalloc"];
    cfg!(feature = "allocators") || !native.contains(&peer)
}

pub fn list() -> String {
    let text = |list: Vec<String>| list.join(", ");
    let peers: Vec<_> = PEERS.iter().chain([&LAST]).filter(|(name, _)| is_built(name)).collect();
    let names = text(peers.iter().map(|(name, _)| format!("\"{name}\"")).collect());
    let works = text(WORKS.iter().map(|(name, sizes)| format!("\"{name}\": {sizes:?}")).collect());
    let general: Vec<_> =
        WORKS.iter().map(|(name, _)| *name).filter(|name| !["metrics", "pcqueue", "modes"].contains(name)).collect();
    let only = peers.iter().map(|(name, works)| match (*name, works.is_empty()) {
        ("millpond", _) => format!(
            "\"{name}\": {:?}",
            WORKS.map(|(work, _)| work).into_iter().filter(|work| *work != "pcqueue").collect::<Vec<_>>()
        ),
        (_, true) => format!("\"{name}\": {general:?}"),
        _ => format!("\"{name}\": {works:?}"),
    });
    let only = text(only.collect());
    let mut versions: Vec<_> = CRATES.iter().map(|name| format!("\"{name}\": \"{}\"", version(name))).collect();
    versions.extend(mimalloc().map(|number| format!("\"mimalloc\": \"{number}\"")));
    let settings = text(SETTINGS.iter().map(|(name, words)| format!("\"{name}\": \"{words}\"")).collect());
    let missing = peers.iter().filter_map(|(name, _)| {
        let path = preload::library(name)?;
        (!path.exists()).then(|| format!("\"{name}\": \"{} is not there\"", path.display()))
    });
    let missing = text(missing.collect());
    format!(
        "{{\"peers\": [{names}], \"works\": {{{works}}}, \"only\": {{{only}}}, \"versions\": {{{}}}, \"settings\": {{{settings}}}, \
         \"missing\": {{{missing}}}}}",
        versions.join(", ")
    )
}
