//! Joins one pool to one environment: the stock that JavaScript's magazines live on, and the buffers it has out.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use millpond::raw::{self, Stock};
use millpond::{BufferPool, Site};

use crate::environment::Environment;
use crate::handover::Moved;
use crate::js::{Js, Outcome, Value, internal};
use crate::rows::Rows;
use crate::slab::{Origin, Slab};

/// Counters before those of the first class, and per class: gets, puts, idle.
const CLASS_FIRST: usize = 2;
const CLASS_STRIDE: usize = 3;
const CLASS_IDLE: usize = 2;

#[derive(Default)]
struct Slabs {
    table: Vec<Option<Rc<Slab>>>,
    free: Vec<usize>,
    admitted: u32,
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
            Ok(Rc::new(Station {
                rows: Rows::new(pool.id(), environment.thread()),
                pool,
                stock,
                environment: Rc::clone(environment),
                number,
                slabs: RefCell::default(),
                released: Cell::new(false),
            }))
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
        match self.slabs.borrow().table.get(index) {
            Some(Some(slab)) => Ok(Rc::clone(slab)),
            _ => Err(internal("no such buffer")),
        }
    }

    /// Takes an idle or new buffer of a class out of core.
    pub(crate) fn take(self: &Rc<Self>, js: Js, class: usize) -> Outcome<Value> {
        let buffer = self.stock.take(class)?;
        let origin = Origin::Stock { token: buffer.token, class };
        let slab = self.admit(origin, buffer.data, buffer.capacity, buffer.capacity);
        self.show(js, &slab).inspect_err(|_| {
            slab.leave();
            // The buffer was taken just now and nobody saw it.
            let _ = self.stock.give(buffer.token);
        })
    }

    /// Takes a lease that core knows itself: oversized, beyond the limit where the pool's policy allows it, or because the
    /// pool looks closely. Undefined, with -1 in the scratch array, when the limit is reached.
    pub(crate) fn take_own(
        self: &Rc<Self>,
        js: Js,
        length: usize,
        unbounded: bool,
        guard: bool,
        site: Site,
    ) -> Outcome<Value> {
        let external = self.environment.external();
        if guard && !external {
            // JavaScript would work in V8's memory, beside the guarded pages.
            self.stock.not_guarded();
        }
        let Some(taken) = self.stock.lease(length, unbounded, guard && external, site)? else {
            self.environment.scratch(&[-1.0]);
            return js.undefined();
        };
        let lease = taken.lease;
        let origin = Origin::Own { lease: lease.id };
        // What JavaScript writes behind the length is found at the put; of V8's memory it sees the length only.
        let bytes = if external { lease.capacity } else { length }.max(1);
        let slab = self.admit(origin, lease.data, bytes, lease.capacity);
        let shown = self.show(js, &slab).inspect_err(|_| {
            slab.leave();
            // The lease was made just now and nobody saw it.
            let _ = raw::put(self.pool.id(), lease.id, Some(0), site);
        });
        self.environment.scratch_at(3, f64::from(u8::from(taken.guarded)));
        shown
    }

    /// Takes over a lease that another environment sent.
    pub(crate) fn adopt(self: &Rc<Self>, js: Js, moved: &Moved) -> Outcome<Value> {
        let slab = self.admit(moved.origin, moved.data(), moved.bytes, moved.capacity);
        let shown = self.show(js, &slab).inspect_err(|_| slab.leave())?;
        let class = match moved.origin {
            Origin::Stock { class, .. } => class as f64,
            Origin::Own { .. } => -1.0,
        };
        self.environment.scratch(&[
            slab.index as f64,
            slab.bytes as f64,
            moved.capacity as f64,
            class,
            moved.length as f64,
            slab.serial,
        ]);
        Ok(shown)
    }

    fn admit(self: &Rc<Self>, origin: Origin, data: *mut u8, bytes: usize, capacity: usize) -> Rc<Slab> {
        let mut slabs = self.slabs.borrow_mut();
        let index = slabs.free.pop().unwrap_or(slabs.table.len());
        if index == slabs.table.len() {
            slabs.table.push(None);
        }
        slabs.admitted = slabs.admitted.wrapping_add(1);
        let serial = f64::from(slabs.admitted);
        let slab = Slab::new(Rc::clone(self), index, serial, origin, data, bytes, capacity);
        slabs.table[index] = Some(Rc::clone(&slab));
        let listed = if let Origin::Own { lease } = origin { lease } else { 0 };
        self.rows.start(index, capacity, listed);
        slab
    }

    fn show(&self, js: Js, slab: &Rc<Slab>) -> Outcome<Value> {
        let value = slab.wrap(js)?;
        self.environment.scratch(&[slab.index as f64, slab.bytes as f64, slab.capacity as f64, 0.0, 0.0, slab.serial]);
        Ok(value)
    }

    /// Frees a buffer's number; called when it left.
    pub(crate) fn forget(&self, index: usize) {
        self.rows.clear(index);
        let mut slabs = self.slabs.borrow_mut();
        let slab = slabs.table.get_mut(index).and_then(Option::take);
        if slab.is_some() {
            slabs.free.push(index);
        }
    }

    /// JavaScript's pool object is gone: ends the station now, or with its last buffer.
    pub(crate) fn release(&self) {
        self.released.set(true);
        self.drop_if_released();
    }

    pub(crate) fn drop_if_released(&self) {
        if self.released.get() && self.slabs.borrow().table.iter().all(Option::is_none) {
            self.environment.remove(self.number);
        }
    }

    /// Reports the leases that are out, as `MILLPOND_LEAKS` asks: they end with this environment.
    pub(crate) fn report_leaks(&self, when: &str) {
        let slabs = self.slabs.borrow();
        let leases: Vec<u64> = slabs.table.iter().flatten().filter_map(|slab| slab.live_lease()).collect();
        raw::report_leaks(&self.pool, when, &leases);
    }

    /// The environment is gone: gives back what no ArrayBuffer of V8 ever showed.
    pub(crate) fn end(&self) {
        let slabs: Vec<Rc<Slab>> = self.slabs.borrow().table.iter().flatten().cloned().collect();
        for slab in slabs {
            if !slab.is_wrapped() {
                slab.unreachable(None);
            }
        }
        self.slabs.borrow_mut().table.clear();
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
        // This station's own `Rows` are alive until after this; the next one's entry clears what is left.
        Rows::unlist(self.pool.id());
    }
}
