//! The sizes of the mixed works: those of the gets of a recorded trace, in their order.

use std::env;
use std::fs;

/// A power of two of them, so that a list is walked without a division.
const COUNT: usize = 4096;

/// Returns the sizes for buffers of at most that many bytes. `BENCH_TRACE` names the trace.
pub fn up_to(largest: usize) -> Result<Vec<usize>, &'static str> {
    let trace =
        env::var_os("BENCH_TRACE").and_then(|path| fs::read_to_string(path).ok()).ok_or("no trace: set BENCH_TRACE")?;
    // Lines are "ns,thread,pool,act,lease,bytes"; of those with the act g, bytes is what was asked for.
    let asked = trace.lines().filter(|line| line.split(',').nth(3) == Some("g"));
    let sizes: Vec<usize> = asked
        .filter_map(|line| line.rsplit(',').next()?.parse().ok())
        .filter(|size| *size <= largest)
        .map(|size: usize| size.max(1))
        .collect();
    if sizes.is_empty() {
        return Err("the trace has no gets of these sizes");
    }
    Ok(sizes.into_iter().cycle().take(COUNT).collect())
}
