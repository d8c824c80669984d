//! The process that sends: for each line on its input a body on every connection.

use std::io::{self, BufRead, Read, Write};
use std::net::TcpStream;
use std::thread;

use crate::{BODY, CONNECTIONS, Failed};

pub fn send(port: u16) -> Result<(), Failed> {
    let connect = |_| TcpStream::connect(("127.0.0.1", port));
    let mut connections = (0..CONNECTIONS).map(connect).collect::<io::Result<Vec<_>>>()?;
    for line in io::stdin().lock().lines() {
        line?;
        thread::scope(|scope| {
            let sending: Vec<_> = connections.iter_mut().map(|connection| scope.spawn(|| post(connection))).collect();
            sending.into_iter().try_for_each(|one| one.join().map_err(|_| "a sender panicked")?)
        })?;
        println!("done");
        io::stdout().flush()?;
    }
    Ok(())
}

fn post(connection: &mut TcpStream) -> Result<(), Failed> {
    write!(connection, "POST / HTTP/1.1\r\nhost: bench\r\ncontent-length: {BODY}\r\n\r\n")?;
    let mut piece = vec![0; 1 << 20];
    for start in (0..BODY).step_by(piece.len()) {
        for page in (0..piece.len()).step_by(4096) {
            piece[page] = ((start + page) / 4096 * 31) as u8;
        }
        connection.write_all(&piece)?;
    }
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        connection.read_exact(&mut byte)?;
        answer.push(byte[0]);
    }
    if answer.starts_with(b"HTTP/1.1 204") { Ok(()) } else { Err(String::from_utf8_lossy(&answer).into()) }
}
