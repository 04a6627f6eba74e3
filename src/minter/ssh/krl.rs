//! Key revocation lists as OpenSSH reads them (PROTOCOL.krl in its source, format version 1): which certificates a host must
//! refuse, by their serial numbers.

use crate::domain::Timestamp;

/// `SSHKRL\n\0`.
const MAGIC: u64 = 0x5353_484b_524c_0a00;
const FORMAT_VERSION: u32 = 1;
const SECTION_CERTIFICATES: u8 = 1;
const CERTIFICATES_SERIAL_LIST: u8 = 0x20;

/// A list of these serial numbers, of whichever authority signed them: so they stay refused while one authority takes the place of
/// another. They are random numbers of 64 bits, so that no other authority's certificate is one of them.
pub(super) fn render(serials: &[u64], now: Timestamp) -> Vec<u8> {
    let mut serials = serials.to_vec();
    serials.sort_unstable();
    serials.dedup();
    let seconds = u64::try_from(now.as_secs()).unwrap_or(0);
    let mut krl = Vec::new();
    krl.extend(MAGIC.to_be_bytes());
    krl.extend(FORMAT_VERSION.to_be_bytes());
    // Its version, which grows, and when it was made.
    krl.extend(seconds.to_be_bytes());
    krl.extend(seconds.to_be_bytes());
    // No flags; then something reserved and a comment, both empty.
    krl.extend(0_u64.to_be_bytes());
    string(&mut krl, &[]);
    string(&mut krl, &[]);
    if !serials.is_empty() {
        let numbers: Vec<u8> = serials.iter().flat_map(|serial| serial.to_be_bytes()).collect();
        let mut section = Vec::new();
        // Of any authority; then something reserved.
        string(&mut section, &[]);
        string(&mut section, &[]);
        section.push(CERTIFICATES_SERIAL_LIST);
        string(&mut section, &numbers);
        krl.push(SECTION_CERTIFICATES);
        string(&mut krl, &section);
    }
    krl
}

/// RFC 4251 §5: the length in four bytes, then the bytes.
fn string(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    to.extend(bytes);
}
