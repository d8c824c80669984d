//! Looks at what a lease knows of itself from inside.

use super::*;

#[test]
fn a_state_keeps_its_parts_apart() {
    for number in [0, 1, 6, 7, 8, 0xfffe] {
        let pool = State::of_pool(cache::id_of(number, 0x1234_5678_9abc), ClearPolicy::OnPut);
        assert_eq!(pool.front().number(), number % 8);
        for class in [0, 1, 33, NO_CLASS - 1, NO_CLASS] {
            let mut state = State::clean(pool, class);
            let parts = |state: State| (state.front(), state.class());
            assert_eq!(parts(state), (pool.front(), class));
            assert!(state.is_clean() && !state.is_armed());
            for _ in 0..2 {
                state.set_armed(true);
                assert!(state.is_armed() && !state.is_clean());
            }
            assert_eq!((state.dirty(100), parts(state)), (0, (pool.front(), class)));
            for (dirty, len) in [(1, 1), (100, 100), (DIRTY_ALL as usize - 1, DIRTY_ALL as usize)] {
                state.set_dirty(dirty);
                assert_eq!((state.dirty(len), state.is_armed(), parts(state)), (dirty, true, (pool.front(), class)));
            }
            // From one gigabyte on the whole length counts.
            for len in [DIRTY_ALL as usize, DIRTY_ALL as usize + 1, 1 << 40] {
                state.set_dirty(len);
                assert_eq!((state.dirty(len), state.is_armed(), parts(state)), (len, true, (pool.front(), class)));
            }
            for _ in 0..2 {
                state.set_armed(false);
                assert!(!state.is_armed() && !state.is_clean());
            }
            state.set_dirty(0);
            assert!(state.is_clean() && !state.is_armed());
            state.set_dirty_all();
            assert_eq!((state.dirty(100), state.is_armed(), parts(state)), (100, false, (pool.front(), class)));
            assert!(!state.is_clean());
        }
    }
}

#[test]
fn what_nobody_clears_at_put_is_clean_until_a_canary_stands() {
    for clear in [ClearPolicy::Never, ClearPolicy::OnGet] {
        let mut state = State::clean(State::of_pool(cache::id_of(0, 0x1234 << 48), clear), 3);
        state.set_dirty_all();
        assert!(state.is_clean());
        assert_eq!((state.dirty(7), state.front(), state.class()), (7, cache::front_of(0), 3));
        state.set_armed(true);
        assert!(!state.is_clean());
        state.set_dirty(0);
        assert!(!state.is_clean());
    }
}

#[test]
fn a_lease_knows_the_way_to_its_magazine() {
    let pool = BufferPool::new("ways").expect("a pool");
    for len in [10, 600, 5000] {
        let lease = pool.get(len).expect("a lease");
        let class = pool.class_sizes().iter().position(|size| *size >= len).expect("a class");
        assert_eq!((lease.state.class(), lease.state.front()), (class, cache::front_of(pool.id())));
        assert!(lease.state.is_clean());
    }
    // One for this lease alone leads to none.
    assert_eq!(pool.get(20 << 20).expect("a lease").state.class(), NO_CLASS);
    let mut lease = pool.get(10).expect("a lease");
    assert_eq!((lease.dirty(), lease.state.is_armed()), (0, false));
    lease.set_written(3);
    lease.set_written(2);
    assert_eq!(lease.dirty(), 3);
    lease[9] = 1;
    assert_eq!((lease.dirty(), lease.state.is_armed()), (10, false));
    lease.as_mut_ptr();
    assert!(lease.state.is_armed());
    assert!(lease.disarm() && !lease.state.is_armed());
    assert!(lease.disarm(), "no canary stands any more");
}

#[test]
fn what_a_lease_that_is_cut_short_held_is_cleared_from_its_new_end_to_where_it_was_written() {
    const CAPACITY: usize = 1 << 20;
    /// From here up a buffer that nobody used most of is looked at for untouched pages.
    const LOOKED_AT: usize = 256 << 10;
    let pool = BufferPool::builder().name("cut").classes(crate::Classes::List(vec![CAPACITY])).build().expect("a pool");
    for round in 0..2 {
        for (from, to) in [
            (0, 100),
            (100, 300),
            (4096, 12_288),
            (5000, 5000 + LOOKED_AT - 1),
            (5000, 5000 + LOOKED_AT),
            (8192, 8192 + LOOKED_AT),
            (4095, CAPACITY / 2 + 1),
            (5000, CAPACITY),
        ] {
            let mut lease = pool.get(CAPACITY).expect("a lease");
            lease.fill(7);
            lease.state.set_dirty(to);
            lease.truncate(from);
            assert_eq!((lease.len(), lease.dirty()), (from, from));
            // SAFETY: the lease's buffer has this capacity, and nobody writes.
            let bytes = unsafe { std::slice::from_raw_parts(lease.data(), CAPACITY) };
            let cleared = bytes.iter().enumerate().all(|(place, byte)| (*byte == 0) == (from..to).contains(&place));
            assert!(cleared, "{from} to {to}, round {round}");
        }
        // In the next round nobody looks any more.
        pool.get(CAPACITY).expect("a lease").fill(7);
    }
}
