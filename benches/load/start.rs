//! How long it takes from nothing to a broker to play with, and from there to a command that runs with a credential.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::machine::size_mib;
use super::process::free_address;
use super::wire::{Wire, get};

/// Longest that `hallpass dev` may take.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Print the size of the executable, and start `hallpass dev` in an empty folder.
pub(crate) async fn report(executable: &Path) {
    println!("executable     {:.1} MiB", size_mib(executable));
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("dev");
    let address = three_free_ports();
    let start = Instant::now();
    let mut dev = Command::new(executable)
        .args(["dev", "--listen", &address.to_string(), "--dir"])
        .arg(&dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    if tokio::time::timeout(READY_WITHIN, ready(address)).await.is_err() {
        println!("hallpass dev   did not become ready within {} s", READY_WITHIN.as_secs());
        return end(&mut dev);
    }
    println!("hallpass dev   ready after {:.0} ms", start.elapsed().as_secs_f64() * 1000.0);
    let before = Instant::now();
    let ran = Command::new(executable)
        .args(["exec", "--as", "release-bot", "--purpose", "measure", "--scope", "sandbox:releases:read"])
        .arg("--dev-dir")
        .arg(&dir)
        .args(["--", "true"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    if ran.status.success() {
        println!(
            "first command  {:.0} ms: `hallpass exec`, its task closed again",
            before.elapsed().as_secs_f64() * 1000.0
        );
    } else {
        println!("first command  failed: {}", String::from_utf8_lossy(&ran.stderr).trim());
    }
    end(&mut dev);
}

async fn ready(address: SocketAddr) {
    let mut tries = tokio::time::interval(Duration::from_millis(2));
    loop {
        tries.tick().await;
        let Ok(mut wire) = Wire::connect(address).await else { continue };
        if wire.send(&get("/readyz", "")).await.is_ok_and(|answer| answer.status == 200) {
            return;
        }
    }
}

/// An address that is free, like the two ports after it.
fn three_free_ports() -> SocketAddr {
    let free = |address: SocketAddr, n: u16| {
        let Some(port) = address.port().checked_add(n) else { return false };
        std::net::TcpListener::bind(SocketAddr::new(address.ip(), port)).is_ok()
    };
    (0..100).map(|_| free_address()).find(|address| (0..3).all(|n| free(*address, n))).unwrap()
}

fn end(dev: &mut Child) {
    dev.kill().unwrap();
    dev.wait().unwrap();
}
