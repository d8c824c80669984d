//! Bugs for the models to find: a model that passes with its bug in it looks at nothing.
//!
//! Each is planted into the product's own operation, by its place in the source, in a process of its own. The model must
//! fail there with the message that tells of this bug.

use crate::sync::primitives::faults::Fault::{Blind, Relax, Skip, Split};
use crate::sync::primitives::faults::{Fault, Seed};

const fn seed(
    name: &'static str,
    (file, line, fault): (&'static str, &'static str, Fault),
    (model, finds): (&'static str, &'static str),
) -> Seed {
    Seed { name, file, line, fault, model, finds }
}

const END: &str = "self.handle.compare_exchange(handle, next";
const PINS: &str = "guard::pins_of(self.pins.load(Ordering::SeqCst)) != 0";
const RACE: &str = "Causality violation";

pub(crate) const SEEDS: &[Seed] = &[
    seed(
        "a handle is compared and replaced in two steps",
        ("buffer/slot.rs", END, Split),
        ("handles::of_two_ends_of_a_handle_one_wins", "one wins"),
    ),
    seed(
        "the end of a handle hands nothing over",
        ("buffer/slot.rs", END, Relax),
        ("handles::who_ends_a_handle_sees_what_its_tenant_did", RACE),
    ),
    seed(
        "a put does not look for pins",
        ("buffer/slot.rs", PINS, Blind(0)),
        ("handles::a_lease_is_not_pinned_and_put", "(Ok(()), Ok(()))"),
    ),
    seed(
        "a put looks for pins out of order",
        ("buffer/slot.rs", PINS, Relax),
        ("handles::a_lease_is_not_pinned_and_put", "(Ok(()), Ok(()))"),
    ),
    seed(
        "a pin looks at the handle out of order",
        ("buffer/slot.rs", "if self.handle.load(Ordering::SeqCst) != handle", Relax),
        ("handles::a_lease_is_not_pinned_and_put", "(Ok(()), Ok(()))"),
    ),
    seed(
        "a lookup reads the length out of order",
        ("buffer/slot.rs", "let (len, _) = unmarked(self.len.load(Ordering::Acquire));", Relax),
        ("handles::a_lookup_never_tells_of_the_next_lease", "Some(32)"),
    ),
    seed(
        "a get writes the length out of order",
        ("buffer/get.rs", "slot.len.store(len, Ordering::Release);", Relax),
        ("handles::a_lookup_never_tells_of_the_next_lease", "Some(32)"),
    ),
    seed(
        "a thread whose lease another puts keeps its mark",
        ("buffer/cache.rs", "self.mark.store(0, Ordering::Relaxed);", Skip),
        ("marks::of_the_owners_put_and_another_one_wins", "DoublePut"),
    ),
    seed(
        "nobody waits for the thread whose mark is taken away",
        ("buffer/cache.rs", "while self.busy.load(Ordering::SeqCst) != 0", Blind(0)),
        ("marks::of_the_owners_put_and_another_one_wins", "DoublePut"),
    ),
    seed(
        "who takes a mark away does so without a barrier",
        ("", "heavy barrier", Skip),
        ("marks::the_owner_does_not_put_what_another_pins", "(Ok(()), Ok(()))"),
    ),
    seed(
        "the heavy half of the barrier is left out",
        ("", "heavy barrier", Skip),
        ("gate::light_and_heavy_side_see_each_other", "one sees the other"),
    ),
    seed(
        "the light half of the barrier is left out",
        ("", "light barrier", Skip),
        ("gate::owner_and_revoker_are_never_inside_together", RACE),
    ),
    seed(
        "an owner leaves its cache out of order",
        ("buffer/cache.rs", "self.busy.store(0, Ordering::Release);", Relax),
        ("gate::owner_and_revoker_are_never_inside_together", RACE),
    ),
    seed(
        "nobody waits for an owner that is inside",
        ("buffer/cache.rs", "while self.busy.load(Ordering::SeqCst) != 0", Blind(0)),
        ("gate::owner_and_revoker_are_never_inside_together", RACE),
    ),
    seed(
        "a raised gate stays open",
        ("buffer/cache.rs", "self.open.store(std::ptr::null_mut(), Ordering::SeqCst);", Skip),
        ("gate::an_owner_meets_two_revocations", RACE),
    ),
    seed(
        "a gate is opened out of order",
        ("buffer/cache.rs", "self.open.store(self.inner.cast_mut(), Ordering::SeqCst);", Relax),
        ("gate::an_owner_that_enters_twice_meets_one_revocation", RACE),
    ),
    seed(
        "a raised gate stays open for gets",
        ("buffer/cache.rs", "self.serving.store(std::ptr::null_mut(), Ordering::SeqCst);", Skip),
        ("gate::an_owner_that_gets_meets_two_revocations", RACE),
    ),
    seed(
        "a gate is opened for gets out of order",
        ("buffer/cache.rs", "self.serving.store(self.inner.cast_mut(), Ordering::SeqCst);", Relax),
        ("gate::an_owner_that_gets_twice_meets_a_revocation", RACE),
    ),
    seed(
        "an owner leaves a magazine out of order",
        (
            "buffer/magazine.rs",
            "self.count.store(self.count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);",
            Relax,
        ),
        ("gate::an_owner_that_gets_meets_a_revocation", RACE),
    ),
    seed(
        "an owner begins with a magazine out of order",
        ("buffer/magazine.rs", "self.sum.store(sum_with(before, len), Ordering::Release);", Relax),
        ("gate::an_owner_that_gets_twice_meets_a_revocation", "the bytes of its leases"),
    ),
    seed(
        "nobody waits for an owner that is about a magazine",
        ("buffer/magazine.rs", "let sum = self.sum.load(Ordering::SeqCst);", Blind(0)),
        ("gate::an_owner_that_puts_meets_a_revocation", RACE),
    ),
    seed(
        "a cache is put into while it is flushed",
        ("", "light barrier", Skip),
        ("caches::a_put_meets_a_revocation", "retained 3"),
    ),
    seed(
        "the end of a reference is out of order",
        ("buffer/strong.rs", "self.references.0.fetch_sub(1, Ordering::AcqRel) != 1", Relax),
        ("lifetimes::of_two_references_the_last_one_ends_the_pool", RACE),
    ),
    seed(
        "the last reference is counted in two steps",
        ("buffer/strong.rs", "self.references.0.fetch_sub(1, Ordering::AcqRel) != 1", Split),
        ("lifetimes::of_two_references_the_last_one_ends_the_pool", ""),
    ),
    seed(
        "a pool that goes is found all the same",
        ("buffer/strong.rs", ".fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count|", Split),
        ("lifetimes::a_pool_that_is_found_stays", RACE),
    ),
    seed(
        "the limit is compared and raised in two steps",
        ("buffer/life.rs", ".fetch_update(Ordering::Relaxed, Ordering::Relaxed, |total|", Split),
        ("limits::two_reservations_share_what_is_left", "room for one"),
    ),
    seed(
        "a place is lent in two steps",
        ("buffer/inner.rs", "self.lent_bytes.fetch_update(Ordering::SeqCst, Ordering::Relaxed, lent).is_err()", Split),
        ("limits::two_threads_share_what_may_be_lent", "one is lent"),
    ),
    seed(
        "who lends a place looks at the depots out of order",
        ("buffer/inner.rs", "(self.depot_bytes.load(Ordering::SeqCst) + self.set_aside())", Relax),
        ("limits::a_loan_and_a_giver_stay_within_what_may_be_kept", "room for four"),
    ),
    seed(
        "a put does not look whether anybody waits",
        ("buffer/inner.rs", "self.waiters.load(Ordering::SeqCst) != 0", Blind(0)),
        ("limits::a_put_wakes_a_get_that_waits", "deadlock"),
    ),
    seed(
        "puts are read out of order",
        ("buffer/magazine.rs", "self.count.load(Ordering::Acquire)", Relax),
        ("counts::statistics_meet_a_pair", "gets 1 and puts 2"),
    ),
    seed(
        "two threads count in two steps",
        ("buffer/inner.rs", "counter.fetch_add(n, Ordering::Release);", Split),
        ("counts::a_counter_of_two_threads_has_both", "left: "),
    ),
    seed(
        "nobody looks whether the pool is closed",
        ("buffer/inner.rs", "self.closed.load(Ordering::SeqCst)", Blind(0)),
        ("modes::what_is_held_back_while_the_pool_closes_is_destroyed", "left: (1, 2)"),
    ),
    seed("a lock lets two in", ("", "lock", Skip), ("locks::a_lock_that_is_tried_again_and_again_excludes", RACE)),
];

#[cfg(loom)]
#[test]
fn each_seeded_bug_is_found() {
    use std::process::Command;
    // Models and their seeds are chosen by name: a filter that misses them all would pass in silence.
    assert_eq!(SEEDS.len(), 33);
    let program = std::env::current_exe().expect("this program");
    for seed in SEEDS {
        let name = format!("models::{}", seed.model);
        let output = Command::new(&program)
            .args(["--exact", &name, "--nocapture"])
            .env("MODELS_SEED", seed.name)
            .env("MODELS_LIMIT", "60")
            .env_remove("MODELS_LONG")
            .output()
            .expect("this program starts");
        let said = String::from_utf8_lossy(&output.stderr);
        let report = said.lines().skip_while(|line| !line.contains("FAILED")).take(8).collect::<Vec<_>>().join(" ");
        assert!(
            !output.status.success() && report.starts_with("model ") && report.contains(seed.finds),
            "\"{}\" is not found by {}: {}{said}",
            seed.name,
            seed.model,
            String::from_utf8_lossy(&output.stdout),
        );
        println!("seed found: {}, by {}", seed.name, seed.model);
        println!("    {}", report.chars().skip_while(|char| *char != ':').take(160).collect::<String>());
    }
    println!("{} seeded bugs, {} found", SEEDS.len(), SEEDS.len());
}
