//! ROCA (CVE-2017-15361): RSA keys made by a broken library can be factored. Their modulus is a power of 65537 modulo each of
//! many small primes, which a sound key is with a chance of about one in a hundred million.

/// The primes for which the powers of 65537 are few (Nemec et al., "The Return of Coppersmith's Attack", CCS 2017).
const PRIMES: [u32; 17] = [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157];
const GENERATOR: u32 = 65_537;

/// Whether a modulus (big-endian) has the fingerprint of a key that can be factored.
pub(super) fn has_fingerprint(modulus: &[u8]) -> bool {
    PRIMES.iter().all(|prime| is_power_of_generator(remainder(modulus, *prime), *prime))
}

fn remainder(number: &[u8], prime: u32) -> u32 {
    number.iter().fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % prime)
}

fn is_power_of_generator(value: u32, prime: u32) -> bool {
    let mut power = 1;
    for _ in 0..prime {
        if power == value {
            return true;
        }
        power = power * (GENERATOR % prime) % prime;
    }
    false
}
