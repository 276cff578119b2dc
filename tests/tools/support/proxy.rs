//! A proxy like those of companies: only it can reach names that do not resolve. Plain HTTP uses the whole URL in the
//! request line, everything else `CONNECT`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The configuration of a proxy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    /// The port on loopback for each `host:port`.
    pub(crate) names: BTreeMap<String, u16>,
    /// `user:password`; without them it answers 407.
    pub(crate) login: Option<String>,
    /// A status with which it answers everything.
    pub(crate) answers: Option<u16>,
    /// The host that requests for blobs are redirected to.
    pub(crate) blobs_at: Option<String>,
}

/// The proxy. Its threads end with the test's process.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub(crate) fn start(rules: Rules) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        let address = listener.local_addr().expect("a bound socket");
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let (rules, log) = (Arc::new(rules), Arc::clone(&heads));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (rules, log) = (Arc::clone(&rules), Arc::clone(&log));
                // A client that hangs up is none of our business.
                thread::spawn(move || serve(&stream, &rules, &log).ok());
            }
        });
        Self { address, heads }
    }

    /// A proxy that knows one name.
    pub(crate) fn to(name: &str, port: u16) -> Self {
        Self::start(Rules { names: [(name.to_owned(), port)].into(), ..Rules::default() })
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// The heads of all requests, beginning with the request line.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(stream: &TcpStream, rules: &Rules, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut client = stream;
    let mut reader = BufReader::new(stream);
    let head = read_head(&mut reader)?;
    if head.is_empty() {
        return Ok(());
    }
    log.lock().unwrap_or_else(PoisonError::into_inner).push(head.join("\n"));
    let field = |name: &str| {
        head.iter().skip(1).find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let length = field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut refuse = |status: u16, fields: &str| {
        let text = "<html>the proxy's own page</html>";
        let length = text.len();
        write!(
            client,
            "HTTP/1.1 {status} -\r\n{fields}Content-Length: {length}\r\nConnection: close\r\n\r\n{text}"
        )
    };
    if let Some(login) = &rules.login
        && field("proxy-authorization") != Some(format!("Basic {}", STANDARD.encode(login)))
    {
        return refuse(407, "Proxy-Authenticate: Basic realm=\"proxy\"\r\n");
    }
    if let Some(status) = rules.answers {
        return refuse(status, "");
    }
    let mut words = head[0].split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if method == "CONNECT" {
        let Some(port) = rules.names.get(target) else { return refuse(502, "") };
        return tunnel(stream, reader, *port);
    }
    // A server that is asked directly gets only the path, which shows the difference.
    let Some((host, path)) = target.strip_prefix("http://").and_then(|rest| rest.split_once('/')) else {
        return refuse(400, "");
    };
    let named = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let Some(port) = rules.names.get(&named) else { return refuse(502, "") };
    if let Some(elsewhere) = &rules.blobs_at
        && elsewhere != host
        && method == "GET"
        && path.contains("/blobs/sha256:")
    {
        return refuse(307, &format!("Location: http://{elsewhere}/{path}\r\n"));
    }
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, *port))?;
    server.set_read_timeout(Some(Duration::from_secs(20)))?;
    let own = ["connection:", "proxy-"];
    let kept = |line: &&String| !own.iter().any(|name| line.to_ascii_lowercase().starts_with(name));
    let fields: String = head.iter().skip(1).filter(kept).flat_map(|line| [line.as_str(), "\r\n"]).collect();
    server.write_all(format!("{method} /{path} HTTP/1.1\r\n{fields}Connection: close\r\n\r\n").as_bytes())?;
    server.write_all(&body)?;
    std::io::copy(&mut server, &mut client).map(drop)
}

/// The request line and header fields; empty if there is no request.
fn read_head(reader: &mut impl BufRead) -> std::io::Result<Vec<String>> {
    let mut head: Vec<String> = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(Vec::new());
        }
        if line.trim_end().is_empty() {
            return Ok(head);
        }
        head.push(line.trim_end().to_owned());
    }
}

/// Forwards bytes in both directions until both have ended.
fn tunnel(client: &TcpStream, mut reader: BufReader<&TcpStream>, port: u16) -> std::io::Result<()> {
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    let mut answers = client;
    answers.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let (mut from, mut to) = (server.try_clone()?, client.try_clone()?);
    let back = thread::spawn(move || {
        std::io::copy(&mut from, &mut to).ok();
        to.shutdown(Shutdown::Both).ok();
    });
    std::io::copy(&mut reader, &mut server).ok();
    server.shutdown(Shutdown::Write).ok();
    back.join().expect("it does not panic");
    Ok(())
}
