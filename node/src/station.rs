//! Joins one pool to one environment: the stock that JavaScript's magazines live on, and the buffers it has out.

use std::cell::{Cell, RefCell};

use millpond::raw::{self, Stock, StockLease};
use millpond::{BufferPool, Site};

use crate::environment::Environment;
use crate::handover::Moved;
use crate::js::{Js, Outcome, Value, internal};
use crate::memory::{Arc, Rc, push};
use crate::rows::Rows;
use crate::slab::{Origin, Slab};

/// Counters before those of the first class, and per class: gets, puts, idle.
const CLASS_FIRST: usize = 2;
const CLASS_STRIDE: usize = 3;
const CLASS_IDLE: usize = 2;

/// A buffer's number: whose it is, or that of the one that was freed before it, if any.
enum Place {
    Held(Rc<Slab>),
    Free(Option<usize>),
}

/// The buffers by their numbers. A number that is free is part of a list, so that to free one needs no memory.
#[derive(Default)]
struct Slabs {
    table: Vec<Place>,
    free: Option<usize>,
    held: usize,
    admitted: u32,
}

impl Slabs {
    /// Returns a free number, which stays free.
    fn number(&mut self) -> Outcome<usize> {
        if let Some(free) = self.free {
            return Ok(free);
        }
        push(&mut self.table, Place::Free(None), "the table of the buffers")?;
        Ok(*self.free.insert(self.table.len() - 1))
    }

    /// Gives the number that was returned last to a buffer.
    fn hold(&mut self, slab: Rc<Slab>) {
        let index = slab.index;
        if let Place::Free(next) = std::mem::replace(&mut self.table[index], Place::Held(slab)) {
            self.free = next;
            self.held += 1;
        }
    }

    /// Frees a number, unless it is free.
    fn release(&mut self, index: usize) -> Option<Rc<Slab>> {
        let place = self.table.get_mut(index).filter(|place| matches!(place, Place::Held(_)))?;
        let held = std::mem::replace(place, Place::Free(self.free));
        self.free = Some(index);
        self.held -= 1;
        if let Place::Held(slab) = held { Some(slab) } else { None }
    }

    fn get(&self, index: usize) -> Option<&Rc<Slab>> {
        self.table.get(index).and_then(Place::slab)
    }

    fn iter(&self) -> impl Iterator<Item = &Rc<Slab>> {
        self.table.iter().filter_map(Place::slab)
    }
}

impl Place {
    fn slab(&self) -> Option<&Rc<Slab>> {
        if let Place::Held(slab) = self { Some(slab) } else { None }
    }
}

/// A pool as one environment sees it.
///
/// *Thread-bound:* to the environment's thread. *Fork:* Node does not fork.
pub(crate) struct Station {
    pool: BufferPool,
    stock: Stock,
    rows: Arc<Rows>,
    environment: Rc<Environment>,
    number: usize,
    slabs: RefCell<Slabs>,
    /// JavaScript's pool object is gone; the station goes with its last buffer.
    released: Cell<bool>,
}

impl Station {
    pub(crate) fn open(environment: &Rc<Environment>, pool: BufferPool) -> Outcome<Rc<Station>> {
        environment.add(|number| {
            let stock = Stock::new(&pool)?;
            let rows = Rows::new(pool.id(), environment.thread())?;
            let station = Station {
                pool,
                stock,
                rows,
                environment: environment.clone(),
                number,
                slabs: RefCell::default(),
                released: Cell::new(false),
            };
            Rc::new(station, "a pool's state")
        })
    }

    pub(crate) fn pool(&self) -> &BufferPool {
        &self.pool
    }

    pub(crate) fn stock(&self) -> &Stock {
        &self.stock
    }

    pub(crate) fn rows(&self) -> &Arc<Rows> {
        &self.rows
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }

    pub(crate) fn number(&self) -> usize {
        self.number
    }

    pub(crate) fn slab(&self, index: usize) -> Outcome<Rc<Slab>> {
        self.slabs.borrow().get(index).cloned().ok_or_else(|| internal("no such buffer"))
    }

    /// Takes an idle or new buffer of a class out of core.
    pub(crate) fn take(this: &Rc<Station>, js: Js, class: usize) -> Outcome<Value> {
        let buffer = this.stock.take(class)?;
        let origin = Origin::Stock { token: buffer.token, class };
        Station::admit(this, js, origin, buffer.data, buffer.capacity, buffer.capacity)
            .map(|(_, shown)| shown)
            .inspect_err(|_| {
                // The buffer was taken just now and nobody saw it.
                let _ = this.stock.give(buffer.token);
            })
    }

    /// Takes a lease that core knows itself: oversized, beyond the limit where the pool's policy allows it, or because the
    /// pool looks closely. Undefined, with -1 in the scratch array, when the limit is reached.
    pub(crate) fn take_own(
        this: &Rc<Station>,
        js: Js,
        length: usize,
        unbounded: bool,
        guard: bool,
        site: Site,
    ) -> Outcome<Value> {
        let external = this.environment.external();
        if guard && !external {
            // JavaScript would work in V8's memory, beside the guarded pages.
            this.stock.not_guarded();
        }
        let Some(taken) = this.stock.lease(length, unbounded, guard && external, site)? else {
            this.environment.scratch(&[-1.0]);
            return js.undefined();
        };
        Station::show_own(this, js, taken, site)
    }

    /// As [`take_own`](Station::take_own) without a guard, where the last lease of `slab` stood if this one fits there; the
    /// ArrayBuffer is the one that JavaScript has then, and undefined is returned, with the slab's index in the scratch array.
    pub(crate) fn take_parked(
        this: &Rc<Station>,
        js: Js,
        slab: &Slab,
        length: usize,
        unbounded: bool,
        site: Site,
    ) -> Outcome<Value> {
        let Some((taken, here)) = slab.take_parked(length, unbounded, site)? else {
            this.environment.scratch(&[-1.0]);
            return js.undefined();
        };
        if !here {
            return Station::show_own(this, js, taken, site);
        }
        // The row is there: the slab's last lease had it.
        this.rows.start(slab.index, slab.capacity, taken.lease.id)?;
        this.environment.scratch(&[slab.index as f64, slab.bytes as f64, slab.capacity as f64, 0.0, 0.0, slab.serial]);
        js.undefined()
    }

    /// Shows a lease that core knows itself.
    fn show_own(this: &Rc<Station>, js: Js, taken: StockLease, site: Site) -> Outcome<Value> {
        let external = this.environment.external();
        let lease = taken.lease;
        let origin = Origin::Own { lease: lease.id };
        // What JavaScript writes behind the length is found at the put; of V8's memory it sees the length only.
        let bytes = if external { lease.capacity } else { lease.len }.max(1);
        let (_, shown) = Station::admit(this, js, origin, lease.data, bytes, lease.capacity).inspect_err(|_| {
            // The lease was made just now and nobody saw it.
            let _ = raw::put(this.pool.id(), lease.id, Some(0), site);
        })?;
        this.environment.scratch_at(3, f64::from(u8::from(taken.guarded)));
        Ok(shown)
    }

    /// Takes over a lease that another environment sent.
    pub(crate) fn adopt(this: &Rc<Station>, js: Js, moved: &Moved) -> Outcome<Value> {
        let (slab, shown) = Station::admit(this, js, moved.origin, moved.data(), moved.bytes, moved.capacity)?;
        let class = match moved.origin {
            Origin::Stock { class, .. } => class as f64,
            Origin::Own { .. } => -1.0,
        };
        this.environment.scratch(&[
            slab.index as f64,
            slab.bytes as f64,
            moved.capacity as f64,
            class,
            moved.length as f64,
            slab.serial,
        ]);
        Ok(shown)
    }

    /// Gives a buffer a number and shows it to JavaScript. When that fails, the buffer is still the caller's.
    fn admit(
        this: &Rc<Station>,
        js: Js,
        origin: Origin,
        data: *mut u8,
        bytes: usize,
        capacity: usize,
    ) -> Outcome<(Rc<Slab>, Value)> {
        let mut slabs = this.slabs.borrow_mut();
        let index = slabs.number()?;
        let listed = if let Origin::Own { lease } = origin { lease } else { 0 };
        this.rows.start(index, capacity, listed)?;
        slabs.admitted = slabs.admitted.wrapping_add(1);
        let serial = f64::from(slabs.admitted);
        let slab = Slab::new(this.clone(), index, serial, origin, data, bytes, capacity)?;
        slabs.hold(slab.clone());
        drop(slabs);
        let shown = Slab::wrap(&slab, js).inspect_err(|_| slab.leave())?;
        this.environment.scratch(&[index as f64, bytes as f64, capacity as f64, 0.0, 0.0, serial]);
        Ok((slab, shown))
    }

    /// Frees a buffer's number; called when it left.
    pub(crate) fn forget(&self, index: usize) {
        self.rows.clear(index);
        let slab = self.slabs.borrow_mut().release(index);
        drop(slab);
    }

    /// JavaScript's pool object is gone: ends the station now, or with its last buffer.
    pub(crate) fn release(&self) {
        self.released.set(true);
        self.drop_if_released();
    }

    pub(crate) fn drop_if_released(&self) {
        if self.released.get() && self.slabs.borrow().held == 0 {
            self.environment.remove(self.number);
        }
    }

    /// Reports the leases that are out, as `MILLPOND_LEAKS` asks: they end with this environment.
    pub(crate) fn report_leaks(&self, when: &str) {
        let slabs = self.slabs.borrow();
        raw::report_leaks(&self.pool, when, |lease| slabs.iter().any(|slab| slab.live_lease() == Some(lease)));
    }

    /// The environment is gone: gives back what no ArrayBuffer of V8 ever showed.
    pub(crate) fn end(&self) {
        let count = self.slabs.borrow().table.len();
        for index in 0..count {
            let slab = self.slabs.borrow().get(index).cloned();
            if let Some(slab) = slab.filter(|slab| !slab.is_wrapped()) {
                slab.unreachable(None);
            }
        }
        let slabs = self.slabs.take();
        drop(slabs);
    }

    /// Counts an idle buffer less in JavaScript's magazine: the collector took the magazine.
    pub(crate) fn one_less_idle(&self, origin: Origin) {
        if let Origin::Stock { class, .. } = origin {
            let (counters, count) = self.stock.counters();
            let index = CLASS_FIRST + CLASS_STRIDE * class + CLASS_IDLE;
            if index < count {
                // SAFETY: `index` is inside the block, which core never unmaps (`Stock::counters`).
                let counter = unsafe { counters.add(index) };
                // SAFETY: the same; only this environment's thread writes this block, and it is here.
                let idle = unsafe { counter.read() };
                // SAFETY: the same.
                unsafe { counter.write(idle - 1.0) };
            }
        }
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        Rows::unlist(self.pool.id(), &self.rows);
    }
}
