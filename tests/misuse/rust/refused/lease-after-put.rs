use millpond::{BufferPool, Error};

pub fn commit(pool: &BufferPool) -> Result<u8, Error> {
    let lease = pool.get(1000)?;
    lease.put()?;
    Ok(lease[100]) // HERE
}
