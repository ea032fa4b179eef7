//! Which names this Relay answers to.
//!
//! A page of another site may make its own name point at this address and so have a browser talk
//! to it; and what a proxy before us thought of one name must not be said to another.

use std::net::Ipv6Addr;

use http::{HeaderMap, Uri, header};

use crate::domain::{Code, Fault};

/// The names that requests may address; none configured is any.
#[derive(Clone, Debug, Default)]
pub struct Hosts(Vec<String>);

/// A text that is no name of a host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a host name or address, without a port, such as relay.example.com")]
pub struct HostError(String);

impl Hosts {
    /// Only these names, whatever the port.
    ///
    /// # Errors
    /// [`HostError`] for a text that no request could name.
    pub fn new(names: &[String]) -> Result<Self, HostError> {
        let letter = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
        let read = |name: &String| {
            // An address of IPv6 stands in brackets in a request.
            if name.parse::<Ipv6Addr>().is_ok() {
                return Ok(format!("[{name}]"));
            }
            if name.is_empty() || !name.bytes().all(letter) {
                let shown = name.chars().filter(|c| !c.is_control()).take(80).collect();
                return Err(HostError(shown));
            }
            Ok(name.clone())
        };
        Ok(Self(names.iter().map(read).collect::<Result<_, _>>()?))
    }

    /// Refuses a request that addresses another name, or several.
    ///
    /// # Errors
    /// [`Code::Unservable`] for more than one `Host`, [`Code::HostNotServed`] for another.
    pub(super) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Fault> {
        let mut values = headers.get_all(header::HOST).iter();
        let host = values.next();
        if values.next().is_some() {
            return Err(Fault::new(Code::Unservable, "The request names more than one host"));
        }
        if self.0.is_empty() {
            return Ok(());
        }
        // HTTP/2 and requests to a proxy carry the name in their target.
        let target = uri.authority().map(|authority| authority.as_str());
        let host = host.map(|host| host.to_str().unwrap_or_default());
        let mut named = target.into_iter().chain(host).peekable();
        if named.peek().is_some() && named.all(|name| self.holds(name)) {
            return Ok(());
        }
        Err(Fault::new(Code::HostNotServed, "This Relay does not answer to that host name"))
    }

    fn holds(&self, authority: &str) -> bool {
        let Ok(authority) = authority.parse::<http::uri::Authority>() else { return false };
        let host = authority.host().trim_end_matches('.');
        self.0.iter().any(|name| name.eq_ignore_ascii_case(host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(hosts: &[&str], uri: &str, named: &[&str]) -> Result<(), Code> {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut headers = HeaderMap::new();
        for name in named {
            headers.append(header::HOST, name.parse().unwrap());
        }
        let checked = Hosts::new(&hosts).unwrap().check(&uri.parse().unwrap(), &headers);
        checked.map_err(|fault| fault.code)
    }

    #[test]
    fn only_configured_names_are_answered() {
        let ours = &["relay.example.com", "127.0.0.1", "::1"][..];
        let other = Err(Code::HostNotServed);
        for (named, expected) in [
            (&["relay.example.com"][..], Ok(())),
            (&["RELAY.example.com:8700"], Ok(())),
            (&["relay.example.com."], Ok(())),
            (&["127.0.0.1:8700"], Ok(())),
            (&["[::1]:8700"], Ok(())),
            (&["relay.example.com.evil.test"], other),
            (&["evil.test"], other),
            (&["a b"], other),
            (&[""], other),
            (&[], other),
            (&["relay.example.com", "relay.example.com"], Err(Code::Unservable)),
        ] {
            assert_eq!(check(ours, "/v2/health", named), expected, "{named:?}");
        }
        let both = |target: &str| check(ours, target, &["relay.example.com"]);
        assert_eq!(both("http://relay.example.com/v2/health"), Ok(()));
        assert_eq!(both("http://evil.test/v2/health"), other, "the target counts too");
        assert_eq!(check(&[], "/v2/health", &["evil.test"]), Ok(()), "any where none is set");
        assert_eq!(check(&[], "/v2/health", &["a", "b"]), Err(Code::Unservable));
    }

    #[test]
    fn a_name_is_checked() {
        for bad in ["", "a b", "http://a", "a/b", "a:80", "u@a", "*"] {
            let found = Hosts::new(&[bad.to_owned()]);
            assert!(found.is_err(), "{bad}: {found:?}");
        }
    }
}
