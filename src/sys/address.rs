//! Which addresses the outgoing client may connect to when nobody has said that a private one is meant: only such as are
//! reachable from the whole internet. An address that carries an IPv4 address is judged by that one too. And which are this machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::Url;

/// Whether a host, as it is written in a URL, is this machine: by the name `localhost`, or by a loopback address.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    // Of a scheme that is not the web's the host is not read as an address, and stands in its brackets.
    let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || literal.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The same of a URL's host.
#[must_use]
pub fn is_loopback_url(url: &Url) -> bool {
    url.host_str().is_some_and(is_loopback)
}

/// Whether an address is globally reachable unicast (IANA special-purpose registries, RFC 6890), also where it is only a
/// wrapping of an IPv4 address: IPv4-mapped, NAT64 (RFC 6052) or 6to4 (RFC 3056).
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = a == 0
        || a == 10
        || a == 127
        || (a == 100 && (64..=127).contains(&b))
        || (a == 169 && b == 254)
        || (a == 172 && (16..=31).contains(&b))
        || (a == 192 && b == 0 && (c == 0 || c == 2))
        || (a == 192 && b == 88 && c == 99)
        || (a == 192 && b == 168)
        || (a == 198 && (b == 18 || b == 19))
        || (a == 198 && b == 51 && c == 100)
        || (a == 203 && b == 0 && c == 113)
        || a >= 224;
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return is_public_v4(mapped);
    }
    let [s0, s1, s2, s3, s4, s5, s6, s7] = address.segments();
    match (s0, s1) {
        // NAT64's well-known prefix, 64:ff9b::/96; the local-use 64:ff9b:1::/48 is not public.
        (0x0064, 0xff9b) => [s2, s3, s4, s5] == [0; 4] && is_public_v4(v4_of(s6, s7)),
        // 6to4, 2002::/16.
        (0x2002, _) => is_public_v4(v4_of(s1, s2)),
        // Protocol assignments with Teredo (2001::/23), documentation (2001:db8::/32, 3fff::/20).
        (0x2001, second) if second < 0x0200 || second == 0x0db8 => false,
        (0x3fff, second) if second < 0x1000 => false,
        // Everything else that is allocated as global unicast is in 2000::/3.
        (first, _) => (0x2000..=0x3fff).contains(&first),
    }
}

fn v4_of(high: u16, low: u16) -> Ipv4Addr {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_whole_internet_are_public() {
        for blocked in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
        ] {
            assert!(!is_public(blocked.parse().unwrap()), "{blocked}");
        }
        for open in [
            "1.1.1.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.3.1",
            "100.128.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
            "2002:101:101::1",
        ] {
            assert!(is_public(open.parse().unwrap()), "{open}");
        }
    }
}
