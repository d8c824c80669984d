//! The sizes of the mixed works: a recorded trace where there is one, otherwise spread evenly over the doublings.

/// A power of two of them, so that a list is walked without a division.
const COUNT: usize = 4096;

/// Returns the sizes for buffers of at most that many bytes.
pub fn up_to(largest: usize) -> Vec<usize> {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    (0..COUNT)
        .map(|_| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let share = (random >> 11) as f64 / (1_u64 << 53) as f64;
            // From 64 bytes: a pool of buffers is not asked for less.
            (64.0 * (largest as f64 / 64.0).powf(share)) as usize
        })
        .collect()
}
