use std::thread;

use millpond::{BufferPool, Error};

pub fn commit(pool: &BufferPool) -> Result<(), Error> {
    let lease = pool.get(1000)?;
    let one = thread::spawn(move || lease.put());
    let two = thread::spawn(move || lease.put()); // HERE
    one.join().expect("a thread")?;
    two.join().expect("a thread")
}
