//! Addresses of members.
//!
//! Owns the form `host:port`: what is an address, when two are the same, which are loopback, and their lookup by the
//! system's resolver. What always holds: a text that [`Address::parse`] accepts is one address; nothing else, such as a
//! second address behind a blank or a semicolon, passes for a part of the host. Which ports an option takes is left to
//! [`crate::config`], and how long a lookup may take to its callers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

/// What a host's name may contain beside letters and digits: names of containers have underscores.
const NAME_MARKS: &[u8] = b"-._";

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Ip(IpAddr),
    /// A link-local address, which needs the interface to use: its name, or its number in decimal.
    Zoned(Ipv6Addr, String),
    /// In lower case, without the dot that may end it.
    Name(String),
}

impl Address {
    /// The address that `text` is.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("'{text}' has no port"))?;
        if host.is_empty() {
            return Err(format!("'{text}' has no host"));
        }
        Ok(Self { host: parse_host(host)?, port: parse_port(port)? })
    }

    /// The port; 0 lets the system choose one to listen on.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// True if only this machine can reach it, as far as that is known without a lookup.
    pub(crate) fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Ip(ip) => ip.is_loopback(),
            Host::Zoned(ip, _) => ip.is_loopback(),
            Host::Name(name) => name == "localhost",
        }
    }

    /// The socket addresses that the system has for it, in the order of its preference. Takes any length of time,
    /// unless the host is an IP address without a zone.
    fn lookup(&self) -> io::Result<Vec<SocketAddr>> {
        let name = match &self.host {
            Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, self.port)]),
            Host::Zoned(ip, zone) => format!("{ip}%{zone}"),
            Host::Name(name) => name.clone(),
        };
        Ok((name.as_str(), self.port).to_socket_addrs()?.collect())
    }
}

/// The socket addresses of a text, as [`Address::lookup`].
pub(crate) fn lookup(text: &str) -> io::Result<Vec<SocketAddr>> {
    let wrong = |reason| io::Error::new(io::ErrorKind::InvalidInput, reason);
    Address::parse(text).map_err(wrong)?.lookup()
}

fn parse_host(text: &str) -> Result<Host, String> {
    if let Some(inside) = text.strip_prefix('[') {
        let inside = inside.strip_suffix(']').ok_or_else(|| format!("'{text}' lacks its ']'"))?;
        return parse_ipv6(inside);
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(format!("an IPv6 address needs brackets: '[{text}]'"));
    }
    if let Some(stray) = text.chars().find(|&c| !is_of_name(c)) {
        return Err(format!("'{}' is no host: it has a {}", text.escape_debug(), called(stray)));
    }
    match text.parse::<Ipv4Addr>() {
        Ok(ip) => Ok(Host::Ip(ip.into())),
        // The resolver would read such a name as some other number, as it did before there were names.
        Err(_) if is_numeric(text) => Err(format!("'{text}' is no IPv4 address")),
        Err(_) => Ok(Host::Name(text.trim_end_matches('.').to_ascii_lowercase())),
    }
}

fn parse_ipv6(text: &str) -> Result<Host, String> {
    let (ip, zone) = text.split_once('%').map_or((text, None), |(ip, zone)| (ip, Some(zone)));
    let parsed: Ipv6Addr = ip.parse().map_err(|_| format!("'{}' is no IPv6 address", ip.escape_debug()))?;
    let Some(zone) = zone else { return Ok(Host::Ip(IpAddr::from(parsed).to_canonical())) };
    if zone.is_empty() || zone.chars().any(|c| !c.is_ascii_graphic() || "%[]/,;".contains(c)) {
        return Err(format!("'{}' is no name of a network interface", zone.escape_debug()));
    }
    Ok(Host::Zoned(parsed, zone.to_owned()))
}

fn parse_port(text: &str) -> Result<u16, String> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|_| is_number);
    port.ok_or_else(|| format!("'{}' is no port", text.escape_debug()))
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || u8::try_from(c).is_ok_and(|byte| NAME_MARKS.contains(&byte))
}

fn is_numeric(name: &str) -> bool {
    let last = name.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    last.bytes().all(|byte| byte.is_ascii_digit())
}

/// A character that does not belong where it is, in words if it cannot be seen.
fn called(stray: char) -> String {
    match stray {
        ' ' => "blank".to_owned(),
        '\n' | '\r' => "line break".to_owned(),
        '\t' => "tab".to_owned(),
        other => format!("'{}'", other.escape_debug()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Address {
        Address::parse(text).unwrap_or_else(|reason| panic!("{text}: {reason}"))
    }

    fn refused(text: &str) -> String {
        Address::parse(text).map(|address| panic!("{text}: {address:?}")).unwrap_err()
    }

    #[test]
    fn a_host_is_a_name_or_an_ip_address() {
        for text in
            ["a:1", "db-1.example.org:65535", "my_service.:80", "127.0.0.1:0", "[::1]:7", "[fe80::1%2]:7"]
        {
            parse(text);
        }
    }

    #[test]
    fn what_is_not_one_address_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "has no port"),
            ("host", "has no port"),
            (":1", "has no host"),
            ("a:", "is no port"),
            ("a:+1", "is no port"),
            ("a:65536", "is no port"),
            ("a:1 ", "is no port"),
            (" a:1", "it has a blank"),
            ("a:1;2=b:2", "it has a ':'"),
            ("a:1 2=b:2", "it has a ':'"),
            ("a\nb:1", "it has a line break"),
            ("a;b:1", "it has a ';'"),
            ("a=b:1", "it has a '='"),
            ("http://a:1", "it has a ':'"),
            ("h\u{f6}st:1", "it has a '\u{f6}'"),
            ("::1:1", "needs brackets: '[::1]'"),
            ("[::1:1", "lacks its ']'"),
            ("[::g]:1", "is no IPv6 address"),
            ("[a]:1", "is no IPv6 address"),
            ("[fe80::1%]:1", "is no name of a network interface"),
            ("[fe80::1%a b]:1", "is no name of a network interface"),
            ("300.1.1.1:1", "is no IPv4 address"),
            ("127.1:1", "is no IPv4 address"),
            ("1:1", "is no IPv4 address"),
        ] {
            assert!(refused(text).contains(reason), "{text}: {}", refused(text));
        }
    }

    #[test]
    fn two_spellings_of_one_address_are_the_same() {
        for (one, other) in [
            ("a.example:1", "A.Example.:01"),
            ("[::1]:1", "[0:0:0::1]:1"),
            ("[::ffff:10.0.0.1]:1", "10.0.0.1:1"),
        ] {
            assert_eq!(parse(one), parse(other));
        }
        for (one, other) in [("a:1", "a:2"), ("a:1", "b:1"), ("[fe80::1%a]:1", "[fe80::1%b]:1")] {
            assert_ne!(parse(one), parse(other));
        }
    }

    #[test]
    fn loopback_is_known_without_a_lookup() {
        for text in ["localhost:1", "LocalHost:1", "127.0.0.1:1", "127.8.9.1:1", "[::1]:1"] {
            assert!(parse(text).is_loopback(), "{text}");
        }
        for text in ["localhost.example:1", "10.0.0.1:1", "[::]:1", "0.0.0.0:1", "[fe80::1%lo]:1"] {
            assert!(!parse(text).is_loopback(), "{text}");
        }
    }

    #[test]
    fn a_zone_is_looked_up_as_the_number_of_its_interface() {
        let number =
            std::fs::read_to_string("/sys/class/net/lo/ifindex").expect("every machine has this interface");

        let found = lookup("[fe80::1%lo]:7001").expect("the system knows the interface");

        let expected = format!("[fe80::1%{}]:7001", number.trim()).parse().expect("an address");
        assert_eq!(found, [expected]);
        assert_eq!(lookup(&expected.to_string()).expect("a number"), [expected]);
        assert!(lookup("[fe80::1%no-such-0]:7001").is_err());
    }

    #[test]
    fn an_ip_address_is_looked_up_as_itself() {
        for text in ["10.0.0.1:7001", "[2001:db8::1]:7001"] {
            assert_eq!(parse(text).lookup().expect("nobody is asked"), [text.parse().expect("an address")]);
        }
    }
}
