//! What a recorded trace says: the sizes of its gets for the mixed works, and all its acts for the replay.

use std::collections::HashMap;
use std::env;
use std::fs;

/// A power of two of them, so that a list is walked without a division.
const COUNT: usize = 4096;
/// Pools of single sizes have no larger class; what is asked for above it is cut for all.
const LARGEST: usize = 16 << 20;

/// Reads the trace that `BENCH_TRACE` names: lines "ns,thread,pool,act,lease,bytes", of which `read` makes something.
fn trace<T>(read: impl Fn(&[&str]) -> Option<T>) -> Result<Vec<T>, &'static str> {
    let text =
        env::var_os("BENCH_TRACE").and_then(|path| fs::read_to_string(path).ok()).ok_or("no trace: set BENCH_TRACE")?;
    let lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    Ok(lines.filter(|parts| parts.len() == 6).filter_map(|parts| read(&parts)).collect())
}

/// Returns the sizes for buffers of at most that many bytes, in the order of the trace.
pub fn up_to(largest: usize) -> Result<Vec<usize>, &'static str> {
    let asked = trace(|parts| if parts[3] == "g" { parts[5].parse::<usize>().ok() } else { None })?;
    let sizes: Vec<usize> = asked.into_iter().filter(|size| *size <= largest).map(|size| size.max(1)).collect();
    if sizes.is_empty() {
        return Err("the trace has no gets of these sizes");
    }
    Ok(sizes.into_iter().cycle().take(COUNT).collect())
}

/// One act of a trace; places are numbered from 0 and used again.
#[derive(Copy, Clone)]
pub enum Act {
    Get { place: usize, size: usize },
    Put { place: usize },
}

/// Returns the acts of the trace, those of all its threads one after the other, and the number of places.
pub fn acts() -> Result<(Vec<Act>, usize), &'static str> {
    let lines = trace(|parts| {
        let is_get = match parts[3] {
            "g" => true,
            "p" => false,
            _ => return None,
        };
        // A lease's number is its pool's own.
        Some((is_get, format!("{}/{}", parts[2], parts[4]), parts[5].parse::<usize>().ok()?))
    })?;
    let (mut places, mut free, mut count, mut acts) = (HashMap::new(), Vec::new(), 0, Vec::new());
    for (is_get, lease, bytes) in lines {
        if is_get {
            let place = free.pop().unwrap_or_else(|| {
                count += 1;
                count - 1
            });
            places.insert(lease, place);
            acts.push(Act::Get { place, size: bytes.clamp(1, LARGEST) });
        } else if let Some(place) = places.remove(&lease) {
            free.push(place);
            acts.push(Act::Put { place });
        }
    }
    // What was still out at the end is given back, so that the next turn finds the same.
    acts.extend(places.into_values().map(|place| Act::Put { place }));
    if acts.is_empty() { Err("the trace has no acts") } else { Ok((acts, count)) }
}
