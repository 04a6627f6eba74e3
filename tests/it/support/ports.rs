//! Ports on loopback that nobody uses and nobody is handed by the system either: between choosing one and listening on it, any
//! connection that is made meanwhile could else take it.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below those that Linux hands out by itself (32768 and up).
const FIRST: u16 = 10_000;
const COUNT: u16 = 22_000;

/// The first of so many free ports in a row. None is given twice by one process.
pub(crate) fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Each process begins somewhere else.
    let start = u16::try_from(u64::from(std::process::id()) * 997 % u64::from(COUNT)).unwrap();
    for _ in 0..COUNT {
        let offset = NEXT.fetch_add(count, Ordering::Relaxed);
        let first = FIRST + (start + offset % COUNT) % COUNT;
        if (first..first + count).all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()) {
            return first;
        }
    }
    panic!("no free port");
}
