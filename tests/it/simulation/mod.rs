//! Simulation: random operations on the whole broker, with a backend and a database that fail at random, then peace, and the
//! question whether every invariant held. A failure prints its seed: `SEED=n cargo test --test it simulation::` plays it again,
//! `SEEDS=n` plays so many.

mod deeds;
mod table;
mod world;

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};

use hallpass::sys::{Entropy as _, SystemEntropy};

use world::World;

/// Seeds when nobody says how many.
const SEEDS: u64 = 300;
/// Seeds that share a broker: starting one costs more than playing on it.
const TOGETHER: u64 = 20;

/// Random numbers from a seed (splitmix64).
pub(super) struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `n`.
    pub(super) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.roll() % u64::try_from(n).unwrap()).unwrap()
    }

    /// True so many times in a hundred.
    pub(super) fn percent(&mut self, n: usize) -> bool {
        self.below(100) < n
    }

    /// One of these.
    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

fn variable(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "which seeds to play is for whoever runs the test to say")]
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Play some seeds on one broker: what the last one did, or the first that breaks an invariant, and how.
fn play(seeds: std::ops::Range<u64>) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut world = World::start().await;
        for seed in seeds {
            let played = futures_util::FutureExt::catch_unwind(AssertUnwindSafe(world.play(seed))).await;
            let wrong = played.unwrap_or_else(|_| vec!["it panicked".to_owned()]);
            if !wrong.is_empty() {
                return Err(format!("SEED={seed}\n{}\n  {}", wrong.join("\n"), world.trace.join("\n  ")));
            }
        }
        Ok(world.trace.join("\n"))
    })
}

#[test]
fn whatever_happens_every_invariant_holds_and_everything_ends() {
    if let Some(seed) = variable("SEED") {
        match play(seed..seed + 1) {
            Ok(trace) => eprintln!("{trace}"),
            Err(failed) => panic!("{failed}"),
        }
        return;
    }
    let mut random = [0_u8; 4];
    SystemEntropy::default().fill(&mut random);
    let first = u64::from(u32::from_be_bytes(random)) << 16;
    let last = first + variable("SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(first);
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let work = || {
            loop {
                let from = next.fetch_add(TOGETHER, Ordering::SeqCst);
                if from >= last {
                    return Ok(());
                }
                play(from..(from + TOGETHER).min(last))?;
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().filter_map(|worker| worker.join().unwrap().err()).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
