//! Stocks: what a binding that serves gets and puts itself takes and gives back, and what it is told.

use millpond::raw::{self, Stock, StockBuffer};
use millpond::{BufferPool, Check, Classes, ClearPolicy, ErrorKind, LimitPolicy, Site};

/// The counters of a stock, as its owner in another language writes them.
struct Counters(*mut f64);

impl Counters {
    fn of(stock: &Stock) -> Counters {
        Counters(stock.counters().0)
    }

    fn get(&self, index: usize) -> f64 {
        // SAFETY: inside the block, which stays mapped.
        unsafe { self.0.wrapping_add(index).read() }
    }

    fn add(&self, index: usize, change: f64) {
        let value = self.get(index) + change;
        // SAFETY: inside the block, of which this test is the owner.
        unsafe { self.0.wrapping_add(index).write(value) };
    }

    fn gate(&self) -> f64 {
        self.get(0)
    }

    /// A get of `len` bytes of a class, of a buffer that was not idle in the stock.
    fn count_get(&self, class: usize, len: usize) {
        self.add(2 + 3 * class, 1.0);
        self.add(1, len as f64);
    }

    fn count_put(&self, class: usize, len: usize) {
        self.add(2 + 3 * class + 1, 1.0);
        self.add(1, -(len as f64));
    }

    fn count_idle(&self, class: usize, change: f64) {
        self.add(2 + 3 * class + 2, change);
    }
}

fn small(name: &str) -> BufferPool {
    BufferPool::builder().name(name).classes(Classes::List(vec![512, 65536])).build().expect("a pool")
}

fn write(buffer: &StockBuffer, byte: u8) {
    // SAFETY: the buffer is the stock's, and that long.
    unsafe { buffer.data.write_bytes(byte, buffer.capacity) };
}

fn kind<T>(result: millpond::Result<T>) -> ErrorKind {
    result.err().expect("refused").kind()
}

#[test]
fn a_lease_through_a_stock_is_in_the_books() {
    let pool = small("served");
    let stock = Stock::new(&pool).expect("a stock");
    assert_eq!((stock.pool().name(), stock.counters().1), ("served", 2 + 3 * 2));
    let counters = Counters::of(&stock);
    let buffer = stock.take(0).expect("a buffer");
    counters.count_get(0, 100);
    let stats = pool.stats();
    stats.check().expect("the books");
    assert_eq!((stats.gets, stats.in_use, stats.requested_bytes), (1, 1, 100));
    write(&buffer, 9);
    counters.count_put(0, 100);
    stock.put(buffer.token, 512).expect("the stock's");
    let stats = pool.stats();
    stats.check().expect("the books");
    assert_eq!((stats.puts, stats.in_use, stats.retained_buffers, stats.discarded), (1, 0, 1, 0));
    // The pool cleared it.
    assert!(pool.get(512).expect("a lease").iter().all(|byte| *byte == 0));
    // What it counted stays in the books when it ends.
    drop(stock);
    assert_eq!((pool.stats().gets, pool.stats().puts), (2, 2));
    pool.stats().check().expect("the books");
}

#[test]
fn tokens_are_valid_once_and_in_their_own_pool() {
    let (pool, other) = (small("mine"), small("yours"));
    let (stock, theirs) = (Stock::new(&pool).expect("a stock"), Stock::new(&other).expect("a stock"));
    let buffer = stock.take(1).expect("a buffer");
    let uses: [fn(&Stock, u64) -> millpond::Result<()>; 7] = [
        |stock, token| stock.give(token),
        |stock, token| stock.put(token, 0),
        |stock, token| stock.lose(token, 0),
        |stock, token| stock.retire(token),
        |stock, token| stock.overrun(token),
        |stock, token| stock.detach(token, 0).map(drop),
        |stock, token| stock.leaked(token, 0),
    ];
    for act in uses {
        let error = act(&theirs, buffer.token).expect_err("another pool's");
        assert_eq!(error.kind(), ErrorKind::ForeignLease, "{error}");
        assert!(error.message().contains("of pool \"mine\" was put into pool \"yours\""), "{error}");
        for forged in [0, 1, buffer.token ^ 1, buffer.token ^ (1 << 40), u64::MAX] {
            // With three bits for the generation, one in eight is a handle that was.
            if cfg!(millpond_short_generations) {
                continue;
            }
            assert_eq!(kind(act(&stock, forged)), ErrorKind::InvalidHandle, "{forged:#x}");
        }
    }
    stock.give(buffer.token).expect("once");
    for act in uses {
        let kind = kind(act(&stock, buffer.token));
        assert!(matches!(kind, ErrorKind::DoublePut | ErrorKind::UseAfterPut), "{kind:?}");
    }
    assert_eq!(other.stats().foreign_puts, uses.len() as u64);
    pool.stats().check().expect("the books");
}

#[test]
fn what_cannot_be_taken_is_refused() {
    let pool = BufferPool::builder().name("full").classes(Classes::List(vec![512, 1024])).max_bytes(1024);
    let pool = pool.build().expect("a pool");
    let stock = Stock::new(&pool).expect("a stock");
    let error = stock.take(2).expect_err("no such class");
    assert!(error.message().contains("class is 2; pool \"full\" has 2 classes"), "{error}");
    let first = stock.take(1).expect("a buffer");
    assert_eq!(kind(stock.take(0)), ErrorKind::Exhausted);
    // What a lease's put leaves idle makes room.
    stock.give(first.token).expect("the stock's");
    drop(pool.get(600).expect("a lease"));
    let second = stock.take(0).expect("room was made");
    assert_eq!(kind(stock.detach(second.token, 513)), ErrorKind::InvalidArgument);
    stock.give(second.token).expect("still the stock's");
    pool.close().expect("not the default pool");
    assert_eq!(kind(stock.take(0)), ErrorKind::Closed);
    pool.stats().check().expect("the books");
}

#[test]
fn a_stock_at_the_limit_may_go_beyond_it_never() {
    let pool = BufferPool::builder()
        .name("unpooled")
        .classes(Classes::List(vec![512]))
        .max_bytes(512)
        .on_limit(LimitPolicy::Unpooled)
        .build()
        .expect("a pool");
    let stock = Stock::new(&pool).expect("a stock");
    let only = stock.take(0).expect("a buffer");
    assert_eq!(kind(stock.take(0)), ErrorKind::Exhausted);
    stock.give(only.token).expect("the stock's");
}

#[test]
fn a_closed_pool_shuts_its_stocks_and_keeps_nothing_of_them() {
    let pool = small("shut");
    let stock = Stock::new(&pool).expect("a stock");
    let counters = Counters::of(&stock);
    let (idle, put) = (stock.take(0).expect("a buffer"), stock.take(0).expect("a buffer"));
    counters.count_idle(0, 1.0);
    counters.count_get(0, 10);
    assert_eq!(counters.gate(), 0.0);
    assert!(stock.may_keep(0) && !stock.may_keep(2));
    pool.close().expect("not the default pool");
    assert_eq!(counters.gate(), 1.0);
    stock.settled();
    assert_eq!(counters.gate(), 1.0, "a closed pool stays closed");
    assert!(!stock.may_keep(0));
    counters.count_idle(0, -1.0);
    stock.give(idle.token).expect("the stock's");
    counters.count_put(0, 10);
    stock.put(put.token, 10).expect("the stock's");
    let stats = pool.stats();
    stats.check().expect("the books");
    // What was idle is trimmed, what was put is discarded.
    assert_eq!((stats.trimmed_bytes, stats.discarded, stats.retained_buffers), (512, 1, 0));
    assert_eq!(stats.created, stats.destroyed);
    // A stock of a closed pool is shut from the start.
    let late = Stock::new(&pool).expect("a stock");
    assert_eq!(Counters::of(&late).gate(), 1.0);
}

#[test]
fn a_stock_is_asked_for_its_idle_buffers_when_others_need_the_room() {
    let pool = BufferPool::builder().name("asked").classes(Classes::List(vec![512])).max_bytes(1024).build();
    let pool = pool.expect("a pool");
    let stock = Stock::new(&pool).expect("a stock");
    let counters = Counters::of(&stock);
    let kept = [stock.take(0).expect("a buffer"), stock.take(0).expect("a buffer")];
    counters.count_idle(0, 2.0);
    assert_eq!(kind(pool.get(10)), ErrorKind::Exhausted);
    assert_eq!(counters.gate(), 2.0);
    for buffer in kept {
        counters.count_idle(0, -1.0);
        stock.give(buffer.token).expect("the stock's");
    }
    stock.settled();
    assert_eq!(counters.gate(), 0.0);
    drop(pool.get(10).expect("there is room"));
    pool.stats().check().expect("the books");
}

#[test]
fn a_stock_keeps_more_than_its_share_only_as_far_as_the_pool_may_retain() {
    let pool = BufferPool::builder()
        .name("sharing")
        .classes(Classes::List(vec![4096]))
        .max_retained_bytes(512 << 10)
        .thread_cache_bytes(32 << 10)
        .build()
        .expect("a pool");
    let stock = Stock::new(&pool).expect("a stock");
    let counters = Counters::of(&stock);
    let share = stock.share();
    assert_eq!(share, 32 << 10);
    let mut kept = Vec::new();
    while kept.len() * 4096 < share {
        kept.push(stock.take(0).expect("a buffer"));
        counters.count_idle(0, 1.0);
    }
    let within = kept.len();
    while stock.may_keep(0) {
        kept.push(stock.take(0).expect("a buffer"));
        counters.count_idle(0, 1.0);
        assert!(kept.len() <= 128, "more than may be retained");
    }
    assert!(kept.len() > within, "something beyond the share");
    // All that may be retained, but for what is reserved for this thread: an eighth of half of it less the share.
    assert_eq!(kept.len() * 4096, (512 << 10) - (28 << 10));
    let stats = pool.stats();
    stats.check().expect("the books");
    assert_eq!(stats.retained_bytes, kept.len() as u64 * 4096);
    for buffer in kept {
        counters.count_idle(0, -1.0);
        stock.give(buffer.token).expect("the stock's");
    }
    assert!(stock.may_keep(0) || pool.stats().retained_bytes > 0);
    pool.stats().check().expect("the books");
}

#[test]
fn retired_and_lost_memory_is_never_handed_out_again() {
    for class in [0, 1] {
        let pool = small("retired");
        let stock = Stock::new(&pool).expect("a stock");
        let counters = Counters::of(&stock);
        let (retired, lost) = (stock.take(class).expect("a buffer"), stock.take(class).expect("a buffer"));
        write(&retired, 1);
        stock.retire(retired.token).expect("the stock's");
        counters.count_get(class, 7);
        stock.lose(lost.token, 7).expect("the stock's");
        let stats = pool.stats();
        stats.check().expect("the books");
        assert_eq!((stats.created, stats.destroyed, stats.leaked, stats.lost), (2, 2, 1, 1));
        assert_eq!((stats.in_use, stats.requested_bytes), (0, 0));
        for _ in 0..50 {
            let next = stock.take(class).expect("a buffer");
            assert!(next.data != retired.data && next.data != lost.data);
        }
        drop(stock);
        drop(pool);
        // SAFETY: memory that was given up stays mapped for ever.
        assert_eq!(unsafe { retired.data.read() }, 1);
    }
}

#[test]
fn an_overrun_buffer_is_destroyed_and_nothing_of_it_stays() {
    for clear in [ClearPolicy::OnPut, ClearPolicy::Never] {
        let classes = Classes::List(vec![512]);
        let pool = BufferPool::builder().name("overrun").classes(classes).clear(clear).build().expect("a pool");
        let stock = Stock::new(&pool).expect("a stock");
        let counters = Counters::of(&stock);
        // Keeps the slab from going with its last buffer.
        let _keep = pool.get(1).expect("a lease");
        let buffer = stock.take(0).expect("a buffer");
        let mut behind = pool.get(512).expect("a lease");
        behind.fill(7);
        counters.count_get(0, 512);
        write(&buffer, 5);
        // SAFETY: inside the buffer's tail.
        unsafe { buffer.data.wrapping_add(512).write_bytes(6, 64) };
        counters.count_put(0, 512);
        stock.overrun(buffer.token).expect("the stock's");
        let stats = pool.stats();
        stats.check().expect("the books");
        assert_eq!((stats.discarded, stats.created, stats.destroyed), (1, 3, 1));
        assert!(behind.iter().all(|byte| *byte == 7), "the neighbour's stays");
        // Cut from the same slab again.
        let next = stock.take(0).expect("a buffer");
        assert_eq!(next.data, buffer.data);
        if clear == ClearPolicy::OnPut {
            // SAFETY: the stock's own, with its tail.
            let bytes = unsafe { std::slice::from_raw_parts(next.data, 512 + 64) };
            assert!(bytes.iter().all(|byte| *byte == 0));
        }
    }
}

#[test]
fn a_detached_buffer_leaves_and_a_lost_lease_comes_back_cleared() {
    let pool = small("parting");
    let stock = Stock::new(&pool).expect("a stock");
    let counters = Counters::of(&stock);
    for (class, capacity) in [(0, 512), (1, 65536)] {
        let buffer = stock.take(class).expect("a buffer");
        counters.count_get(class, capacity);
        write(&buffer, 3);
        let detached = stock.detach(buffer.token, capacity).expect("memory");
        assert!(detached.len() == capacity && detached.iter().all(|byte| *byte == 3));
        let buffer = stock.take(class).expect("a buffer");
        counters.count_get(class, capacity);
        write(&buffer, 4);
        stock.leaked(buffer.token, capacity).expect("the stock's");
        assert!(pool.get(capacity).expect("a lease").iter().all(|byte| *byte == 0));
    }
    let stats = pool.stats();
    stats.check().expect("the books");
    assert_eq!((stats.detached, stats.leaked, stats.in_use, stats.requested_bytes), (2, 2, 0, 0));
}

#[test]
fn what_a_stock_gives_back_is_held_back_in_the_mode_that_does_so() {
    let pool = small("held back");
    pool.set_check(Check::Full).expect("not off");
    let stock = Stock::new(&pool).expect("a stock");
    let buffer = stock.take(0).expect("a buffer");
    stock.give(buffer.token).expect("the stock's");
    // SAFETY: held back and filled with a pattern, so that nobody else has it.
    assert_eq!(unsafe { buffer.data.read() }, 0xdb);
    assert_ne!(stock.take(0).expect("a buffer").data, buffer.data);
    assert_eq!(pool.stats().retained_buffers, 1);
    pool.stats().check().err();
}

#[test]
fn a_lease_of_a_stock_that_is_put_by_handle_elsewhere_is_foreign() {
    let (pool, other) = (small("stocked"), small("by handle"));
    let stock = Stock::new(&pool).expect("a stock");
    let buffer = stock.take(0).expect("a buffer");
    let id = raw::retain(&other);
    let error = raw::put(id, buffer.token, None, Site::interned("put.c", 5, "")).expect_err("another pool's");
    assert_eq!(error.kind(), ErrorKind::ForeignLease);
    let text = error.message();
    assert!(
        text.starts_with("a lease of pool \"stocked\" was put into pool \"by handle\" at put.c:5"),
        "its length is the owner's: {text}"
    );
    raw::release(id).expect("retained");
    stock.give(buffer.token).expect("still the stock's");
}

#[test]
fn blocks_are_used_again_and_begin_at_nothing() {
    let pool = small("blocks");
    let stock = Stock::new(&pool).expect("a stock");
    let counters = Counters::of(&stock);
    counters.count_get(0, 3);
    counters.count_put(0, 3);
    let address = stock.counters().0;
    drop(stock);
    // Another test may take it first; this pool's next stock begins at nothing all the same.
    let stock = Stock::new(&pool).expect("a stock");
    let counters = Counters::of(&stock);
    assert!((0..8).all(|index| counters.get(index) == 0.0));
    let stats = pool.stats();
    stats.check().expect("the books");
    assert_eq!((stats.gets, stats.puts), (1, 1));
    // SAFETY: blocks stay mapped for the life of the process.
    let _ = unsafe { address.read() };
    // However many there were one after another, they take no more memory than there are at a time, in all tests.
    let places: std::collections::HashSet<_> =
        (0..1000).map(|_| Stock::new(&pool).expect("a stock").counters().0).collect();
    assert!(places.len() < 100, "{} blocks", places.len());
}

#[test]
fn a_stock_made_while_nothing_was_kept_gets_its_share_later() {
    let pool = small("later");
    pool.set_check(Check::Sites).expect("not off");
    let stock = Stock::new(&pool).expect("a stock");
    assert_eq!(stock.share(), 0);
    pool.set_check(Check::On).expect("not off");
    let share = stock.share();
    assert!(share >= 16 << 10, "{share}");
    assert_eq!(stock.share(), share);
    drop(stock);
    pool.stats().check().expect("the books");
}

#[test]
fn a_token_whose_buffer_is_gone_is_over() {
    let pool = small("gone");
    let stock = Stock::new(&pool).expect("a stock");
    let buffer = stock.take(1).expect("a buffer");
    stock.give(buffer.token).expect("the stock's");
    assert_eq!(pool.trim(), 65536);
    let error = stock.give(buffer.token).expect_err("over");
    assert_eq!(error.kind(), ErrorKind::DoublePut);
    assert!(error.message().contains("put") && error.message().contains("second time"), "{error}");
}
