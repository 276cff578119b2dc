//! A proxy in front of a registry that causes faults, by a seed: the same seed causes the same faults.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// A fault of one request and its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The connection ends before anything is forwarded.
    Refused,
    /// The request is done, but its response is lost.
    AnswerLost,
    /// The response ends in the middle of its body, or of its head if it has no body.
    Cut,
    /// The response ends in the middle, and its head does not declare its length.
    Truncated,
    /// The response stops in the middle, and the connection stays open.
    Stalled,
    /// One byte of the response's body is changed.
    WrongByte,
    /// 429 for some requests.
    Busy,
    /// 503 for some requests.
    Down,
    /// The request ends in the middle of its body.
    UploadCut,
    /// One byte of the request's body is changed.
    UploadWrongByte,
    /// The registry forgets the upload that the request is about.
    UploadLost,
}

const FAULTS: [Fault; 11] = [
    Fault::Refused,
    Fault::AnswerLost,
    Fault::Cut,
    Fault::Truncated,
    Fault::Stalled,
    Fault::WrongByte,
    Fault::Busy,
    Fault::Down,
    Fault::UploadCut,
    Fault::UploadWrongByte,
    Fault::UploadLost,
];

#[derive(Debug)]
struct State {
    random: StdRng,
    /// The probability of a fault.
    rate: f64,
    /// A status with which the next requests are answered.
    burst: Option<(u16, u32)>,
    done: Vec<Fault>,
}

/// The proxy. Its threads end with the test's process.
#[derive(Debug)]
pub(crate) struct FaultProxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl FaultProxy {
    pub(crate) fn start(upstream: u16, stall: Duration) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        let address = listener.local_addr().expect("a bound socket");
        let random = StdRng::seed_from_u64(0);
        let state = Arc::new(Mutex::new(State { random, rate: 0.0, burst: None, done: Vec::new() }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                // A client that hangs up is none of our business.
                thread::spawn(move || serve(&stream, upstream, stall, &state).ok());
            }
        });
        Self { address, state }
    }

    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// Causes faults by this seed from now on.
    pub(crate) fn seed(&self, seed: u64, rate: f64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = State { random: StdRng::seed_from_u64(seed), rate, burst: None, done: Vec::new() };
    }

    /// The faults since the seed was set.
    pub(crate) fn done(&self) -> Vec<Fault> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).done.clone()
    }
}

/// A request as received.
struct Request {
    head: Vec<String>,
    body: Vec<u8>,
}

impl Request {
    fn read(reader: &mut BufReader<&TcpStream>) -> std::io::Result<Option<Self>> {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            match line.trim_end() {
                "" if head.is_empty() => return Ok(None),
                "" => break,
                line => head.push(line.to_owned()),
            }
        }
        let mut request = Self { head, body: Vec::new() };
        let length = request.field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        request.body = vec![0; length];
        reader.read_exact(&mut request.body)?;
        Ok(Some(request))
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.head.iter().skip(1).find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    fn method(&self) -> &str {
        self.head[0].split(' ').next().unwrap_or_default()
    }

    fn target(&self) -> &str {
        self.head[0].split(' ').nth(1).unwrap_or_default()
    }

    fn is_upload(&self) -> bool {
        self.target().contains("/blobs/uploads/") && matches!(self.method(), "PUT" | "PATCH")
    }

    fn bytes(&self) -> Vec<u8> {
        let kept = self.head.iter().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
        let mut bytes = kept.flat_map(|line| [line.as_str(), "\r\n"]).collect::<String>().into_bytes();
        bytes.extend(b"Connection: close\r\n\r\n");
        bytes.extend(&self.body);
        bytes
    }
}

fn serve(stream: &TcpStream, upstream: u16, stall: Duration, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let Some(mut request) = Request::read(&mut reader)? else { return Ok(()) };
    let mut client = stream;
    let decided = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        decide(&mut state, &request)
    };
    let (fault, number) = match decided {
        Decided::Status(status) => {
            let wait = if status == 429 { "Retry-After: 0\r\n" } else { "" };
            return write!(
                client,
                "HTTP/1.1 {status} -\r\n{wait}Content-Length: 0\r\nConnection: close\r\n\r\n"
            );
        }
        Decided::Fault(fault, number) => (Some(fault), number),
        Decided::Nothing => (None, 0),
    };
    match fault {
        Some(Fault::Refused) => return stream.shutdown(Shutdown::Both),
        Some(Fault::UploadWrongByte) => {
            let at = number % request.body.len();
            request.body[at] ^= 0x20;
        }
        Some(Fault::UploadCut) => {
            let bytes = request.bytes();
            let end = bytes.len() - request.body.len() + number % request.body.len();
            let mut registry = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream))?;
            registry.write_all(&bytes[..end])?;
            registry.shutdown(Shutdown::Both)?;
            return stream.shutdown(Shutdown::Both);
        }
        Some(Fault::UploadLost) => {
            let target = request.target();
            let head = vec![format!("DELETE {target} HTTP/1.1"), "Host: registry".to_owned()];
            ask(upstream, &Request { head, body: Vec::new() })?;
        }
        _ => {}
    }
    let answer = ask(upstream, &request)?;
    pass_on(stream, answer, fault, number, stall)
}

/// Forwards a response, or what a fault leaves of it.
fn pass_on(
    stream: &TcpStream,
    answer: Vec<u8>,
    fault: Option<Fault>,
    number: usize,
    stall: Duration,
) -> std::io::Result<()> {
    let mut client = stream;
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
    let body = answer.len() - head;
    let middle = if body > 0 { head + number % body } else { number % head.max(1) };
    match fault {
        Some(Fault::AnswerLost) => stream.shutdown(Shutdown::Both),
        Some(Fault::Cut) => {
            client.write_all(&answer[..middle])?;
            stream.shutdown(Shutdown::Both)
        }
        Some(Fault::Stalled) => {
            client.write_all(&answer[..middle])?;
            thread::sleep(stall);
            Ok(())
        }
        Some(Fault::Truncated) => {
            let text = String::from_utf8_lossy(&answer[..head]).into_owned();
            let kept = text.lines().filter(|line| !line.to_ascii_lowercase().starts_with("content-length:"));
            let text: String = kept.flat_map(|line| [line, "\r\n"]).collect();
            client.write_all(text.as_bytes())?;
            client.write_all(&answer[head..middle.max(head)])
        }
        Some(Fault::WrongByte) => {
            let mut answer = answer;
            answer[middle] ^= 0x20;
            client.write_all(&answer)
        }
        _ => client.write_all(&answer),
    }
}

enum Decided {
    Nothing,
    Fault(Fault, usize),
    Status(u16),
}

fn decide(state: &mut State, request: &Request) -> Decided {
    if let Some((status, left)) = state.burst.take() {
        if left > 1 {
            state.burst = Some((status, left - 1));
        }
        return Decided::Status(status);
    }
    // Always draw the same number of values, so that later requests do not depend on this one.
    let (spoilt, kind, number) = (
        state.random.gen_bool(state.rate),
        state.random.gen_range(0..FAULTS.len()),
        state.random.gen_range(0..1 << 20),
    );
    let fault = FAULTS[kind];
    let fits = match fault {
        Fault::UploadCut | Fault::UploadWrongByte => request.is_upload() && !request.body.is_empty(),
        Fault::UploadLost => request.is_upload(),
        Fault::WrongByte | Fault::Truncated => request.method() == "GET",
        // Silence takes time, so there is less of it.
        Fault::Stalled => number % 16 == 0,
        _ => true,
    };
    if !spoilt || !fits {
        return Decided::Nothing;
    }
    state.done.push(fault);
    let burst = |status| (status, 1 + u32::try_from(number % 3).expect("a small number"));
    match fault {
        Fault::Busy | Fault::Down => {
            let (status, count) = burst(if fault == Fault::Busy { 429 } else { 503 });
            state.burst = (count > 1).then_some((status, count - 1));
            Decided::Status(status)
        }
        fault => Decided::Fault(fault, number),
    }
}

/// Sends a request to the registry and returns its response.
fn ask(upstream: u16, request: &Request) -> std::io::Result<Vec<u8>> {
    let mut registry = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream))?;
    registry.set_read_timeout(Some(Duration::from_secs(20)))?;
    registry.write_all(&request.bytes())?;
    let mut answer = Vec::new();
    registry.read_to_end(&mut answer)?;
    Ok(answer)
}
