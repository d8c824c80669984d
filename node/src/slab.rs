//! Follows one buffer from core to V8 and back: an ArrayBuffer over it, and what happens when V8 lets go of that.
//!
//! A slab's memory goes back to core only when no ArrayBuffer can reach it: either we detached the last one ourselves
//! ([`Slab::seal`]), or V8 called the finalizer of the last one ([`Slab::unreachable`]). Finalizers that run because
//! the environment ends are the exception: an ArrayBuffer that was transferred to another thread is alive there while
//! its finalizer runs here. Memory that somebody was shown is retired then, never handed out again.
//!
//! Where the pool looks closely, a put that leaves the ArrayBuffer alive ends the lease and not the memory ([`Slab::keep`]):
//! what is done through an old view is found then, and cannot reach another lease.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use millpond::raw::{Kept, Parked, StockLease};
use millpond::{ClearPolicy, Detached, Site, raw};
use napi_sys as sys;

use crate::environment::no_memory;
use crate::handover;
use crate::js::{Fail, Js, Outcome, Value, call, check, internal};
use crate::memory::{Rc, none_for, try_box};
use crate::rows::Column;
use crate::station::Station;

/// Whose record a buffer has in core.
#[derive(Copy, Clone)]
pub(crate) enum Origin {
    /// A buffer of a size class, taken through the station's stock.
    Stock { token: u64, class: usize },
    /// A lease of its own: oversized, or beyond the limit.
    Own { lease: u64 },
}

/// Where a slab is in its life.
#[derive(Copy, Clone, PartialEq)]
enum State {
    /// JavaScript has it, leased or idle.
    Held,
    /// The lease is over, and core keeps the memory for the ArrayBuffer that JavaScript still has.
    Kept,
    /// The lease is over, and the mapping waits without pages for the next one; only the station has the ArrayBuffer.
    Parked,
    /// It left: given back, lost, detached, or handed to another thread.
    Gone,
}

/// One buffer of a station.
pub(crate) struct Slab {
    origin: Cell<Origin>,
    pub index: usize,
    /// Tells buffers apart that had the same index one after the other.
    pub serial: f64,
    /// Length of its ArrayBuffer.
    pub bytes: usize,
    data: *mut u8,
    /// What the size class or the mapping holds; `bytes` of it are shown.
    pub capacity: usize,
    station: Rc<Station>,
    state: Cell<State>,
    kept: RefCell<Option<Kept>>,
    parked: RefCell<Option<Parked>>,
    /// ArrayBuffers over the memory whose finalizer has not run yet.
    wraps: Cell<u32>,
    /// True once JavaScript had an ArrayBuffer over the memory; false where it works in V8's own.
    wrapped: Cell<bool>,
}

impl Slab {
    pub(crate) fn new(
        station: Rc<Station>,
        index: usize,
        serial: f64,
        origin: Origin,
        data: *mut u8,
        bytes: usize,
        capacity: usize,
    ) -> Outcome<Rc<Slab>> {
        let slab = Slab {
            origin: Cell::new(origin),
            index,
            serial,
            bytes,
            data,
            capacity,
            station,
            state: Cell::new(State::Held),
            kept: RefCell::new(None),
            parked: RefCell::new(None),
            wraps: Cell::new(0),
            wrapped: Cell::new(false),
        };
        Rc::new(slab, "a buffer's state")
    }

    pub(crate) fn origin(&self) -> Origin {
        self.origin.get()
    }

    pub(crate) fn data(&self) -> *mut u8 {
        self.data
    }

    /// Makes an ArrayBuffer over the memory, or undefined where the host refuses such ArrayBuffers.
    pub(crate) fn wrap(this: &Rc<Slab>, js: Js) -> Outcome<Value> {
        let environment = this.station.environment();
        if !environment.external() {
            return js.undefined();
        }
        let hint = this.clone().into_raw();
        let mut value = ptr::null_mut();
        // SAFETY: `data` points to `bytes` bytes that core keeps until this slab gives them back, which it does only
        // when no ArrayBuffer reaches them (module documentation); `hint` is an owner that `finalize` takes.
        let status = unsafe {
            sys::napi_create_external_arraybuffer(
                js.env(),
                this.data.cast::<c_void>(),
                this.bytes,
                Some(finalize),
                hint,
                &mut value,
            )
        };
        if status == sys::Status::napi_ok {
            this.wraps.set(this.wraps.get() + 1);
            this.wrapped.set(true);
            return Ok(value);
        }
        // SAFETY: Node took no ownership, so this owner is still ours.
        drop(unsafe { Rc::<Slab>::from_raw(hint) });
        if status == sys::Status::napi_no_external_buffers_allowed {
            environment.refuse_external();
            return js.undefined();
        }
        match check(status, "napi_create_external_arraybuffer") {
            Err(Fail::Pending) => Err(Fail::Pending),
            _ => Err(no_memory(this.station.pool().name(), this.bytes)),
        }
    }

    /// Tells whether the buffer is of a station's pool.
    pub(crate) fn is_of(&self, station: &Station) -> bool {
        self.station.pool().id() == station.pool().id()
    }

    /// Proves that `array_buffer` is the one over this memory.
    pub(crate) fn verify(&self, js: Js, array_buffer: Value) -> Outcome<()> {
        if self.state.get() != State::Held {
            return Err(internal("the buffer left already"));
        }
        self.compare(js, array_buffer)
    }

    fn compare(&self, js: Js, array_buffer: Value) -> Outcome<()> {
        let (data, length) = js.array_buffer(array_buffer)?;
        if length != self.bytes || (self.wrapped.get() && data != self.data) {
            return Err(internal("the ArrayBuffer is not the lease's"));
        }
        Ok(())
    }

    /// Verifies `array_buffer` and detaches it, so that JavaScript reaches the memory no more.
    pub(crate) fn seal(&self, js: Js, array_buffer: Value) -> Outcome<()> {
        self.verify(js, array_buffer)?;
        call!(js, napi_detach_arraybuffer(array_buffer))
    }

    /// Copies between V8's memory and core's, where ArrayBuffers over core's memory are refused.
    pub(crate) fn exchange(&self, js: Js, array_buffer: Value, to_core: bool) -> Outcome<()> {
        let (data, length) = js.array_buffer(array_buffer)?;
        if self.wrapped.get() || length != self.bytes {
            return Err(internal("the ArrayBuffer is not a copy of the lease"));
        }
        let (from, to) = if to_core { (data, self.data) } else { (self.data, data) };
        // SAFETY: both regions have `bytes` bytes: core's by construction, V8's by the check above; V8's memory is its
        // own, so they do not overlap.
        unsafe { ptr::copy_nonoverlapping(from, to, self.bytes) };
        Ok(())
    }

    /// The lease is over; the memory stays as long as JavaScript has the ArrayBuffer.
    pub(crate) fn keep(&self, kept: Kept) {
        self.state.set(State::Kept);
        self.kept.replace(Some(kept));
    }

    /// Ends what `keep` began: detaches the ArrayBuffer and gives the memory back.
    pub(crate) fn end_kept(&self, js: Js, array_buffer: Value) -> Outcome<()> {
        if self.state.get() != State::Kept {
            return Err(internal("nothing was kept"));
        }
        self.compare(js, array_buffer)?;
        call!(js, napi_detach_arraybuffer(array_buffer))?;
        self.leave();
        drop(self.kept.take());
        Ok(())
    }

    /// Gives up memory that was kept: somebody else has the ArrayBuffer.
    pub(crate) fn abandon_kept(&self) {
        if let Some(kept) = self.kept.take() {
            self.leave();
            kept.abandon();
        }
    }

    /// The lease is over; its mapping and the ArrayBuffer over it, which nobody but the station may have, wait for the next
    /// one.
    pub(crate) fn park(&self, parked: Parked) {
        self.state.set(State::Parked);
        self.station.rows().clear(self.index);
        self.parked.replace(Some(parked));
    }

    /// Takes a lease that may stand where this slab's last one did; tells whether it does.
    pub(crate) fn take_parked(&self, len: usize, unbounded: bool, site: Site) -> Outcome<Option<(StockLease, bool)>> {
        if self.state.get() != State::Parked {
            return Err(internal("nothing was parked"));
        }
        let mut parked = self.parked.borrow_mut();
        let Some(taken) = self.station.stock().lease_parked(&mut parked, len, unbounded, site)? else {
            return Ok(None);
        };
        let here = parked.is_none();
        if here {
            self.origin.set(Origin::Own { lease: taken.lease.id });
            self.state.set(State::Held);
        }
        Ok(Some((taken, here)))
    }

    /// Ends what `park` began: detaches the ArrayBuffer and unmaps the memory.
    pub(crate) fn end_parked(&self, js: Js, array_buffer: Value) -> Outcome<()> {
        if self.state.get() != State::Parked {
            return Err(internal("nothing was parked"));
        }
        self.compare(js, array_buffer)?;
        call!(js, napi_detach_arraybuffer(array_buffer))?;
        self.leave();
        drop(self.parked.take());
        Ok(())
    }

    /// Returns the handle of the lease that is out, if core knows it.
    pub(crate) fn live_lease(&self) -> Option<u64> {
        match self.origin() {
            Origin::Own { lease } if self.state.get() == State::Held => Some(lease),
            _ => None,
        }
    }

    /// Ends the slab's life here; its number may be used for another one.
    pub(crate) fn leave(&self) {
        self.state.set(State::Gone);
        self.station.forget(self.index);
    }

    /// Tells whether JavaScript ever had an ArrayBuffer over the memory itself.
    pub(crate) fn was_wrapped(&self) -> bool {
        self.wrapped.get()
    }

    /// Tells whether V8 still has an ArrayBuffer over the memory.
    pub(crate) fn is_wrapped(&self) -> bool {
        self.wraps.get() > 0
    }

    /// Gives back what nothing in JavaScript reaches any more. `js` is there as long as JavaScript can run.
    pub(crate) fn unreachable(&self, js: Option<Js>) {
        if js.is_none() {
            self.station.environment().ends();
        }
        match self.state.get() {
            State::Held => self.reclaim(js),
            State::Kept if js.is_none() => self.abandon_kept(),
            // Nobody but the station ever had this ArrayBuffer, on whatever thread.
            State::Parked => {
                self.leave();
                drop(self.parked.take());
                self.station.drop_if_released();
            }
            State::Kept => {
                self.leave();
                drop(self.kept.take());
                self.station.drop_if_released();
            }
            State::Gone => {}
        }
    }

    fn reclaim(&self, js: Option<Js>) {
        let rows = self.station.rows();
        let length = rows.get(self.index, Column::Length);
        let site = rows.get(self.index, Column::Site);
        let exposed = self.wrapped.get() && rows.get(self.index, Column::Exposed) != 0.0;
        let doubtful = js.is_none() && exposed;
        self.leave();
        let stock = self.station.stock();
        let pool = self.station.pool();
        let leased = (length > 0.0).then(|| length as usize - 1);
        // Each call can fail only for a token that core does not know; nobody is there to be told.
        let _ = match (self.origin(), leased) {
            (Origin::Stock { token, .. }, Some(length)) if doubtful => stock.lose(token, length),
            (Origin::Stock { token, .. }, Some(length)) => stock.leaked(token, length),
            (Origin::Stock { token, .. }, None) => {
                self.station.one_less_idle(self.origin());
                if doubtful { stock.retire(token) } else { self.give_idle(token, if exposed { self.bytes } else { 0 }) }
            }
            (Origin::Own { lease }, _) if doubtful => raw::lose(pool.id(), lease),
            (Origin::Own { lease }, _) => raw::leak_reclaimed(pool.id(), lease),
        };
        self.station.drop_if_released();
        if let (Some(js), Some(length)) = (js, leased) {
            let place = handover::site_name(site);
            self.station.environment().notify_leak(js, pool.name(), length, place.as_str());
        }
    }

    /// Gives an idle buffer back to core; the first `dirty` bytes may hold what a tenant wrote.
    pub(crate) fn give_idle(&self, token: u64, dirty: usize) -> millpond::Result<()> {
        if self.station.pool().clear_policy() == ClearPolicy::OnPut {
            let dirty = dirty.min(self.bytes);
            // SAFETY: the buffer has `bytes` bytes that core keeps until `give` below, and nothing in JavaScript
            // reaches them any more: it was sealed, or V8 let go of it.
            unsafe { ptr::write_bytes(self.data, 0, dirty) };
        }
        self.station.stock().give(token)
    }
}

/// Makes room for what [`show_detached`] shows: what was detached cannot go back.
pub(crate) fn room_for_detached() -> Outcome<Box<Option<Detached>>> {
    try_box(None).ok_or_else(|| none_for("a detached buffer"))
}

/// Makes an ArrayBuffer over memory that left its pool; V8 frees it. Undefined for no bytes at all.
pub(crate) fn show_detached(js: Js, pool: &str, mut room: Box<Option<Detached>>, owned: Detached) -> Outcome<Value> {
    unsafe extern "C" fn release(env: sys::napi_env, _data: *mut c_void, hint: *mut c_void) {
        // SAFETY: `show_detached` made this owner for this one call.
        let owned = unsafe { Box::from_raw(hint.cast::<Option<Detached>>()) };
        // SAFETY: Node calls a finalizer with the environment that made the ArrayBuffer, on its thread.
        let js = unsafe { Js::new(env) };
        if js.alive() {
            drop(owned);
        } else {
            // Another thread may hold it still: see the module documentation.
            std::mem::forget(owned);
        }
    }
    if owned.is_empty() {
        return js.undefined();
    }
    let owned = room.insert(owned);
    let (data, length) = (owned.as_mut_ptr(), owned.len());
    let hint = Box::into_raw(room).cast::<c_void>();
    let mut value = ptr::null_mut();
    // SAFETY: `data` points to `length` bytes that the boxed owner keeps until `release` drops it.
    let status = unsafe {
        sys::napi_create_external_arraybuffer(js.env(), data.cast::<c_void>(), length, Some(release), hint, &mut value)
    };
    if status != sys::Status::napi_ok {
        // SAFETY: Node took no ownership, so this owner is still ours.
        drop(unsafe { Box::from_raw(hint.cast::<Option<Detached>>()) });
        check(status, "napi_create_external_arraybuffer").map_err(|_| no_memory(pool, length))?;
    }
    Ok(value)
}

/// Node calls this when V8 let go of an ArrayBuffer over a slab, or when the environment ends.
unsafe extern "C" fn finalize(env: sys::napi_env, _data: *mut c_void, hint: *mut c_void) {
    // SAFETY: `wrap` made this owner for this one call.
    let slab = unsafe { Rc::<Slab>::from_raw(hint) };
    // SAFETY: Node calls a finalizer with the environment that made the ArrayBuffer, on its thread.
    let js = unsafe { Js::new(env) };
    slab.wraps.set(slab.wraps.get().saturating_sub(1));
    if slab.wraps.get() == 0 {
        // A panic must not cross into Node; the memory stays unused then.
        let _ = catch_unwind(AssertUnwindSafe(|| slab.unreachable(js.alive().then_some(js))));
    }
    drop(slab);
}
