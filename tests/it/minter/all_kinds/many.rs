//! Many tasks at once, some of them ended at random.

use futures_util::StreamExt as _;
use hallpass::sys::{Clock as _, SteadyClock};

use super::{Broker, Task};

/// Tasks at once; half of them end.
const TASKS: usize = 200;
/// Calls at a time.
const PARALLEL: usize = 16;

/// Which tasks end: half, in an order that looks like none and is another each time.
fn drawn() -> Vec<usize> {
    let mut random = [0_u8; 8];
    hallpass::sys::Entropy::fill(&hallpass::sys::SystemEntropy::default(), &mut random);
    let seed = u64::from_le_bytes(random);
    let mut order: Vec<usize> = (0..TASKS).collect();
    order.sort_by_cached_key(|number| hallpass::sys::sha256(format!("{seed} {number}")).to_string());
    order.truncate(TASKS / 2);
    order
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_hundred_tasks_with_credentials_of_all_kinds_those_that_end_are_dead_and_the_others_untouched() {
    let broker = Broker::start().await;
    let broker = &broker;
    let clock = SteadyClock::default();
    let tasks: Vec<Task> =
        futures_util::stream::iter(0..TASKS).map(|number| broker.open(number)).buffered(PARALLEL).collect().await;
    let count_working = async |which: &[usize]| {
        let held = which.iter().flat_map(|number| &tasks[*number].held);
        let works = futures_util::stream::iter(held).map(|held| broker.works(held)).buffer_unordered(PARALLEL);
        works.filter(|works| std::future::ready(*works)).count().await
    };
    let kinds = broker.targets.len();
    let all: Vec<usize> = (0..TASKS).collect();
    assert_eq!(count_working(&all).await, TASKS * kinds, "each of them works");

    let ended = drawn();
    let others: Vec<usize> = all.iter().copied().filter(|number| !ended.contains(number)).collect();
    let ends = futures_util::stream::iter(ended.clone()).map(async |number| {
        let from = clock.now();
        broker.complete(&tasks[number]).await;
        broker.until_closed(&tasks[number], from, &clock).await
    });
    let mut took: Vec<(String, i64)> = ends.buffer_unordered(PARALLEL).collect::<Vec<_>>().await.concat();
    took.sort();
    for target in &broker.targets {
        let mut of: Vec<i64> =
            took.iter().filter(|(backend, _)| backend == target.backend()).map(|(_, ms)| *ms).collect();
        of.sort_unstable();
        assert_eq!(of.len(), ended.len(), "every one of {} is closed", target.backend());
        let at_once = if target.ends_at_once() { "" } else { " (within its poll)" };
        println!(
            "end to closed, {}{at_once}: p50 {} ms, p99 {} ms",
            target.backend(),
            of[of.len() / 2],
            of[of.len() * 99 / 100]
        );
    }
    assert_eq!(count_working(&ended).await, 0, "what ended is dead");
    assert_eq!(count_working(&others).await, others.len() * kinds, "the others are untouched");
}
