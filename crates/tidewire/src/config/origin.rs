//! Which web pages may connect: [`Origin`], one exact origin, and [`Origins`], those allowed.
//!
//! Knows nothing of handshakes or CORS headers; the doors ask [`Origins::allows`]. Invariant: the
//! text of an [`Origin`] is what a browser sends in its `Origin` header (RFC 6454, section 6.1), so
//! comparing is comparing bytes.

use std::{fmt, net::IpAddr};

use url::{Host, Url};

/// One exact origin: scheme, host and, unless it is the scheme's own, port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin(String);

/// Why a text is not an origin that can be listed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// `*`, or a `*` inside.
    #[error(
        "a wildcard lets pages you do not know connect with your users' credentials: \
         name each origin"
    )]
    Wildcard,
    /// `null`, which sandboxed pages and files of anybody send.
    #[error("`null` is the origin of any sandboxed page: it names nobody")]
    Null,
    /// No `scheme://host`.
    #[error("an origin is scheme://host, with :port if it is not the scheme's own")]
    Form,
    /// There is something after the host and port; the origin would be the text given here.
    #[error("an origin ends after the host and port: write \"{0}\"")]
    Path(String),
}

impl Origin {
    /// Parses an origin and brings it to the form in which browsers send it: lower case, host in
    /// ASCII, no default port.
    ///
    /// # Errors
    /// [`OriginError`] when the text is more or less than one exact origin.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        if text.contains('*') {
            return Err(OriginError::Wildcard);
        }
        if text == "null" {
            return Err(OriginError::Null);
        }
        let url = Url::parse(text).map_err(|_| OriginError::Form)?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(OriginError::Form)?;
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let origin = format!("{}://{}{port}", url.scheme(), host.to_ascii_lowercase());
        let ends_after_port = matches!(url.path(), "" | "/")
            && !text.ends_with('/')
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if ends_after_port { Ok(Self(origin)) } else { Err(OriginError::Path(origin)) }
    }

    /// The origin, as a browser sends it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The origins that are allowed. The default allows none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origins {
    /// Those that the config lists.
    pub listed: Vec<Origin>,
    /// Any port of this machine too, over http or https: what `tidewire dev` does.
    pub loopback: bool,
}

impl Origins {
    /// May a page of this origin connect? `origin` is the value of the `Origin` header.
    #[must_use]
    pub fn allows(&self, origin: &str) -> bool {
        self.listed.iter().any(|listed| listed.as_str() == origin)
            || (self.loopback && is_loopback(origin))
    }

    /// Is no origin allowed at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty() && !self.loopback
    }
}

fn is_loopback(origin: &str) -> bool {
    let parsed = Url::parse(origin).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    parsed.is_some_and(|url| url.origin().ascii_serialization() == origin && is_loopback_url(&url))
}

/// Does the URL name this machine: `localhost`, a name below it, or a loopback address?
pub(crate) fn is_loopback_url(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_take_the_form_that_browsers_send() {
        for (text, origin) in [
            ("https://app.example.com", "https://app.example.com"),
            ("https://App.Example.com:443", "https://app.example.com"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
            ("capacitor://localhost", "capacitor://localhost"),
        ] {
            assert_eq!(Origin::parse(text).unwrap().as_str(), origin, "{text}");
        }
    }

    #[test]
    fn what_is_not_one_exact_origin_is_refused() {
        for (text, error) in [
            ("*", OriginError::Wildcard),
            ("https://*.example.com", OriginError::Wildcard),
            ("null", OriginError::Null),
            ("app.example.com", OriginError::Form),
            ("localhost:3000", OriginError::Form),
            ("", OriginError::Form),
            ("https://a.example/", OriginError::Path("https://a.example".into())),
            ("https://a.example/x?y", OriginError::Path("https://a.example".into())),
            ("https://me@a.example", OriginError::Path("https://a.example".into())),
        ] {
            assert_eq!(Origin::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn only_what_is_listed_is_allowed() {
        let listed = vec![Origin::parse("https://a.example").unwrap()];
        let origins = Origins { listed, loopback: false };
        assert!(origins.allows("https://a.example"));
        for other in ["https://a.example:8443", "http://a.example", "https://b.a.example", "null"] {
            assert!(!origins.allows(other), "{other}");
        }
        assert!(!origins.allows("http://localhost:4000"));
        assert!(Origins::default().is_empty());
    }

    #[test]
    fn loopback_is_this_machine_and_nothing_that_looks_like_it() {
        let origins = Origins { listed: Vec::new(), loopback: true };
        for good in
            ["http://localhost", "http://localhost:5173", "https://127.0.0.1:1", "http://[::1]:8"]
        {
            assert!(origins.allows(good), "{good}");
        }
        for bad in [
            "http://localhost.example",
            "http://127.0.0.1.example",
            "http://me@localhost",
            "http://localhost/",
            "null",
            "",
            "ftp://localhost",
        ] {
            assert!(!origins.allows(bad), "{bad}");
        }
    }
}
