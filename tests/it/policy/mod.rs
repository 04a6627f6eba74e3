//! Policy: bundles, the three answers, recognition, replay and golden tests.

mod shipped;
