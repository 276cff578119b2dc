//! Plain HTTP through a proxy: the request line has the whole URL (RFC 9112, section 3.2.2), as with curl, Go and apt.
//! ureq would ask for a tunnel by `CONNECT`, which many proxies allow for port 443 only.

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, NextTimeout, TcpConnector, Transport,
};

/// An agent whose requests all go to a proxy without TLS. Its `config` has no proxy.
///
/// Connections are not reused, because only the first bytes on a connection are known to be a request line.
pub(super) fn agent(config: Config, proxy: &ureq::Proxy) -> ureq::Agent {
    let to_proxy = ToProxy { uri: proxy.uri().clone(), resolver: DefaultResolver::default() };
    ureq::Agent::with_parts(config, ().chain(TcpConnector::default()).chain(WholeUrl), to_proxy)
}

/// Resolves every host to the proxy's addresses.
#[derive(Debug)]
struct ToProxy {
    uri: Uri,
    resolver: DefaultResolver,
}

impl Resolver for ToProxy {
    fn resolve(&self, _: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        self.resolver.resolve(&self.uri, config, timeout)
    }
}

/// Writes scheme and authority before the path in a connection's first line.
#[derive(Debug)]
struct WholeUrl;

impl<In: Transport> Connector<In> for WholeUrl {
    type Out = Line<In>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Line<In>>, Error> {
        let authority = details.uri.authority().map_or("", |authority| authority.as_str());
        Ok(chained.map(|inner| Line { inner, missing: Some(format!("http://{authority}")) }))
    }
}

#[derive(Debug)]
struct Line<In> {
    inner: In,
    /// The part that the line still lacks.
    missing: Option<String>,
}

impl<In: Transport> Transport for Line<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let Some(missing) = self.missing.take() else { return self.inner.transmit_output(amount, timeout) };
        let output = self.inner.buffers().output();
        let whole = amount + missing.len();
        let space = output[..amount].iter().position(|byte| *byte == b' ');
        let Some(path) = space.map(|space| space + 1).filter(|_| whole <= output.len()) else {
            return Err(Error::Io(std::io::Error::other("a request's line is too long for a proxy")));
        };
        output.copy_within(path..amount, path + missing.len());
        output[path..path + missing.len()].copy_from_slice(missing.as_bytes());
        self.inner.transmit_output(whole, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }
}
