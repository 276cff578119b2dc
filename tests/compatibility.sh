#!/usr/bin/env bash
# Builds programs that use published crates, for three platforms, and runs each on its own root filesystem. The projects
# are made in a temporary directory. They have no configuration.
#
# This is not part of CI: it needs the network, hours of a slow machine, and up to 10 GB of disk space. It needs the
# tools of tests/run, and for some crates protoc, cmake and libclang on this machine: Debian's protobuf-compiler, cmake
# and libclang1.
set -euo pipefail

usage() {
    cat <<END
usage: tests/compatibility.sh [OPTION…] [NAME…]

Builds and runs the named entries of its table, or all of them. The exit code is 1 if less than 95 % of the programs of
all platforms are built and run.

  --toolchain NAME   auto, clang or zig [default: auto]
  --quick            leave out entries that take many minutes
  --list             print the names of all entries
  --results FILE     append the results to FILE, one line for each entry and platform, with fields between tabs:
                     entry, crate, version, platform, toolchain, result
  --keep             keep the temporary directory, with the logs of the builds

Environment variables:
  XBUILD                       the program [default: xbuild on PATH]
  XBUILD_COMPATIBILITY_SUITES  the suites of Debian, separated by spaces, for mirrors that lack some: they become
                               \`suites\` under [debian] in each project's xbuild.toml. Without it, projects have no
                               such file
  CARGO_HOME                   cargo's own directory, for all projects
END
}

platforms=(linux/amd64 linux/arm64 linux/arm/v7)
names=()
declare -A dependencies mains patterns files slow

# crate NAME PATTERN DEPENDENCY… <main.rs: an entry of the table. PATTERN is an extended regular expression for what the
# program prints. A dependency is a line of Cargo.toml; one that starts with `build:` is a build dependency. The first
# is the crate whose version is reported.
crate() {
    local name=$1
    names+=("$name")
    patterns[$name]=$2
    shift 2
    dependencies[$name]=$(printf '%s\n' "$@")
    mains[$name]=$(cat)
}

# with_file NAME PATH <content: one more file of the project of an entry.
with_file() {
    files[$1]+="$2"$'\n'
    mains[$1/$2]=$(cat)
}

# The table: crates that need a C library of the system.

crate openssl '^OpenSSL 3\.[0-9.]+ .*; ba7816bf' 'openssl = "0.10"' <<'END'
fn main() {
    let digest = openssl::hash::hash(openssl::hash::MessageDigest::sha256(), b"abc").unwrap();
    println!("{}; {:02x}{:02x}{:02x}{:02x}", openssl::version::version(), digest[0], digest[1], digest[2], digest[3]);
}
END

crate pq-sys '^libpq 15[0-9]+' 'pq-sys = "0.7"' <<'END'
fn main() {
    println!("libpq {}", unsafe { pq_sys::PQlibVersion() });
}
END

crate rusqlite '^3\.[0-9.]+ 42$' 'rusqlite = "0.43"' <<'END'
fn main() {
    let base = rusqlite::Connection::open_in_memory().unwrap();
    let row = base.query_row("SELECT sqlite_version(), 6 * 7", [], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
    });
    let (version, number) = row.unwrap();
    println!("{version} {number}");
}
END

crate git2 '^libgit2 1\.[0-9]+; 2e65efe2a145dda7ee51d1741299f848e5bf752e' 'git2 = "0.21"' <<'END'
fn main() {
    let (major, minor, _) = git2::Version::get().libgit2_version();
    let id = git2::Oid::hash_object(git2::ObjectType::Blob, b"a").unwrap();
    println!("libgit2 {major}.{minor}; {id}");
}
END

crate curl '^[78]\.[0-9.]+(-DEV)? a%20b https$' 'curl = "0.4"' <<'END'
fn main() {
    let version = curl::Version::get();
    let tls = version.protocols().find(|name| *name == "https").unwrap_or("no TLS");
    println!("{} {} {tls}", version.version(), curl::easy::Easy::new().url_encode(b"a b"));
}
END

crate alsa '^[0-9]+ cards, no PCM `none`$' 'alsa = "0.12"' <<'END'
fn main() {
    let cards = alsa::card::Iter::new().filter(|card| card.is_ok()).count();
    let pcm = alsa::pcm::PCM::new("none", alsa::Direction::Playback, false);
    println!("{cards} cards, {} PCM `none`", if pcm.is_ok() { "a" } else { "no" });
}
END

crate udev '^devices: [0-9]+$' 'udev = "0.9"' <<'END'
fn main() {
    let mut devices = udev::Enumerator::new().unwrap();
    devices.match_subsystem("mem").unwrap();
    println!("devices: {}", devices.scan_devices().unwrap().count());
}
END

crate dbus '^Hello to org.example$' 'dbus = "0.9"' <<'END'
fn main() {
    let message = dbus::Message::new_method_call("org.example", "/", "org.example.Face", "Hello").unwrap();
    println!("{} to {}", &*message.member().unwrap(), &*message.destination().unwrap());
}
END

crate prost '^\[8, 7, 18, 3, 97, 98, 99\]$' 'prost = "0.14"' 'build: prost-build = "0.14"' <<'END'
mod example {
    include!(concat!(env!("OUT_DIR"), "/example.rs"));
}

fn main() {
    let item = example::Item { number: 7, name: "abc".into() };
    println!("{:?}", prost::Message::encode_to_vec(&item));
}
END
with_file prost build.rs <<'END'
fn main() {
    prost_build::compile_protos(&["src/example.proto"], &["src"]).unwrap();
}
END
with_file prost src/example.proto <<'END'
syntax = "proto3";
package example;
message Item {
    int32 number = 1;
    string name = 2;
}
END

crate cxx '^3 words, caught: too few$' 'cxx = "1"' 'build: cxx-build = "1"' <<'END'
#[cxx::bridge]
mod ffi {
    unsafe extern "C++" {
        include!("app/src/words.h");
        fn words(text: &str) -> Result<usize>;
    }
}

fn main() {
    println!("{} words, caught: {}", ffi::words("one two three").unwrap(), ffi::words("one").unwrap_err());
}
END
with_file cxx build.rs <<'END'
fn main() {
    cxx_build::bridge("src/main.rs").file("src/words.cc").std("c++17").compile("words");
}
END
with_file cxx src/words.h <<'END'
#pragma once
#include "rust/cxx.h"
size_t words(rust::Str text);
END
with_file cxx src/words.cc <<'END'
#include "app/src/words.h"
#include <sstream>
#include <stdexcept>
#include <string>
size_t words(rust::Str text) {
    std::istringstream stream{std::string(text)};
    std::string word;
    size_t count = 0;
    while (stream >> word) count++;
    if (count < 2) throw std::runtime_error("too few");
    return count;
}
END

crate diesel-postgres 'No such file or directory' 'diesel = { version = "2", features = ["postgres"] }' <<'END'
use diesel::Connection;

fn main() {
    println!("{}", diesel::PgConnection::establish("host=/no/such").err().unwrap());
}
END

crate mysqlclient-sys '^client [0-9.]+' 'mysqlclient-sys = "0.5"' <<'END'
fn main() {
    let version = unsafe { std::ffi::CStr::from_ptr(mysqlclient_sys::mysql_get_client_info()) };
    println!("client {}", version.to_str().unwrap());
}
END

crate libxml '^text 2$' 'libxml = "0.3"' <<'END'
fn main() {
    let document = libxml::parser::Parser::default().parse_string("<a><b>te</b><b>xt</b></a>").unwrap();
    let root = document.get_root_element().unwrap();
    println!("{} {}", root.get_content(), root.get_child_elements().len());
}
END

crate libseccomp '^libseccomp 2\.[0-9.]+ true$' 'libseccomp = "0.4"' <<'END'
fn main() {
    let version = libseccomp::ScmpVersion::current().unwrap();
    let known = libseccomp::ScmpSyscall::from_name("openat").is_ok();
    println!("libseccomp {}.{}.{} {known}", version.major, version.minor, version.micro);
}
END

crate pcap '^[1-9][0-9]* instructions$' 'pcap = "2"' <<'END'
fn main() {
    let capture = pcap::Capture::dead(pcap::Linktype::ETHERNET).unwrap();
    println!("{} instructions", capture.compile("tcp port 80", true).unwrap().get_instructions().len());
}
END

crate pcsc '^(established|NoService|The Smart card resource manager is not running)' 'pcsc = "2"' <<'END'
fn main() {
    match pcsc::Context::establish(pcsc::Scope::User) {
        Ok(_) => println!("established"),
        Err(error) => println!("{error:?}"),
    }
}
END

crate hidapi '^[0-9]+ devices$' 'hidapi = "2"' <<'END'
fn main() {
    println!("{} devices", hidapi::HidApi::new().unwrap().device_list().count());
}
END

crate fontconfig '^family abc$' 'fontconfig = "0.11"' <<'END'
fn main() {
    let fontconfig = fontconfig::Fontconfig::new().unwrap();
    let mut pattern = fontconfig::Pattern::new(&fontconfig).unwrap();
    pattern.add_string(fontconfig::FC_FAMILY, c"abc").unwrap();
    println!("family {}", pattern.get_string(fontconfig::FC_FAMILY).unwrap());
}
END

crate freetype-rs '^Some\((InvalidStreamOperation|UnknownFileFormat)\)$' 'freetype-rs = "0.38"' <<'END'
fn main() {
    println!("{:?}", freetype::Library::init().unwrap().new_memory_face(vec![0; 64], 0).err());
}
END

crate cairo-rs '^\[255, 0, 0, 255\]$' 'cairo-rs = "0.22"' <<'END'
fn main() {
    let mut surface = cairo::ImageSurface::create(cairo::Format::ARgb32, 2, 2).unwrap();
    let context = cairo::Context::new(&surface).unwrap();
    context.set_source_rgb(0.0, 0.0, 1.0);
    context.paint().unwrap();
    drop(context);
    println!("{:?}", &surface.data().unwrap()[..4]);
}
END

crate glib '^&lt;a&gt; 42$' 'glib = "0.22"' <<'END'
use glib::prelude::*;

fn main() {
    println!("{} {}", glib::markup_escape_text("<a>"), 42i32.to_value().get::<i32>().unwrap());
}
END

crate libpulse-binding '^pulse [0-9.]+' 'libpulse-binding = "2"' <<'END'
fn main() {
    println!("pulse {}", libpulse_binding::version::get_library_version().to_string_lossy());
}
END

# Crates that have the sources of a C library, and compile them if the system lacks it.

crate rusqlite-bundled '^3\.[0-9.]+$' 'rusqlite = { version = "0.43", features = ["bundled"] }' <<'END'
fn main() {
    let base = rusqlite::Connection::open_in_memory().unwrap();
    println!("{}", base.query_row("SELECT sqlite_version()", [], |row| row.get::<_, String>(0)).unwrap());
}
END

crate libz-sys '^zlib 1\.[0-9.]+$' 'libz-sys = "1"' <<'END'
fn main() {
    println!("zlib {}", unsafe { std::ffi::CStr::from_ptr(libz_sys::zlibVersion()) }.to_str().unwrap());
}
END

crate flate2-zlib '^1000 [0-9]{2} 1000$' 'flate2 = { version = "1", default-features = false, features = ["zlib"] }' <<'END'
use std::io::Read;

fn main() {
    let (text, mut packed, mut unpacked) = ([7u8; 1000], Vec::new(), Vec::new());
    flate2::read::ZlibEncoder::new(&text[..], flate2::Compression::best()).read_to_end(&mut packed).unwrap();
    flate2::read::ZlibDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
    println!("{} {} {}", text.len(), packed.len(), unpacked.len());
}
END

crate ssh2 'curve25519' 'ssh2 = "0.9"' <<'END'
fn main() {
    println!("{:?}", ssh2::Session::new().unwrap().supported_algs(ssh2::MethodType::Kex).unwrap());
}
END

crate onig '^Some\("34"\)$' 'onig = "6"' <<'END'
fn main() {
    let regex = onig::Regex::new(r"(\d+)-(?<=-)(\d+)").unwrap();
    println!("{:?}", regex.captures("12-34").unwrap().at(2));
}
END

crate rusb '^libusb 1\.0' 'rusb = "0.9"' <<'END'
fn main() {
    let version = rusb::version();
    println!("libusb {}.{}", version.major(), version.minor());
}
END

crate bzip2 '^1000 [0-9]{2} 1000$' 'bzip2 = { version = "0.6", default-features = false, features = ["bzip2-sys"] }' <<'END'
use std::io::Read;

fn main() {
    let (text, mut packed, mut unpacked) = ([7u8; 1000], Vec::new(), Vec::new());
    bzip2::read::BzEncoder::new(&text[..], bzip2::Compression::best()).read_to_end(&mut packed).unwrap();
    bzip2::read::BzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
    println!("{} {} {}", text.len(), packed.len(), unpacked.len());
}
END

for library in xz2 liblzma; do
    version=0.1
    [ $library = xz2 ] || version=0.4
    crate $library '^1000 [0-9]{2} 1000$' "$library = \"$version\"" <<END
use std::io::Read;

fn main() {
    let (text, mut packed, mut unpacked) = ([7u8; 1000], Vec::new(), Vec::new());
    $library::read::XzEncoder::new(&text[..], 6).read_to_end(&mut packed).unwrap();
    $library::read::XzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
    println!("{} {} {}", text.len(), packed.len(), unpacked.len());
}
END
done

crate lmdb-rkv '^Ok\(\[98\]\)$' 'lmdb-rkv = "0.14"' <<'END'
use lmdb::Transaction;

fn main() {
    let dir = std::env::temp_dir().join(format!("lmdb-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let environment = lmdb::Environment::new().open(&dir).unwrap();
    let base = environment.open_db(None).unwrap();
    let mut transaction = environment.begin_rw_txn().unwrap();
    transaction.put(base, b"a", b"b", lmdb::WriteFlags::empty()).unwrap();
    println!("{:?}", transaction.get(base, b"a"));
    drop(transaction);
    std::fs::remove_dir_all(&dir).unwrap();
}
END

# Crates that always compile C, C++ or assembly.

crate heed '^Some\("b"\)$' 'heed = "0.22"' <<'END'
fn main() {
    let dir = std::env::temp_dir().join(format!("heed-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let environment = unsafe { heed::EnvOpenOptions::new().map_size(1 << 20).open(&dir) }.unwrap();
    let mut transaction = environment.write_txn().unwrap();
    let base: heed::Database<heed::types::Str, heed::types::Str> =
        environment.create_database(&mut transaction, None).unwrap();
    base.put(&mut transaction, "a", "b").unwrap();
    println!("{:?}", base.get(&transaction, "a").unwrap());
    drop(transaction);
    std::fs::remove_dir_all(&dir).unwrap();
}
END

crate zlib-ng '^1000 [0-9]{2} 1000$' 'flate2 = { version = "1", default-features = false, features = ["zlib-ng"] }' <<'END'
use std::io::Read;

fn main() {
    let (text, mut packed, mut unpacked) = ([7u8; 1000], Vec::new(), Vec::new());
    flate2::read::ZlibEncoder::new(&text[..], flate2::Compression::best()).read_to_end(&mut packed).unwrap();
    flate2::read::ZlibDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
    println!("{} {} {}", text.len(), packed.len(), unpacked.len());
}
END

crate jemalloc '^499500 jemalloc 5\.' 'tikv-jemallocator = "0.6"' 'tikv-jemalloc-ctl = "0.6"' <<'END'
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let numbers: Vec<u64> = (0..1000).collect();
    println!("{} jemalloc {}", numbers.iter().sum::<u64>(), tikv_jemalloc_ctl::version::read().unwrap());
}
END

crate mimalloc '^499500 mimalloc [0-9]+$' 'mimalloc = { version = "0.1", features = ["extended"] }' <<'END'
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let numbers: Vec<u64> = (0..1000).collect();
    println!("{} mimalloc {}", numbers.iter().sum::<u64>(), ALLOCATOR.version());
}
END

# With cmake, and C++.
crate snmalloc-rs '^499500$' 'snmalloc-rs = "0.7"' <<'END'
#[global_allocator]
static ALLOCATOR: snmalloc_rs::SnMalloc = snmalloc_rs::SnMalloc;

fn main() {
    let numbers: Vec<u64> = (0..1000).collect();
    println!("{}", numbers.iter().sum::<u64>());
}
END

for library in ring aws-lc-rs; do
    version=0.17
    [ $library = ring ] || version=1
    crate $library '^\[186, 120, 22, 191\] true$' "$library = \"$version\"" <<END
use ${library//-/_}::{digest, rand, signature};

fn main() {
    let document = signature::Ed25519KeyPair::generate_pkcs8(&rand::SystemRandom::new()).unwrap();
    let pair = signature::Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
    let key = signature::UnparsedPublicKey::new(&signature::ED25519, signature::KeyPair::public_key(&pair).as_ref());
    let good = key.verify(b"abc", pair.sign(b"abc").as_ref()).is_ok();
    println!("{:?} {good}", &digest::digest(&digest::SHA256, b"abc").as_ref()[..4]);
}
END
done

crate zstd '^zstd 1\.5\.[0-9]+ 1000 1000$' 'zstd = "0.13"' <<'END'
fn main() {
    let packed = zstd::encode_all(&[7u8; 1000][..], 3).unwrap();
    let unpacked = zstd::decode_all(&packed[..]).unwrap();
    println!("zstd {} 1000 {}", zstd::zstd_safe::version_string(), unpacked.len());
}
END

crate lz4 '^[1-9][0-9]+ 1000$' 'lz4 = "1"' <<'END'
fn main() {
    let packed = lz4::block::compress(&[7; 1000], None, true).unwrap();
    println!("{} {}", lz4::version(), lz4::block::decompress(&packed, None).unwrap().len());
}
END

crate snap '^[0-9]+ 1000$' 'snap = "1"' <<'END'
fn main() {
    let packed = snap::raw::Encoder::new().compress_vec(&[7; 1000]).unwrap();
    println!("{} {}", packed.len(), snap::raw::Decoder::new().decompress_vec(&packed).unwrap().len());
}
END

crate blake3 '^6437b3ac38465133' 'blake3 = "1"' <<'END'
fn main() {
    println!("{}", blake3::hash(b"abc"));
}
END

# With the library's own configure script.
crate libsodium-sys-stable '^sodium 1\.[0-9.]+ 0$' 'libsodium-sys-stable = "1"' <<'END'
fn main() {
    let started = unsafe { libsodium_sys::sodium_init() };
    let version = unsafe { std::ffi::CStr::from_ptr(libsodium_sys::sodium_version_string()) };
    println!("sodium {} {started}", version.to_str().unwrap());
}
END

crate zmq '^zmq 4\.[0-9]+ Ok\(\[97\]\)$' 'zmq = "0.10"' <<'END'
fn main() {
    let context = zmq::Context::new();
    let (near, far) = (context.socket(zmq::PAIR).unwrap(), context.socket(zmq::PAIR).unwrap());
    near.bind("inproc://a").unwrap();
    far.connect("inproc://a").unwrap();
    far.send("a", 0).unwrap();
    println!("zmq {}.{} {:?}", zmq::version().0, zmq::version().1, near.recv_bytes(0));
}
END

crate secp256k1 '^031b84c5567b126440995d3ed5aaba0565d71e1834604819ff9c17f5e9d5dd078f$' 'secp256k1 = "0.29"' <<'END'
fn main() {
    let key = secp256k1::SecretKey::from_slice(&[1; 32]).unwrap();
    println!("{}", key.public_key(&secp256k1::Secp256k1::new()));
}
END

for language in rust python; do
    version=0.24
    text='fn f() {}' expected=function_item
    [ $language = rust ] || version=0.25 text='def f(): pass' expected=function_definition
    crate tree-sitter-$language "$expected" "tree-sitter-$language = \"$version\"" 'tree-sitter = "0.26"' <<END
fn main() {
    let mut parser = tree_sitter::Parser::new();
    parser.set_language(&tree_sitter_$language::LANGUAGE.into()).unwrap();
    println!("{}", parser.parse("$text", None).unwrap().root_node().to_sexp());
}
END
done

crate mlua-vendored '^42 Lua 5\.4$' 'mlua = { version = "0.11", features = ["lua54", "vendored"] }' <<'END'
fn main() {
    let lua = mlua::Lua::new();
    let number: i64 = lua.load("6 * 7").eval().unwrap();
    println!("{number} {}", lua.globals().get::<String>("_VERSION").unwrap());
}
END

# C++ of a library for tokenizers.
crate esaxx-rs '^[1-9][0-9]* substrings$' 'esaxx-rs = "0.1"' <<'END'
fn main() {
    println!("{} substrings", esaxx_rs::suffix("abracadabra").unwrap().iter().count());
}
END

# Crates that run bindgen over a header.

crate v4l2-sys-mit '^104 1$' 'v4l2-sys-mit = "0.3"' <<'END'
fn main() {
    let size = std::mem::size_of::<v4l2_sys_mit::v4l2_capability>();
    println!("{size} {}", v4l2_sys_mit::V4L2_CAP_VIDEO_CAPTURE);
}
END

crate rusqlite-bindgen '^3\.[0-9.]+$' \
    'rusqlite = { version = "0.43", features = ["bundled", "buildtime_bindgen"] }' <<'END'
fn main() {
    let base = rusqlite::Connection::open_in_memory().unwrap();
    println!("{}", base.query_row("SELECT sqlite_version()", [], |row| row.get::<_, String>(0)).unwrap());
}
END

# Crates in Rust, some with C code somewhere below.

crate hyper '^path /a$' 'hyper = { version = "1", features = ["full"] }' 'hyper-util = { version = "0.1", features = ["tokio"] }' \
    'http-body-util = "0.1"' 'tokio = { version = "1", features = ["full"] }' <<'END'
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;

async fn answer(request: hyper::Request<Incoming>) -> Result<hyper::Response<Full<Bytes>>, std::convert::Infallible> {
    Ok(hyper::Response::new(Full::new(Bytes::from(format!("path {}", request.uri().path())))))
}

#[tokio::main]
async fn main() {
    let (near, far) = tokio::io::duplex(4096);
    let service = hyper::service::service_fn(answer);
    tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await.unwrap();
    tokio::spawn(connection);
    let request = hyper::Request::get("/a").header("host", "x").body(Empty::<Bytes>::new()).unwrap();
    let body = sender.send_request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    println!("{}", String::from_utf8_lossy(&body));
}
END

crate axum '^HTTP/1.1 200 OK$' 'axum = "0.8"' 'tokio = { version = "1", features = ["full"] }' <<'END'
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::main]
async fn main() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = axum::Router::new().route("/", axum::routing::get(|| async { "hello" }));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("hello"));
    println!("{}", answer.lines().next().unwrap());
}
END

crate serde_json '^\{"a":\[1,2\],"b":null\}$' 'serde_json = "1"' <<'END'
fn main() {
    println!("{}", serde_json::from_str::<serde_json::Value>("{ \"a\": [1, 2], \"b\": null }").unwrap());
}
END

crate clap '^Arguments \{ name: "x", count: 3 \}$' 'clap = { version = "4", features = ["derive"] }' <<'END'
#[derive(clap::Parser, Debug)]
struct Arguments {
    #[arg(long)]
    name: String,
    #[arg(short, default_value_t = 3)]
    count: u8,
}

fn main() {
    println!("{:?}", <Arguments as clap::Parser>::parse_from(["app", "--name", "x"]));
}
END

# The error of the TLS library, from a server that does not speak TLS.
for kind in rustls native-tls; do
    expected='InvalidContentType'
    [ $kind = rustls ] || expected='wrong version number|packet length|record'
    crate reqwest-$kind "$expected" \
        "reqwest = { version = \"0.13\", default-features = false, features = [\"$kind\", \"blocking\"] }" <<'END'
use std::error::Error;
use std::io::{Read, Write};

fn main() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read(&mut [0; 4096]).unwrap();
        stream.write_all(b"this is not TLS, whatever you say\r\n\r\n").unwrap();
        std::thread::sleep(std::time::Duration::from_secs(60));
    });
    let failed = reqwest::blocking::Client::builder().no_proxy().build().unwrap().get(url).send().unwrap_err();
    let mut error: &dyn Error = &failed;
    while let Some(source) = error.source() {
        error = source;
    }
    println!("{error:?} {error}");
}
END
done

crate sqlx '[Cc]onnection refused' \
    'sqlx = { version = "0.8", default-features = false, features = ["postgres", "runtime-tokio", "tls-rustls"] }' \
    'tokio = { version = "1", features = ["full"] }' <<'END'
use sqlx::Connection;

#[tokio::main]
async fn main() {
    println!("{}", sqlx::PgConnection::connect("postgres://a@127.0.0.1:1/b").await.err().unwrap());
}
END

crate tonic '^hello x$' 'tonic = "0.14"' 'tonic-prost = "0.14"' 'prost = "0.14"' \
    'tokio = { version = "1", features = ["full"] }' 'build: tonic-prost-build = "0.14"' <<'END'
use tonic::{Request, Response, Status, transport};

mod example {
    tonic::include_proto!("example");
}

struct Server;

#[tonic::async_trait]
impl example::greeter_server::Greeter for Server {
    async fn greet(&self, request: Request<example::Name>) -> Result<Response<example::Name>, Status> {
        Ok(Response::new(example::Name { name: format!("hello {}", request.into_inner().name) }))
    }
}

#[tokio::main]
async fn main() {
    let incoming = transport::server::TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", incoming.local_addr().unwrap());
    let service = example::greeter_server::GreeterServer::new(Server);
    tokio::spawn(transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    let mut client = example::greeter_client::GreeterClient::connect(url).await.unwrap();
    println!("{}", client.greet(example::Name { name: "x".into() }).await.unwrap().into_inner().name);
}
END
with_file tonic build.rs <<'END'
fn main() {
    tonic_prost_build::compile_protos("src/example.proto").unwrap();
}
END
with_file tonic src/example.proto <<'END'
syntax = "proto3";
package example;
message Name {
    string name = 1;
}
service Greeter {
    rpc Greet(Name) returns (Name);
}
END

# Those that take long.

for kind in '' -cmake; do
    slow[rdkafka$kind]=1
    features=
    [ -z "$kind" ] || features=', features = ["cmake-build"]'
    crate rdkafka$kind '^librdkafka [0-9.]+$' "rdkafka = { version = \"0.39\"$features }" <<'END'
fn main() {
    println!("librdkafka {}", rdkafka::util::get_rdkafka_version().1);
}
END
done

slow[rocksdb]=1
crate rocksdb '^Some\(\[98\]\)$' 'rocksdb = "0.24"' <<'END'
fn main() {
    let dir = std::env::temp_dir().join(format!("rocksdb-{}", std::process::id()));
    let base = rocksdb::DB::open_default(&dir).unwrap();
    base.put(b"a", b"b").unwrap();
    println!("{:?}", base.get(b"a").unwrap());
    drop(base);
    std::fs::remove_dir_all(&dir).unwrap();
}
END

# The end of the table.

toolchain=auto quick= keep= results=/dev/null
selected=()
while [ $# -gt 0 ]; do
    case $1 in
    --toolchain) toolchain=${2:?--toolchain needs a name} && shift ;;
    --results) results=$(realpath -- "${2:?--results needs a file}") && shift ;;
    --quick) quick=1 ;;
    --keep) keep=1 ;;
    --list) printf '%s\n' "${names[@]}" && exit ;;
    -h | --help) usage && exit ;;
    -*) usage >&2 && exit 2 ;;
    *)
        [ -v "dependencies[$1]" ] || { echo "compatibility.sh: there is no entry \`$1\`; --list prints them" >&2 && exit 2; }
        selected+=("$1")
        ;;
    esac
    shift
done
[ ${#selected[@]} -gt 0 ] || selected=("${names[@]}")

program=$(command -v "${XBUILD:-xbuild}") || { echo "compatibility.sh: there is no ${XBUILD:-xbuild}; set XBUILD" >&2 && exit 2; }
program=$(realpath -- "$program")
for tool in skopeo umoci qemu-aarch64-static qemu-arm-static cargo; do
    command -v "$tool" >/dev/null || { echo "compatibility.sh: \`$tool\` is missing; tests/run installs what it needs" >&2 && exit 2; }
done

work=$(mktemp -d)
trap '[ -n "$keep" ] && echo "kept: $work" || rm -rf "$work"' EXIT

# make_project NAME DIR
make_project() {
    local name=$1 dir=$2 line file
    mkdir -p "$dir/src"
    {
        printf '[package]\nname = "app"\nversion = "1.0.0"\nedition = "2024"\n\n[workspace]\n\n'
        printf '[profile.dev]\nopt-level = 0\ndebug = 0\n\n[dependencies]\n'
        grep -v '^build: ' <<<"${dependencies[$name]}" || true
        printf '\n[build-dependencies]\n'
        sed -n 's/^build: //p' <<<"${dependencies[$name]}"
    } >"$dir/Cargo.toml"
    printf '%s\n' "${mains[$name]}" >"$dir/src/main.rs"
    while IFS= read -r file; do
        [ -z "$file" ] || printf '%s\n' "${mains[$name/$file]}" >"$dir/$file"
    done <<<"${files[$name]:-}"
    if [ -n "${XBUILD_COMPATIBILITY_SUITES:-}" ]; then
        printf '[debian]\nsuites = ["%s"]\n' "${XBUILD_COMPATIBILITY_SUITES// /\", \"}" >"$dir/xbuild.toml"
    fi
}

# run_program ROOT PLATFORM: on that root filesystem, with its own loader and libraries.
run_program() {
    local root=$1 app=$1/usr/local/bin/app
    case $2 in
    linux/amd64)
        timeout 120 "$root/lib64/ld-linux-x86-64.so.2" --inhibit-cache \
            --library-path "$root/lib/x86_64-linux-gnu:$root/usr/lib/x86_64-linux-gnu" "$app"
        ;;
    linux/arm64) timeout 120 qemu-aarch64-static -L "$root" "$app" ;;
    linux/arm/v7) timeout 120 qemu-arm-static -L "$root" "$app" ;;
    esac
}

# first_error FILE: the line of a log that says what failed. Compilers' errors come before cargo's own.
first_error() {
    local line
    line=$(grep -m 1 -E '(lld|ld|zig): error: |undefined symbol: ' "$1" ||
        grep -m 1 -E '(^|[^a-z])(fatal )?error(\[E[0-9]+\])?( in [^ ]+)?: |panicked at|not found|No such file' "$1" ||
        grep -m 1 . "$1" || echo 'no output')
    line=$(sed "s|$work/||g; s/^ *//" <<<"$line")
    # What it panicked with is on the next line.
    case $line in *'panicked at'*) line+=" $(grep -A 1 -m 1 'panicked at' "$1" | tail -n +2)" ;; esac
    cut -c -240 <<<"$line"
}

# try_platform LAYOUT PLATFORM PATTERN DIR: prints what failed, or ok.
try_platform() {
    local layout=$1 platform=$2 pattern=$3 dir=$4 os arch variant select
    IFS=/ read -r os arch variant <<<"$platform"
    select=(--override-os "$os" --override-arch "$arch" ${variant:+--override-variant "$variant"})
    mkdir -p "$dir"
    if ! skopeo --insecure-policy "${select[@]}" copy --quiet "oci:$layout" "oci:$dir/single:image" >"$dir/log" 2>&1 ||
        ! umoci raw unpack ${rootless:+--rootless} --image "$dir/single:image" "$dir/root" >>"$dir/log" 2>&1; then
        echo "unpack: $(first_error "$dir/log")"
    elif ! run_program "$dir/root" "$platform" >"$dir/said" 2>"$dir/log" </dev/null; then
        echo "run: $(first_error "$dir/log")"
    elif ! grep -q -E -- "$pattern" "$dir/said"; then
        echo "output: $(head -n 1 "$dir/said" | cut -c -120)"
    else
        echo ok
    fi
}
rootless=
[ "$(id -u)" -eq 0 ] || rootless=1

# row ENTRY PLATFORM RESULT
row() {
    total=$((total + 1))
    [ "$3" != ok ] || passed=$((passed + 1))
    printf '%-24s %-12s %-13s %4ds  %s\n' "$1" "$version" "$2" "$seconds" "$3"
    printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$crate" "$version" "$2" "$toolchain" "$3" >>"$results"
}

total=0 passed=0
printf '%-24s %-12s %-13s %5s  %s\n' ENTRY VERSION PLATFORM TIME RESULT
for name in "${selected[@]}"; do
    [ -z "$quick" ] || [ -z "${slow[$name]:-}" ] || continue
    dir=$work/$name
    make_project "$name" "$dir"
    crate=$(sed -n '1s/^build: //;1s/ .*//p' <<<"${dependencies[$name]}")
    start=$SECONDS
    # The platforms of one build share its compilation of build scripts.
    "$program" build --toolchain "$toolchain" --profile dev --progress plain --color never --allow-partial \
        --output "$dir/out" "$dir" >"$dir/log" 2>&1 </dev/null && built=0 || built=$?
    seconds=$((SECONDS - start))
    version=$(grep -A 1 -F -x "name = \"$crate\"" "$dir/Cargo.lock" 2>/dev/null | sed -n 's/^version = "\(.*\)"/\1/p' | head -n 1)
    version=${version:-?}
    for platform in "${platforms[@]}"; do
        if grep -q -E "^${platform} +done" "$dir/log"; then
            row "$name" "$platform" "$(try_platform "$dir/out" "$platform" "${patterns[$name]}" "$dir/unpacked/${platform//\//-}")"
        else
            # What the log says of this platform alone, if it says that; otherwise what stopped all of them.
            grep -F -e "error: $platform: " "$dir/log" | grep -v -E 'reported above|the same errors' >"$dir/own" || true
            [ -s "$dir/own" ] || cp "$dir/log" "$dir/own"
            row "$name" "$platform" "build ($built): $(first_error "$dir/own")"
        fi
    done
    mkdir -p "$work/logs" && cp "$dir/log" "$work/logs/$name.log"
    chmod -R u+rwX "$dir" && rm -rf "$dir"
done

echo "$passed of $total built and run"
[ $((passed * 100)) -ge $((total * 95)) ]
