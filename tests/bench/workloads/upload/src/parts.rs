//! Memory for one part of a body, from each of the peers.

use std::sync::Mutex;

use bytes::{Bytes, BytesMut};
use millpond::{BufferPool, ClearPolicy, Lease, Writer};

use crate::Failed;

/// Where parts are from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Millpond,
    MillpondNoclear,
    Vec,
    Zeroed,
    Kept,
    Reclaimed,
    Collected,
}

pub const NAMES: [(&str, Peer); 8] = [
    ("millpond", Peer::Millpond),
    ("millpond-noclear", Peer::MillpondNoclear),
    ("Vec", Peer::Vec),
    ("Vec, glibc-tuned", Peer::Vec),
    ("vec![0; n]", Peer::Zeroed),
    ("Vec list", Peer::Kept),
    ("BytesMut", Peer::Reclaimed),
    ("collect", Peer::Collected),
];

pub const SETTINGS: [(&str, &str); 6] = [
    ("millpond", "a pool with nothing but defaults; each part is a Writer"),
    ("millpond-noclear", "the same with ClearPolicy::Never"),
    ("Vec", "Vec::with_capacity(n) for each part"),
    ("Vec list", "a Mutex around a Vec of Vecs, cleared to length 0 when they come back"),
    ("BytesMut", "one for each connection: reserve(n), then split().freeze()"),
    ("collect", "the whole body at once: body.collect().await?.to_bytes(), then cut"),
];

impl Peer {
    pub fn named(name: &str) -> Option<Peer> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, peer)| *peer)
    }
}

/// What all connections take their parts from.
pub struct Source {
    peer: Peer,
    size: usize,
    pool: Option<BufferPool>,
    kept: Mutex<Vec<Vec<u8>>>,
}

/// A part that is being filled.
pub enum Open {
    Writer(Writer),
    Vec(Vec<u8>),
    Zeroed(Vec<u8>, usize),
    Reclaimed,
}

/// A part that is complete.
pub enum Part {
    Lease(Lease),
    Vec(Vec<u8>),
    Zeroed(Vec<u8>, usize),
    Bytes(Bytes),
}

impl Part {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Part::Lease(lease) => lease,
            Part::Vec(vec) => vec,
            Part::Zeroed(vec, filled) => &vec[..*filled],
            Part::Bytes(bytes) => bytes,
        }
    }
}

impl Source {
    pub fn new(peer: Peer, size: usize) -> Result<Source, Failed> {
        let pool = match peer {
            Peer::Millpond => Some(BufferPool::new("upload")?),
            Peer::MillpondNoclear => Some(BufferPool::builder().name("upload").clear(ClearPolicy::Never).build()?),
            _ => None,
        };
        Ok(Source { peer, size, pool, kept: Mutex::default() })
    }

    pub fn size(&self) -> usize {
        self.size
    }

    pub fn collects(&self) -> bool {
        self.peer == Peer::Collected
    }

    pub fn open(&self) -> Result<Open, Failed> {
        if let Some(pool) = &self.pool {
            return Ok(Open::Writer(pool.writer(self.size)?));
        }
        Ok(match self.peer {
            Peer::Zeroed => Open::Zeroed(vec![0; self.size], 0),
            Peer::Kept => {
                let found = self.kept.lock().map_err(|_| "a thread panicked")?.pop();
                Open::Vec(found.unwrap_or_else(|| Vec::with_capacity(self.size)))
            }
            Peer::Reclaimed => Open::Reclaimed,
            _ => Open::Vec(Vec::with_capacity(self.size)),
        })
    }

    /// Copies what fits from the front of `data`. Says whether the part is full.
    pub fn fill(&self, open: &mut Open, data: &mut Bytes, scratch: &mut BytesMut) -> bool {
        let filled = match open {
            Open::Writer(writer) => writer.len(),
            Open::Vec(vec) => vec.len(),
            Open::Zeroed(_, filled) => *filled,
            Open::Reclaimed => scratch.len(),
        };
        let now = data.split_to(data.len().min(self.size - filled));
        match open {
            Open::Writer(writer) => {
                // It fits, so that the whole of it is taken.
                let _ = std::io::Write::write(writer, &now);
            }
            Open::Vec(vec) => vec.extend_from_slice(&now),
            Open::Zeroed(vec, filled) => {
                vec[*filled..*filled + now.len()].copy_from_slice(&now);
                *filled += now.len();
            }
            Open::Reclaimed => {
                scratch.reserve(self.size - filled);
                scratch.extend_from_slice(&now);
            }
        }
        filled + now.len() == self.size
    }

    pub fn close(&self, open: Open, scratch: &mut BytesMut) -> Part {
        match open {
            Open::Writer(writer) => Part::Lease(writer.finish()),
            Open::Vec(vec) => Part::Vec(vec),
            Open::Zeroed(vec, filled) => Part::Zeroed(vec, filled),
            Open::Reclaimed => Part::Bytes(scratch.split().freeze()),
        }
    }

    /// Lets go of a part.
    pub fn give(&self, part: Part) -> Result<(), Failed> {
        match part {
            Part::Lease(lease) => lease.put()?,
            Part::Vec(mut vec) if self.peer == Peer::Kept => {
                vec.clear();
                self.kept.lock().map_err(|_| "a thread panicked")?.push(vec);
            }
            Part::Vec(_) | Part::Zeroed(..) | Part::Bytes(_) => {}
        }
        Ok(())
    }
}
