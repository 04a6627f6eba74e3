//! The broker's clock is moved by what it may follow and by nothing else.

use std::sync::Arc;

use super::{Clock, ManualClock, OffsetClock, Reading};
use crate::domain::Timestamp;

const NOON: i64 = 1_800_000_000_000;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// A machine's clock and a steady one, which tests move.
struct World {
    machine: Arc<ManualClock>,
    steady: Arc<ManualClock>,
}

impl World {
    fn new(machine_ahead: i64) -> Self {
        Self {
            machine: Arc::new(ManualClock::new(at(NOON + machine_ahead))),
            steady: Arc::new(ManualClock::new(at(0))),
        }
    }

    fn of_machine(&self) -> OffsetClock {
        OffsetClock::of_machine(self.machine.clone(), self.steady.clone())
    }

    /// A clock on a database where it is noon.
    fn of_database(&self) -> OffsetClock {
        OffsetClock::of_database(self.machine.clone(), self.steady.clone(), self.read(0, 2))
    }

    /// A reading of a database that is so far ahead of noon and the time that has passed.
    fn read(&self, ahead: i64, took: i64) -> Reading {
        let asked = self.steady.now();
        let told = at(NOON + asked.as_millis() + took / 2 + ahead);
        Reading { told, asked, heard: at(asked.as_millis() + took) }
    }

    fn pass(&self, secs: i64) {
        self.machine.advance_secs(secs);
        self.steady.advance_secs(secs);
    }
}

#[test]
fn ha_08_the_time_is_the_databases_whatever_the_machine_says() {
    for ahead in [0, 4_000, 300_000, -300_000, 86_400_000] {
        let world = World::new(ahead);
        let clock = world.of_database();
        assert_eq!(clock.now(), at(NOON));
        world.pass(60);
        assert_eq!(clock.now(), at(NOON + 60_000));
        assert_eq!(clock.trouble().is_some(), ahead.abs() > 5_000, "{ahead}: {:?}", clock.trouble());
    }
}

#[test]
fn clk_01_02_a_jump_of_the_machines_clock_does_not_move_the_time_of_a_replica() {
    for jump in [3600, -3600] {
        let world = World::new(0);
        let clock = world.of_database();
        world.machine.advance_secs(jump);
        world.pass(10);
        clock.follow(world.read(0, 2));
        assert_eq!(clock.now(), at(NOON + 10_000));
        let trouble = clock.trouble().unwrap();
        assert!(trouble.contains("3600 s"), "{trouble}");
        world.machine.advance_secs(-jump);
        assert_eq!(clock.trouble(), None);
    }
}

#[test]
fn clk_01_without_a_database_server_a_jump_ahead_is_followed() {
    let world = World::new(0);
    let clock = world.of_machine();
    world.machine.advance_secs(3600);
    assert_eq!(clock.now(), at(NOON + 3_600_000));
    assert_eq!(clock.trouble(), None);
}

#[test]
fn clk_02_without_a_database_server_time_goes_on_when_the_machines_clock_goes_back() {
    let world = World::new(0);
    let clock = world.of_machine();
    world.pass(5);
    assert_eq!(clock.now(), at(NOON + 5_000));
    world.machine.advance_secs(-3600);
    world.pass(5);
    assert_eq!(clock.now(), at(NOON + 10_000));
    assert!(clock.trouble().unwrap().contains("went back by 3600 s"));
    world.machine.advance_secs(3600);
    assert_eq!((clock.now(), clock.trouble()), (at(NOON + 10_000), None));
}

#[test]
fn a_small_step_back_is_waited_for_and_time_never_runs_backwards() {
    let world = World::new(0);
    let clock = world.of_machine();
    assert_eq!(clock.now(), at(NOON));
    world.machine.set(at(NOON - 700));
    assert_eq!(clock.now(), at(NOON), "it stands still");
    world.pass(1);
    assert_eq!(clock.now(), at(NOON + 300), "and goes on with the machine's");
    assert_eq!(clock.trouble(), None);
}

#[test]
fn the_reading_that_took_the_shortest_time_counts() {
    let world = World::new(0);
    let clock = world.of_database();
    // It says 400 ms too much because its answer was 800 ms on its way.
    clock.follow(world.read(400, 800));
    assert_eq!(clock.now(), at(NOON));
    for _ in 0..super::offset::READINGS {
        clock.follow(world.read(400, 4));
    }
    assert_eq!(clock.now(), at(NOON + 400), "a drift is followed");
}

#[test]
fn a_database_whose_clock_is_set_is_followed_ahead_and_not_back() {
    let world = World::new(0);
    let clock = world.of_database();
    clock.follow(world.read(-3_600_000, 2));
    assert_eq!(clock.now(), at(NOON), "or every credential would live an hour longer");
    assert!(clock.trouble().unwrap().contains("the database's clock went back by 3600 s"));
    clock.follow(world.read(0, 900));
    assert_eq!(clock.trouble(), None);
    clock.follow(world.read(3_600_000, 900));
    assert_eq!(clock.now(), at(NOON + 3_600_000));
    assert!(clock.trouble().unwrap().contains("3600 s behind the database's"));
}
