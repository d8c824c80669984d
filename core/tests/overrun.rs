//! What a put says of bytes that were written past the length: where they are, what they are, and no more than fits.

use millpond::{BufferPool, ClearPolicy, Lease};

const LEN: usize = 100;

fn pool(clear: ClearPolicy) -> BufferPool {
    BufferPool::builder().name("past").clear(clear).build().expect("a pool")
}

fn put(mut lease: Lease, places: impl IntoIterator<Item = usize>, byte: impl Fn(u8) -> u8) -> String {
    let data = lease.as_mut_ptr();
    for place in places {
        let there = data.wrapping_add(LEN + place);
        // SAFETY: inside the capacity of 512.
        let before = unsafe { there.read() };
        // SAFETY: as above; it is what is to be found.
        unsafe { there.write(byte(before)) };
    }
    lease.put().expect_err("written past its end").message()
}

fn said(places: impl IntoIterator<Item = usize>, byte: impl Fn(u8) -> u8) -> String {
    put(pool(ClearPolicy::OnPut).get(LEN).expect("a lease"), places, byte)
}

#[test]
fn the_bytes_are_shown_up_to_sixteen() {
    let text = said([0], |_| 0xee);
    assert!(
        text.starts_with("a lease of 100 bytes (capacity 512) of pool \"past\" was written past its end: "),
        "{text}"
    );
    assert!(text.contains(": byte 1 behind the length is 0xee; got at core/tests/overrun.rs:"), "{text}");
    let text = said(0..2, |_| 0xee);
    assert!(text.contains(": bytes 1 to 2 behind the length are 0xee ee; got"), "{text}");
    let text = said(0..16, |_| 0xee);
    assert!(text.contains(&format!(": bytes 1 to 16 behind the length are 0xee{}; got", " ee".repeat(15))), "{text}");
    let text = said(0..17, |_| 0xee);
    assert!(text.contains(&format!(": bytes 1 to 17 behind the length are 0xee{} …; got", " ee".repeat(15))), "{text}");
    let text = said(0..60, |_| 0xee);
    assert!(text.contains(&format!(": bytes 1 to 60 behind the length are 0xee{} …; got", " ee".repeat(15))), "{text}");
}

#[test]
fn the_first_and_the_last_are_named_wherever_they_are() {
    // Whatever stands there, its opposite is another byte.
    let flip = |byte: u8| !byte;
    let text = said([3], flip);
    assert!(text.contains(": byte 4 behind the length is 0x"), "{text}");
    for (first, last) in [(1, 7), (3, 18), (3, 19), (7, 9), (0, LEN), (5, 512 - LEN - 1), (5, 512 - LEN + 63)] {
        let text = said([first, last], flip);
        assert!(text.contains(&format!(": bytes {} to {} behind the length are 0x", first + 1, last + 1)), "{text}");
        let shown = text.split("0x").nth(1).and_then(|rest| rest.split(';').next()).expect("bytes");
        let more = shown.ends_with(" …");
        let count = shown.trim_end_matches(" …").split(' ').count();
        assert_eq!((count, more), ((last - first + 1).min(16), last - first > 15), "{text}");
    }
}

#[test]
fn behind_the_canary_only_a_pool_that_clears_at_put_knows_what_stood_there() {
    for (clear, last) in [(ClearPolicy::OnPut, 41), (ClearPolicy::OnGet, 1), (ClearPolicy::Never, 1)] {
        let text = put(pool(clear).get(LEN).expect("a lease"), [0, 40], |byte| !byte);
        let expected = if last == 1 { ": byte 1 behind".to_owned() } else { format!(": bytes 1 to {last} behind") };
        assert!(text.contains(&expected), "{clear:?}: {text}");
    }
}

#[test]
fn it_is_found_however_often_the_address_was_taken() {
    for times in 1..4 {
        let mut lease = pool(ClearPolicy::OnPut).get(LEN).expect("a lease");
        for _ in 1..times {
            lease.as_mut_ptr();
        }
        assert!(put(lease, [0], |byte| !byte).contains("byte 1 behind"), "{times}");
    }
}

#[test]
fn nothing_of_it_is_seen_by_the_next_tenant() {
    for clear in [ClearPolicy::OnPut, ClearPolicy::OnGet] {
        let pool = pool(clear);
        // Keeps the slab from going with its last buffer.
        let _keep = pool.get(LEN).expect("a lease");
        let lease = pool.get(LEN).expect("a lease");
        let data = lease.as_ptr();
        put(lease, 0..(512 - LEN + 64), |_| 0xee);
        // Cut from the same slab again.
        let lease = pool.get(512).expect("a lease");
        assert_eq!(lease.as_ptr(), data);
        assert!(lease.iter().all(|byte| *byte == 0), "{clear:?}");
    }
}

#[test]
fn a_guarded_lease_s_gap_is_looked_at_up_to_the_page() {
    let check = "sample:1".parse().expect("a mode");
    let pool = BufferPool::builder().name("past").check(check).build().expect("a pool");
    for (places, text) in
        [(vec![0], ": byte 1 behind"), (vec![27], ": byte 28 behind"), (vec![2, 27], ": bytes 3 to 28 behind")]
    {
        let lease = pool.get(LEN).expect("a lease");
        assert!(lease.is_guarded() && lease.capacity() == 128);
        let said = put(lease, places, |byte| !byte);
        assert!(said.contains(text), "{said}");
    }
    pool.stats().check().expect("the books");
}
