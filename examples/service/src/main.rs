//! Keeps notes over HTTP.

mod http;
mod notes;
mod tls;

use std::env::{self, consts::ARCH};
use std::error::Error;
use std::io::{BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use http::{Request, Response};
use notes::Notes;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// How long a client may keep a connection waiting.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<()> {
    let port = env::var("PORT").ok().filter(|port| !port.is_empty()).map_or(Ok(8080), |port| port.parse())?;
    if env::args().nth(1).as_deref() == Some("health") {
        return health(port);
    }
    let database = env::var_os("DATABASE").map_or_else(|| "/data/notes.db".into(), PathBuf::from);
    let notes = Arc::new(Mutex::new(Notes::open(&database)?));
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    println!("listening on {}", listener.local_addr()?);

    // As the first process of a container it would otherwise ignore these.
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            std::process::exit(0);
        }
    });

    for stream in listener.incoming() {
        let stream = stream?;
        let notes = Arc::clone(&notes);
        thread::spawn(move || {
            if let Err(error) = serve(&stream, &notes) {
                eprintln!("a request failed: {error}");
            }
        });
    }
    Ok(())
}

fn serve(mut stream: &TcpStream, notes: &Mutex<Notes>) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let response = match http::read_request(&mut BufReader::new(stream)) {
        Ok(request) => answer(&request, notes),
        Err(error) => Response::text(400, &format!("{error}\n")),
    };
    stream.write_all(&response.encode())?;
    Ok(())
}

fn answer(request: &Request, notes: &Mutex<Notes>) -> Response {
    let notes = || notes.lock().unwrap_or_else(PoisonError::into_inner);
    let result = match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/") => Ok(about()),
        ("GET", "/health") => return Response::text(200, "ok\n"),
        ("GET", "/notes") => notes().all().map(|notes| json!({ "notes": notes })),
        ("POST", "/notes") => match std::str::from_utf8(&request.body) {
            Ok(text) => notes().add(text).map(|(id, stored)| json!({ "id": id, "stored-bytes": stored })),
            Err(_) => return Response::text(400, "a note is UTF-8 text\n"),
        },
        ("GET", "/tls") => tls::handshake(),
        _ => return Response::text(404, "not found\n"),
    };
    match result {
        Ok(value) => Response::json(&value),
        Err(error) => Response::text(500, &format!("{error}\n")),
    }
}

fn about() -> Value {
    json!({
        "architecture": ARCH,
        "pointer-bits": usize::BITS,
        "sqlite": rusqlite::version(),
        "zstd": zstd::zstd_safe::version_string(),
    })
}

/// Asks the running service whether it is well.
fn health(port: u16) -> Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200 ") { Ok(()) } else { Err("the service is not well".into()) }
}
