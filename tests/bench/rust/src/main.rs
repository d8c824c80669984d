//! Measures millpond and its peers in Rust: `bench PEER WORK SIZE[,SIZE...] [--ms N]`, `bench --list`.

mod list;
mod measure;
mod once;
mod peer;
mod peers;
mod preload;
mod sizes;
mod steps;
mod threads;
mod works;

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use measure::Figures;
use peer::{ByClass, Peer};
use peers::{allocators as heap, crates, floors, least, own, stack};

type Answer = Result<Figures, &'static str>;

/// What one thread can do with any peer. `M` is its form for mixed sizes.
fn alone<P: Peer, M: Peer>(work: &str, size: usize, time: Duration) -> Answer {
    Ok(match work {
        "pair" | "modes" => works::pair::<P, 0>(size, time),
        "ends" => works::pair::<P, 1>(size, time),
        "pages" => works::pair::<P, 2>(size, time),
        "full" => works::pair::<P, 3>(size, time),
        "pairidle" => works::beside::<P>(size, 16, time),
        "depth256" => works::burst::<P>(size, 256, false, time),
        "held256" => works::held::<P>(size, 256, time),
        "burst1" => works::burst::<P>(size, 1, true, time),
        "burst8" => works::burst::<P>(size, 8, true, time),
        "burst32" => works::burst::<P>(size, 32, true, time),
        "burst128" => works::burst::<P>(size, 128, true, time),
        "mixed64k" | "mixed1m" => works::mixed::<M>(size, time)?,
        "replay" => works::replay::<M>(time)?,
        "clear0" => works::clear::<P>(size, 0, time),
        "clear64" => works::clear::<P>(size, 64.min(size), time),
        "clear4k" => works::clear::<P>(size, 4096.min(size), time),
        "clearall" => works::clear::<P>(size, size, time),
        "first" => once::first::<P>(size),
        "rss" => once::resident::<P>(size, time, P::retained_limit()),
        "twothreads" | "pc" | "idle64" => return Err("for one thread"),
        _ => return Err("no such work"),
    })
}

/// And what several threads can do with one pool.
fn threaded<P: Peer + Send, M: Peer>(work: &str, size: usize, time: Duration) -> Answer {
    match work {
        "twothreads" => Ok(threads::two::<P>(size, time)),
        "idle64" => Ok(works::idle::<P>(size, 64, time)),
        "pc" => Err("its buffers stay with their thread"),
        _ => alone::<P, M>(work, size, time),
    }
}

/// And what they can do when buffers may be put by another thread.
fn shared<P: Peer + Send + Sync, M: Peer>(work: &str, size: usize, time: Duration) -> Answer
where
    P::Buffer: Send,
{
    match work {
        "pc" => Ok(threads::between::<P>(size, time)),
        _ => threaded::<P, M>(work, size, time),
    }
}

fn run(peer: &str, work: &str, size: usize, time: Duration) -> Answer {
    match (peer, work) {
        ("millpond", "metrics") => return Ok(once::metrics(time)),
        ("queue", "pcqueue") => return Ok(threads::queue(time)),
        // What is measured in these is how the pool behaves as it comes.
        ("millpond", "rss" | "first") => return alone::<own::Plain, own::Plain>(work, size, time),
        ("vec-stack", "pc") => return Err("what one thread puts, the other never gets"),
        (
            "bytesmut",
            "pairidle" | "burst8" | "burst32" | "burst128" | "depth256" | "held256" | "mixed64k" | "mixed1m" | "replay",
        ) => {
            return Err("reclaims its memory only when none of it is out");
        }
        ("one-place+who+counts+gate+classes", _) if size > peer::CLASSES[peer::CLASSES.len() - 1] => {
            return Err("larger than its classes");
        }
        _ => {}
    }
    match peer {
        "millpond" => shared::<own::Own, own::Own>(work, size, time),
        "millpond-noclear" => shared::<own::NoClear, own::NoClear>(work, size, time),
        "millpond-raw" => shared::<own::Raw, own::Raw>(work, size, time),
        "millpond-cache" => shared::<own::Cached, own::Cached>(work, size, time),
        "millpond-cache-noclear" => shared::<own::CachedNoClear, own::CachedNoClear>(work, size, time),
        "millpond-maintain" => shared::<own::Maintained, own::Maintained>(work, size, time),
        "millpond-off" => shared::<own::Unchecked, own::Unchecked>(work, size, time),
        "millpond-sample1000" => shared::<own::Sampled1000, own::Sampled1000>(work, size, time),
        "millpond-sample100" => shared::<own::Sampled100, own::Sampled100>(work, size, time),
        "millpond-sites" => shared::<own::Sited, own::Sited>(work, size, time),
        "millpond-full" => shared::<own::Full, own::Full>(work, size, time),
        // One and the same: this process runs in the environment that makes the difference.
        "glibc" | "glibc-tuned" | "tcmalloc" | "tbbmalloc" => shared::<heap::Libc, heap::Libc>(work, size, time),
        "calloc" => shared::<heap::LibcZeroed, heap::LibcZeroed>(work, size, time),
        #[cfg(feature = "allocators")]
        "mimalloc" => shared::<heap::Mimalloc, heap::Mimalloc>(work, size, time),
        #[cfg(feature = "allocators")]
        "jemalloc" => shared::<heap::Jemalloc, heap::Jemalloc>(work, size, time),
        #[cfg(feature = "allocators")]
        "snmalloc" => shared::<heap::Snmalloc, heap::Snmalloc>(work, size, time),
        "vec-stack" => shared::<stack::Stack, stack::Stacks>(work, size, time),
        "vec-stack+memset" => shared::<stack::Wiped<false>, stack::Stacks>(work, size, time),
        "vec-stack+memset-all" => shared::<stack::Wiped<true>, stack::Stacks>(work, size, time),
        "queue+record" => shared::<floors::Rounds, floors::Rounds>(work, size, time),
        "queue+record+back" => shared::<floors::Batches<false>, floors::Batches<false>>(work, size, time),
        "queue+record+back+books" => shared::<floors::Batches<true>, floors::Batches<true>>(work, size, time),
        "registers only" => threaded::<floors::Registers, floors::Registers>(work, size, time),
        "vec-stack+record" => threaded::<floors::Stacks<false, false>, floors::Stacks<false, false>>(work, size, time),
        "vec-stack+record+pages" => alone::<floors::Stacks<true, false>, floors::Stacks<true, false>>(work, size, time),
        "vec-stack+record+pages+books" => {
            alone::<floors::Stacks<true, true>, floors::Stacks<true, true>>(work, size, time)
        }
        "one-place" => {
            alone::<least::OnePlace<false, false, false, false>, least::OnePlace<false, false, false, false>>(
                work, size, time,
            )
        }
        "one-place+who" => alone::<
            least::OnePlace<true, false, false, false>,
            least::OnePlace<true, false, false, false>,
        >(work, size, time),
        "one-place+who+counts" => alone::<
            least::OnePlace<true, true, false, false>,
            least::OnePlace<true, true, false, false>,
        >(work, size, time),
        "one-place+who+counts+gate" => alone::<
            least::OnePlace<true, true, true, false>,
            least::OnePlace<true, true, true, false>,
        >(work, size, time),
        "one-place+who+counts+gate+classes" => {
            alone::<least::OnePlace<true, true, true, true>, least::OnePlace<true, true, true, true>>(work, size, time)
        }
        "overwritten" => alone::<least::Overwritten, least::Overwritten>(work, size, time),
        "locked-list" => shared::<floors::LockedList, ByClass<floors::LockedList>>(work, size, time),
        "kept" => alone::<floors::Kept<false>, floors::Kept<false>>(work, size, time),
        "kept-spread" => alone::<floors::Kept<true>, floors::Kept<true>>(work, size, time),
        "arrayqueue" => shared::<crates::Queue, ByClass<crates::Queue>>(work, size, time),
        "object-pool" => shared::<crates::ObjectPool, ByClass<crates::ObjectPool>>(work, size, time),
        "lockfree-object-pool" => shared::<crates::Lockfree, ByClass<crates::Lockfree>>(work, size, time),
        "opool" => shared::<crates::Opool, ByClass<crates::Opool>>(work, size, time),
        "opool-local" => alone::<crates::OpoolLocal, ByClass<crates::OpoolLocal>>(work, size, time),
        "zeropool" => shared::<crates::Zeropool<false>, crates::Zeropool<false>>(work, size, time),
        "zeropool-stats" => shared::<crates::Zeropool<true>, crates::Zeropool<true>>(work, size, time),
        "zeropool-zeroed" => shared::<crates::ZeropoolZeroed, crates::ZeropoolZeroed>(work, size, time),
        "sharded-slab" if work == "pc" => {
            shared::<crates::ShardedSlabOwned, crates::ShardedSlabOwned>(work, size, time)
        }
        "sharded-slab" => threaded::<crates::ShardedSlab, ByClass<crates::ShardedSlab>>(work, size, time),
        "bytesmut" => shared::<crates::Reclaim, crates::Reclaim>(work, size, time),
        _ => Err("no such peer"),
    }
}

/// Reads the arguments; None when they are not understood.
fn asked() -> Option<(String, String, Vec<usize>, Duration)> {
    let mut arguments = env::args().skip(1);
    let (peer, work) = (arguments.next()?, arguments.next()?);
    let sizes = arguments.next()?.split(',').map(|size| size.parse().ok()).collect::<Option<Vec<usize>>>()?;
    let ms = match arguments.next().as_deref() {
        None if work == "rss" => 30_000,
        None => 30,
        Some("--ms") => arguments.next()?.parse().ok()?,
        Some(_) => return None,
    };
    Some((peer, work, sizes, Duration::from_millis(ms)))
}

fn main() -> ExitCode {
    if env::args().nth(1).as_deref() == Some("--list") {
        println!("{}", list::list());
        return ExitCode::SUCCESS;
    }
    let Some((peer, work, sizes, time)) = asked() else {
        eprintln!("usage: bench PEER WORK SIZE[,SIZE...] [--ms N] | bench --list");
        return ExitCode::from(2);
    };
    if let Err(why) = preload::environment_of(&peer, &work) {
        eprintln!("{peer}: {why}");
        return ExitCode::FAILURE;
    }
    for size in sizes {
        match run(&peer, &work, size, time) {
            Ok(figures) => figures.print(&peer, &work, size),
            Err(why) => {
                println!("{{\"peer\": \"{peer}\", \"work\": \"{work}\", \"size\": {size}, \"skip\": \"{why}\"}}");
            }
        }
    }
    ExitCode::SUCCESS
}
