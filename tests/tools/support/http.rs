//! A minimal HTTP client for the service example, and servers for tests.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// The status and body of the response to one request; an error while nobody listens.
pub(crate) fn request(port: u16, method: &str, path: &str, body: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.map(|status| (status, body.to_owned())).ok_or_else(|| std::io::ErrorKind::InvalidData.into())
}

/// A server that lives as long as the test's process and answers each method and path with a status and a body;
/// `127.0.0.1:PORT`.
pub(crate) fn serve_with(answer: impl Fn(&str, &str) -> (u16, Vec<u8>) + Send + Sync + 'static) -> String {
    serve_bodies(move |method, path, _| answer(method, path))
}

/// The same for a server that also gets request bodies.
pub(crate) fn serve_bodies(
    answer: impl Fn(&str, &str, &[u8]) -> (u16, Vec<u8>) + Send + Sync + 'static,
) -> String {
    serve_typed(move |method, path, body| {
        let (status, body) = answer(method, path, body);
        (status, "application/json".to_owned(), body)
    })
}

/// The same for paths only: the media type and the content, or 404.
pub(crate) fn serve(answer: impl Fn(&str) -> Option<(String, Vec<u8>)> + Send + Sync + 'static) -> String {
    serve_typed(move |_, path, _| match answer(path) {
        Some((media_type, body)) => (200, media_type, body),
        None => (404, "text/plain".to_owned(), Vec::new()),
    })
}

fn serve_typed(
    answer: impl Fn(&str, &str, &[u8]) -> (u16, String, Vec<u8>) + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
    let address = listener.local_addr().expect("a bound socket").to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut reader = std::io::BufReader::new(stream.try_clone().expect("a second handle"));
            let mut head = Vec::new();
            while let Some(Ok(line)) = std::io::BufRead::lines(&mut reader).next() {
                if line.is_empty() {
                    break;
                }
                head.push(line);
            }
            let mut words = head.first().map_or("", String::as_str).split(' ');
            let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let length = head.iter().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            let mut body = vec![0; length.unwrap_or(0)];
            // A client that hangs up is none of our business.
            reader.read_exact(&mut body).ok();
            let (status, media_type, body) = answer(method, path, &body);
            // The length of a GET's response is not known here.
            let length =
                if method == "HEAD" { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
            let head = format!(
                "HTTP/1.1 {status} -\r\nContent-Type: {media_type}\r\n{length}Connection: close\r\n\r\n"
            );
            stream.write_all(&[head.into_bytes(), body].concat()).ok();
        }
    });
    address
}
