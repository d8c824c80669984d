//! Forges handles: 10^7 guesses, or as many as `MILLPOND_FORGE` says (`make forge`: 10^9). None may be accepted.
//!
//! Whoever guesses has seen 256 live leases, those that their slots served before, and another pool's. As many live leases
//! again, which stand between the seen ones, are what there is to be hit. The same guesses are tried on handles that count
//! their slot's tenants, which shows that a guess that is accepted is noticed. Chance alone accepts one of 2^40.
#![cfg(not(millpond_short_generations))]

mod guesses;
mod targets;

use std::collections::HashSet;

use guesses::{KINDS, Random, Seen};
use targets::{Ask, Counted, Millpond, Target};

const SEED: u64 = 20_261_121;
const LIVE: usize = 256;
/// Old handles that are remembered.
const OLD: usize = 4096;
/// Guesses after which the seen handles are replaced by their successors.
const ROUND: u64 = 1 << 15;

/// What one kind of guess came to.
#[derive(Clone, Copy, Default)]
struct Count {
    guesses: u64,
    accepted: u64,
}

struct Campaign<'a, T> {
    target: &'a mut T,
    seen: Seen,
    hidden: Vec<u64>,
    /// All that is live and was seen: naming it is no guess.
    own: HashSet<u64>,
    random: Random,
}

impl<T: Target> Campaign<'_, T> {
    fn new(target: &mut T, seed: u64) -> Campaign<'_, T> {
        let mut seen = Seen::default();
        let mut hidden = Vec::new();
        // In no order that sums and differences of indexes could keep.
        let mut random = Random(seed);
        while seen.live.len() < LIVE || hidden.len() < LIVE {
            let of_whom = if random.next() & 1 == 0 { &mut seen.live } else { &mut hidden };
            if of_whom.len() < LIVE {
                of_whom.push(target.get());
            }
        }
        seen.foreign = (0..LIVE).map(|_| target.get_foreign()).collect();
        // Ended and taken again, so that there are old ones.
        let old = (0..LIVE).map(|_| target.get()).collect::<Vec<_>>();
        old.iter().for_each(|id| target.end(*id));
        seen.old = old;
        let own = seen.live.iter().chain(&seen.foreign).copied().collect();
        Campaign { target, seen, hidden, own, random }
    }

    /// Ends every other live lease and gets as many new ones, in another order, so that slots change between seen and
    /// hidden.
    fn refresh(&mut self) {
        let offset = (self.random.next() & 1) as usize;
        let Seen { live, old, .. } = &mut self.seen;
        for id in live.iter().skip(offset).step_by(2) {
            self.target.end(*id);
            old.push(*id);
        }
        for id in self.hidden.iter_mut().skip(offset).step_by(2) {
            self.target.end(*id);
            *id = self.target.get();
        }
        for id in live.iter_mut().skip(offset).step_by(2) {
            *id = self.target.get();
        }
        let too_many = old.len().saturating_sub(OLD);
        old.drain(..too_many);
        self.own = self.seen.live.iter().chain(&self.seen.foreign).copied().collect();
    }

    fn run(&mut self, guesses_per_kind: u64) -> Vec<Count> {
        let mut counts = vec![Count::default(); KINDS.len()];
        let mut end = 0;
        while end < guesses_per_kind {
            let start = end;
            end = (start + ROUND).min(guesses_per_kind);
            for ((_, guess), count) in KINDS.iter().zip(&mut counts) {
                // A kind that makes only handles of its own, as some do where handles are few, ends too.
                for number in start..start + 20 * ROUND {
                    if count.guesses == end {
                        break;
                    }
                    let id = guess(&self.seen, &mut self.random, number);
                    if self.own.contains(&id) {
                        continue;
                    }
                    count.guesses += 1;
                    count.accepted += u64::from(self.target.accepts(id));
                }
            }
            self.refresh();
        }
        counts
    }

    /// Shows that what is live is accepted, and ends it.
    fn end(self) -> u64 {
        let mine = self.seen.live.iter().chain(&self.hidden);
        mine.map(|id| self.target.end(*id)).count() as u64
    }
}

/// Prints each kind's count and returns the sum.
fn print(name: &str, counts: &[Count]) -> Count {
    for ((kind, _), count) in KINDS.iter().zip(counts) {
        println!("{name}: {kind}: {} guesses, {} accepted", count.guesses, count.accepted);
    }
    let sum = |which: fn(&Count) -> u64| counts.iter().map(which).sum();
    let all = Count { guesses: sum(|count| count.guesses), accepted: sum(|count| count.accepted) };
    println!("{name}: {} guesses, {} accepted (seed {SEED})", all.guesses, all.accepted);
    all
}

/// How many guesses there are to be in all.
fn wanted() -> u64 {
    std::env::var("MILLPOND_FORGE").map_or(10_000_000, |count| count.parse().expect("MILLPOND_FORGE is a number"))
}

fn forge(name: &str, ask: Ask, seed: u64, guesses: u64) -> Count {
    let by_put = matches!(ask, Ask::Put);
    let mut target = Millpond::new(ask);
    let mut campaign = Campaign::new(&mut target, seed);
    let hidden = campaign.hidden.clone();
    if !by_put {
        assert!(hidden.iter().all(|id| campaign.target.accepts(*id)), "the hidden leases are there to be hit");
    }
    let all = print(name, &campaign.run(guesses.div_ceil(KINDS.len() as u64)));
    let ended = if all.accepted == 0 { campaign.end() } else { 0 };
    assert_eq!((all.accepted, ended), (0, 2 * LIVE as u64), "{name}: what was live is live still");
    let stats = target.pool.stats();
    assert_eq!((stats.in_use, stats.foreign_puts, stats.check()), (0, 0, Ok(())));
    assert_eq!((stats.double_puts, stats.stale_uses), (target.double_puts, target.stale_uses));
    assert!(by_put || target.stale_uses > 0, "old handles were among the guesses");
    assert!(!by_put || target.double_puts > 0, "old handles were among the guesses");
    all
}

#[test]
fn no_guess_is_accepted_by_lookup_or_put() {
    let by_lookup = forge("lookup", Ask::Lookup, SEED, wanted() / 4 * 3);
    let by_put = forge("put", Ask::Put, SEED + 1, wanted() / 4);
    println!("{} guesses, {} accepted", by_lookup.guesses + by_put.guesses, by_lookup.accepted + by_put.accepted);
}

#[test]
fn the_same_guesses_are_accepted_where_handles_count_tenants() {
    let mut target = Counted::default();
    let mut campaign = Campaign::new(&mut target, SEED);
    let counts = campaign.run(200_000);
    let all = print("index and count", &counts);
    let kinds = counts.iter().filter(|count| count.accepted > 0).count();
    println!("index and count: {kinds} of {} kinds are accepted", KINDS.len());
    assert!(all.accepted > 1000 && kinds >= KINDS.len() / 3, "the campaign cannot see what is accepted");
}
