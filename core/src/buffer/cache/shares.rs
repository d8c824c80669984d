//! Divides what a thread may keep among the classes.

use super::MAGAZINES;
use crate::buffer::magazine::MAGAZINE_MAX;

/// Says of how many classes, from the smallest, a thread keeps buffers with `budget` bytes, and how many of each: of as many
/// classes as can have an equal part of it each that holds a buffer, or as leave a quarter of it when each has one buffer.
/// What is left then is divided equally, but for what small classes cannot use.
pub(super) fn shares(sizes: &[usize], budget: usize) -> (usize, [usize; MAGAZINES]) {
    let mut kept = [0; MAGAZINES];
    let sizes = &sizes[..sizes.len().min(MAGAZINES - 1)];
    let of_one = |classes: usize| sizes[..classes].iter().sum::<usize>();
    let fits = |classes: &usize| budget / classes >= sizes[classes - 1] || of_one(*classes) <= budget / 4 * 3;
    let cached = (1..=sizes.len()).rev().find(fits).unwrap_or(0);
    let mut rest = budget.saturating_sub(of_one(cached));
    for (class, size) in sizes[..cached].iter().enumerate() {
        let more = (rest / (cached - class) / size).min(MAGAZINE_MAX);
        rest -= more * size;
        kept[class] = more + 1;
    }
    (cached, kept)
}

/// Returns the most bytes that a cache with `budget` bytes ever holds.
pub(crate) fn most_kept(sizes: &[usize], budget: usize) -> usize {
    let (_, kept) = shares(sizes, budget);
    sizes.iter().zip(kept).map(|(size, count)| size * count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says of each class how many buffers are kept.
    fn kept(sizes: &[usize], budget: usize) -> Vec<usize> {
        let (cached, kept) = shares(sizes, budget);
        assert!(kept[cached..].iter().all(|count| *count == 0));
        assert!(most_kept(sizes, budget) <= budget);
        kept[..cached].to_vec()
    }

    #[test]
    fn as_many_classes_as_get_a_buffer_each_share_the_budget() {
        let sizes = [512, 4096, 65536, 4 << 20];
        for (budget, expected) in [
            (0, vec![]),
            (511, vec![]),
            (512, vec![1]),
            // One each is three quarters of it.
            (6143, vec![11]),
            (6144, vec![2, 1]),
            (8192, vec![4, 1]),
            (93_527, vec![87, 11]),
            (93_528, vec![16, 2, 1]),
            (5_685_931, vec![257, 257, 68]),
            (5_685_932, vec![257, 106, 7, 1]),
            (1 << 30, vec![257, 257, 257, 251]),
        ] {
            assert_eq!(kept(&sizes, budget), expected, "{budget}");
        }
        assert_eq!(kept(&[1 << 30], 1 << 30), [1]);
        assert_eq!(kept(&[1 << 30], (1 << 30) - 1), []);
        // Equal parts hold one each, though a quarter of the budget is not left.
        assert_eq!(kept(&[4096, 4160], 2 * 4160), [1, 1]);
        assert_eq!(kept(&[4096, 4160], 2 * 4160 - 1), [2]);
    }

    #[test]
    fn a_thread_keeps_no_more_classes_than_it_has_magazines_and_no_more_buffers_than_fit() {
        let many: Vec<usize> = (1..=100).map(|n| n * 64).collect();
        assert_eq!(kept(&many, 64 << 20), [MAGAZINE_MAX + 1; MAGAZINES - 1]);
        // Of the default classes with the default budget: all, where as much may be retained, otherwise those up to 4 MiB.
        let defaults = [512, 1024, 4096, 16384, 65536, 262_144, 1 << 20, 4 << 20, 16 << 20];
        assert_eq!(kept(&defaults, 32 << 20), [257, 257, 257, 100, 25, 7, 2, 1, 1]);
        assert_eq!(kept(&defaults, 16 << 20), [257, 257, 257, 119, 30, 8, 2, 1]);
    }
}
