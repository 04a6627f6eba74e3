//! Policy: bundles, the three answers, recognition, replay and golden tests.

mod answers;
mod bundles;
mod emergencies;
mod registers;
mod replays;
mod shipped;
mod support;
