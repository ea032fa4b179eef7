//! Which address a request came from, when proxies stand in between.
//!
//! `X-Forwarded-For` is a list to which each proxy appends the address it saw. Only what trusted
//! proxies appended can be believed, so the list is read from the right and reading stops at the
//! first address that is not a trusted proxy: that one is the client. Whatever the client itself
//! wrote stands further left and is never reached.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use http::HeaderMap;

/// The header's name.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Addresses looked at from the right of the list: more proxies than any deployment chains.
const HOPS_MAX: usize = 16;

/// A network, `10.0.0.0/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    base: u128,
    /// Leading bits that must agree, of 128; IPv4 counts as mapped.
    bits: u8,
}

/// A text that is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an address or a network such as 10.0.0.0/8")]
pub struct NetworkError(String);

/// The proxies whose word is taken.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<Network>);

impl Network {
    fn contains(&self, addr: IpAddr) -> bool {
        let shift = 128 - u32::from(self.bits);
        let cut = |number: u128| number.checked_shr(shift).unwrap_or(0);
        cut(self.base) == cut(mapped(addr))
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let error = || NetworkError(text.chars().take(60).filter(|c| !c.is_control()).collect());
        let (addr, length) = match text.split_once('/') {
            Some((addr, length)) => (addr, Some(length)),
            None => (text, None),
        };
        let addr: IpAddr = addr.parse().map_err(|_| error())?;
        let (offset, most) = if addr.is_ipv4() { (96, 32) } else { (0, 128) };
        let length: u8 = match length {
            Some(digits) if !digits.starts_with('+') => digits.parse().map_err(|_| error())?,
            Some(_) => return Err(error()),
            None => most,
        };
        if length > most {
            return Err(error());
        }
        Ok(Self { base: mapped(addr), bits: offset + length })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv6Addr::from_bits(self.base), self.bits)
    }
}

impl TrustedProxies {
    /// Trusts these networks and no other. Empty: the header is never read.
    #[must_use]
    pub const fn new(networks: Vec<Network>) -> Self {
        Self(networks)
    }

    fn trusts(&self, addr: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(addr))
    }

    /// The address of the client behind a connection from `peer`.
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut nearest = plain(peer);
        if !self.trusts(nearest) {
            return nearest;
        }
        let lines = headers.get_all(FORWARDED_FOR).iter().rev();
        let hops = lines.flat_map(|line| line.to_str().unwrap_or("").rsplit(','));
        for hop in hops.take(HOPS_MAX) {
            // Whatever is no address was not written by a proxy that we trust: the last one that
            // was is the best we know.
            let Some(addr) = address(hop.trim()) else { return nearest };
            nearest = addr;
            if !self.trusts(addr) {
                return nearest;
            }
        }
        nearest
    }
}

/// An address, perhaps with a port, as proxies write it.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let addr = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()));
    addr.ok().map(plain)
}

/// IPv4 that came in through an IPv6 socket is IPv4.
fn plain(addr: IpAddr) -> IpAddr {
    addr.to_canonical()
}

fn mapped(addr: IpAddr) -> u128 {
    match plain(addr) {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// Where a request is taken to come from when no listener said so.
pub(super) const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

#[cfg(test)]
mod tests {
    use super::*;

    fn client(trusted: &[&str], peer: &str, lines: &[&str]) -> String {
        let networks = trusted.iter().map(|network| network.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        }
        TrustedProxies::new(networks).client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn nobody_can_choose_an_address() {
        let proxies = &["10.0.0.0/8", "2001:db8:ffff::/48", "192.0.2.10"];
        for (trusted, peer, lines, expected) in [
            // No proxy is trusted: the header is not read.
            (&[][..], "203.0.113.5", &["1.1.1.1"][..], "203.0.113.5"),
            // A stranger that writes the header itself.
            (proxies, "203.0.113.5", &["1.1.1.1"], "203.0.113.5"),
            (proxies, "203.0.113.5", &["10.0.0.1"], "203.0.113.5"),
            // One proxy; the client wrote a lie that stands to the left.
            (proxies, "10.0.0.1", &["203.0.113.5"], "203.0.113.5"),
            (proxies, "10.0.0.1", &["1.1.1.1, 203.0.113.5"], "203.0.113.5"),
            (proxies, "10.0.0.1", &["1.1.1.1", "203.0.113.5"], "203.0.113.5"),
            (proxies, "10.0.0.1", &["10.0.0.9, 203.0.113.5"], "203.0.113.5"),
            // A chain of proxies.
            (proxies, "10.0.0.1", &["1.1.1.1, 203.0.113.5, 10.0.0.2, 192.0.2.10"], "203.0.113.5"),
            (proxies, "10.0.0.1", &["203.0.113.5,10.0.0.2", "10.0.0.3"], "203.0.113.5"),
            // Nothing, or nothing that a proxy writes.
            (proxies, "10.0.0.1", &[], "10.0.0.1"),
            (proxies, "10.0.0.1", &[""], "10.0.0.1"),
            (proxies, "10.0.0.1", &["203.0.113.5, unknown"], "10.0.0.1"),
            (proxies, "10.0.0.1", &["203.0.113.5, garbage, 10.0.0.2"], "10.0.0.2"),
            // Only proxies.
            (proxies, "10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            // Ports, brackets, IPv6, IPv4 through IPv6.
            (proxies, "10.0.0.1", &["203.0.113.5:4711"], "203.0.113.5"),
            (proxies, "2001:db8:ffff::1", &["[2001:db8::7]:443"], "2001:db8::7"),
            (proxies, "2001:db8:ffff::1", &["[2001:db8::7]"], "2001:db8::7"),
            (proxies, "::ffff:10.0.0.1", &["::ffff:203.0.113.5"], "203.0.113.5"),
            (proxies, "2001:db8:fffe::1", &["1.1.1.1"], "2001:db8:fffe::1"),
            (&["0.0.0.0/0"], "203.0.113.5", &["2001:db8::7"], "2001:db8::7"),
        ] {
            assert_eq!(client(trusted, peer, lines), expected, "{peer} {lines:?}");
        }
    }

    #[test]
    fn a_long_list_is_not_read_to_its_end() {
        let hops = vec!["10.0.0.2"; 10_000].join(",");
        assert_eq!(client(&["10.0.0.0/8"], "10.0.0.1", &[&hops]), "10.0.0.2");
    }

    #[test]
    fn networks_are_checked() {
        for bad in ["", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "::/129", "10.0.0/8", "a"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
        let network: Network = "10.1.2.3/16".parse().unwrap();
        assert!(network.contains("10.1.255.255".parse().unwrap()));
        assert!(!network.contains("10.2.0.0".parse().unwrap()));
        assert!(!network.contains("::a01:203".parse().unwrap()));
    }
}
