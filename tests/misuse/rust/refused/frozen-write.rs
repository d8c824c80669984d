use millpond::{BufferPool, Error};

pub fn commit(pool: &BufferPool) -> Result<(), Error> {
    let mut shared = pool.get(1000)?.freeze();
    shared[100] = b'x'; // HERE
    Ok(())
}
