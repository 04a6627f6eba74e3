//! Which address a call comes from. The peer's, unless the peer is a proxy we were told to trust; then the right-most address
//! of `X-Forwarded-For` that is no such proxy, because everything to its left was written by strangers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::http::HeaderMap;
use axum::http::request::Parts;
use ipnet::IpNet;

/// The socket address of the peer, put into each request by the listener.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

pub(super) fn client_address(parts: &Parts, trusted: &[IpNet]) -> IpAddr {
    // Without a socket (in process) there is one caller and no proxy.
    let peer = parts.extensions.get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.0.ip());
    resolve(peer.to_canonical(), &parts.headers, trusted)
}

fn resolve(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    if !is_trusted(&peer) {
        return peer;
    }
    let lines: Vec<&str> = headers.get_all("x-forwarded-for").iter().filter_map(|line| line.to_str().ok()).collect();
    let mut last = peer;
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let Ok(address) = hop.trim().parse::<IpAddr>() else { return last };
        last = address.to_canonical();
        if !is_trusted(&last) {
            return last;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        resolve(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn api_05_without_trusted_proxies_a_spoofed_header_changes_nothing() {
        assert_eq!(resolved("192.0.2.1", &["203.0.113.9"], &[]), "192.0.2.1");
        assert_eq!(resolved("192.0.2.1", &["203.0.113.9"], &["10.0.0.0/8"]), "192.0.2.1");
    }

    #[test]
    fn behind_a_trusted_proxy_the_right_most_stranger_counts() {
        let trusted = ["10.0.0.0/8"];
        assert_eq!(resolved("10.0.0.1", &["1.1.1.1, 203.0.113.9"], &trusted), "203.0.113.9");
        assert_eq!(resolved("10.0.0.1", &["1.1.1.1, 203.0.113.9, 10.0.0.7"], &trusted), "203.0.113.9");
        assert_eq!(resolved("10.0.0.1", &["1.1.1.1", "203.0.113.9"], &trusted), "203.0.113.9");
        assert_eq!(resolved("10.0.0.1", &["203.0.113.9, nonsense"], &trusted), "10.0.0.1");
        assert_eq!(resolved("10.0.0.1", &[], &trusted), "10.0.0.1");
        assert_eq!(resolved("10.0.0.1", &["::ffff:203.0.113.9"], &trusted), "203.0.113.9");
    }
}
