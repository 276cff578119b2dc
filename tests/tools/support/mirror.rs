//! A mirror of Debian's archive on loopback that forwards the real one's responses, except for what a test alters. So
//! the real signatures and digests must detect the alteration.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fs, thread};

/// Alters a file's bytes, given its path; true if it did.
pub(crate) type Alter = fn(&str, &mut Vec<u8>) -> bool;

/// The mirror. Its threads end with the test's process.
#[derive(Debug)]
pub(crate) struct Mirror {
    address: SocketAddr,
    altered: Arc<AtomicUsize>,
    asked: Arc<Mutex<Vec<String>>>,
    lost: Arc<Mutex<Vec<String>>>,
}

/// The path at which the same files are available as of any moment, whatever the mirror has lost.
const SNAPSHOT: &str = "/snapshot";

impl Mirror {
    pub(crate) fn start(alter: Alter) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        let mirror = Self {
            address: listener.local_addr().expect("a bound socket"),
            altered: Arc::default(),
            asked: Arc::default(),
            lost: Arc::default(),
        };
        let (altered, asked, upstream) = (Arc::clone(&mirror.altered), Arc::clone(&mirror.asked), upstream());
        let lost = Arc::clone(&mirror.lost);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (altered, asked, upstream) = (Arc::clone(&altered), Arc::clone(&asked), upstream.clone());
                let lost = Arc::clone(&lost);
                thread::spawn(move || {
                    // A client that hangs up is none of our business.
                    stream.and_then(|stream| serve(&stream, &upstream, alter, &altered, &asked, &lost)).ok();
                });
            }
        });
        mirror
    }

    /// Makes the mirror lose every file whose path contains this.
    pub(crate) fn lose(&self, part: &str) {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).push(part.to_owned());
    }

    /// The URL of a snapshot archive, which has lost nothing.
    pub(crate) fn snapshots(&self) -> String {
        format!("http://{}{SNAPSHOT}", self.address)
    }

    /// Its URL, in the form of an archive's root.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/debian", self.address)
    }

    /// How many responses were altered.
    pub(crate) fn altered(&self) -> usize {
        self.altered.load(Ordering::SeqCst)
    }

    /// The paths that were requested.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The archive that this machine's own apt uses, or Debian's.
pub(crate) fn upstream() -> String {
    let listed = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let sources = listed("/etc/apt/sources.list") + &listed("/etc/apt/sources.list.d/debian.sources");
    sources
        .split_whitespace()
        .filter(|_| listed("/etc/os-release").lines().any(|line| line == "ID=debian"))
        .find(|word| word.starts_with("http") && word.trim_end_matches('/').ends_with("/debian"))
        .map_or_else(official, |word| word.trim_end_matches('/').to_owned())
}

/// The archive that xbuild itself would use in that case.
fn official() -> String {
    let data = include_str!("../../../src/packages/debian/official.toml");
    let data: toml::Table = data.parse().expect("a data file of ours");
    data["archive"][0].as_str().expect("a text").to_owned()
}

fn serve(
    mut stream: &TcpStream,
    upstream: &str,
    alter: Alter,
    altered: &AtomicUsize,
    asked: &Mutex<Vec<String>>,
    lost: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    // Handle requests on one connection until the client closes it.
    while reader.read_line(&mut request)? > 0 {
        let wanted = request.split(' ').nth(1).unwrap_or_default();
        // `/snapshot/debian/<date>/pool/…` is `/pool/…`.
        let dated = wanted.strip_prefix(SNAPSHOT).and_then(|path| path.splitn(4, '/').nth(3));
        let path =
            dated.map_or_else(|| wanted.trim_start_matches("/debian").to_owned(), |path| format!("/{path}"));
        let lost = lost.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let is_lost = dated.is_none() && lost.iter().any(|part| path.contains(part.as_str()));
        let mut header = String::new();
        while reader.read_line(&mut header)? > 0 && !header.trim().is_empty() {
            header.clear();
        }
        asked.lock().unwrap_or_else(PoisonError::into_inner).push(wanted.to_owned());
        let (status, mut body) =
            if is_lost { (404, Vec::new()) } else { fetch(&format!("{upstream}{path}")) };
        if status == 200 && alter(&path, &mut body) {
            altered.fetch_add(1, Ordering::SeqCst);
        }
        write!(stream, "HTTP/1.1 {status} -\r\nContent-Length: {}\r\n\r\n", body.len())?;
        stream.write_all(&body)?;
        request.clear();
    }
    Ok(())
}

fn fetch(url: &str) -> (u16, Vec<u8>) {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(120)))
        .build()
        .into();
    let answer = agent.get(url).call().and_then(|mut response| {
        let body = response.body_mut().with_config().limit(256 << 20).read_to_vec()?;
        Ok((response.status().as_u16(), body))
    });
    answer.unwrap_or_else(|error| (502, error.to_string().into_bytes()))
}
