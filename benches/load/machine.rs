//! What the machine itself can do, measured in the same run and with the libraries the broker uses, and what processes use.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use josekit::jws;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};

/// How long each limit is measured.
const MEASURE_FOR: Duration = Duration::from_secs(1);

/// What no broker on this machine can do better.
pub(crate) struct Limits {
    /// Appends of 4 KiB, each followed by `fdatasync`, one after the other.
    pub(crate) syncs_per_second: f64,
    /// CPU time of one verification by josekit (OpenSSL).
    pub(crate) verify_us: f64,
    /// CPU time of one signature by ring.
    pub(crate) sign_us: f64,
}

impl Limits {
    pub(crate) fn measure(folder: &Path) -> Self {
        let mut file = std::fs::File::create(folder.join("syncs")).unwrap();
        let (start, mut syncs) = (Instant::now(), 0.0);
        while start.elapsed() < 2 * MEASURE_FOR {
            file.write_all(&[7; 4096]).unwrap();
            file.sync_data().unwrap();
            syncs += 1.0;
        }
        let syncs_per_second = syncs / start.elapsed().as_secs_f64();
        std::fs::remove_file(folder.join("syncs")).unwrap();

        // As long as what is signed in an identity token.
        let message = [b'a'; 400];
        let pair = jws::ES256.generate_key_pair().unwrap();
        let josekit_signer = jws::ES256.signer_from_der(pair.to_der_private_key()).unwrap();
        let signature = jws::JwsSigner::sign(&josekit_signer, &message).unwrap();
        let verifier = jws::ES256.verifier_from_der(pair.to_der_public_key()).unwrap();
        let verify_us = micros(|| jws::JwsVerifier::verify(&verifier, &message, &signature).unwrap());

        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
        let sign_us = micros(|| {
            std::hint::black_box(key.sign(&random, &message).unwrap());
        });
        Self { syncs_per_second, verify_us, sign_us }
    }

    pub(crate) fn print(&self) {
        println!("this machine   {:.0} fdatasync/s of 4 KiB appends, one after the other", self.syncs_per_second);
        println!(
            "               ES256 verify {:.0} µs (OpenSSL), sign {:.0} µs (ring) of CPU",
            self.verify_us, self.sign_us
        );
    }
}

/// CPU time of one call.
fn micros(mut call: impl FnMut()) -> f64 {
    let (start, before, mut calls) = (Instant::now(), cpu_millis(None), 0.0);
    while start.elapsed() < MEASURE_FOR {
        (0..64).for_each(|_| call());
        calls += 64.0;
    }
    (cpu_millis(None) - before) * 1000.0 / calls
}

/// CPU time a process has used, in milliseconds; ours when none is named. The kernel counts it in steps of 10 ms.
pub(crate) fn cpu_millis(process: Option<u32>) -> f64 {
    let name = process.map_or("self".to_owned(), |id| id.to_string());
    let stat = std::fs::read_to_string(format!("/proc/{name}/stat")).unwrap();
    // The name of the program, in parentheses, may have anything in it.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) * 10.0
}

/// Memory of a process that is resident now, in KiB.
pub(crate) fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The size of a file, in MiB.
pub(crate) fn size_mib(file: &Path) -> f64 {
    std::fs::metadata(file).unwrap().size() as f64 / 1024.0 / 1024.0
}

/// Sample a process for so many seconds.
pub(crate) fn perf(process: u32, file: &str, seconds: u64) -> Child {
    let (process, seconds) = (process.to_string(), seconds.to_string());
    Command::new("perf")
        .args([
            "record",
            "-F",
            "499",
            "--call-graph",
            "dwarf,24576",
            "-o",
            file,
            "-p",
            &process,
            "--",
            "sleep",
            &seconds,
        ])
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}
