//! Finds the size class of a request.

use super::cache::MAGAZINES;
use crate::error::{Error, Result};
use crate::options::Classes;

/// The largest class a pool may have, in bytes.
pub(crate) const CLASS_MAX: usize = 1 << 30;
const CLASS_MIN: usize = 64;
/// The most classes that a pool may have.
pub(crate) const CLASS_COUNT_MAX: usize = 128;
const DEFAULT: [usize; 9] = [512, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20];

/// The capacities of a pool, ascending, with a table that leads from a length to its class.
///
/// The capacities are multiples of 64, so lengths with the same number of begun units of 64 bytes have the same class.
/// The table has it for the lengths that are asked for often; the larger ones are searched for.
///
/// *Thread-safe*: constant after it was made.
pub(crate) struct ClassTable {
    by_units: [u8; UNITS],
    /// The capacities; what is behind them means nothing.
    ends: [usize; CLASS_COUNT_MAX],
    count: usize,
    /// The first class of which the table does not have all lengths, at most [`NO_MAGAZINE`].
    beyond: usize,
}

/// The longest length that the table has, in bytes.
pub(crate) const TABLE_MAX: usize = 256 << 10;
const UNITS: usize = TABLE_MAX / CLASS_MIN + 1;
/// The number of the magazine that no class has: in the table it stands for this class and those above.
const NO_MAGAZINE: usize = MAGAZINES - 1;

impl ClassTable {
    pub(crate) fn new(classes: &Classes) -> Result<ClassTable> {
        let mut computed = [0; CLASS_COUNT_MAX];
        let sizes = match classes {
            Classes::Default => &DEFAULT[..],
            Classes::FourPerDoubling { min, max } => four_per_doubling(*min, *max, &mut computed)?,
            Classes::List(sizes) => sizes,
        };
        check(sizes)?;
        let mut ends = [0; CLASS_COUNT_MAX];
        ends[..sizes.len()].copy_from_slice(sizes);
        // What is longer than the classes of the table has the first class beyond it, or none.
        let beyond = first_of(sizes, TABLE_MAX + 1).min(NO_MAGAZINE);
        let mut by_units = [beyond as u8; UNITS];
        let mut filled = 0;
        for (class, size) in sizes[..beyond].iter().enumerate() {
            // At most 63, so the number fits a byte.
            by_units[filled..=size / CLASS_MIN].fill(class as u8);
            filled = size / CLASS_MIN + 1;
        }
        Ok(ClassTable { by_units, ends, count: sizes.len(), beyond })
    }

    /// Returns the class for `len`, or the number of classes when the length is above all of them.
    pub(crate) fn index(&self, len: usize) -> usize {
        match self.magazine_by_table(len) {
            Some(class) if class != NO_MAGAZINE => class,
            _ => self.search(len),
        }
    }

    /// Returns the number of the magazine for `len`: its class, or the one that no class has.
    #[inline(always)]
    pub(crate) fn magazine(&self, len: usize) -> usize {
        let number = match self.magazine_by_table(len) {
            Some(number) => number,
            None => {
                std::hint::cold_path();
                self.search(len).min(NO_MAGAZINE)
            }
        };
        // A compiler forgets what it was told of one of the two.
        // SAFETY: as in `magazine_of_short`, and just seen to.
        unsafe { std::hint::assert_unchecked(number < MAGAZINES) };
        number
    }

    /// As [`ClassTable::magazine`], for lengths up to [`TABLE_MAX`]; `None` for larger ones.
    #[inline(always)]
    pub(crate) fn magazine_by_table(&self, len: usize) -> Option<usize> {
        if len > TABLE_MAX { None } else { Some(self.magazine_of_short(len)) }
    }

    /// As [`ClassTable::magazine`], for lengths up to [`TABLE_MAX`] alone.
    #[inline(always)]
    pub(crate) fn magazine_of_short(&self, len: usize) -> usize {
        let number = usize::from(self.by_units[len.div_ceil(CLASS_MIN)]);
        // SAFETY: `new` put no other numbers there than `beyond`, which is the last magazine's at most, and those below.
        unsafe { std::hint::assert_unchecked(number < MAGAZINES) };
        number
    }

    #[inline(always)]
    fn search(&self, len: usize) -> usize {
        self.beyond + first_of(&self.sizes()[self.beyond..], len)
    }

    /// Returns the capacities, ascending.
    #[inline]
    pub(crate) fn sizes(&self) -> &[usize] {
        &self.ends[..self.count]
    }

    pub(crate) fn smallest(&self) -> usize {
        self.ends[0]
    }
}

/// Returns the first of the sizes that holds `len`, or how many they are.
fn first_of(sizes: &[usize], len: usize) -> usize {
    sizes.partition_point(|size| *size < len)
}

/// Fills the beginning of `sizes` and returns it.
fn four_per_doubling(min: usize, max: usize, sizes: &mut [usize; CLASS_COUNT_MAX]) -> Result<&[usize]> {
    if !min.is_power_of_two() || min < 4 * CLASS_MIN {
        return Err(Error::invalid(format_args!(
            "classes: the smallest of four per doubling is {min}; use a power of two from {}",
            4 * CLASS_MIN
        )));
    }
    if max < min || max > CLASS_MAX {
        return Err(Error::invalid(format_args!(
            "classes: the largest of four per doubling is {max}; use {min} to {CLASS_MAX}"
        )));
    }
    // At most 22 doublings lie between the least minimum and the greatest maximum.
    let steps = (0..CLASS_COUNT_MAX).map(|step| (min << (step / 4)) / 4 * (4 + step % 4));
    let mut count = 0;
    for (place, size) in sizes.iter_mut().zip(steps.take_while(|size| *size <= max)) {
        *place = size;
        count += 1;
    }
    if sizes[count - 1] != max {
        sizes[count] = max.next_multiple_of(CLASS_MIN);
        count += 1;
    }
    Ok(&sizes[..count])
}

fn check(sizes: &[usize]) -> Result<()> {
    if sizes.is_empty() || sizes.len() > CLASS_COUNT_MAX {
        return Err(Error::invalid(format_args!("classes: {} sizes; a pool has 1 to {CLASS_COUNT_MAX}", sizes.len())));
    }
    for size in sizes {
        if !(CLASS_MIN..=CLASS_MAX).contains(size) || size % CLASS_MIN != 0 {
            return Err(Error::invalid(format_args!(
                "classes: {size} bytes; use multiples of {CLASS_MIN} from {CLASS_MIN} to {CLASS_MAX}"
            )));
        }
    }
    if let Some(pair) = sizes.windows(2).find(|pair| pair[0] >= pair[1]) {
        return Err(Error::invalid(format_args!(
            "classes: {} is followed by {}; list the sizes in ascending order, each once",
            pair[0], pair[1]
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agrees_with_a_search(classes: &Classes) {
        let table = ClassTable::new(classes).expect("valid");
        let sizes = table.sizes().to_vec();
        let mut lengths = vec![0, 1, 2, 3, 4, 5, 7, 8, 63, 64, 65, usize::MAX, usize::MAX / 2, CLASS_MAX];
        for size in &sizes {
            lengths.extend([size - 1, *size, size + 1, size / 2, size / 2 + 1, size * 3 / 4]);
        }
        for len in lengths {
            let expected = sizes.iter().position(|size| *size >= len).unwrap_or(sizes.len());
            assert_eq!(table.index(len), expected, "length {len} of {sizes:?}");
            assert_eq!(table.magazine(len), expected.min(NO_MAGAZINE), "length {len} of {sizes:?}");
        }
    }

    #[test]
    fn every_length_finds_its_class() {
        agrees_with_a_search(&Classes::Default);
        agrees_with_a_search(&Classes::FourPerDoubling { min: 256, max: 1 << 30 });
        agrees_with_a_search(&Classes::FourPerDoubling { min: 512, max: 5000 });
        agrees_with_a_search(&Classes::List(vec![64]));
        agrees_with_a_search(&Classes::List(vec![64, 128, 192, 256, 320, 1 << 30]));
        // As many classes as there are, all within the table, or just as many as there are magazines.
        for count in [62, 63, 64, 65, 128] {
            agrees_with_a_search(&Classes::List((1..=count).map(|number| number * 64).collect()));
            agrees_with_a_search(&Classes::List((1..=count).map(|number| number * 8192).collect()));
        }
    }

    #[test]
    fn four_per_doubling_wastes_at_most_a_quarter() {
        let table = ClassTable::new(&Classes::FourPerDoubling { min: 256, max: 1 << 20 }).expect("valid");
        for len in 257..=(1 << 20) {
            let capacity = table.sizes()[table.index(len)];
            assert!(capacity * 4 <= len * 5, "{len} gets {capacity}");
        }
    }

    #[test]
    fn impossible_lists_are_refused() {
        let many: Vec<usize> = (1..=129).map(|n| n * 64).collect();
        for list in [vec![], vec![0], vec![65], vec![32], vec![2 << 30], vec![128, 64], vec![64, 64], many] {
            assert!(ClassTable::new(&Classes::List(list.clone())).is_err(), "{list:?}");
        }
        for (min, max) in [(0, 1024), (128, 1024), (300, 1024), (768, 4096), (1024, 512), (256, 2 << 30)] {
            let error = ClassTable::new(&Classes::FourPerDoubling { min, max }).err().expect("impossible");
            assert!(error.message().contains("of four per doubling is"), "{error}");
        }
    }

    #[test]
    fn four_per_doubling_begin_with_the_smallest_and_end_with_the_largest() {
        for (min, max, sizes) in [
            (256, 256, &[256][..]),
            (256, 320, &[256, 320]),
            (512, 1100, &[512, 640, 768, 896, 1024, 1152]),
            (512, 1024, &[512, 640, 768, 896, 1024]),
        ] {
            let table = ClassTable::new(&Classes::FourPerDoubling { min, max }).expect("possible");
            assert_eq!(table.sizes(), sizes);
        }
        let most = ClassTable::new(&Classes::FourPerDoubling { min: 256, max: CLASS_MAX }).expect("possible");
        assert_eq!((most.sizes().len(), most.sizes().last()), (4 * 22 + 1, Some(&CLASS_MAX)));
    }
}
