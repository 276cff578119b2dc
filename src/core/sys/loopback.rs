//! An HTTP server on loopback for unit tests. A function answers each request byte for byte, so that a test can cut,
//! stall and misreport.

#![allow(clippy::missing_panics_doc, reason = "for tests, which may")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The path with its query.
    pub path: String,
    /// The first byte asked for by a `Range` header; 0 without one.
    pub offset: usize,
    /// How many requests came before this one.
    pub number: usize,
    /// The request line and the header fields as they were received.
    pub head: String,
    /// The body, if the request has a `Content-Length`.
    pub body: Vec<u8>,
}

/// What the server does about a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// These bytes with status 200, or 206 and the rest of them if a range was asked for.
    Whole(Vec<u8>),
    /// The headers of `Whole`, and only this many bytes of the body before the connection is cut.
    Cut(Vec<u8>, usize),
    /// The headers of `Whole`, this many bytes, and then silence.
    Stall(Vec<u8>, usize),
    /// A status without a body.
    Status(u16),
    /// These bytes and nothing else.
    Raw(String),
    /// The first, and then the second repeatedly until the client closes the connection.
    Endless(String, String),
    /// The first, and then the second, one byte per this interval.
    Trickle(String, String, Duration),
}

/// The server; it serves for as long as the test process lives.
pub struct Server {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    requests: Arc<Mutex<Vec<Request>>>,
    written: Arc<AtomicU64>,
}

impl Server {
    /// Starts a server that answers every request with `answer`.
    #[must_use]
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (answer, log, number) = (Arc::new(answer), Arc::clone(&requests), Arc::new(AtomicUsize::new(0)));
        let written = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&written);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, log, number) = (Arc::clone(&answer), Arc::clone(&log), Arc::clone(&number));
                let count = Arc::clone(&count);
                thread::spawn(move || {
                    let request = read_request(&stream, number.fetch_add(1, Ordering::SeqCst));
                    log.lock().unwrap().push(request.clone());
                    // In some tests the client hangs up.
                    write_reply(stream, &request, answer(&request), &count).ok();
                });
            }
        });
        Self { url, requests, written }
    }

    /// The number of bytes that clients took of endless replies.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }

    /// Every request so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn read_request(stream: &TcpStream, number: usize) -> Request {
    let mut reader = BufReader::new(stream);
    let head: Vec<String> =
        reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let path = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
    let field = |name: &str| {
        head.iter().find_map(|line| line.to_ascii_lowercase().strip_prefix(name).map(ToOwned::to_owned))
    };
    let range = field("range: bytes=").and_then(|range| range.trim_end_matches('-').parse().ok());
    let length = field("content-length: ").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    // In some tests the client sends less than it promised.
    reader.read_exact(&mut body).ok();
    Request { path, offset: range.unwrap_or(0), number, head: head.join("\n"), body }
}

fn write_reply(
    mut stream: TcpStream,
    request: &Request,
    reply: Reply,
    count: &AtomicU64,
) -> std::io::Result<()> {
    let (body, count, stall) = match reply {
        Reply::Raw(bytes) => return stream.write_all(bytes.as_bytes()),
        Reply::Endless(head, piece) => {
            stream.write_all(head.as_bytes())?;
            loop {
                stream.write_all(piece.as_bytes())?;
                count.fetch_add(piece.len() as u64, Ordering::SeqCst);
            }
        }
        Reply::Trickle(head, bytes, pause) => {
            stream.write_all(head.as_bytes())?;
            for byte in bytes.bytes() {
                thread::sleep(pause);
                stream.write_all(&[byte])?;
            }
            return Ok(());
        }
        Reply::Status(status) => {
            return write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
        Reply::Whole(body) => (body, usize::MAX, false),
        Reply::Cut(body, count) => (body, count, false),
        Reply::Stall(body, count) => (body, count, true),
    };
    let rest = &body[request.offset.min(body.len())..];
    if request.offset > 0 {
        write!(
            stream,
            "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {}-{}/{}\r\n",
            request.offset,
            body.len() - 1,
            body.len()
        )?;
    } else {
        write!(stream, "HTTP/1.1 200 OK\r\n")?;
    }
    write!(stream, "content-length: {}\r\nconnection: close\r\n\r\n", rest.len())?;
    stream.write_all(&rest[..count.min(rest.len())])?;
    stream.flush()?;
    if stall {
        thread::sleep(Duration::from_secs(60));
    }
    Ok(())
}
