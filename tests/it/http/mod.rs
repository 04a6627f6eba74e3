//! The HTTP door, in process where no port is needed.

mod listener;
mod surface;
