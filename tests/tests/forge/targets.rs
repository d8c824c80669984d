//! What guesses are tried on: millpond by lookup and by put, and a scheme that is easy to guess.

use millpond::raw;
use millpond::{BufferPool, ErrorKind, Site};

/// Something that hands out handles.
pub trait Target {
    fn get(&mut self) -> u64;
    fn end(&mut self, id: u64);
    /// A live handle of another pool.
    fn get_foreign(&mut self) -> u64;
    /// Whether a guess is taken for a handle.
    fn accepts(&mut self, guess: u64) -> bool;
}

/// How millpond is asked.
pub enum Ask {
    Lookup,
    Put,
}

pub struct Millpond {
    pub pool: BufferPool,
    pub other: BufferPool,
    pub ask: Ask,
    /// How many refusals were second puts and uses after the put: what the statistics must say, too.
    pub double_puts: u64,
    pub stale_uses: u64,
}

impl Millpond {
    pub fn new(ask: Ask) -> Millpond {
        let pool = |name| BufferPool::new(name).expect("the defaults agree");
        Millpond { pool: pool("guessed"), other: pool("another"), ask, double_puts: 0, stale_uses: 0 }
    }
}

impl Target for Millpond {
    fn get(&mut self) -> u64 {
        raw::get(self.pool.id(), 100, Site::NONE).expect("below the limit").id
    }

    fn end(&mut self, id: u64) {
        raw::put(self.pool.id(), id, None, Site::NONE).expect("a live one is accepted");
    }

    fn get_foreign(&mut self) -> u64 {
        raw::get(self.other.id(), 100, Site::NONE).expect("below the limit").id
    }

    fn accepts(&mut self, guess: u64) -> bool {
        let answer = match self.ask {
            Ask::Lookup => raw::lookup(guess).map(drop),
            Ask::Put => raw::put(self.pool.id(), guess, None, Site::NONE),
        };
        match answer.map_err(|error| error.kind()) {
            Ok(()) => return true,
            Err(ErrorKind::InvalidHandle) => {}
            Err(ErrorKind::DoublePut) => self.double_puts += 1,
            Err(ErrorKind::UseAfterPut) => self.stale_uses += 1,
            // A guess that met a live lease of the other pool would be this: as good as accepted.
            Err(ErrorKind::ForeignLease) => return true,
            Err(kind) => panic!("{guess:#x} is answered with {kind:?}"),
        }
        false
    }
}

/// Handles as many pools make them: the slot's index and a count of its tenants.
#[derive(Default)]
pub struct Counted {
    /// Each slot's count and whether it is live.
    slots: Vec<(u64, bool)>,
    free: Vec<usize>,
}

impl Counted {
    fn id(&self, index: usize) -> u64 {
        index as u64 | (self.slots[index].0 << 24)
    }
}

impl Target for Counted {
    fn get(&mut self) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, false));
            self.slots.len() - 1
        });
        self.slots[index] = (self.slots[index].0 + 1, true);
        self.id(index)
    }

    fn end(&mut self, id: u64) {
        let index = (id & 0xFF_FFFF) as usize;
        assert!(self.accepts(id));
        self.slots[index].1 = false;
        self.free.push(index);
    }

    fn get_foreign(&mut self) -> u64 {
        self.get()
    }

    fn accepts(&mut self, guess: u64) -> bool {
        let index = (guess & 0xFF_FFFF) as usize;
        self.slots.get(index).is_some_and(|slot| slot.1) && self.id(index) == guess
    }
}
