//! What was written into a lease is nowhere in the process's memory after its put: a scan of all of it, in a process of its
//! own, because other tests' memory would be in the way.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;

use millpond::{BufferPool, Check, ClearPolicy, Site, raw};

const VARIABLE: &str = "MILLPOND_TEST_SECRETS";
const LEN: usize = 24;

/// Writes the marker without the marker standing anywhere else: each byte is made on the way.
fn mark(to: *mut u8, len: usize, salt: u8) {
    for place in 0..len {
        // SAFETY: inside memory of `len` bytes that the caller owns.
        unsafe { to.wrapping_add(place).write_volatile(marker(place, salt)) };
    }
}

#[inline(never)]
fn marker(place: usize, salt: u8) -> u8 {
    let mixed = ((place % LEN) as u32).wrapping_mul(0x9e37_79b9).wrapping_add(0x7f4a_7c15 ^ u32::from(salt) << 9);
    (mixed ^ (mixed >> 15)) as u8 | 1
}

/// Counts where the marker stands in the writable memory of this process.
fn count(salt: u8) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("readable");
    let memory = File::open("/proc/self/mem").expect("readable");
    let mut chunk = vec![0_u8; 1 << 20];
    let own = chunk.as_ptr_range();
    let own = own.start as u64..own.end as u64;
    let mut found = 0;
    for line in maps.lines() {
        let mut parts = line.split_whitespace();
        let (range, rights) = (parts.next().expect("a range"), parts.next().expect("rights"));
        let (start, end) = range.split_once('-').expect("two ends");
        let number = |text| u64::from_str_radix(text, 16).expect("a number");
        let (mut at, end) = (number(start), number(end));
        if !rights.starts_with("rw") {
            continue;
        }
        while at < end {
            let wanted = (end - at).min(chunk.len() as u64) as usize;
            let Ok(got) = memory.read_at(&mut chunk[..wanted], at) else { break };
            for (offset, window) in chunk[..got].windows(LEN).enumerate() {
                let address = at + offset as u64;
                // The copy being looked through is not a place of its own.
                if !own.contains(&address) && (0..LEN).all(|place| window[place] == marker(place, salt)) {
                    found += 1;
                }
            }
            if got < wanted || got < LEN {
                break;
            }
            at += (got - (LEN - 1).min(got - 1)) as u64;
            if end - at < LEN as u64 {
                break;
            }
        }
    }
    found
}

fn pool(clear: ClearPolicy, check: Check) -> BufferPool {
    BufferPool::builder().name("secrets").clear(clear).check(check).build().expect("a pool")
}

/// Does what [`VARIABLE`] says; nothing without it.
#[test]
fn child() {
    let Ok(mode) = std::env::var(VARIABLE) else {
        return;
    };
    if mode == "never" {
        // The scan proves that it can find something.
        let pool = pool(ClearPolicy::Never, Check::On);
        let mut lease = pool.get(1000).expect("a lease");
        mark(lease.as_mut_ptr(), 1000, 0);
        assert!(count(0) > 30, "the marker is in the lease");
        drop(lease);
        assert!(count(0) > 30, "the policy leaves it there");
        return;
    }
    let check: Check = mode.parse().expect("a mode");
    let pool = pool(ClearPolicy::OnPut, check);
    let id = raw::retain(&pool);
    let mut salt = 0;
    let mut gone = |what: &str, act: &mut dyn FnMut(u8)| {
        salt += 1;
        act(salt);
        assert_eq!(count(salt), 0, "{mode}: {what}");
    };
    for len in [100, 5000, 70_000, 1 << 20, 20 << 20] {
        gone("put", &mut |salt| {
            let mut lease = pool.get(len).expect("a lease");
            mark(lease.as_mut_ptr(), len, salt);
        });
        gone("put of a slice's writes", &mut |salt| {
            let mut lease = pool.get(len).expect("a lease");
            lease[..100].iter_mut().enumerate().for_each(|(place, byte)| *byte = marker(place, salt));
        });
        gone("handle", &mut |salt| {
            let lease = raw::get(id, len, Site::NONE).expect("a lease");
            mark(lease.data, len, salt);
            raw::put(id, lease.id, None, Site::NONE).expect("live");
        });
        gone("put used", &mut |salt| {
            let lease = raw::get(id, len, Site::NONE).expect("a lease");
            mark(lease.data, 60, salt);
            raw::put(id, lease.id, Some(60), Site::NONE).expect("live");
        });
        gone("truncate", &mut |salt| {
            let mut lease = pool.get(len).expect("a lease");
            mark(lease.as_mut_ptr(), len, salt);
            lease.truncate(10);
        });
        gone("truncate, then a write", &mut |salt| {
            let mut lease = pool.get(len).expect("a lease");
            mark(lease.as_mut_ptr(), len, salt);
            lease.truncate(10);
            lease[0] = 1;
        });
        gone("truncate, then a handle", &mut |salt| {
            let mut lease = pool.get(len).expect("a lease");
            mark(lease.as_mut_ptr(), len, salt);
            lease.truncate(10);
            raw::put(id, lease.into_raw().id, None, Site::NONE).expect("live");
        });
        gone("detach", &mut |salt| {
            let mut lease = pool.get(len).expect("a lease");
            mark(lease.as_mut_ptr(), len, salt);
            let mut detached = lease.detach().expect("memory");
            // Freeing plain memory is its owner's matter: what may not stay is a copy in the pool.
            detached.fill(0);
        });
        gone("thread exit", &mut |salt| {
            let pool = pool.clone();
            let act = move || {
                let mut leases: Vec<_> = (0..4).map(|_| pool.get(len).expect("a lease")).collect();
                leases.iter_mut().for_each(|lease| mark(lease.as_mut_ptr(), len, salt));
            };
            std::thread::spawn(act).join().expect("no panic");
        });
        gone("overrun", &mut |salt| {
            let lease = raw::get(id, len - 16, Site::NONE).expect("a lease");
            let far = if matches!(check, Check::Sample(_)) { len - 16 } else { len };
            mark(lease.data, far, salt);
            let _ = raw::put(id, lease.id, None, Site::NONE);
        });
        gone("trim", &mut |salt| {
            let mut lease = pool.get(len).expect("a lease");
            mark(lease.as_mut_ptr(), len, salt);
            drop(lease);
            pool.trim();
        });
    }
    gone("close", &mut |salt| {
        let mut lease = pool.get(5000).expect("a lease");
        mark(lease.as_mut_ptr(), 5000, salt);
        pool.close().expect("not the default pool");
        drop(lease);
    });
}

#[test]
fn nothing_of_a_lease_stays_after_its_put() {
    for mode in ["never", "off", "on", "full", "sample:1"] {
        let output = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env(VARIABLE, mode)
            .output()
            .expect("the program starts");
        assert!(output.status.success(), "{mode}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
