//! A binding's stock of buffers, the words that it shares with the pool, and its end.

use super::common::*;
use crate::ErrorKind;
use crate::buffer::raw::Stock;
use crate::buffer::registry;

#[test]
fn a_closed_stock_stays_shut() {
    explore("a stock that settles while its pool closes stays shut", None, || {
        let pool = pool_without_caches();
        let id = pool.id();
        let stock = Stock::new(&pool).expect("memory");
        let block = registry::lock().member(id).expect("registered").blocks[0];
        block.ask();
        let other = spawn(move || block.shut());
        stock.settled();
        other.join();
        assert!(block.is_shut());
        drop(stock);
    });
}

#[test]
fn a_stock_that_is_asked_twice_settles_once() {
    explore("a stock that is asked while it is shut stays shut", None, || {
        let pool = pool_without_caches();
        let id = pool.id();
        let stock = Stock::new(&pool).expect("memory");
        let block = registry::lock().member(id).expect("registered").blocks[0];
        let other = spawn(move || block.ask());
        block.shut();
        other.join();
        stock.settled();
        assert!(block.is_shut());
        drop(stock);
    });
}

#[test]
fn a_token_is_redeemed_once() {
    explore("of two uses of a stock's token, one is done", None, || {
        let pool = pool_without_caches();
        let stock = Stock::new(&pool).expect("memory");
        let token = stock.take(0).expect("a buffer").token;
        let slot = crate::buffer::slot::find(token).expect("a slot");
        let other = spawn(move || slot.end_handle(token));
        let mine = stock.retire(token).map_err(|error| error.kind());
        let theirs = other.join();
        assert!(mine.is_ok() != theirs);
        assert!(matches!(mine, Ok(()) | Err(ErrorKind::DoublePut)), "{mine:?}");
        // The books have the buffer as idle nowhere; the pool is not looked at any more.
        drop(stock);
        std::mem::forget(pool);
        registry::forget_all();
    });
}

#[test]
fn a_stock_ends_while_statistics_are_read() {
    explore("a stock that ends while statistics are read is counted once", None, || {
        let pool = pool_without_caches();
        let id = pool.id();
        let stock = Stock::new(&pool).expect("memory");
        let buffer = stock.take(0).expect("a buffer");
        stock.give(buffer.token).expect("its own");
        let block = registry::lock().member(id).expect("registered").blocks[0];
        // One get and one put, as the owner counts them.
        block.count(0, 1.0, 1.0);
        let theirs = pool.clone();
        let other = spawn(move || {
            let stats = theirs.stats();
            (stats.gets, stats.puts)
        });
        drop(stock);
        assert_eq!(other.join(), (1, 1), "neither lost nor twice");
        at_rest(&pool, 0);
    });
}

#[test]
fn a_stock_is_not_listed_open_by_a_closed_pool() {
    explore("a stock that is made while the pool closes is shut", Some(3), || {
        let pool = pool_without_caches();
        let id = pool.id();
        let theirs = pool.clone();
        let other = spawn(move || theirs.close().expect("not the default pool"));
        let stock = Stock::new(&pool);
        other.join();
        if let Ok(stock) = stock {
            assert!(registry::lock().member(id).expect("registered").blocks[0].is_shut());
            drop(stock);
        }
    });
}
