//! Makes guesses from what somebody who wants to guess has seen: live handles, their slots' older ones, another pool's.

/// A small generator (SplitMix64); the seed is printed.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn pick(&mut self, from: &[u64]) -> u64 {
        from[(self.next() % from.len() as u64) as usize]
    }
}

/// Handles that were handed out; the target has as many live ones again that nobody saw.
#[derive(Default)]
pub struct Seen {
    pub live: Vec<u64>,
    pub old: Vec<u64>,
    pub foreign: Vec<u64>,
}

/// Where the slot's index stands in a handle, in a target's scheme and in millpond's.
const INDEX: u64 = 0xFF_FFFF;
const NONCE_LOW: u32 = 24;

/// Makes the guess with this number.
pub type Guess = fn(&Seen, &mut Random, u64) -> u64;

/// Every kind of guess, by name.
pub const KINDS: &[(&str, Guess)] = &[
    ("random", |_, random, _| random.next()),
    ("small numbers", |_, _, i| i),
    ("a live slot, random nonce", |seen, random, i| (live(seen, i) & INDEX) | (random.next() << NONCE_LOW)),
    ("a live slot, counted nonces", |seen, _, i| (live(seen, i) & INDEX) | (i << NONCE_LOW)),
    ("a live one plus a little", |seen, _, i| live(seen, i).wrapping_add(1 + i / seen.live.len() as u64)),
    ("a live one minus a little", |seen, _, i| live(seen, i).wrapping_sub(1 + i / seen.live.len() as u64)),
    ("a live one, nonce plus or minus a little", |seen, random, i| {
        let by = (random.next() >> 44).wrapping_sub(1 << 19) << NONCE_LOW;
        live(seen, i).wrapping_add(by)
    }),
    ("a live one, one bit flipped", |seen, random, i| live(seen, i) ^ bit(random)),
    ("a live one, two bits flipped", |seen, random, i| live(seen, i) ^ bit(random) ^ bit(random)),
    ("a live one, three bits of the nonce flipped", |seen, random, i| {
        let nonce = |random: &mut Random| (1 << NONCE_LOW) << (random.next() % 40);
        live(seen, i) ^ nonce(random) ^ nonce(random) ^ nonce(random)
    }),
    ("a live one's nonce, another slot", |seen, random, i| (live(seen, i) & !INDEX) | (random.next() & INDEX)),
    ("a live one's nonce, a neighbouring slot", |seen, random, i| {
        let index = (live(seen, i) & INDEX).wrapping_add(random.next() % 64).wrapping_sub(32);
        (live(seen, i) & !INDEX) | (index & INDEX)
    }),
    ("a live one's nonce, another live slot", |seen, random, i| {
        (live(seen, i) & !INDEX) | (random.pick(&seen.live) & INDEX)
    }),
    ("a live one plus the difference of two others", |seen, random, i| {
        live(seen, i).wrapping_add(random.pick(&seen.live)).wrapping_sub(random.pick(&seen.live))
    }),
    ("two live ones mixed by xor of a third", |seen, random, i| {
        live(seen, i) ^ random.pick(&seen.live) ^ random.pick(&seen.live)
    }),
    ("a live one, low bits of the nonce kept", |seen, random, i| {
        let kept = NONCE_LOW + 1 + (random.next() % 24) as u32;
        keep_low(live(seen, i), kept, random)
    }),
    ("a live one, high bits of the nonce kept", |seen, random, i| {
        let kept = u64::MAX << (NONCE_LOW + 8 + (random.next() % 24) as u32) | INDEX;
        (live(seen, i) & kept) | (random.next() & !kept)
    }),
    ("a live one as a floating-point number, shifted, reversed, negated", |seen, random, i| {
        let id = live(seen, i);
        match random.next() % 7 {
            0 => id as f64 as u64,
            1 => id as u32 as u64,
            2 => id as i32 as i64 as u64,
            3 => id << (1 + random.next() % 63),
            4 => id.rotate_left(1 + (random.next() % 63) as u32),
            5 => id.swap_bytes(),
            _ => id.wrapping_neg(),
        }
    }),
    ("an old one", |seen, random, _| random.pick(&seen.old)),
    ("an old one, one or two bits flipped", |seen, random, _| {
        random.pick(&seen.old) ^ bit(random) ^ if random.next() & 1 == 0 { 0 } else { bit(random) }
    }),
    ("an old one plus or minus a little", |seen, random, _| {
        random.pick(&seen.old).wrapping_add(random.next() >> 44).wrapping_sub(1 << 19)
    }),
    ("an old one continued by the step between two old ones", |seen, random, _| {
        let at = (random.next() % seen.old.len() as u64) as usize;
        let (a, b) = (seen.old[at], random.pick(&seen.old));
        b.wrapping_add(b.wrapping_sub(a))
    }),
    ("another pool's, one or two bits flipped", |seen, random, _| {
        random.pick(&seen.foreign) ^ bit(random) ^ if random.next() & 1 == 0 { 0 } else { bit(random) }
    }),
    ("another pool's nonce, a live slot", |seen, random, i| {
        (random.pick(&seen.foreign) & !INDEX) | (live(seen, i) & INDEX)
    }),
];

fn live(seen: &Seen, number: u64) -> u64 {
    seen.live[(number % seen.live.len() as u64) as usize]
}

fn bit(random: &mut Random) -> u64 {
    1 << (random.next() % 64)
}

fn keep_low(id: u64, bits: u32, random: &mut Random) -> u64 {
    let low = (1_u64 << bits) - 1;
    (id & low) | (random.next() & !low)
}
