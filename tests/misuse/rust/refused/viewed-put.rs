use millpond::{BufferPool, Error};

pub fn commit(pool: &BufferPool) -> Result<u8, Error> {
    let lease = pool.get(1000)?;
    let view = &lease[100..200];
    lease.put()?; // HERE
    Ok(view[0])
}
