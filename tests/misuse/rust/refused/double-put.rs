use millpond::{BufferPool, Error};

pub fn commit(pool: &BufferPool) -> Result<(), Error> {
    let lease = pool.get(1000)?;
    lease.put()?;
    lease.put() // HERE
}
